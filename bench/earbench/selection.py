"""Which records a board shows: of those that count, the best known and newest of every cell; and which of them can be
compared.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from earbench import state
from earbench.config import BoardPlan
from earbench.errors import BenchError
from earbench.record import EXCLUDING, Record

Key = tuple[str, str]
"""An encoder on a board: its name and the digest of its weights."""
Tested = tuple[int, str | None]
"""Task version and digest of the test list."""
Chosen = Mapping[Key, Mapping[str, Record]]
"""The record of every cell, by encoder and task."""
CLOSE = 0.02
"""How far apart, as a part of all that a metric can be, two machines may score one plan whatever its interval."""


def chosen(plan: BoardPlan, records: Iterable[Record]) -> Chosen:
    """The record of every cell: of the task version that most encoders have, what is known best, then the newest."""
    fitting = [record for record in records if _fits(record, plan)]
    check_repeats(sorted(fitting, key=newest_last))
    shown = {task: _common_version([record for record in fitting if record.task == task]) for task in plan.tasks}
    found: dict[Key, dict[str, Record]] = {}
    for record in sorted(fitting, key=lambda one: (one.facts["task"]["version"] == shown[one.task], *_best_last(one))):
        found.setdefault(_key(record), {})[record.task] = record
    return _agreeing(dict(sorted(found.items())), shown)


def common_list(task: str, cells: Chosen) -> Tested | None:
    """The list of the commonest version that most encoders were tested on, whose records are ranked."""
    records = [found[task] for found in cells.values() if task in found]
    counts, version = Counter(map(list_of, records)), _common_version(records)
    return max(counts, key=lambda one: (one[0] == version, counts[one], str(one[1])), default=None)


def countable(record: Record) -> bool:
    """Whether nothing keeps the record off the boards of its task's own layers."""
    return not any(excludes(name) for name in deviation_names(record))


def deviation_names(record: Record) -> list[str]:
    return [deviation.split(":")[0] for deviation in record.facts["deviations"]]


def excludes(name: str) -> bool:
    """Whether a deviation keeps a record off the boards; the others are footnotes."""
    return name in EXCLUDING or name.startswith("layers-")


def newest_last(record: Record) -> tuple[Any, ...]:
    """Oldest first: task version, then time of the run, then number."""
    when = datetime.fromisoformat(record.facts["provenance"]["when"])
    return (record.facts["task"]["version"], when, record.number)


def list_of(record: Record) -> Tested:
    """What the record was tested on: records of one task can be compared where it is the same."""
    return record.facts["task"]["version"], record.facts["task"].get("tested")


def why_empty(records: Sequence[Record]) -> str:
    """What to tell somebody whose boards are all empty."""
    if not records:
        return "no records yet: `bench run` makes them"
    reasons = Counter(name for record in records for name in deviation_names(record) if excludes(name))
    said = ", ".join(f"{name} ({count})" for name, count in reasons.items())
    return f"{len(records)} records, none on a board" + (f": {said}" if said else "")


def _fits(record: Record, plan: BoardPlan) -> bool:
    task, layers = record.facts["task"], record.facts["layers"].get("choice")
    if record.task not in plan.tasks or task["demo"] != (plan.corpus == "demo"):
        return False
    if not plan.layers:
        return countable(record)
    return layers == plan.layers and not any(name in EXCLUDING for name in deviation_names(record))


def check_repeats(records: Iterable[Record]) -> None:
    """Two records of one plan that differ under equal versions and device point at a fault, and so do two of different
    machines that differ by more than machines do; the board says so.
    """
    seen: dict[str, list[Record]] = {}
    for record in records:
        others = seen.setdefault(record.facts["plan"]["id"], [])
        for other in others:
            _check_repeat(other, record)
        others.append(record)


def _check_repeat(one: Record, other: Record) -> None:
    alike = _machine(one) == _machine(other)
    for name in (name for name in one.scores if name in other.scores):
        first, second = one.scores[name], other.scores[name]
        if first["value"] == second["value"] or (not alike and _within(first, second)):
            continue
        why = (
            "same versions, same device" if alike else "other versions or device, but further apart than these explain"
        )
        raise BenchError(
            f"two records of one plan differ: {one.path.name} and {other.path.name}",
            f"{name} is {first['value']} and {second['value']}",
            f"{why}: one of them was changed, or something is not deterministic",
        )


def _machine(record: Record) -> list[Any]:
    return [record.facts["provenance"][key] for key in ("versions", "device", "device_name", "threads")]


def _within(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two scores of one plan are as close as those of two machines: one within the interval of the other, or
    both within a small part of what the metric can be (where it has no end, of the score).
    """
    values = one["value"], other["value"]
    if None in values:
        return False
    pairs = zip((one, other), reversed(values), strict=True)
    if any(score["low"] is not None and score["low"] <= value <= score["high"] for score, value in pairs):
        return True
    lowest, highest = one.get("bounds", (None, None))
    whole = max(map(abs, values)) if lowest is None or highest is None else highest - lowest
    return bool(abs(values[0] - values[1]) <= CLOSE * whole)


def _key(record: Record) -> Key:
    return record.upstream, str(record.facts["upstream"]["digest"])


def _best_last(record: Record) -> tuple[Any, ...]:
    """The least looked into first, by the state of the first score, then the oldest."""
    return state.STATES.index(state.of(record, [next(iter(record.scores))])), *newest_last(record)


def _common_version(records: Sequence[Record]) -> int | None:
    """The version of a task that most encoders have, of equally many the latest; None without records.

    One record of a version that nobody else has takes over no column.
    """
    counts = Counter(version for _, version in {(_key(one), one.facts["task"]["version"]) for one in records})
    return max(counts, key=lambda version: (counts[version], version), default=None)


def _agreeing(cells: Chosen, shown: Mapping[str, int | None]) -> Chosen:
    """Cells without scores whose unit or direction is not that of their column: most encoders' of the shown version."""
    found: dict[Key, dict[str, Record]] = {key: {} for key in cells}
    for task, version in shown.items():
        records = {key: of[task] for key, of in cells.items() if task in of}
        meant = _meanings([one for one in records.values() if one.facts["task"]["version"] == version])
        for key, record in records.items():
            kept = {
                name: score
                for name, score in record.scores.items()
                if meant.get(name, _meaning(score)) == _meaning(score)
            }
            if kept:
                found[key][task] = _only(record, kept)
    return {key: of for key, of in found.items() if of}


def _meanings(records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    counts: dict[str, Counter[tuple[str, str]]] = {}
    for record in records:
        for name, score in record.scores.items():
            counts.setdefault(name, Counter())[_meaning(score)] += 1
    return {name: of.most_common(1)[0][0] for name, of in counts.items()}


def _meaning(score: Mapping[str, Any]) -> tuple[str, str]:
    return score["unit"], score["better"]


def _only(record: Record, scores: Mapping[str, Any]) -> Record:
    """The record with these scores; that others were left out is a footnote."""
    if left := [name for name in record.scores if name not in scores]:
        said = f"other-unit: {', '.join(left)} of {record.upstream} has another unit or direction, and is not shown"
        return replace(
            record, facts={**record.facts, "scores": scores, "deviations": [*record.facts["deviations"], said]}
        )
    return record
