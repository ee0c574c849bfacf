"""Where every page of the site lies, relative to its root."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from earbench.boards import Board
from earbench.record import Record, slug
from earbench.selection import Key

K = TypeVar("K")
Asked = tuple[str, bool]
"""A task by name, and whether it is asked of the demo corpus, which never shares a table with published corpora."""


@dataclass(frozen=True)
class Addresses:
    """The pages of boards by name, of tasks and of encoders; and which files of records lie in the site, by ending."""

    boards: Mapping[str, str]
    tasks: Mapping[Asked, str]
    upstreams: Mapping[Key, str]
    endings: tuple[str, ...]


def addresses(boards: Iterable[Board], records: Iterable[Record], endings: tuple[str, ...] = (".json",)) -> Addresses:
    """A page for every board, and for every task and encoder that has a record."""
    tasks, upstreams = set(), set()
    for record in records:
        tasks.add(asked(record))
        upstreams.add(key(record))
    return Addresses(
        _distinct("boards", {one.plan.name: one.plan.name for one in boards}),
        _distinct("tasks", {one: f"{one[0]}-demo" if one[1] else one[0] for one in sorted(tasks)}),
        _distinct("upstreams", {one: f"{one[0]}-{one[1][:8]}" for one in sorted(upstreams)}),
        endings,
    )


def key(record: Record) -> Key:
    """The encoder of a record, as boards tell encoders apart."""
    return record.upstream, str(record.facts["upstream"]["digest"])


def asked(record: Record) -> Asked:
    return record.task, bool(record.facts["task"]["demo"])


def _distinct(folder: str, wanted: Mapping[K, str]) -> dict[K, str]:
    """A file below `folder` for every key, named after what is wanted; no two alike, whatever a disk makes of case."""
    found: dict[K, str] = {}
    taken: set[str] = set()
    for one, name in wanted.items():
        stem, number = slug(name), 1
        while (path := f"{folder}/{stem}{f'_{number}' if number > 1 else ''}.html").casefold() in taken:
            number += 1
        taken.add(path.casefold())
        found[one] = path
    return found
