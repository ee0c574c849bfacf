"""The network of PASE and PASE+, with the names of the public checkpoint (protocol sheet upstreams §6.6, §10.3).

Band-pass filters with learned corners and seven convolutions bring the wave down to 100 frames a second. PASE+ adds a
quasi-recurrent layer, and sums what every block but the last has seen onto its output. Every convolution mirrors its
input at the ends of each clip, at the *true* one of a padded clip, so that clips come out as they would alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE, LOWEST, NARROWEST = 16_000, 50.0, 50.0
"""Hertz: no filter begins below the second or is narrower than the third."""


@dataclass(frozen=True)
class Shape:
    """What distinguishes the networks of this family: PASE+ is the default, `PASE` below the first one.

    `hidden` is the width of the recurrent layers, of which there are `depth`. With `skips` every block but the last is
    projected and summed onto the output; with `normed` a batch norm without weights comes last.
    """

    kernels: tuple[int, ...] = (251, 20, 11, 11, 11, 11, 11, 11)
    strides: tuple[int, ...] = (1, 10, 2, 1, 2, 1, 2, 2)
    channels: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512)
    width: int = 256
    hidden: int = 512
    depth: int = 1
    skips: bool = True
    normed: bool = True

    @property
    def step(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    def centres(self) -> list[float]:
        """The sample that frame 0 of each block is centred on, once it is averaged down to the rate of the output.

        >>> Shape().centres()
        [79.5, 75.5, 80.5, 80.5, 90.5, 90.5, 110.5, 150.5]
        """
        found, centre, step = [], 0.0, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            centre += ((kernel - 1) / 2 - sides(kernel, stride)[0]) * step
            step *= stride
            found.append(centre + (self.step - step) / 2)
        return found

    def counts(self, lengths: Tensor) -> list[Tensor]:
        """True frames that each block makes of clips of `lengths` samples.

        >>> [int(count) for count in Shape().counts(torch.tensor(16_000))]
        [16000, 1600, 800, 800, 400, 400, 200, 100]
        """
        found = []
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            lengths = (lengths + sum(sides(kernel, stride)) - kernel) // stride + 1
            found.append(lengths)
        return found


PASE = Shape(width=100, hidden=0, depth=0, skips=False)


class PaseNet(nn.Module):
    """`forward` gives the blocks, each [clip, channel, time] at the rate of the output, and the layers behind them.

    The layers [clip, channel, time] are the projected blocks (of PASE+), W, and the output. Frames behind a clip's end
    mean nothing.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inputs = (1, *shape.channels)
        self.blocks = nn.ModuleList(
            Block(*sizes) for sizes in zip(inputs, shape.channels, shape.kernels, shape.strides, strict=False)
        )
        if shape.skips:
            self.denseskips = nn.ModuleList(nn.Conv1d(size, shape.width, 1, bias=False) for size in inputs[1:-1])
        if shape.depth:
            self.rnn = Qrnn(inputs[-1], shape.hidden, shape.depth)
        self.W = nn.Conv1d(shape.hidden or inputs[-1], shape.width, 1)
        if shape.normed:
            self.norm_out = nn.BatchNorm1d(shape.width, affine=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        x, blocks, counts = waves[:, None], [], self.shape.counts(lengths)
        for block, before, after in zip(self.blocks, [lengths, *counts], counts, strict=False):
            x = block(x, before)
            blocks.append(grouped(x, after, counts[-1]))
        # The port projects before it averages. Both are linear, and this way round is 160 times smaller.
        layers = [skip(block) for skip, block in zip(self.denseskips, blocks, strict=False)] if self.shape.skips else []
        main = self.W(self.rnn(x) if self.shape.depth else x)
        output = sum(layers, main)
        return blocks, [*layers, main, self.norm_out(output) if self.shape.normed else output]


class Block(nn.Module):
    """Convolution of a mirrored input, batch norm, PReLU; of a wave with one channel, band-pass filters."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.sides = sides(kernel, stride)
        self.conv = Bands(outputs, kernel, stride) if inputs == 1 else nn.Conv1d(inputs, outputs, kernel, stride)
        self.norm = nn.BatchNorm1d(outputs)
        self.act = nn.PReLU(outputs, init=0.0)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        frames: Tensor = self.act(self.norm(self.conv(mirrored(x, lengths, *self.sides))))
        return frames


class Bands(nn.Module):
    """Hamming-windowed band-pass filters with a gain of 1 in the middle tap, from learned corners (SincNet, eq. 4).

    The port's window is no usual Hamming window: its half has (kernel - 1) / 2 points from 0 to kernel / 2 - 1, both
    included, so that they are a little more than a sample apart.
    """

    window: Tensor
    angles: Tensor

    def __init__(self, count: int, kernel: int, stride: int) -> None:
        super().__init__()
        half = kernel // 2
        mels = torch.linspace(mel(30.0), mel(SAMPLE_RATE / 2 - LOWEST - NARROWEST), count + 1, dtype=torch.float64)
        hertz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
        self.low_hz_ = nn.Parameter(hertz[:-1, None].float())
        self.band_hz_ = nn.Parameter(hertz.diff()[:, None].float())
        self.stride = stride
        taps = torch.linspace(0, kernel / 2 - 1, half)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * taps / kernel), persistent=False)
        self.register_buffer("angles", 2 * math.pi * torch.arange(-half, 0) / SAMPLE_RATE, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        return functional.conv1d(waves, self.filters()[:, None], stride=self.stride)

    def filters(self) -> Tensor:
        """[filter, tap]"""
        low = LOWEST + self.low_hz_.abs()
        high = (low + NARROWEST + self.band_hz_.abs()).clamp(LOWEST, SAMPLE_RATE / 2)
        sines = (high * self.angles).sin() - (low * self.angles).sin()
        left = sines / (self.angles / 2) * self.window / (2 * (high - low))
        return torch.cat([left, torch.ones_like(low), left.flip(1)], 1)


class Qrnn(nn.Module):
    """Quasi-recurrent layers (Bradbury et al. 2017, fo-pooling, window 2) over [clip, channel, time]."""

    def __init__(self, inputs: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(QrnnLayer(inputs if layer == 0 else hidden, hidden) for layer in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


class QrnnLayer(nn.Module):
    """One layer over [clip, time, channel]. Everything but one multiplication and sum a step is done at once."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * inputs, 3 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        previous = functional.pad(x, (0, 0, 1, -1))
        gates: Tensor = self.linear(torch.cat([x, previous], 2))
        value, share, gate = gates.chunk(3, 2)
        return gate.sigmoid() * blended(value.tanh(), share.sigmoid())


def blended(values: Tensor, shares: Tensor) -> Tensor:
    """c_t = shares_t * values_t + (1 - shares_t) * c_{t-1} along time, from c = 0: [clip, time, channel].

    >>> blended(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5], [0.25]]])).flatten().tolist()
    [0.5, 0.875]
    """
    states = [torch.zeros_like(values[:, 0])]
    for new, kept in zip((shares * values).unbind(1), (1 - shares).unbind(1), strict=True):
        states.append(new + kept * states[-1])
    return torch.stack(states[1:], 1)


def grouped(x: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """Each clip's `lengths` true frames averaged into `counts` groups of equal size: [clip, channel, group].

    The size is rounded down and the rest left out, as the port does it for its skips. For a clip that is 1 to 9 samples
    short of a whole frame, the first block's groups have 159 samples, and drift by one more with every frame.

    >>> grouped(torch.tensor([[[1.0, 3.0, 5.0, 7.0, 9.0]]]), torch.tensor([5]), torch.tensor([2])).tolist()
    [[[2.0, 6.0]]]
    """
    means = x.new_zeros(*x.shape[:2], int(counts.max()))
    for clip, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        size = length // count
        means[clip, :, :count] = x[clip, :, : size * count].reshape(-1, count, size).mean(2)
    return means


def mirrored(x: Tensor, lengths: Tensor, left: int, right: int) -> Tensor:
    """`x` [clip, channel, time] with mirrored frames before the first and after the *true* last one of each clip.

    >>> mirrored(torch.tensor([[[1.0, 2.0, 3.0, 0.0]]]), torch.tensor([3]), 1, 2).tolist()
    [[[2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]]]
    """
    steps = torch.arange(right, device=x.device)
    tail = x.gather(2, (lengths[:, None] - 2 - steps)[:, None].expand(-1, x.shape[1], -1))
    places = (lengths[:, None] + left + steps)[:, None].expand_as(tail)
    return functional.pad(x, (left, right), "reflect").scatter_(2, places, tail)


def sides(kernel: int, stride: int) -> tuple[int, int]:
    """Frames that the port mirrors on the left and on the right: one less on the left where it strides or is even."""
    half = kernel // 2
    return (max(half - 1, 0) if stride > 1 or kernel % 2 == 0 else half), half


def mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def fresh(shape: Shape, seed: int) -> PaseNet:
    """A network with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return PaseNet(shape)
