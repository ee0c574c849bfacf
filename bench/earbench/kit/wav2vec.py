"""The networks of wav2vec and vq-wav2vec, by the names of fairseq (protocol sheet upstreams §7.1, §7.2, §10.4).

Strided convolutions look at the wave 100 times a second (z); causal convolutions sum up what was heard so far (c). In
between, vq-wav2vec puts a codebook: the context hears nothing but discrete units.

Padded clips come out as they would alone. Convolutions look inside a clip or back, so the norms, which average over
time, are all that could hear the padding: each takes the true frames of one clip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.errors import BadCheckpoint
from earbench.kit.exact import clip_by_clip, receptive_field
from earbench.kit.fairseq import Parts, convolutions, flag, tensor_shape

SAMPLE_RATE, SHORTEST = 16_000, 1_600
"""Hertz, and the samples of the shortest clip an encoder ever sees."""
TRAINING = ("wav2vec_predictions.*", "project_features.*")
"""Weights that only pre-training needs: the prediction head, and what its targets may go through."""

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}
# Settings without which the network would be a guess: their defaults differ between versions of fairseq.
NEEDED = ("conv_feature_layers", "conv_aggregator_layers", "log_compression", "skip_connections_agg")
# Settings that no tensor shows and that are known here in one value only, the default of every version.
FIXED = {"aggregator": "cnn", "agg_zero_pad": False, "skip_connections_feat": False}
QUANTISER = "vector_quantizer."


@dataclass(frozen=True)
class Codebook:
    """How frames become units: each of `groups` parts of a frame is replaced by one of `codes` vectors.

    `shared` is whether all groups choose from the same vectors. Gumbel's scores are made by `depth` linear layers.
    """

    kind: Literal["gumbel", "kmeans"]
    groups: int = 2
    codes: int = 320
    shared: bool = False
    depth: int = 2


@dataclass(frozen=True)
class Shape:
    """What distinguishes the networks of this family; the default is wav2vec large.

    `context` holds the kernels of the causal convolutions; with `skip`, each adds its input and scales the sum by the
    root of `scale`. With `log`, z is log(1 + |z|).
    """

    width: int = 512
    kernels: tuple[int, ...] = (10, 8, 4, 4, 4, 1, 1)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2, 1, 1)
    context: tuple[int, ...] = tuple(range(2, 14))
    activation: str = "relu"
    log: bool = True
    skip: bool = True
    scale: float = 0.5
    codebook: Codebook | None = None


class Units(NamedTuple):
    """`ids` [clip, time, group] of the codes, and their `vectors` side by side [clip, width, time]."""

    ids: Tensor
    vectors: Tensor


class Wav2vecNet(nn.Module):
    """`forward` gives all states [clip, layer, time, width], z first and c last, and the units where it makes some.

    The weights of `TRAINING` are left out.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.feature_extractor = Convolutions(shape)
        kind = {"gumbel": Gumbel, "kmeans": KMeans}
        self.vector_quantizer = kind[shape.codebook.kind](shape, shape.codebook) if shape.codebook else None
        self.feature_aggregator = Aggregator(shape)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Units | None]:
        z, counts = self.feature_extractor(waves, lengths.tolist())
        units = self.vector_quantizer(z, counts) if self.vector_quantizer else None
        states = [z, *self.feature_aggregator(units.vectors if units else z, counts)]
        return torch.stack(states, 1).transpose(2, 3), units


class Norm(nn.GroupNorm):
    """A group norm in single precision over the true frames of each clip."""

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:  # type: ignore[override]
        return clip_by_clip(super().forward, x.float(), counts)


class Block(nn.Module):
    """A convolution, its norm and an activation; `names` are those of the first two in the files."""

    def __init__(self, convolution: nn.Conv1d, activation: str, names: tuple[str, str]) -> None:
        super().__init__()
        self.names, self.activation = names, ACTIVATIONS[activation]()
        self.add_module(names[0], convolution)
        self.add_module(names[1], Norm(1, convolution.out_channels))

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        convolution, norm = (self.get_submodule(name) for name in self.names)
        new: Tensor = self.activation(norm(convolution(x), counts))
        return new


