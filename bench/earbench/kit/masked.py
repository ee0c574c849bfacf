"""The network of Mockingjay, TERA and Audio ALBERT, with the names of the public files (protocol sheet §6.4, §10.4).

Like BERT, but its words are spectrogram frames: projected, their number added as sines, normalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.kit.attention import attend, draw_as_bert
from earbench.kit.spectra import MEL, SAMPLE_RATE, Spectra

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "swish": functional.silu,
}


@dataclass(frozen=True)
class MaskedShape:
    """`longest` is how many frames go through together (0: all of a clip), `level` in decibels (None: as it comes).

    With `shared` all blocks are one, applied `blocks` times.
    """

    spectra: Spectra = MEL
    level: float | None = -25.0
    width: int = 768
    inner: int = 3072
    blocks: int = 3
    heads: int = 12
    activation: str = "gelu"
    epsilon: float = 1e-12
    shared: bool = False
    longest: int = 1500

    @property
    def layers(self) -> int:
        return self.blocks + 1

    @property
    def hop(self) -> float:
        return self.spectra.step / SAMPLE_RATE


class MaskedNet(nn.Module):
    """Spectrogram frames [clip, time, band] to all states [clip, state, time, width]."""

    def __init__(self, shape: MaskedShape) -> None:
        super().__init__()
        norm = nn.LayerNorm(shape.width, shape.epsilon)
        transform = nn.Linear(shape.spectra.width, shape.width)
        self.input_representations = nn.ModuleDict({"spec_transform": transform, "LayerNorm": norm})
        first = Block(shape)
        others = [first if shape.shared else Block(shape) for _ in range(shape.blocks - 1)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([first, *others])})
        self.apply(draw_as_bert)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        x = self.input_representations["spec_transform"](frames)
        x = self.input_representations["LayerNorm"](x + positions(x.shape[1], x.shape[2]).to(x.device))
        states, blocks = [x], cast(nn.ModuleList, self.encoder["layer"])
        for block in blocks:
            states.append(block(states[-1], counts))
        return torch.stack(states, 1)


class Block(nn.Module):
    """Attention, then two layers with a bend between, each added to what came in and normalised after."""

    def __init__(self, shape: MaskedShape) -> None:
        super().__init__()
        self.heads, self.bend = shape.heads, ACTIVATIONS[shape.activation]
        queries = nn.ModuleDict({name: nn.Linear(shape.width, shape.width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": queries, "output": Sum(shape.width, shape)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(shape.width, shape.inner)})
        self.output = Sum(shape.inner, shape)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        ask: Any = self.attention["self"]
        x = self.attention["output"](attend(ask["query"](x), ask["key"](x), ask["value"](x), self.heads, counts), x)
        summed: Tensor = self.output(self.bend(self.intermediate["dense"](x)), x)
        return summed


class Sum(nn.Module):
    """The norm of what came in and a linear image of what was made of it."""

    def __init__(self, inputs: int, shape: MaskedShape) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, shape.epsilon)

    def forward(self, made: Tensor, came: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(made) + came)
        return normed


def positions(length: int, width: int) -> Tensor:
    """Sines (even columns) and cosines (odd ones) of the frame number, ever slower to the right: [time, width].

    >>> [round(value, 4) for value in positions(2, 4)[1].tolist()]
    [0.8415, 0.5403, 0.01, 0.9999]
    """
    columns = torch.arange(width)
    slowness = 10_000.0 ** ((columns // 2 * 2).double() / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] / slowness
    return torch.where(columns % 2 == 0, angles.sin(), angles.cos()).float()
