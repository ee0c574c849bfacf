"""Is one encoder really better than another? Paired tests on the replicates of stored records. Nothing loads torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from earbench.errors import RequestError
from earbench.intervals import LEVEL
from earbench.paired import contrasts, holm, part, samples
from earbench.record import Record
from earbench.report import digits
from earbench.selection import countable, list_of, newest_last, why_empty


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
    return corrected([paired(cells[0][key], cells[1][key]) for key in shared])


def newest(name: str, records: Sequence[Record]) -> dict[tuple[str, bool], Record]:
    """The newest record that counts of every (task, on the demo corpus?) of the encoder called `name`."""
    found = [record for record in records if name in _names(record)]
    mine = [record for record in found if countable(record)]
    if found and not mine:
        raise RequestError(f"no record of '{name}' that could be compared: {why_empty(found)}")
    if not mine:
        known = sorted({record.upstream for record in records})
        raise RequestError(f"no record of '{name}'", f"there is: {', '.join(known) or 'none'}")
    digests = {record.facts["upstream"]["digest"] for record in mine}
    if len(digests) > 1:
        asked = " or ".join(f"'{name}#{digest[:8]}'" for digest in sorted(digests))
        raise RequestError(
            f"'{name}' stands for {len(digests)} different encoders", f"ask for {asked}, or by their folder"
        )
    return {(record.task, record.facts["task"]["demo"]): record for record in sorted(mine, key=newest_last)}


def _names(record: Record) -> tuple[str, ...]:
    """What an encoder can be asked for by: its name, with the first digits of its digest too, and its folder's."""
    digest = record.facts["upstream"]["digest"]
    return (
        record.upstream,
        f"{record.upstream}#{digest[:8]}",
        f"{record.upstream}#{digest}",
        record.path.parent.parent.name,
    )


def paired(one: Record, other: Record) -> Comparison:
    """Student's t test of the difference of their first scores (`earbench.paired`)."""
    if list_of(one) != list_of(other):
        raise RequestError(
            f"{one.upstream} and {other.upstream} were tested on different lists of '{one.task}'",
            f"{one.path.name} and {other.path.name}: run one of them again",
        )
    name, score = next(iter(one.scores.items()))
    for record in (one, other):
        if name not in record.scores or record.scores[name]["value"] is None:
            raise RequestError(f"'{one.task}' has no value of {name} in {record.path.name}")
    found = samples([one, other], name)
    if found is None or not np.isfinite(found.replicates).any(axis=1).all():
        raise RequestError(f"no replicates of {name} beside {one.path.name} or {other.path.name}")
    test = contrasts([part(found)])
    ours, theirs = (float(record.scores[name]["value"]) for record in (one, other))
    difference, half, p = (float(values[0, 1]) for values in (test.difference, test.half_width(), test.p))
    known = np.isfinite(p)
    gain = difference if score["better"] == "higher" else -difference
    return Comparison(
        task=one.task,
        score=name,
        unit=score["unit"],
        first=ours,
        second=theirs,
        difference=difference,
        low=difference - half if known else None,
        high=difference + half if known else None,
        p=p if known else None,
        gain=gain,
        groups=found.groups,
    )


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons with p values that hold for all of them together."""
    p = holm(np.array([np.nan if one.p is None else one.p for one in found]))
    return [one if one.p is None else replace(one, p=float(value)) for one, value in zip(found, p, strict=True)]


def rows(found: Sequence[Comparison], first: str, second: str) -> list[dict[str, Any]]:
    """Comparisons as a table shows them."""
    return [
        {
            "task": one.task,
            "score": one.score,
            first: f"{one.first:.{digits(one.unit)}f}",
            second: f"{one.second:.{digits(one.unit)}f}",
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
    places = digits(one.unit)
    interval = "" if one.low is None else f" [{one.low:+.{places}f}, {one.high:+.{places}f}]"
    return f"{one.difference:+.{places}f}{interval}"
