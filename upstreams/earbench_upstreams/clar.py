"""CLAR (Al-Tahan & Mohsenzadeh 2021): two distorted versions of a sound told from all others, by a ResNet-18.

Protocol sheet upstreams §5.3; layout of the repository's Lightning checkpoints (haideraltahan/CLAR). The spectral
network looks at three pictures of a sound: log magnitude and phase at 128 logarithmically spaced frequencies, and 128
log mel bands. The raw one looks at the wave. Which of them a file holds, its tensors say; `clar_raw` takes no other.

The representation is the mean of the last feature map over frequency and time. Frames are that map before the mean over
time: columns 256 ms apart that see 3.5 s each, or steps of the raw network 2 ms apart that see 107 ms, ten to a frame.
So no window is cut, and `embed` is the published representation of the whole clip.

A spectral file brings the kernels of its transforms, and those are used: what librosa's `norm=1` means for mel bands
depends on its version. Files without them, and untrained twins, take that of librosa 0.8, which the repository names:
the weights of each band sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.bands import mel_bank
from earbench.kit.from_file import given_file
from earbench.kit.frontends import power, reflected
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

SAMPLE_RATE, WINDOW, STEP, BINS, LOWEST, HIGHEST, WIDTH = 16_000, 2048, 128, 128, 40.0, 8_000.0, 512
STRIDE, GROUP = 32, 10
"""Inputs from one step of the last map to the next; steps of the raw network that make a frame."""
AMPLITUDE_FLOOR = 1e-5
UNUSED = ["projection.*", "non_linear_evaluator.*", "fc.*", "stft.*_inv", "mel_stft.wsin", "mel_stft.wcos"]
"""Heads of the pretraining and its online probe, a classifier that was never trained, kernels that are not needed."""
LAYOUT = "expected a Lightning checkpoint of CLAR: state_dict with model.conv1.weight, model.layer1.0.conv1.weight, …"


# ---- the network, with the names of the public files -----------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions beside a shortcut, over [clip, channel, (frequency,) time]; behind a clip's end stand zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int, raw: bool) -> None:
        super().__init__()
        conv, norm, kernel = (nn.Conv1d, nn.BatchNorm1d, 9) if raw else (nn.Conv2d, nn.BatchNorm2d, 3)
        self.stride = stride
        self.conv1 = conv(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.conv2 = conv(outputs, outputs, kernel, 1, kernel // 2, bias=False)
        self.bn1, self.bn2 = norm(outputs), norm(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        shortcut = self.downsample(x) if self.downsample else x
        counts = (counts - 1) // self.stride + 1
        change = ended(self.bn1(self.conv1(x)).relu(), counts)
        return ended((self.bn2(self.conv2(change)) + shortcut).relu(), counts), counts


class ResNet18(nn.Module):
    """The last feature map, [clip, channel, (frequency,) time], and its true steps, of waves or pictures and theirs."""

    def __init__(self, raw: bool) -> None:
        super().__init__()
        conv, norm, pool = (nn.Conv1d, nn.BatchNorm1d, 9) if raw else (nn.Conv2d, nn.BatchNorm2d, 3)
        self.raw, self.pool = raw, pool
        self.conv1 = conv(1 if raw else 3, 64, 7, 2, 3, bias=False)
        self.bn1 = norm(64)
        self.maxpool = (nn.MaxPool1d if raw else nn.MaxPool2d)(pool, 2, 1)
        for number, (inputs, outputs) in enumerate(pairwise((64, 64, 128, 256, WIDTH)), start=1):
            first = Block(inputs, outputs, 1 if number == 1 else 2, raw)
            self.add_module(f"layer{number}", nn.Sequential(first, Block(outputs, outputs, 1, raw)))
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        counts = (counts - 1) // 2 + 1
        x = ended(self.bn1(self.conv1(x)).relu(), counts)
        counts = (counts + 2 - self.pool) // 2 + 1
        x = ended(self.maxpool(x), counts)  # nothing is negative, so that zeros are as good as the pool's own padding
        for number in range(1, 5):
            for block in self.get_submodule(f"layer{number}").children():
                x, counts = block(x, counts)
        return x, counts


class Stft(nn.Module):
    """Windowed sines and cosines at 128 frequencies, evenly spaced in octaves from 40 Hz to just below 8 kHz."""

    def __init__(self) -> None:
        super().__init__()
        hertz = LOWEST * torch.exp(math.log(HIGHEST / LOWEST) / BINS * torch.arange(BINS, dtype=torch.float64))
        angles = 2 * math.pi / SAMPLE_RATE * hertz[:, None] * torch.arange(WINDOW, dtype=torch.float64)
        taper = torch.hann_window(WINDOW, dtype=torch.float64)
        self.register_buffer("wsin", (taper * angles.sin()).float()[:, None])
        self.register_buffer("wcos", (taper * angles.cos()).float()[:, None])


class MelStft(nn.Module):
    """The weights of 128 mel bands, [band, frequency]."""

    def __init__(self) -> None:
        super().__init__()
        bank = mel_bank(BINS, WINDOW, SAMPLE_RATE, LOWEST, HIGHEST)
        self.register_buffer("mel_basis", (bank / bank.sum(0)).T.contiguous())


class ClarNet(ResNet18):
    """The network and, where it is spectral, the kernels of its pictures."""

    taper: Tensor

    def __init__(self, raw: bool) -> None:
        super().__init__(raw)
        if not raw:
            self.stft, self.mel_stft = Stft(), MelStft()
            self.register_buffer("taper", torch.hann_window(WINDOW), persistent=False)

    def pictures(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """[clip, picture, frequency, time]: decibels less 20, phase, mel decibels less 10.

        Clips are mirrored at their true ends. A phase is counted from the first sample of its frame.
        """
        frames = reflected(waves, lengths, WINDOW // 2).unfold(1, WINDOW, STEP)
        kernels = torch.cat([self.stft.wcos, self.stft.wsin])[:, 0].T
        real, sine = (frames @ kernels).chunk(2, 2)
        magnitude = (real.square() + sine.square() + 1e-8).sqrt().clamp_min(AMPLITUDE_FLOOR)
        mel = (power(torch.fft.rfft(frames * self.taper)) @ self.mel_stft.mel_basis.T).clamp_min(AMPLITUDE_FLOOR)
        # Adding 0 makes a negative zero a positive one, whose phase is 0 and not pi.
        pictures = [20 * magnitude.log10() - 20, torch.atan2(0.0 - sine, real), 10 * mel.log10() - 10]
        return torch.stack(pictures, 1).transpose(2, 3)


def ended(x: Tensor, counts: Tensor) -> Tensor:
    """`x` [clip, .., time] with zeros behind each clip's `counts`: what a convolution's own padding would be."""
    true = torch.arange(x.shape[-1], device=x.device) < counts[:, None]
    return torch.where(true.reshape(len(x), *[1] * (x.dim() - 2), -1), x, 0.0)


# ---- the encoders ----------------------------------------------------------------------------------------------------


class Clar(Upstream):
    """The spectral network, or that of the file."""

    card = UpstreamCard(
        "clar",
        "CLAR",
        "MIT",
        weights="https://github.com/haideraltahan/CLAR (saved models, linked from its README)",
        parameters=11_176_512,
        sample_rate=SAMPLE_RATE,
        hop=STRIDE * STEP / SAMPLE_RATE,
        layers=1,
        widths=(WIDTH,),
        normalise=False,
        parity="run",
    )
    sample_rate, layers, width = SAMPLE_RATE, 1, WIDTH
    raw: ClassVar[bool] = False

    def __init__(self, net: ClarNet, source: Mapping[str, str]) -> None:
        super().__init__()
        self.net, self.source = net, source
        self.hop = STRIDE * (GROUP if net.raw else STEP) / SAMPLE_RATE
        parameters = sum(parameter.numel() for parameter in net.parameters())
        self.card = replace(type(self).card, parameters=parameters, hop=self.hop)

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of `spec.checkpoint`; with `~random` a fresh one of its kind."""
        random = {"weights": "random", "seed": str(spec.seed)}
        path = given_file(spec, cls.card)
        if path is None:
            return cls(fresh(cls.raw, spec.seed), random)
        state = public_weights(read_state(path), path.name)
        raw = state["conv1.weight"].dim() == 3
        if cls.raw and not raw:
            raise BadCheckpoint(f"{path.name} holds a spectral network", f"write clar@{path.name}")
        net = fresh(raw, spec.seed)
        if spec.random:
            return cls(net, random)
        kernels = {key: value for key, value in net.state_dict().items() if key.startswith(("stft.", "mel_stft."))}
        load_strict(net, kernels | state, UNUSED)
        found = cls(net, {"weights": path.name, "sha256": file_digest(path)})
        found.card = replace(found.card, licence="that of the file")
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        columns, counts = self._columns(waves, lengths)
        if not self.net.raw:
            return Features(columns[:, None], counts, hop=self.hop)
        frames = columns[:, : columns.shape[1] // GROUP * GROUP].unflatten(1, (-1, GROUP)).mean(2)
        first = (6 + STRIDE * (GROUP - 1) / 2) / SAMPLE_RATE  # the pool looks further to the right than to the left
        return Features(frames[:, None], counts // GROUP, hop=self.hop, first=first)

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        columns, counts = self._columns(waves, lengths)
        return Features(columns[:, None], counts).pooled()

    def _columns(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The last map averaged over frequency, [clip, time, width], and how much of it is true."""
        with torch.autocast(waves.device.type, enabled=False):
            if self.net.raw:
                columns, counts = self.net(waves.float()[:, None], lengths)
            else:
                pictures, spectra = self.net.pictures(waves.float(), lengths), lengths // STEP + 1
                columns, counts = self.net(ended(pictures, spectra), spectra)
                columns = columns.mean(2)
        return columns.transpose(1, 2), counts


class ClarRaw(Clar):
    """The network of raw waves."""

    card = replace(Clar.card, name="clar_raw", parameters=11_167_552, hop=STRIDE * GROUP / SAMPLE_RATE)
    raw = True


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by the names of the network, which are below "model." in the "state_dict" of a Lightning module."""
    inner = file.get("state_dict")
    state = strip_prefix(dict(inner if isinstance(inner, Mapping) else file), ("module.", "model."))
    first = state.get("conv1.weight")
    if not isinstance(first, Tensor) or tuple(first.shape) not in ((64, 1, 7), (64, 3, 7, 7)):
        shown = tuple(first.shape) if isinstance(first, Tensor) else ", ".join([*list(state)[:4], "…"])
        raise BadCheckpoint(f"{name} holds no network of CLAR", LAYOUT, f"found: {shown}")
    return state


def fresh(raw: bool, seed: int) -> ClarNet:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ClarNet(raw)