class Convolutions(nn.Module):
    """Waves [clip, sample] to z [clip, width, time], and how many frames of each clip are true."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inputs = (1, *[shape.width] * (len(shape.kernels) - 1))
        layers = zip(inputs, shape.kernels, shape.strides, strict=True)
        convolutions = (nn.Conv1d(i, shape.width, kernel, stride, bias=False) for i, kernel, stride in layers)
        self.conv_layers = nn.ModuleList(Block(one, shape.activation, ("0", "2")) for one in convolutions)

    def forward(self, waves: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        x = waves[:, None]
        for block, kernel, stride in zip(self.conv_layers, self.shape.kernels, self.shape.strides, strict=True):
            counts = [(count - kernel) // stride + 1 for count in counts]
            x = block(x, counts)
        return (x.abs() + 1).log() if self.shape.log else x, counts


class Aggregator(nn.Module):
    """z or units [clip, width, time] to what each causal convolution makes of them: a list, c last.

    On the left, the first frame is repeated, so that every convolution keeps the number of frames.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        convolutions = (nn.Conv1d(shape.width, shape.width, kernel) for kernel in shape.context)
        self.conv_layers = nn.ModuleList(Block(one, shape.activation, ("1", "3")) for one in convolutions)

    def forward(self, x: Tensor, counts: Sequence[int]) -> list[Tensor]:
        states = []
        for block, kernel in zip(self.conv_layers, self.shape.context, strict=True):
            new = block(functional.pad(x, (kernel - 1, 0), mode="replicate"), counts)
            x = (new + x) * self.shape.scale**0.5 if self.shape.skip else new
            states.append(x)
        return states


