"""Maximum term-weighted value: is a query found where it is said, and hardly ever elsewhere?

The score of QUESST 2014 and SUPERB QbE (protocol sheet superb 2.4), as the documentation of the official scorer states
its rules: the trials are all queries that occur at all, with all documents; what was not scored has `MISSING`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from earbench.contract import Metric, Rows, Split
from earbench.errors import BenchError

FALSE_ALARM, MISS, PRIOR = 1.0, 100.0, 0.0008
BETA = FALSE_ALARM * (1 - PRIOR) / (MISS * PRIOR)
"""How much a false alarm weighs against a miss: 12.49."""
MISSING = -10.0
"""The score of a pair that has none."""

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Sought:
    """Where a query is said: the clip ids of documents of the split, and how many documents that are not searched
    hold it and do not hold it.
    """

    found_in: tuple[str, ...]
    held_elsewhere: int = 0
    not_held_elsewhere: int = 0


def searches(split: Split, predictions: Mapping[str, Mapping[str, float]]) -> Rows:
    """One row per query that is said in some document: "score" and "target" (said in it) of every document of the
    split, in the order of ids; "elsewhere", the numbers of documents not searched that hold it and that do not; and
    "share", the same in each row.

    `split.truth["queries"]` maps the id of every query to where it is `Sought`; `split.truth["share"]` says how much of
    all scored queries they are: nobody searched for the others. `predictions` map query ids to scores by document.
    """
    documents = sorted(clip.id for clip in split.clips if clip.id not in split.truth["queries"])
    queries = [clip.id for clip in split.clips if clip.id in split.truth["queries"]]
    _match(queries, documents, predictions)
    sought = {query: split.truth["queries"][query] for query in queries}
    targets = {query: np.isin(documents, sought[query].found_in) for query in queries}
    ids = tuple(query for query in queries if targets[query].any() or sought[query].held_elsewhere)
    if not ids:
        raise BenchError(
            f"none of {len(queries)} queries is said in any of {len(documents)} documents", "use more data"
        )
    arrays = {
        "score": np.array([[predictions[query].get(name, MISSING) for name in documents] for query in ids], np.float64),
        "target": np.array([targets[query] for query in ids]),
        "elsewhere": np.array([[sought[query].held_elsewhere, sought[query].not_held_elsewhere] for query in ids]),
        "share": np.full(len(ids), split.truth["share"], np.float64),
    }
    return Rows(ids, tuple((query,) for query in ids), arrays)


def mtwv(rows: Rows, weights: Array) -> float:
    """The greatest term-weighted value over one threshold for all queries; NaN where all weights are zero.

    TWV = 1 - mean over queries of (part of the query's documents that was missed + BETA * part of the others that was
    reported). A pair is reported if its score reaches the threshold. Reporting nothing is worth 0: the result is
    never less. Queries that are said nowhere do not count; those that nobody searched for count as missed, in every
    resample as often.

    >>> arrays = {"score": np.array([[3.0, 1.0, 2.0]]), "target": np.array([[True, True, False]])}
    >>> arrays |= {"elsewhere": np.zeros((1, 2)), "share": np.ones(1)}
    >>> mtwv(Rows(("q",), (("q",),), arrays), np.ones(1))
    0.5
    """
    total = weights.sum()
    if not total:
        return float("nan")
    thresholds, values = _curves(rows)
    share = float(rows.arrays["share"][0])
    unsearched = (1 - share) * (1 - BETA) * (thresholds <= MISSING)
    best = (share * (weights @ values) / total + unsearched).max()
    return min(1.0, max(0.0, float(best)))  # rounding may end above 1


MTWV = Metric("mtwv", unit="", better="higher", best=1.0, bounds=(0.0, 1.0), value=mtwv)


# ---- one query's value as a function of the threshold ----------------------------------------------------------------

_Curves = tuple[Array, Array]
_last: list[tuple[list[weakref.ref[np.ndarray[Any, Any]]], _Curves]] = []


def _curves(rows: Rows) -> _Curves:
    """Thresholds, and the term-weighted value of every query at each of them, [query, threshold].

    Only scores of targets can be best: any other threshold can be raised to the next one without losing a hit. The last
    result is kept while its rows live, for the thousand resamples that ask for the same ones.
    """
    arrays = [rows.arrays[name] for name in ("score", "target", "elsewhere")]
    if not _last or any(kept() is not asked for kept, asked in zip(_last[0][0], arrays, strict=True)):
        _last[:] = [([weakref.ref(array) for array in arrays], _computed(*arrays))]
    return _last[0][1]


def _computed(scores: Array, targets: np.ndarray[Any, Any], elsewhere: np.ndarray[Any, Any]) -> _Curves:
    thresholds = np.unique(np.append(scores[targets], MISSING))
    below = thresholds <= MISSING
    values = []
    for score, target, (held, not_held) in zip(scores, targets, elsewhere, strict=True):
        hits = _reaching(score[target], thresholds) + held * below
        alarms = _reaching(score[~target], thresholds) + not_held * below
        values.append(hits / (target.sum() + held) - BETA * alarms / max(1, (~target).sum() + not_held))
    return thresholds, np.array(values)


def _reaching(scores: Array, thresholds: Array) -> Array:
    """How many scores reach each threshold."""
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds), np.float64)


def _match(queries: list[str], documents: list[str], predictions: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse predictions that leave out a query of the split, or name a clip that it does not have."""
    missing, known = [query for query in queries if query not in predictions], set(documents)
    extra = sorted(set(predictions).difference(queries))
    extra += sorted({name for scores in predictions.values() for name in scores}.difference(known))
    if missing or extra:
        raise BenchError(
            f"predictions do not fit the split: {len(missing)} queries have none, {len(extra)} names are not in it",
            f"for example {', '.join([*missing[:3], *extra[:3]])}",
            "give every query of the split scores by document, under the ids that `bench clips` shows",
        )
