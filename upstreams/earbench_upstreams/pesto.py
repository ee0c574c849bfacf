"""PESTO (Riou et al. 2023): pitch learned from one frame and the same frame transposed, without a single label.

Protocol sheet upstreams §9.3. The package pesto-pitch brings two files, which are read where they are installed; the
package itself is never imported. `pesto` is `mir-1k` (a constant-Q transform, whose lowest bins see a second on either
side), `pesto_g7` is `mir-1k_g7`, the default of its version 2 (a variable-Q transform, 66 ms on either side at most).

Two layers, 384 wide, every 10 ms, which is the package's default step: a score for each third of a semitone from MIDI
note 0 on, and its softmax, the *activations*. The group `conv` is what the last convolution makes of the bins.

Version 1.0.0 wrote `mir-1k` and runs its second filter without an activation, by an accident of its constructor; so do
we, and know such files by their keys. Version 2.0.1 does not load that filter and leaves it random.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Features, Group, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, MissingExtra
from earbench.kit.cqt import ConstantQ
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

PACKAGE = "pesto-pitch"
SAMPLE_RATE, STEP, NOTES, SLOPE, FLOOR = 16_000, 160, 128, 0.3, torch.finfo(torch.float32).eps
TOGETHER = 1024
"""Frames in one pass: the first convolutions take 42 kB each."""
ENCODER = {"activation_fn": "leaky", "a_lrelu": SLOPE, "residual": True}
SPECTRUM = {"harmonics": [1], "fmax": None, "center_bins": True, "center": True}
LAYOUT = "expected a file of pesto-pitch: state_dict with encoder.conv1.0.weight, …, hparams and hcqt_params"


@dataclass(frozen=True)
class Shape:
    """What distinguishes the networks: `mir-1k` is the default.

    Of `spectrum` bins, `per_semitone` to the semitone, the `bins` in the middle are seen. `filters` is how many
    convolutions of `kernel` bins follow the first, each added to its input, with an activation if `activated`. `shift`
    is what the scores are moved by, in semitones, for score 0 to be MIDI note 0.
    """

    spectrum: int = 296
    lowest: float = 27.5
    per_semitone: int = 3
    gamma: float = 0.0
    bins: int = 264
    kernel: int = 15
    filters: int = 1
    activated: bool = False
    channels: tuple[int, ...] = (40, 30, 30, 10, 3)
    shift: float = 0.0

    @property
    def scores(self) -> int:
        return NOTES * self.per_semitone


MIR_1K = Shape()
MIR_1K_G7 = Shape(spectrum=251, gamma=7, bins=219, kernel=39, filters=2, activated=True)


class PestoNet(nn.Module):
    """Log magnitudes [frame, bin] to scores [frame, score] and what they were made from [frame, channel * bin]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        first, *_ = channels = shape.channels
        self.shape = shape
        self.layernorm = nn.LayerNorm([1, shape.bins])
        self.conv1 = nn.Sequential(nn.Conv1d(1, first, shape.kernel, padding="same"), nn.LeakyReLU(SLOPE))
        self.prefilt_layers = nn.ModuleList(
            nn.Conv1d(first, first, shape.kernel, padding="same") for _ in range(shape.filters)
        )
        # The dropouts carry no weights, but count in the names.
        blocks = ((nn.Conv1d(*pair, 1), nn.LeakyReLU(SLOPE), nn.Dropout(0.2)) for pair in pairwise(channels))
        self.conv_layers = nn.Sequential(*(part for block in blocks for part in block))
        self.fc = nn.Conv1d(1, 1, shape.bins * channels[-1] + shape.scores - 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv1(self.layernorm(x[:, None]))
        for convolution in self.prefilt_layers:
            change = convolution(x)
            x = x + (functional.leaky_relu(change, SLOPE) if self.shape.activated else change)
        x = self.conv_layers(x).flatten(1)
        # A Toeplitz matrix: transposing a sound moves its scores. Row by row, the weights slide one to the left.
        scores = functional.linear(x, self.fc.weight[0, 0].unfold(0, x.shape[1], 1).flip(0))
        return scores.roll(-round(self.shape.shift * self.shape.per_semitone), 1), x


class Pesto(Upstream):
    """`mir-1k`, or the file that is named."""

    card = UpstreamCard(
        "pesto",
        "PESTO",
        "LGPL-3.0",
        weights="package: pesto-pitch 2.0.1 (mir-1k.ckpt)",
        parameters=28_886,
        sample_rate=SAMPLE_RATE,
        hop=STEP / SAMPLE_RATE,
        layers=2,
        widths=(384, 792),
        normalise=False,
        parity="run",
        groups=("conv",),
        corpora=("mir1k",),
    )
    sample_rate, hop, layers = SAMPLE_RATE, STEP / SAMPLE_RATE, 2
    shape: ClassVar[Shape] = MIR_1K
    file: ClassVar[str] = "mir-1k.ckpt"

    def __init__(self, net: PestoNet, source: Mapping[str, str]) -> None:
        super().__init__()
        self.net, self.source, shape = net, source, net.shape
        # Bins are centred in their semitone: the lowest one lies below it, by half of what the others leave of it.
        lowest = shape.lowest / 2 ** ((shape.per_semitone - 1) / (24 * shape.per_semitone))
        self.spectrum = ConstantQ(shape.spectrum, lowest, 12 * shape.per_semitone, SAMPLE_RATE, STEP, shape.gamma)
        self.width = shape.scores
        self.groups = {"conv": Group(layers=1, width=shape.bins * shape.channels[-1], hop=self.hop)}
        self.options = {"gamma": shape.gamma, "shift": shape.shift, "activated": shape.activated}
        parameters = sum(parameter.numel() for parameter in net.parameters())
        widths = (self.width, self.groups["conv"].width)
        self.card = replace(type(self).card, parameters=parameters, widths=widths)

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of the installed package or of `spec.checkpoint`; with `~random` a fresh one of its shape."""
        spec.refuse_argument()
        random = {"weights": "random", "seed": str(spec.seed)}
        if spec.random and not spec.checkpoint:
            return cls(fresh(cls.shape, spec.seed), random)
        if spec.checkpoint:
            path = Path(spec.checkpoint).expanduser()
            source = {"weights": path.name}
        else:
            path = installed(cls.file, spec.name)
            source = {"weights": f"{PACKAGE} {metadata.version(PACKAGE)}, {path.name}"}
        file = read_state(path)
        state, activated = public_weights(file, path.name)
        net = fresh(shape_of(settings_of(file, path.name), state, activated, path.name), spec.seed)
        if spec.random:
            return cls(net, random)
        load_strict(net, state, ignore=["confidence.*", "shift"])
        found = cls(net, {**source, "sha256": file_digest(path)})
        if spec.checkpoint:
            found.card = replace(found.card, licence="that of the file")
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        with torch.autocast(waves.device.type, enabled=False):
            shape, magnitudes = self.net.shape, self.spectrum(waves.float(), lengths)
            unseen = (shape.spectrum - shape.bins) // 2
            decibels = 20 * magnitudes[..., unseen : unseen + shape.bins].clamp_min(FLOOR).log10()
            counts = lengths // STEP + 1
            true = torch.arange(decibels.shape[1], device=waves.device) < counts[:, None]
            parts = zip(*(self.net(part) for part in decibels[true].split(TOGETHER)), strict=True)
            scores, channels = (placed(torch.cat(part), true) for part in parts)
        conv = Features(channels[:, None], counts, hop=self.hop)
        return Features(torch.stack([scores, scores.softmax(2)], 1), counts, hop=self.hop, groups={"conv": conv})


class PestoG7(Pesto):
    """`mir-1k_g7`: wider filters, one more of them, and less time seen by the low bins."""

    card = replace(
        Pesto.card,
        name="pesto_g7",
        weights="package: pesto-pitch 2.0.1 (mir-1k_g7.ckpt)",
        parameters=130_461,
        widths=(384, 657),
    )
    shape, file = MIR_1K_G7, "mir-1k_g7.ckpt"


def placed(values: Tensor, true: Tensor) -> Tensor:
    """[clip, time, width] with `values` [frame, width] where `true` [clip, time] is set, and zeros elsewhere."""
    frames = values.new_zeros(*true.shape, values.shape[1])
    frames[true] = values
    return frames


def installed(file: str, name: str) -> Path:
    """The path of a weight file that the package brought, which is not imported for that."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise MissingExtra(PACKAGE, "pesto", f"'{name}' without a file") from None
    found = next((Path(str(path.locate())) for path in files if path.name == file), None)
    if found is None:
        raise BadCheckpoint(
            f"{PACKAGE} {metadata.version(PACKAGE)} has no {file}", f"version 2.0.1 has it; or write {name}@FILE"
        )
    return found


def public_weights(file: Mapping[str, Any], name: str) -> tuple[dict[str, Any], bool]:
    """The weights by the names of version 1.0.0, and whether the file is of a later one, without its accident."""
    inner = file.get("state_dict")
    state = strip_prefix(dict(inner if isinstance(inner, Mapping) else {}), ("encoder.",))
    sizes = {"layernorm.weight": 2, "conv1.0.weight": 3, "fc.weight": 3, "shift": 0}
    if not all(isinstance(state.get(key), Tensor) and state[key].dim() == size for key, size in sizes.items()):
        raise BadCheckpoint(f"{name} holds no PESTO network", LAYOUT, f"found: {', '.join(list(file)[:4])}, …")
    nested = re.compile(r"(prefilt_layers\.\d+)\.0\.")  # a convolution beside its activation, as it was meant
    plain = {nested.sub(r"\1.", key): value for key, value in state.items()}
    return plain, plain.keys() != state.keys()


def settings_of(file: Mapping[str, Any], name: str) -> dict[str, float]:
    """How the file says its spectrum is made: n_bins, fmin, bins_per_semitone, gamma."""
    spectrum, options = file.get("hcqt_params"), file.get("hparams")
    encoder = options.get("encoder") if isinstance(options, Mapping) else None
    if not isinstance(spectrum, Mapping) or not isinstance(encoder, Mapping):
        raise BadCheckpoint(f"{name} does not say how its spectrum is made", LAYOUT)
    other = [
        key
        for found, usual in ((encoder, ENCODER), (spectrum, SPECTRUM))
        for key, value in usual.items()
        if found.get(key, value) != value
    ]
    sizes = {key: spectrum.get(key, 0) for key in ("n_bins", "fmin", "bins_per_semitone", "gamma")}
    other += [key for key, value in sizes.items() if not isinstance(value, int | float) or not math.isfinite(value)]
    if other:
        raise BadCheckpoint(f"{name} asks for what is not known here: {', '.join(other)}")
    return sizes


def shape_of(settings: Mapping[str, float], state: Mapping[str, Tensor], activated: bool, name: str) -> Shape:
    """What the tensors say of the network, and the settings of its spectrum."""
    filters = [key for key in state if key.startswith("prefilt_layers.") and key.endswith(".weight")]
    convolutions = [key for key in state if key.startswith("conv_layers.") and key.endswith(".weight")]
    found = Shape(
        spectrum=int(settings["n_bins"]),
        lowest=float(settings["fmin"]),
        per_semitone=int(settings["bins_per_semitone"]),
        gamma=float(settings["gamma"]),
        bins=state["layernorm.weight"].shape[-1],
        kernel=state["conv1.0.weight"].shape[-1],
        filters=len(filters),
        activated=activated,
        channels=tuple(len(state[key]) for key in ("conv1.0.weight", *convolutions)),
        shift=float(state["shift"]),
    )
    if state["fc.weight"].shape[-1] != found.bins * found.channels[-1] + found.scores - 1:
        raise BadCheckpoint(f"{name}: fc.weight is {tuple(state['fc.weight'].shape)}, which does not fit the rest")
    top = found.lowest * 2 ** (found.spectrum / 12 / max(found.per_semitone, 1))
    if found.bins > found.spectrum or found.lowest < 20 or not 0 <= found.gamma < 100 or top > 1.03 * SAMPLE_RATE / 2:
        raise BadCheckpoint(f"{name} asks for a spectrum that {SAMPLE_RATE:,} Hz do not hold: {dict(settings)}")
    return found


def fresh(shape: Shape, seed: int) -> PestoNet:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return PestoNet(shape)
