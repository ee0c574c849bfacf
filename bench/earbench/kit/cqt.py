"""Constant-Q and variable-Q transforms in plain torch, by their definition (Brown 1991; Schörkhuber et al. 2014).

Bin k is the wave times a windowed wave of frequency f_k, which lasts Q / f_k seconds with the same Q for all bins.
With a `gamma` above 0 the low ones last less: Q / (f_k + gamma / alpha), where alpha is the relative bandwidth. As
librosa and nnAudio have it: periodic Hann windows of area 1, the result times the root of their length in samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BLOCK = 4096
"""Samples that are multiplied and summed at once."""


class ConstantQ(nn.Module):
    """Magnitudes [clip, time, bin] of frames centred on every `step`-th sample, each clip mirrored at its true ends.

    A filter may be longer than the clip, which is then mirrored again and again. `lowest` is the centre of bin 0 in
    hertz; there are `per_octave` bins to the octave.
    """

    def __init__(
        self, bins: int, lowest: float, per_octave: int, sample_rate: int, step: int, gamma: float = 0.0
    ) -> None:
        super().__init__()
        self.step = step
        hertz = lowest * 2.0 ** (torch.arange(bins, dtype=torch.float64) / per_octave)
        alpha = 2.0 ** (1.0 / per_octave) - 1.0
        spans = (sample_rate / alpha / (hertz + gamma / alpha)).ceil().long()
        # Within an octave the filters are about equally long; all padded to the longest would cost four times more.
        self.octaves = range(0, bins, per_octave)
        for first in self.octaves:
            part = slice(first, first + per_octave)
            self.register_buffer(f"octave{first}", filters(hertz[part] / sample_rate, spans[part]), persistent=False)
        self.reach = max(len(self.get_buffer(f"octave{first}")) for first in self.octaves) // 2

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        padded = bounced(waves, lengths, self.reach)
        frames = waves.shape[1] // self.step + 1
        octaves = []
        for first in self.octaves:
            bank = self.get_buffer(f"octave{first}")
            begin = self.reach - len(bank) // 2
            stretch = padded[:, begin : begin + (frames - 1) * self.step + len(bank)]
            real, imaginary = summed(stretch.unfold(1, len(bank), self.step), bank).chunk(2, 2)
            octaves.append((real.square() + imaginary.square()).sqrt())
        return torch.cat(octaves, 2)


def summed(frames: Tensor, bank: Tensor) -> Tensor:
    """The matrix product [clip, time, bin] of frames [clip, time, sample] and a bank [sample, bin], in blocks.

    A convolution is as fast, but adds its 32,768 products one after another: in float32 its error is 35 times that of
    the blocks, and weak bins show it.
    """
    blocks = zip(torch.split(frames, BLOCK, 2), torch.split(bank, BLOCK), strict=True)
    return torch.stack([part @ weights for part, weights in blocks]).sum(0)


def filters(cycles: Tensor, spans: Tensor) -> Tensor:
    """Real parts of the filters of `cycles` per sample, lasting `spans` samples, then imaginary parts: [sample, 2 bin].

    All have phase 0 in the middle of the even length; a filter of odd length reaches one sample further to the left.
    """
    middle = int((spans.max() + 1) // 2)
    bank = torch.zeros(len(cycles), 2 * middle, dtype=torch.complex128)
    for row, cycle, span in zip(bank, cycles.tolist(), spans.tolist(), strict=True):
        window = torch.hann_window(span, dtype=torch.float64)
        steps = torch.arange(span) - (span + 1) // 2
        height = window / window.sum() * math.sqrt(span)
        row[middle + steps] = torch.polar(height, -2 * math.pi * cycle * steps.double())
    return torch.cat([bank.real, bank.imag]).T.float().contiguous()


def bounced(waves: Tensor, lengths: Tensor, reach: int) -> Tensor:
    """Waves with `reach` samples more on either side, mirrored at their *true* ends as often as that takes.

    >>> bounced(torch.tensor([[1.0, 2.0, 3.0, 0.0]]), torch.tensor([3]), 4).tolist()[0][:11]
    [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0]
    """
    period = 2 * (lengths[:, None] - 1)
    steps = torch.arange(-reach, waves.shape[1] + reach, device=waves.device) % period
    return waves.gather(1, torch.minimum(steps, period - steps))
