"""Clips in the stretches that an encoder of fixed length takes, and their frames put together again.

The rule for all such encoders (protocol sheet upstreams, §11.11): a clip is cut into consecutive chunks, the last one
is padded as the encoder's own feature extractor pads a short clip, each chunk is encoded by itself, and frames of
padding are dropped. What the chunks count in (samples, spectra) is the encoder's choice; the step from one chunk to the
next is a whole number of frames, so that frames stay evenly spaced across the cuts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

AT_ONCE = 4
"""Chunks in one pass: all states of 4 × 30 s of a large encoder are 1 GB, however short the clips in them are."""


@dataclass(frozen=True)
class Chunks:
    """`values` [chunk, size, …], zero beyond a clip's end; true `lengths` [chunk]; and whose they are, `clips` [chunk].

    The chunks of a clip are in a row, and clips in their order.
    """

    values: Tensor
    lengths: Tensor
    clips: Tensor

    def each(self, encode: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What `encode` makes of values and lengths, a few chunks at a time: tensors with a row for each chunk."""
        starts = range(0, len(self.values), AT_ONCE)
        parts = ((self.values[i : i + AT_ONCE], self.lengths[i : i + AT_ONCE]) for i in starts)
        return tuple(torch.cat(column) for column in zip(*(encode(*part) for part in parts), strict=True))

    def joined(self, states: Tensor, counts: Tensor) -> Tensor:
        """Frames of whole clips, [clip, layer, time, width], of those of chunks; the first `counts` of each count."""
        frames = states.new_zeros(len(counts), states.shape[1], int(counts.max()), states.shape[3])
        for clip, count in enumerate(counts.tolist()):
            frames[clip, :, :count] = states[self.clips == clip].transpose(0, 1).flatten(1, 2)[:, :count]
        return frames

    def mean(self, vectors: Tensor) -> Tensor:
        """The mean of the chunks' vectors [chunk, …], weighted by their true lengths, for each clip."""
        weights = self.lengths.to(torch.float32).view(-1, *[1] * (vectors.dim() - 1))
        clips = int(self.clips[-1]) + 1
        total = vectors.new_zeros(clips, *vectors.shape[1:], dtype=torch.float32)
        weight = weights.new_zeros(clips, *weights.shape[1:])
        return total.index_add(0, self.clips, vectors.float() * weights) / weight.index_add(0, self.clips, weights)


def cut(values: Tensor, lengths: Tensor, size: int, step: int, numbers: Tensor) -> Chunks:
    """Chunk k of a clip of `values` [clip, time, …] holds `size` entries from `k * step` on; a clip has `numbers`.

    >>> chunks = cut(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([3]), 2, 2, torch.tensor([2]))
    >>> chunks.values.tolist(), chunks.lengths.tolist()
    ([[1.0, 2.0], [3.0, 0.0]], [2, 1])
    """
    starts = [(clip, k * step) for clip, number in enumerate(numbers.tolist()) for k in range(number)]
    pieces = [values[clip, start : min(start + size, int(lengths[clip]))] for clip, start in starts]
    edges = [0, 0] * (values.dim() - 2)
    return Chunks(
        torch.stack([functional.pad(piece, (*edges, 0, size - len(piece))) for piece in pieces]),
        torch.tensor([len(piece) for piece in pieces], device=values.device),
        torch.tensor([clip for clip, _ in starts], device=values.device),
    )


def ceiling(dividend: Tensor, divisor: int) -> Tensor:
    """Whole numbers divided, rounded up.

    >>> ceiling(torch.tensor([0, 1, 320, 321]), 320).tolist()
    [0, 1, 1, 2]
    """
    return -torch.div(-dividend, divisor, rounding_mode="floor")
