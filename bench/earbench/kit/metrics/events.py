"""HEAR's scores of events in time: F, precision and recall of whole events, errors in segments (HEAR sheet 5).

They are those of sed_eval 0.2.1, number for number. Counts per clip are made once, for all clips together; a score
weighs and sums them. A model that reports nothing has no precision and no F, here (NaN, null in a record) as in HEAR's
own reports, not 0. HEAR's kit takes NaN for 0 only where it chooses between decodings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids
from earbench.kit.columns import objects
from earbench.kit.events import Event

Array = NDArray[Any]
Value = Callable[[Rows, Array], float]

COLLARS: Mapping[str, tuple[float, float | None]] = {
    "event_onset_200ms_fms": (0.2, None),
    "event_onset_50ms_fms": (0.05, None),
    "event_onset_offset_50ms_20perc_fms": (0.05, 0.2),
}
"""The seconds that an onset may be off; and, where offsets count, the share of the reference's duration that these may
be off, but never less than onsets.
"""
ERROR_RATE = "segment_1s_er"
EPSILON = float(np.finfo(np.float64).eps)
SLACK = 1e-3
"""Seconds: much more than rounding moves an event on the long axis on which pairs are looked up."""


def event_rows(split: Split, predictions: Mapping[str, Sequence[Event]], names: Sequence[str]) -> Rows:
    """One row per clip with the counts that the scores `names` need.

    A clip's label is all of its events. "reference" and "estimated" count events, "<score>_hits" those that can be
    paired, "substituted", "deleted", "inserted" and "active" what `segment_errors` counts. "prediction" has the events.
    """
    match_ids(split, predictions)
    ids = tuple(clip.id for clip in split.clips)
    reference, estimated = tables([clip.label for clip in split.clips], [predictions[name] for name in ids])
    arrays = {"reference": reference.per_clip(), "estimated": estimated.per_clip()}
    for name, (collar, share) in COLLARS.items():
        if name in names:
            arrays[f"{name}_hits"] = hits(reference, estimated, collar, share)
    if ERROR_RATE in names:
        arrays |= segment_errors(reference, estimated)
    arrays["prediction"] = objects(
        [[(label, float(start), float(stop)) for label, start, stop in predictions[name]] for name in ids]
    )
    return Rows(ids, tuple((clip.group,) for clip in split.clips), arrays)


# ---- whole events ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """The events of all clips: one entry each in `clip` and `label` (numbers from 0), `start` and `stop` (seconds)."""

    clip: Array
    label: Array
    start: Array
    stop: Array
    clips: int
    labels: int

    def per_clip(self, which: Any = slice(None)) -> Array:
        """How many events every clip has; of those that are picked out."""
        return np.bincount(self.clip[which], minlength=self.clips)


def tables(*sides: Sequence[Sequence[Event]]) -> list[Table]:
    """The events of every clip, for each side; labels have the same numbers on all of them."""
    columns = [tuple(zip(*chain.from_iterable(side), strict=True)) or ((), (), ()) for side in sides]
    number = {name: index for index, name in enumerate(dict.fromkeys(chain(*(labels for labels, _, _ in columns))))}
    found = []
    for side, (labels, *times) in zip(sides, columns, strict=True):
        clip = np.repeat(np.arange(len(side)), [len(events) for events in side])
        label = np.array([number[name] for name in labels], np.int64)
        start, stop = (np.array(column, np.float64) for column in times)
        found.append(Table(clip, label, start, stop, len(side), len(number)))
    return found


def hits(reference: Table, estimated: Table, collar: float, share: float | None) -> Array:
    """How many events of each clip can be paired, each with one other: of one label, their onsets at most `collar`
    seconds apart and, with a `share`, their offsets at most that or the share of the reference's duration.
    """
    if not len(reference.clip) or not len(estimated.clip):
        return np.zeros(reference.clips, np.int64)
    one, other = _near(reference, estimated, collar)
    fits = np.abs(reference.start[one] - estimated.start[other]) <= collar
    if share is not None:
        room = np.maximum(collar, share * (reference.stop - reference.start))
        fits &= np.abs(reference.stop[one] - estimated.stop[other]) <= room[one]
    shape = len(reference.clip), len(estimated.clip)
    graph = csr_matrix((np.ones(int(fits.sum()), np.int8), (one[fits], other[fits])), shape)
    return reference.per_clip(maximum_bipartite_matching(graph, perm_type="column") >= 0)


def _near(reference: Table, estimated: Table, collar: float) -> tuple[Array, Array]:
    """All pairs of one clip and label with onsets at most `collar` apart, and some with up to `SLACK` more.

    Events are looked up on one long axis, on which each clip and label has a stretch of its own, too far from the next
    for pairs between them.
    """
    starts = np.concatenate([reference.start, estimated.start])
    stretch = starts.max() - starts.min() + 2 * (collar + SLACK)
    at, where = ((side.clip * side.labels + side.label) * stretch + side.start for side in (reference, estimated))
    order = np.argsort(where)
    low, high = (np.searchsorted(where[order], at + edge) for edge in (-collar - SLACK, collar + SLACK))
    source, position = _spread(low, high)
    return source, order[position]


def _spread(low: Array, high: Array) -> tuple[Array, Array]:
    """Every whole number from each `low` to before its `high`, and beside it which of these pairs it is of.

    >>> source, number = _spread(np.array([3, 7, 0]), np.array([5, 7, 1]))
    >>> source.tolist(), number.tolist()
    ([0, 0, 2], [3, 4, 0])
    """
    counts = np.maximum(high - low, 0)
    source = np.repeat(np.arange(len(counts)), counts)
    return source, np.arange(len(source)) + (low - counts.cumsum() + counts)[source]


# ---- segments --------------------------------------------------------------------------------------------------------


def segment_errors(reference: Table, estimated: Table) -> dict[str, Array]:
    """What goes on in the segments of a second of each clip: how many labels are "active" in the reference, and how
    many of them are "substituted" or "deleted" and others "inserted", segment by segment.

    An event is active in every segment that it reaches into; one without duration that lies between two is in neither.
    """
    sides = [_active(side) for side in (reference, estimated)]
    last = 1 + max(segment.max(initial=0) for _, segment, _ in sides)
    true, said = (np.unique((clip * last + segment) * reference.labels + label) for clip, segment, label in sides)
    segments, of = np.unique(np.concatenate([true, said]) // max(1, reference.labels), return_inverse=True)
    kinds = of[: len(true)], of[len(true) :], of[: len(true)][np.isin(true, said, assume_unique=True)]
    wanted, given, right = (np.bincount(kind, minlength=len(segments)) for kind in kinds)
    counts = {
        "substituted": np.minimum(wanted, given) - right,
        "deleted": np.maximum(0, wanted - given),
        "inserted": np.maximum(0, given - wanted),
        "active": wanted,
    }
    return {
        name: np.bincount(segments // last, weights=count, minlength=reference.clips) for name, count in counts.items()
    }


def _active(side: Table) -> tuple[Array, Array, Array]:
    """Clip, segment and label of every event in every segment that it reaches into; none lies before 0."""
    first, behind = (edge.astype(np.int64).clip(0) for edge in (np.floor(side.start), np.ceil(side.stop)))
    event, segment = _spread(first, behind)
    return side.clip[event], segment, side.label[event]


# ---- scores ----------------------------------------------------------------------------------------------------------


def ratio(part: str, whole: str) -> Value:
    """The sum of one array over that of another; NaN where that is zero (nothing said, or an empty resample)."""

    def value(rows: Rows, weights: Array) -> float:
        total = float((weights * rows.arrays[whole]).sum())
        return float((weights * rows.arrays[part]).sum()) / total if total else float("nan")

    return value


def f_measure(name: str) -> Value:
    """The harmonic mean of precision and recall over all clips and labels together; 0 where both are, NaN where one is.

    >>> arrays = {"x_hits": np.array([1, 0]), "reference": np.array([2, 2]), "estimated": np.array([1, 0])}
    >>> rows = Rows(("a", "b"), (("x",), ("y",)), arrays)
    >>> f_measure("x")(rows, np.ones(2)), f_measure("x")(rows, np.array([0.0, 1.0]))
    (0.4, nan)
    """

    def value(rows: Rows, weights: Array) -> float:
        precision, recall = (ratio(f"{name}_hits", whole)(rows, weights) for whole in ("estimated", "reference"))
        if precision == 0 and recall == 0:
            return 0.0
        return 2.0 * precision * recall / (precision + recall)

    return value


def error_rate(rows: Rows, weights: Array) -> float:
    """Substituted, deleted and inserted labels per active one of the reference; NaN where nothing is active.

    As in sed_eval what each is divided by is a rounding error larger, so that missing everything may be worth
    0.9999999999999998. (Where nothing is active sed_eval divides by that error alone.)
    """
    active, *errors = (
        float((weights * rows.arrays[name]).sum()) for name in ("active", "substituted", "deleted", "inserted")
    )
    return sum(error / (active + EPSILON) for error in errors) if active else float("nan")


def _scores(name: str) -> tuple[Metric, ...]:
    values = {
        name: f_measure(name),
        f"{name}_precision": ratio(f"{name}_hits", "estimated"),
        f"{name}_recall": ratio(f"{name}_hits", "reference"),
    }
    return tuple(
        Metric(key, "", better="higher", best=1.0, bounds=(0.0, 1.0), value=value) for key, value in values.items()
    )


SCORES: Mapping[str, tuple[Metric, ...]] = {name: _scores(name) for name in COLLARS} | {
    ERROR_RATE: (Metric(ERROR_RATE, "", better="lower", best=0.0, bounds=(0.0, float("inf")), value=error_rate),)
}
"""By the names that task folders use: the score itself, then its parts."""
METRICS: Mapping[str, Metric] = {metric.name: metric for metrics in SCORES.values() for metric in metrics}
