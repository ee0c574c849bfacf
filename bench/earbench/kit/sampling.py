"""Orders in which clips are visited, and weights that say the same thing in expectation.

A unit is a clip, or a pool of clips of which each visit draws one. All draws of an epoch are a few array operations:
200,000 batches of 32 take seconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Split
from earbench.errors import BenchError

LONG = 300_000 / 16_000
"""Seconds from which SUPERB halves a window."""

Indices = NDArray[np.intp]


def shuffled(split: Split, batch: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless epochs of shuffled units, one clip of each pool per visit; the last batch of an epoch may be short."""
    units = Units(split)
    while True:
        clips = units.visit(rng.permutation(len(units)), rng).tolist()
        yield from (clips[start : start + batch] for start in range(0, len(clips), batch))


def in_order(split: Split, batch: int) -> Iterator[range]:
    """Endless passes over the clips in the split's own order, the same batches each time, as `consecutive` has them."""
    return consecutive(len(split.clips), batch)


def consecutive(count: int, batch: int) -> Iterator[range]:
    """Endless passes over `count` examples in their order, the same batches each time (HEAR sheet 4.1).

    The last batch of a pass may be short, but never a single example, which batch norm cannot take (where HEAR's
    reference ends with an error, sheet 10): it then begins one example earlier.
    """
    if count < 2:
        raise BenchError(
            f"batches of two examples at least cannot be made of {count}", "check that the corpus is whole"
        )
    starts = list(range(0, count, batch))
    if count - starts[-1] == 1:
        starts[-1] -= 1
    while True:
        yield from (range(*bounds) for bounds in pairwise([*starts, count]))


def by_length(split: Split, batch: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless epochs of shuffled batches of neighbours in length, longest clip first, ties in the split's order.

    SUPERB's buckets (sheet 2.2): two batches at a time are cut off; what is left in the end, fewer than two batches,
    stays one batch, and a single clip is left out (unless it is the only one).
    """
    order = np.argsort(-_durations(split), kind="stable").tolist()
    whole = len(order) // (2 * batch) * 2 * batch
    batches = [order[start : start + batch] for start in range(0, whole, batch)]
    if len(order) - whole > 1 or not batches:
        batches.append(order[whole:])
    while True:
        yield from (batches[number] for number in rng.permutation(len(batches)))


def windows(split: Split, batch: int, symbols: Sequence[int], rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless epochs of overlapping windows over the clips in order of their number of `symbols`, most first.

    SUPERB's batches of phones and slots (sheet 2.1 and 2.9). Each clip begins one window per epoch, in random order,
    and an epoch has as many batches as clips; the windows of the last clips begin earlier, so as to be whole. Where
    the first clip is longer than `LONG` seconds, only the first half of its window is kept. In a batch the longest
    clip comes first. Ties keep the split's order.
    """
    seconds = _durations(split)
    if len(symbols) != len(seconds):
        raise BenchError(f"windows need the number of symbols of {len(seconds)} clips, got {len(symbols)}")
    order = np.argsort(-np.asarray(symbols), kind="stable")
    last = max(0, len(order) - batch)
    while True:
        for start in np.minimum(rng.permutation(len(order)), last):
            window = order[start : start + batch]
            if seconds[window[0]] > LONG and len(window) > 1:
                window = window[: len(window) // 2]
            yield window[np.argsort(-seconds[window], kind="stable")].tolist()


def reshuffled(count: int, batch: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless passes over `count` examples, each in an order of its own, cut like those of `consecutive`."""
    stream, batches = consecutive(count, batch), math.ceil(count / batch)
    while True:
        order = rng.permutation(count)
        yield from (order[places.start : places.stop].tolist() for places in itertools.islice(stream, batches))


def balanced(split: Split, batch: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless epochs of N draws with replacement, N the number of units, every class equally likely.

    This is weighted sampling with weights N / count(class) (SUPERB sheet 2.3), where a pool counts as one unit. The
    last incomplete batch of an epoch is dropped, unless it is the only one.
    """
    units = Units(split)
    classes = Classes(units.labels)
    kept = len(units) - len(units) % batch or len(units)
    while True:
        clips = units.visit(classes.draw(len(units), rng), rng)[:kept].tolist()
        yield from (clips[start : start + batch] for start in range(0, kept, batch))


def balanced_draw(split: Split, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each clip is drawn in one epoch of `balanced`; the sum is the number of units."""
    units = Units(split)
    clips = units.visit(Classes(units.labels).draw(len(units), rng), rng)
    return np.bincount(clips, minlength=len(split.clips)).astype(np.float64)


def unit_weights(split: Split) -> NDArray[np.float64]:
    """One weight per clip such that every unit counts once: 1 / size of its pool."""
    units = Units(split)
    return units.spread(np.ones(len(units)))


def class_balanced_weights(split: Split) -> NDArray[np.float64]:
    """The expectation of `balanced_draw`: every class has the same total, and the sum is the number of units."""
    units = Units(split)
    classes = Classes(units.labels)
    return units.spread(len(units) / (len(classes.counts) * classes.counts[classes.codes]))


def _durations(split: Split) -> NDArray[np.float64]:
    if len(split.seconds) != len(split.clips):
        raise BenchError("batches by length need the duration of every clip", "the engine fills in `Split.seconds`")
    return np.array(split.seconds)


class Units:
    """The units of a split as flat arrays. The clips of a pool share their label."""

    def __init__(self, split: Split) -> None:
        found = split.units()
        if not found:
            raise BenchError("a split without clips cannot be sampled", "check that the corpus is whole")
        self.labels: list[Any] = [split.clips[unit[0]].label for unit in found]
        self.members: Indices = np.concatenate([np.array(unit, np.intp) for unit in found])
        self.sizes: Indices = np.array([len(unit) for unit in found], np.intp)
        self.starts: Indices = np.cumsum(self.sizes) - self.sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def visit(self, units: Indices, rng: np.random.Generator) -> Indices:
        """One clip index for each visited unit, uniform over its pool."""
        clips: Indices = self.members[self.starts[units] + rng.integers(self.sizes[units])]
        return clips

    def spread(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of units, shared out equally among their clips."""
        shares = np.empty(len(self.members))
        shares[self.members] = np.repeat(weights / self.sizes, self.sizes)
        return shares


class Classes:
    """Units sorted by class: `codes` is each unit's class, `counts` the number of units in each class."""

    def __init__(self, labels: list[Any]) -> None:
        _, self.codes, self.counts = np.unique(np.array(labels), return_inverse=True, return_counts=True)
        self.order = np.argsort(self.codes, kind="stable")
        self.starts = np.cumsum(self.counts) - self.counts

    def draw(self, number: int, rng: np.random.Generator) -> Indices:
        """`number` units with replacement: a class uniformly, then one of its units uniformly."""
        classes = rng.integers(len(self.counts), size=number)
        picks: Indices = self.order[self.starts[classes] + rng.integers(self.counts[classes])]
        return picks