class Gumbel(nn.Module):
    """The code of the highest score; training adds noise to the scores, an encoder does not."""

    def __init__(self, shape: Shape, book: Codebook) -> None:
        super().__init__()
        self.book, width = book, shape.width
        self.vars = nn.Parameter(torch.rand(1, book.codes * (1 if book.shared else book.groups), width // book.groups))
        sizes = [width, *[2 * width] * (book.depth - 1)]
        inner = [nn.Sequential(nn.Linear(*pair), ACTIVATIONS[shape.activation]()) for pair in pairwise(sizes)]
        last = nn.Linear(sizes[-1], book.groups * book.codes)
        self.weight_proj = nn.Sequential(*inner, last) if inner else last

    def forward(self, z: Tensor, counts: Sequence[int]) -> Units:
        scores = self.weight_proj(z.transpose(1, 2)).unflatten(2, (self.book.groups, self.book.codes))
        vectors = self.vars.view(-1, self.book.codes, self.vars.shape[2]).expand(self.book.groups, -1, -1)
        return looked_up(scores.argmax(3), vectors)


class KMeans(nn.Module):
    """The code that lies nearest to the projected frame, group by group."""

    def __init__(self, shape: Shape, book: Codebook) -> None:
        super().__init__()
        self.book, width, own = book, shape.width, shape.width // book.groups
        self.embedding = nn.Parameter(torch.empty(book.codes, 1 if book.shared else book.groups, own).normal_(std=0.01))
        projection = nn.Conv1d(width, width, 1, groups=book.groups, bias=False)
        self.projection = nn.ModuleDict({"0": projection, "1": Norm(book.groups, width)})

    def forward(self, z: Tensor, counts: Sequence[int]) -> Units:
        projected = self.projection["1"](self.projection["0"](z), counts)
        parts = projected.unflatten(1, (self.book.groups, -1)).permute(1, 0, 3, 2)  # [group, clip, time, own]
        vectors = self.embedding.transpose(0, 1).expand(self.book.groups, -1, -1)
        # Without matrix products, whose rounding would decide between neighbours.
        distances = torch.cdist(parts.flatten(1, 2), vectors, compute_mode="donot_use_mm_for_euclid_dist")
        return looked_up(distances.argmin(2).reshape(self.book.groups, *z.shape[::2]).permute(1, 2, 0), vectors)


def looked_up(ids: Tensor, vectors: Tensor) -> Units:
    """The units with these `ids` [clip, time, group], from `vectors` [group, code, own]."""
    chosen = vectors[torch.arange(len(vectors), device=ids.device), ids]
    return Units(ids, chosen.flatten(2).transpose(1, 2))


# ---- from files ------------------------------------------------------------------------------------------------------


def shape_of(found: Parts) -> Shape:
    """The network of a file, by its settings and, for the codebook, its tensors. `load_strict` compares the rest."""
    settings = found.settings
    if missing := [key for key in NEEDED if key not in settings]:
        raise BadCheckpoint(
            f"its settings do not say {', '.join(missing)}", "versions of fairseq differ in what they mean by that"
        )
    if other := [f"{key}={settings[key]!r}" for key, only in FIXED.items() if settings.get(key, only) != only]:
        raise BadCheckpoint(f"a network that is not known here: {', '.join(other)}")
    front, context = (convolutions(settings[key]) for key in NEEDED[:2])
    widths = {width for width, _, _ in front + context}
    if len(widths) > 1 or any(stride > 1 for _, _, stride in context):
        raise BadCheckpoint("its convolutions have several widths, or strides behind the first ones; neither is known")
    shape = Shape(
        width=widths.pop(),
        kernels=tuple(kernel for _, kernel, _ in front),
        strides=tuple(stride for _, _, stride in front),
        context=tuple(kernel for _, kernel, _ in context),
        activation=_choice(settings, "activation", tuple(ACTIVATIONS)),
        log=flag(settings, "log_compression"),
        skip=flag(settings, "skip_connections_agg"),
        scale=_positive(settings, "residual_scale", 0.5),
    )
    _, seen = receptive_field(shape.kernels, shape.strides)
    if seen > SHORTEST:
        raise BadCheckpoint(f"its frames see {seen} samples, more than the shortest clip has ({SHORTEST})")
    return replace(shape, codebook=codebook_of(found, shape.width))


def codebook_of(found: Parts, width: int) -> Codebook | None:
    """How a file quantises, by the shapes of its tensors; settings that contradict them are refused."""
    book = _gumbel(found.weights, width) or _kmeans(found.weights, width)
    shown = {"vq_type": book.kind, "vq_vars": book.codes, "vq_groups": book.groups} if book else {"vq_type": "none"}
    for key, seen in shown.items():
        if (said := found.settings.get(key)) not in (None, seen):
            raise BadCheckpoint(f"its settings say {key}={said!r}, its weights {seen!r}")
    return book


def _gumbel(weights: Mapping[str, Tensor], width: int) -> Codebook | None:
    if QUANTISER + "vars" not in weights:
        return None
    _, rows, own = tensor_shape(weights, QUANTISER, ("vars",))
    depth = sum(re.fullmatch(re.escape(QUANTISER) + r"weight_proj\.(\d\.)*weight", key) is not None for key in weights)
    scores = "weight_proj.weight" if depth < 2 else f"weight_proj.{depth - 1}.weight"
    groups = _groups(width, own)
    codes = tensor_shape(weights, QUANTISER, (scores,), 2)[0] // groups
    return Codebook("gumbel", groups, codes, shared=rows == codes, depth=depth)


def _kmeans(weights: Mapping[str, Tensor], width: int) -> Codebook | None:
    if QUANTISER + "embedding" not in weights:
        return None
    codes, books, own = tensor_shape(weights, QUANTISER, ("embedding",))
    return Codebook("kmeans", _groups(width, own), codes, shared=books == 1)


def _groups(width: int, own: int) -> int:
    if own < 1 or width % own:
        raise BadCheckpoint(f"its codes are {own} wide, which does not divide its frames of {width}")
    return width // own


def _choice(settings: Mapping[str, Any], key: str, known: Sequence[str]) -> str:
    value = settings.get(key, known[0])
    if value not in known:
        raise BadCheckpoint(f"its settings say {key}={value!r}; known: {', '.join(known)}")
    return str(value)


def _positive(settings: Mapping[str, Any], key: str, usual: float) -> float:
    value = settings.get(key, usual)
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise BadCheckpoint(f"its settings say {key}={value!r}, where a number above 0 belongs")
    return float(value)


def fresh(shape: Shape, seed: int) -> Wav2vecNet:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Wav2vecNet(shape)
