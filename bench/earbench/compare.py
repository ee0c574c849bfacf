"""Is one encoder really better than another? Paired tests on the replicates of stored records. Nothing loads torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from earbench.errors import RequestError
from earbench.intervals import LEVEL, TOO_FEW
from earbench.record import Record
from earbench.report import countable, why_empty

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Comparison:
    """One task's first score of two encoders. `difference` is the first's minus the second's, `gain` the same turned so
    that above zero the first is better; `p` is None where there are too few groups to say anything.
    """

    task: str
    score: str
    unit: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    gain: float
    groups: int


def compare(first: str, second: str, records: Iterable[Record]) -> list[Comparison]:
    """A paired test per task on which both have a record that counts, in the order of their names; p values are
    corrected over these tasks (Holm).
    """
    kept = list(records)
    cells = [newest(name, kept) for name in (first, second)]
    shared = sorted(cells[0].keys() & cells[1].keys())
    if not shared:
        had = [
            f"{name} has: {', '.join(task for task, _ in cell)}"
            for name, cell in zip((first, second), cells, strict=True)
        ]
        raise RequestError(f"'{first}' and '{second}' have no task in common", *had)
    return holm([paired(cells[0][key], cells[1][key]) for key in shared])


def newest(name: str, records: Sequence[Record]) -> dict[tuple[str, bool], Record]:
    """The newest record that counts of every (task, on the demo corpus?) of the encoder called `name`."""
    found = [record for record in records if record.upstream == name]
    mine = [record for record in found if countable(record)]
    if found and not mine:
        raise RequestError(f"no record of '{name}' that could be compared: {why_empty(found)}")
    if not mine:
        known = sorted({record.upstream for record in records})
        raise RequestError(f"no record of '{name}'", f"there is: {', '.join(known) or 'none'}")
    digests = {record.facts["upstream"]["digest"] for record in mine}
    if len(digests) > 1:
        raise RequestError(f"'{name}' stands for {len(digests)} different encoders: {', '.join(sorted(digests))}")
    mine.sort(key=lambda record: (record.facts["task"]["version"], record.facts["provenance"]["when"], record.number))
    return {(record.task, record.facts["task"]["demo"]): record for record in mine}


def paired(one: Record, other: Record) -> Comparison:
    """Student's t test of the difference, whose error is that of its replicates: resample k is the same in both.

    Few groups make the bootstrap's error too small by the square root of (n - 1) / n, which is put right, and the test
    has n - 1 degrees of freedom. Several seeds add their own variance.
    """
    if one.facts["task"]["tested"] != other.facts["task"]["tested"]:
        raise RequestError(
            f"{one.upstream} and {other.upstream} were tested on different lists of '{one.task}'",
            f"{one.path.name} and {other.path.name}: run one of them again",
        )
    name, score = next(iter(one.scores.items()))
    if any(record.scores[name]["value"] is None for record in (one, other)):
        raise RequestError(f"'{one.task}' has no value of {name} in {one.path.name} or {other.path.name}")
    ours, theirs = (float(record.scores[name]["value"]) for record in (one, other))
    difference, groups = ours - theirs, int(score["groups"])
    error = np.sqrt(_variance(one, other, name, groups) + sum(_between_seeds(record, name) for record in (one, other)))
    low = high = p = None
    if groups >= TOO_FEW and np.isfinite(error):
        half = stats.t.ppf((1 + LEVEL) / 2, groups - 1) * error
        low, high = float(difference - half), float(difference + half)
        p = float(2 * stats.t.sf(abs(difference) / error, groups - 1)) if error else float(difference == 0)
    gain = difference if score["better"] == "higher" else -difference
    return Comparison(one.task, name, score["unit"], ours, theirs, difference, low, high, p, gain, groups)


def _variance(one: Record, other: Record, name: str, groups: int) -> float:
    differences: Array = one.replicates()[name].mean(0) - other.replicates()[name].mean(0)
    found = differences[np.isfinite(differences)]
    return float(found.var(ddof=1)) * groups / max(1, groups - 1) if len(found) > 1 else float("nan")


def _between_seeds(record: Record, name: str) -> float:
    values = [float(np.mean(folds)) for folds in record.scores[name]["per_seed"]]
    return float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0


def holm(found: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with p values that hold for all of them together (Holm 1979)."""
    tested = sorted((one.p, index) for index, one in enumerate(found) if one.p is not None)
    corrected, floor = list(found), 0.0
    for rank, (p, index) in enumerate(tested):
        floor = max(floor, min(1.0, (len(tested) - rank) * p))
        corrected[index] = replace(found[index], p=floor)
    return corrected


def rows(found: Sequence[Comparison], first: str, second: str) -> list[dict[str, Any]]:
    """Comparisons as a table shows them."""
    return [
        {
            "task": one.task,
            "score": one.score,
            first: f"{one.first:.{_digits(one)}f}",
            second: f"{one.second:.{_digits(one)}f}",
            "difference [95 %]": _difference(one),
            "p (Holm)": "-" if one.p is None else f"{one.p:.3f}" if one.p >= 0.001 else "< 0.001",
            "verdict": verdict(one, first, second),
        }
        for one in found
    ]


def verdict(one: Comparison, first: str, second: str) -> str:
    """Who is better, if the test says so."""
    if one.p is None:
        return f"too few groups ({one.groups}) to tell"
    if one.p > 1 - LEVEL:
        return "not separated"
    return f"{first if one.gain > 0 else second} is better"


def _difference(one: Comparison) -> str:
    digits = _digits(one)
    interval = "" if one.low is None else f" [{one.low:+.{digits}f}, {one.high:+.{digits}f}]"
    return f"{one.difference:+.{digits}f}{interval}"


def _digits(one: Comparison) -> int:
    return 2 if one.unit == "%" else 4
