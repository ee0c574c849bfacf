"""What was found out about files before, remembered by path, size and time, so that no file is read whole twice."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from earbench import files
from earbench.errors import BenchError

REMEMBERED_TOGETHER = 1_000
TABLES = ("facts (path TEXT PRIMARY KEY, stamp TEXT, facts TEXT)", "durations (key TEXT PRIMARY KEY, seconds REAL)")


class Fact(Protocol):
    """What is known of one file; with a `problem` it is never remembered."""

    @property
    def problem(self) -> str | None: ...


F = TypeVar("F", bound=Fact)


@dataclass(frozen=True)
class Kind(Generic[F]):
    """How one kind of facts is found out, and how it is written down.

    `depends` is what the facts depend on besides the file; they are found out anew where it is another.
    """

    probe: Callable[[Path], F]
    write: Callable[[F], str]
    read: Callable[[str], F]
    unusable: Callable[[str], F]
    depends: str = ""


def facts_of(kind: Kind[F], paths: Iterable[Path], cache: Path, tick: Callable[[], None]) -> dict[Path, F]:
    """Facts of every file; only what is new or changed is read."""
    with opened(cache) as memory:
        known = {path: (stamp, facts) for path, stamp, facts in memory.execute("SELECT path, stamp, facts FROM facts")}
        with ThreadPoolExecutor() as pool:
            return _gather(kind, list(paths), known, memory, pool, tick)


@contextmanager
def opened(cache: Path) -> Iterator[sqlite3.Connection]:
    """The tables of what was read before; any number of processes may use them."""
    with files.explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
    path = cache / "fingerprints.sqlite"
    try:
        with closing(sqlite3.connect(path, timeout=60)) as memory:
            for table in TABLES:
                memory.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            yield memory
    except sqlite3.Error as error:
        hint = "free some space" if "full" in str(error) else "delete it; the files are then checked once more"
        raise BenchError(f"cannot use {path}: {error}", hint) from None


def _gather(
    kind: Kind[F],
    paths: list[Path],
    known: Mapping[str, tuple[str, str]],
    memory: sqlite3.Connection,
    pool: ThreadPoolExecutor,
    tick: Callable[[], None],
) -> dict[Path, F]:
    """Facts by path. They are written now and then: a lock held throughout would shut other processes out."""
    found: dict[Path, F] = {}
    fresh: list[tuple[str, str, str]] = []
    looked = pool.map(lambda path: _remembered(kind, path, known), paths)
    for path, (stamp, facts) in zip(paths, looked, strict=True):
        found[path] = facts
        tick()
        if facts.problem is None and known.get(str(path), ("",))[0] != stamp:
            fresh.append((str(path), stamp, kind.write(facts)))
        if len(fresh) == REMEMBERED_TOGETHER:
            _remember(fresh, memory)
            fresh = []
    _remember(fresh, memory)
    return found


def _remember(fresh: list[tuple[str, str, str]], memory: sqlite3.Connection) -> None:
    with memory:
        memory.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", fresh)


def _remembered(kind: Kind[F], path: Path, known: Mapping[str, tuple[str, str]]) -> tuple[str, F]:
    """The file's stamp and facts: from memory if the stamp still holds, else read."""
    try:
        state = path.stat()
    except OSError as error:
        return "", kind.unusable(error.strerror or str(error))
    stamp = f"{state.st_size} {state.st_mtime_ns} {kind.depends}".strip()
    old_stamp, old = known.get(str(path), ("", ""))
    return stamp, kind.read(old) if old_stamp == stamp else kind.probe(path)
