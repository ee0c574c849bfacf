"""Which records a board shows: of those that count the newest of every cell; and which of them can be compared."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from earbench.config import BoardPlan
from earbench.errors import BenchError
from earbench.record import EXCLUDING, Record

Key = tuple[str, str]
"""An encoder on a board: its name and the digest of its weights."""
Tested = tuple[int, str | None]
"""Task version and digest of the test list."""
Chosen = Mapping[Key, Mapping[str, Record]]
"""The record of every cell, by encoder and task."""


def chosen(plan: BoardPlan, records: Iterable[Record]) -> Chosen:
    """The record of every cell: the newest task version before the newest record."""
    fitting = sorted((record for record in records if _fits(record, plan)), key=newest_last)
    check_repeats(fitting)
    found: dict[Key, dict[str, Record]] = {}
    for record in fitting:
        found.setdefault((record.upstream, record.facts["upstream"]["digest"]), {})[record.task] = record
    return dict(sorted(found.items()))


def common_list(task: str, cells: Chosen) -> Tested | None:
    """The newest version's list that most encoders were tested on, whose records are ranked."""
    counts = Counter(list_of(found[task]) for found in cells.values() if task in found)
    return max(counts, key=lambda one: (one[0], counts[one], str(one[1])), default=None)


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
    return (record.facts["task"]["version"], record.facts["provenance"]["when"], record.number)


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
    """Two records of one plan that differ under equal versions and device point at a fault; the board says so."""
    seen: dict[tuple[Any, ...], Record] = {}
    for record in records:
        provenance = record.facts["provenance"]
        same = (provenance[key] for key in ("versions", "device", "device_name", "threads"))
        key = (record.facts["plan"]["id"], *map(str, same))
        other = seen.setdefault(key, record)
        if any(
            record.scores[name]["value"] != other.scores[name]["value"] for name in {*record.scores} & {*other.scores}
        ):
            raise BenchError(
                f"two records of one plan differ: {other.path.name} and {record.path.name}",
                "same versions, same device: one of them was changed, or something is not deterministic",
            )
