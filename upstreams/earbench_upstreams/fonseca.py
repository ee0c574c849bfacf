"""The encoders of Fonseca et al. 2021 (repository uclser20): two augmented patches of a sound, told from all others.

Protocol sheet upstreams §5.4 (front end, networks), §10.5 (names). They are clip-level models: a patch of 1.01 s gives
one vector, and patches start every half second (`Fonseca.encode`).

The published statistics. The repository normalises spectrograms by the mean and deviation of its training set and
publishes neither. What it calls the deviation is, besides, the root of the summed squares over the *number* of values,
smaller than the deviation by the root of that number. The networks were trained on inputs tens of thousands wide, which
their first batch norms confirm (both files: a deviation near 29,000). `TRAINED` divides as they were trained. The mean
and deviation themselves are measured on speech; `statistics` of the constructor takes others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.kit.bands import mel_bank
from earbench.kit.from_file import given_file
from earbench.kit.frontends import centred_frames, power, reflected
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

SAMPLE_RATE, WINDOW, STEP, TRANSFORM, BANDS, FLOOR = 22_050, 660, 220, 2048, 96, 1.1e-8
PATCH, PATCH_STEP = 101, 50
"""Frames of a patch, and from one patch to the next."""
SECOND = SAMPLE_RATE
"""Samples that a clip has at least; a shorter one is repeated."""
TOGETHER = 64
"""Patches in one pass: the first convolutions take 5 MB each."""

MEAN, DEVIATION = -2.0, 2.27
"""Of log10 energies, over 100 training clips of Speech Commands v0.02."""
VALUES = 38.8 * 3600 * SAMPLE_RATE / STEP * BANDS
"""How many the repository's training set has: the noisy part of FSDnoisy18k, 38.8 hours."""
TRAINED, PLAIN = (MEAN, DEVIATION / VALUES**0.5), (MEAN, DEVIATION)
ESTIMATED = "mean and deviation of the spectrograms are unpublished; those of Speech Commands stand in for them"


# ---- the networks, with the names of the public files; a classifier that is not used counts as theirs ----------------


