"""Subsequence dynamic time warping: how well does a short recording fit somewhere into each of many long ones?

SUPERB QbE (protocol sheet superb 2.4). Recordings are matrices of frames [time, width]. A loop over the query's frames
is the only one; all documents of a pack are warped at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

TINY = 1e-9
"""The least deviation and the least range that are divided by."""
PACK_FRAMES = 16_384
"""So many document frames, copies among them, are warped at once: 50 MB at 768 dimensions."""

Scores = np.ndarray[Any, np.dtype[np.float64]]


def standardiser(recordings: Iterable[Tensor]) -> tuple[Callable[[Tensor], Tensor], list[int]]:
    """A function that makes the mean of each dimension over all frames zero and its deviation (n - 1) one; and how
    many frames each recording has.

    Sums are merged in double precision, one recording at a time (Chan, Golub & LeVeque 1979), so that it does not
    matter how many there are.

    >>> standard, lengths = standardiser([torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])])
    >>> standard(torch.tensor([[4.0]])).tolist(), lengths
    ([[2.0]], [2, 1])
    """
    lengths: list[int] = []
    mean = squares = torch.zeros((), dtype=torch.float64)
    for frames in recordings:
        own = frames.cpu().double()  # not every device knows double precision
        step, before, count = own.mean(0) - mean, sum(lengths), len(own)
        squares = squares + (own - own.mean(0)).square().sum(0) + step.square() * before * count / (before + count)
        mean = mean + step * count / (before + count)
        lengths.append(count)
    centre, deviation = mean.float(), (squares / max(1, sum(lengths) - 1)).sqrt().clamp_min(TINY).float()
    return lambda frames: (frames - centre.to(frames)) / deviation.to(frames), lengths


def packs(lengths: Sequence[int], limit: int = PACK_FRAMES) -> Iterator[list[int]]:
    """Numbers of recordings of like length, longest first, each pack at most `limit` frames when filled up to its
    longest (or one recording).

    >>> list(packs([3, 9, 4, 1], limit=8))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    while order:
        size = max(1, limit // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def pack(documents: Sequence[Tensor]) -> Tensor:
    """Unit vectors [time, document, width] to hold against a query, shorter documents filled up with their last frame.

    A copy of the last frame changes nothing: a warping path may rest on a frame for as long as it likes.
    """
    steps = torch.arange(max(map(len, documents)), device=documents[0].device)
    return torch.stack([normalize(frames, dim=1)[steps.clamp_max(len(frames) - 1)] for frames in documents], 1)


def costs(query: Tensor, packed: Tensor) -> Tensor:
    """The cost of the best place of `query` [time, width] in each document of a pack: [document]."""
    return warp(spread(cosine_exp(query, packed)))


def cosine_exp(query: Tensor, packed: Tensor) -> Tensor:
    """exp(1 - cosine) - 1 between frames: [query frame, document frame, document]; a zero vector is at cosine 0."""
    opposite = normalize(query, dim=1).neg() @ packed.flatten(0, 1).T
    return opposite.add_(1).exp_().sub_(1).view(len(query), len(packed), -1)


def spread(distances: Tensor) -> Tensor:
    """Distances of each query frame to a document's frames, moved and scaled (in place) to reach from 0 to 1."""
    low, high = distances.amin(1, keepdim=True), distances.amax(1, keepdim=True)
    return distances.sub_(low).div_((high - low).clamp_min(TINY))


def warp(distances: Tensor) -> Tensor:
    """Least mean distance on a path through each document: [document], from [query frame, document frame, document].

    Each query frame is used once; from one to the next a path rests, goes on, or leaves out one document frame. It
    begins and ends anywhere. This is dtw-python's asymmetric pattern with open begin and end.

    >>> warp(torch.tensor([[5.0, 1.0, 9.0, 9.0], [9.0, 9.0, 9.0, 2.0]])[..., None])
    tensor([1.5000])
    """
    total = distances[0]
    for row in distances[1:]:
        best = total.clone()
        torch.minimum(best[1:], total[:-1], out=best[1:])
        torch.minimum(best[2:], total[:-2], out=best[2:])
        total = best.add_(row)
    return total.amin(0) / len(distances)


def z_scores(scores: Scores) -> Scores:
    """Scores [query, document] with mean 0 and deviation 1 over the documents of each query; equal scores become 0."""
    centred = scores - scores.mean(1, keepdims=True)
    return np.asarray(centred / scores.std(1, keepdims=True).clip(TINY))
