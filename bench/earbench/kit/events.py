"""Events in time: what a frame's target is, and which events frame by frame probabilities tell of (HEAR sheet 3, 4.6).

HEAR's rules are in milliseconds, and some turn on equality: an event ends on a frame's time, lasts just as long as it
must, is smoothed over 12.5 frames. Seconds are therefore turned into milliseconds and rounded to `DECIMALS`, which
undoes what binary fractions did to them: 0.1 + 0.2 s is 300 ms. An event that HEAR's folder starts at
4350.000000000001 ms counts as starting at 4350; HEAR's kit would leave out a frame at 4350.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DECIMALS = 6
"""Of milliseconds. Frame times need double precision for this: single precision is 0.004 ms off after a minute."""
INCLUSIVE = 0.0001
"""Milliseconds that an event lasts longer than it says, so that a frame at its very end belongs to it."""
THRESHOLD = 0.5

Array = NDArray[Any]


class Event(NamedTuple):
    """Something that is heard from `start` to `stop`, in seconds."""

    label: str
    start: float
    stop: float


# ---- targets ---------------------------------------------------------------------------------------------------------


def active(times: Tensor, events: Sequence[Event], labels: Sequence[str]) -> Tensor:
    """1.0 where an event of the label goes on, [time, label], at frame `times` in seconds, which rise.

    Both ends belong to an event (sheet 3); one without duration has the frame at its very time.

    >>> active(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), [Event("a", 0.15, 0.3)], ["a", "b"]).T
    tensor([[0., 1., 1.],
            [0., 0., 0.]])
    """
    at, number = milliseconds(times), {label: column for column, label in enumerate(labels)}
    column = np.array([number[event.label] for event in events], np.int64)
    first = np.searchsorted(at, milliseconds([event.start for event in events]))
    end = np.searchsorted(at, milliseconds([event.stop for event in events]) + INCLUSIVE)
    changes = np.zeros((len(at) + 1, len(labels)), np.int32)
    np.add.at(changes, (first, column), 1)
    np.subtract.at(changes, (np.maximum(first, end), column), 1)
    return torch.from_numpy((changes.cumsum(0)[:-1] > 0).astype(np.float32))


def milliseconds(seconds: Tensor | Sequence[float]) -> Array:
    """Seconds as milliseconds, to `DECIMALS` of them.

    >>> milliseconds([0.1 + 0.2, 1.005]).tolist()
    [300.0, 1005.0]
    """
    return np.asarray(torch.as_tensor(seconds, dtype=torch.float64).cpu().numpy() * 1000.0).round(DECIMALS)


# ---- post-processing -------------------------------------------------------------------------------------------------


def found(probabilities: Tensor, times: Tensor, labels: Sequence[str], median: float, shortest: float) -> list[Event]:
    """The events, first ones first, that `probabilities` [time, label] tell of, at `times` in seconds, which rise.

    Probabilities go through a median filter `median` seconds long; what is above a half after that is active. An event
    reaches from the first to the last time of frames that are active one after another, and counts if that is at least
    `shortest` seconds.

    >>> times = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    >>> likely = torch.tensor([[0.1], [0.9], [0.9], [0.4], [0.6]])
    >>> found(likely, times, ["dog"], median=0.0, shortest=0.05)
    [Event(label='dog', start=0.1, stop=0.2)]
    """
    at = milliseconds(times)
    on = smoothed(probabilities.detach().cpu().numpy() > THRESHOLD, _width(at, median)).astype(np.int8)
    edges = np.diff(on, axis=0, prepend=0, append=0).T
    (column, first), (_, behind) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    start, stop = at[first], at[behind - 1]
    (kept,) = np.nonzero(stop - start >= milliseconds([shortest]))
    kept = kept[np.argsort(start[kept], kind="stable")]
    named = [labels[number] for number in column[kept].tolist()]
    return [Event(*one) for one in zip(named, *((edge[kept] / 1000.0).tolist() for edge in (start, stop)), strict=True)]


def smoothed(on: Array, width: int) -> Array:
    """Where the median over `width` frames exceeds the threshold that `on` [time, label] exceeds.

    That is scipy's median filter (edges reflected; of an even number the upper median, over a window that reaches one
    frame further back), without sorting: the median exceeds a threshold where half of the window does.

    >>> smoothed(np.array([[0], [0], [1], [0], [0], [1], [1], [0], [0], [0]]) > 0, 4).T.astype(int)
    array([[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]])
    """
    if width < 2 or not len(on):
        return on
    padded = np.pad(on, ((width // 2, width - 1 - width // 2), (0, 0)), mode="symmetric")
    total = np.zeros((len(padded) + 1, on.shape[1]), np.int32)
    np.cumsum(padded, axis=0, out=total[1:])
    return np.asarray(2 * (total[width:] - total[:-width]) >= width)


def _width(at: Array, median: float) -> int:
    """Frames in `median` seconds, halves to the even number. A single frame has no spacing, and is its own median."""
    if len(at) < 2:
        return 1
    return round(float(milliseconds([median])[0] / np.diff(at).mean()))