class Block(nn.Module):
    """Convolution without bias, batch norm, ReLU, max pool, over [patch, channel, time, frequency]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, pool: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(self.bn(self.conv(x)).relu(), self.pool)


class VggNet(nn.Module):
    """Patches [patch, 1, time, frequency] to vectors of 512: six convolutions, global max beside mean, one layer."""

    width = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.conv1, self.conv2 = Block(1, 32, 3), Block(32, 32, 3), Block(32, 32, 3, (2, 2))
        self.conv3, self.conv4 = Block(32, 64, 3), Block(64, 64, 3, (2, 2))
        self.conv5 = Block(64, 128, 3, (2, 2))
        self.dense1, self.dense_out = nn.Linear(256, self.width), nn.Linear(self.width, 20)

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.conv0, self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = block(x)
        vectors: Tensor = self.dense1(torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)).relu()
        return vectors


class CrnnNet(nn.Module):
    """Patches [patch, 1, time, frequency] to vectors of 64: three convolutions and a GRU in both directions.

    What is multiplied are both directions at the *last* step, where the backward one has seen that step alone.
    """

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = Block(1, 128, 5, (2, 5)), Block(128, 128, 5, (2, 4))
        self.conv3 = Block(128, 128, 5, (2, 2))
        self.rnn1 = nn.GRU(256, self.width, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(self.width, 20)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3(self.conv2(self.conv1(x)))
        states: Tensor = self.rnn1(x.permute(0, 2, 3, 1).flatten(2))[0][:, -1]
        forwards, backwards = states.chunk(2, 1)
        return forwards * backwards


# ---- the encoders ----------------------------------------------------------------------------------------------------


class Fonseca(Upstream):
    """One vector per patch of 101 frames, every 50 frames, as the repository cuts clips; an incomplete last one is
    left out. A clip shorter than a second is repeated up to one, and its single vector stands in its middle, so that
    the times are irregular.
    """

    sample_rate, hop, layers = SAMPLE_RATE, PATCH_STEP * STEP / SAMPLE_RATE, 1
    network: ClassVar[type[VggNet | CrnnNet]]
    file: ClassVar[str]
    sha256: ClassVar[str]
    taper: Tensor
    bank: Tensor

    def __init__(self, net: nn.Module, source: Mapping[str, str], statistics: tuple[float, float]) -> None:
        super().__init__()
        self.net, self.source, self.width = net, source, self.network.width
        self.options = {"mean": statistics[0], "deviation": statistics[1]}
        self.register_buffer("taper", torch.hamming_window(WINDOW), persistent=False)
        self.register_buffer("bank", mel_bank(BANDS, TRANSFORM, SAMPLE_RATE, 50.0, 10_500.0), persistent=False)

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of `spec.checkpoint`; with `~random` a fresh one, whose inputs have a deviation of 1."""
        path = given_file(spec, cls.card)
        net = fresh(cls.network, spec.seed)
        if path is not None:
            load_strict(net, strip_prefix(read_state(path), ("module.",)))
        if path is None or spec.random:
            twin = fresh(cls.network, spec.seed)
            return cls(twin, {"weights": "random", "seed": str(spec.seed)}, PLAIN)
        found = cls(net, {"weights": path.name, "sha256": file_digest(path)}, TRAINED)
        found.notes = (ESTIMATED,)
        if found.source["sha256"] != cls.sha256:
            found.card = replace(cls.card, licence="that of the file")
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        with torch.autocast(waves.device.type, enabled=False):
            bands, counts = self.bands(waves.float(), lengths)
            patches = bands.unfold(1, PATCH, PATCH_STEP).transpose(2, 3)  # [clip, patch, time, band]
            counts = (counts - PATCH) // PATCH_STEP + 1
            true = torch.arange(patches.shape[1], device=waves.device) < counts[:, None]
            frames = waves.new_zeros(*true.shape, self.width, dtype=torch.float32)
            frames[true] = torch.cat([self.net(part) for part in patches[true][:, None].split(TOGETHER)])
        return Features(frames[:, None], counts, hop=self.hop, times=centres(lengths, true.shape[1]))

    def bands(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised log10 energies [clip, time, band] of clips of at least a second, and how many are true."""
        whole, lengths = repeated(levelled(waves, lengths), lengths)
        # The window lies in the middle of the transform, so only half a window is ever mirrored.
        frames = reflected(whole + FLOOR, lengths, WINDOW // 2).unfold(1, WINDOW, STEP) * self.taper
        energies = (power(torch.fft.rfft(frames, n=TRANSFORM)) @ self.bank + FLOOR).log10()
        return (energies - self.options["mean"]) / self.options["deviation"], centred_frames(lengths, STEP)


class FonsecaVgg(Fonseca):
    """The VGG-like network."""

    card = UpstreamCard(
        "fonseca_vgg",
        "Fonseca 2021",
        "MIT",
        weights="https://github.com/edufonseca/uclser20 (pth/VGG_best.pth)",
        parameters=290_292,
        sample_rate=SAMPLE_RATE,
        hop=Fonseca.hop,
        layers=1,
        widths=(VggNet.width,),
        normalise=True,
        parity="run",
    )
    network, file = VggNet, "pth/VGG_best.pth"
    sha256 = "61fde9cd0b546fb8aab30cdc8327936acc349ec3f4e331b736fd9ec2e4cda9ba"


class FonsecaCrnn(Fonseca):
    """The convolutional recurrent network."""

    card = replace(
        FonsecaVgg.card,
        name="fonseca_crnn",
        weights="https://github.com/edufonseca/uclser20 (pth/CRNN_best.pth)",
        parameters=948_116,
        widths=(CrnnNet.width,),
    )
    network, file = CrnnNet, "pth/CRNN_best.pth"
    sha256 = "3d99a7e11c946edb9c8c2a8cfcf5759244f406a0e40787150d380b901facddee"


def levelled(waves: Tensor, lengths: Tensor) -> Tensor:
    """Each clip less its mean, over its largest magnitude plus 0.005; the padding stays zero.

    >>> [round(float(value), 3) for value in levelled(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2]))[0]]
    [-0.995, 0.995, 0.0]
    """
    true = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    mean = torch.where(true, waves, 0.0).sum(1, keepdim=True) / lengths[:, None]
    centred = torch.where(true, waves - mean, 0.0)
    return centred / (centred.abs().amax(1, keepdim=True) + 0.005)


def repeated(waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Clips of at least a second: a shorter one is repeated from its beginning. Also their new lengths."""
    lasting = lengths.clamp_min(SECOND)
    steps = torch.arange(max(waves.shape[1], SECOND), device=waves.device)
    again = waves.gather(1, steps % lengths[:, None])
    return torch.where(steps < lasting[:, None], again, 0.0), lasting


def centres(lengths: Tensor, patches: int) -> Tensor:
    """The middle of each patch in seconds, [clip, patch]; of a clip that had to be repeated, its own."""
    steps = torch.arange(patches, device=lengths.device) * PATCH_STEP + PATCH // 2
    middles = (lengths[:, None] / 2).expand(-1, patches)
    return torch.where(lengths[:, None] < SECOND, middles, steps * STEP) / SAMPLE_RATE


def fresh(network: type[VggNet | CrnnNet], seed: int) -> nn.Module:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return network()
