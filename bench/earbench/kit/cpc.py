"""The network of modified CPC, with the names of the public checkpoints (protocol sheet upstreams §6.7, §10.1).

Five strided convolutions look at the wave 100 times a second (z, the encoder); a recurrent network sums up what has
been heard so far (c, the context). Padded clips come out as they would alone: after every convolution, what lies
behind a clip's end is set to the zeros that its own padding would have been, and the recurrence only looks back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

KERNELS, STRIDES, PADDINGS = (10, 8, 4, 4, 4), (5, 4, 2, 2, 2), (3, 2, 1, 1, 1)
RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SAMPLE_RATE, STEP = 16_000, 160
FIRST = 79 / SAMPLE_RATE
"""The centre of frame 0 in seconds: it sees 465 samples, of which 153 lie in the padding on the left."""
BESIDE = 1
"""Frames to either side of a piece that have to be heard with it: a frame's 465 samples reach 153 before its step and
152 beyond it, and of what each convolution gives, the padding changes one at either end.
"""


@dataclass(frozen=True)
class Shape:
    """What distinguishes the networks of this family: modified CPC is the default, CPC2 has two recurrent layers."""

    width: int = 256
    depth: int = 1
    cell: Literal["LSTM", "GRU"] = "LSTM"
    norm: Literal["channel", "batch"] = "channel"


class CpcNet(nn.Module):
    """`forward` gives the frames z and c, each [clip, time, width]; those behind a clip's end mean nothing.

    Without `lengths` every clip is as long as the batch.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.gEncoder = Convolutions(shape)
        self.gAR = Context(shape)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self.gEncoder(waves, lengths)
        return z, self.gAR(z)

    def states(self, waves: Tensor, lengths: Tensor) -> list[Tensor]:
        """z, then what each recurrent layer says of it, the lowest first; the last is c."""
        z: Tensor = self.gEncoder(waves, lengths)
        return [z, *self.gAR.levels(z)[0]]

    def states_in_pieces(self, waves: Tensor, lengths: Tensor, frames: int) -> Tensor:
        """`states` as [clip, layer, time, width], made of `frames` frames at a time, so that the convolutions of a long
        clip need little memory.
        """
        total, carried, found = int(frame_counts(torch.tensor(waves.shape[1]))), None, []
        for begin in range(0, total, frames):
            end, start = min(begin + frames, total), max(0, begin - BESIDE)
            part = waves[:, start * STEP : (end + BESIDE) * STEP if end < total else None]
            z = self.gEncoder(part, (lengths - start * STEP).clamp(0, part.shape[1]))[:, begin - start : end - start]
            levels, carried = self.gAR.levels(z, carried)
            found.append(torch.stack([z, *levels], dim=1))
        return torch.cat(found, dim=2)


class Convolutions(nn.Module):
    """Waves [clip, sample] to frames [clip, time, width], each convolution with its norm and ReLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        norm = ChannelNorm if shape.norm == "channel" else BatchNorm
        for number, kernel in enumerate(KERNELS):
            inputs = 1 if number == 0 else shape.width
            self.add_module(f"conv{number}", nn.Conv1d(inputs, shape.width, kernel))
            self.add_module(f"batchNorm{number}", norm(shape.width))

    def forward(self, waves: Tensor, lengths: Tensor | None) -> Tensor:
        x = waves[:, :, None]
        for number, (stride, padding) in enumerate(zip(STRIDES, PADDINGS, strict=True)):
            weight, bias = (self.get_parameter(f"conv{number}.{name}") for name in ("weight", "bias"))
            x = convolved(functional.pad(x, (0, 0, padding, padding)), weight, bias, stride)
            x = self.get_submodule(f"batchNorm{number}")(x).relu()
            if lengths is not None:
                lengths = frames_after(lengths, number)
                x = x * (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        return x


def convolved(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """What `conv1d` gives for `weight` [output, input, 2 * stride], with channels last: [clip, time, output].

    All kernels here are two strides long. So the input is cut into blocks of one stride, and a window is the first half
    of the kernel on one block plus the second half on the next: two matrix products, nothing unfolded. On a CPU,
    forward and backward take half as long as in `conv1d`. A wave has one channel, and is quicker unfolded.
    """
    if x.shape[2] == 1:
        return functional.linear(x[..., 0].unfold(1, 2 * stride, stride), weight[:, 0], bias)
    blocks = x.shape[1] // stride
    x = x[:, : blocks * stride].reshape(len(x), blocks, -1)
    first, second = (half.transpose(1, 2).flatten(1) for half in torch.split(weight, stride, dim=2))
    return functional.linear(x, first)[:, :-1] + functional.linear(x, second, bias)[:, 1:]


class ChannelNorm(nn.Module):
    """Each frame [.., width] normalised over its channels, with the *unbiased* variance, then scaled and shifted.

    That is a layer norm, whose variance is biased, with another scale and epsilon.
    """

    def __init__(self, width: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1))
        self.bias_of_variance = (width - 1) / width
        self.epsilon = epsilon * self.bias_of_variance

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.flatten() * math.sqrt(self.bias_of_variance)
        return functional.layer_norm(x, weight.shape, weight, self.bias.flatten(), self.epsilon)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm with channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Context(nn.Module):
    """The recurrent network; a single attribute, for the sake of the public names."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        cell = nn.LSTM if shape.cell == "LSTM" else nn.GRU
        self.baseNet = cell(shape.width, shape.width, num_layers=shape.depth, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        context: Tensor = self.baseNet(z)[0]
        return context

    def levels(self, z: Tensor, carried: Sequence[Any] | None = None) -> tuple[list[Tensor], list[Any]]:
        """The output of each recurrent layer, which torch keeps to itself for all but the last; and what each has to be
        `carried` to go on after this z.
        """
        states, ends = [z], []
        with torch.device("meta"):
            single = type(self.baseNet)(z.shape[2], z.shape[2], batch_first=True)
        for level in range(self.baseNet.num_layers):
            weights: dict[str, Tensor] = {
                f"{name}_l0": self.baseNet.get_parameter(f"{name}_l{level}") for name in RECURRENT
            }
            given = (states[-1], carried[level]) if carried else (states[-1],)
            output, end = functional_call(single, weights, given)
            states.append(output)
            ends.append(end)
        return states[1:], ends


def fresh(shape: Shape, seed: int) -> CpcNet:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return CpcNet(shape)


def frame_counts(lengths: Tensor) -> Tensor:
    """True frames of clips of `lengths` samples.

    >>> frame_counts(torch.tensor([16_000, 20_480])).tolist()
    [100, 128]
    """
    for number in range(len(KERNELS)):
        lengths = frames_after(lengths, number)
    return lengths


def frames_after(lengths: Tensor, number: int) -> Tensor:
    """How many true frames convolution `number` makes of `lengths` true inputs."""
    return (lengths + 2 * PADDINGS[number] - KERNELS[number]) // STRIDES[number] + 1
