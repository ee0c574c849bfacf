"""What somebody sends as a results folder, held against the one that it is to become. It is looked at without trust:
which files are new, that nothing else is another, and every new record whole.
"""

import filecmp
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from earbench import declared, state
from earbench import record as records
from earbench.bundle import RECORD
from earbench.checks import Finding
from earbench.checks import record as check_record
from earbench.errors import RequestError
from earbench.escapes import one_line
from earbench.record import Record

BOARD = re.compile(r"boards/[A-Za-z0-9][A-Za-z0-9_.-]*\.(md|csv)")
"""Made anew from the records: `bench report --check` says whether they are these."""
BUNDLE = re.compile(r"submissions/[A-Za-z0-9][A-Za-z0-9_.-]*\.zip")
"""`bench verify` looks into them."""
SHOWN = 5


def run(results: Path, base: Path) -> list[Finding]:
    """What was found, first of the files, then of every new record. Where there is a link, nothing is read at all."""
    for folder in (results, base):
        if not folder.is_dir():
            raise RequestError(f"there is no results folder {folder}")
    if links := list(_links(results)):
        return [_finding("files only, no links", links)]
    there, known = _names(results), _names(base)
    new = sorted(there - known)
    return [
        _finding("what was there is unchanged", _changed(results, base, there, known)),
        _finding("what is new belongs here", filter(None, map(_misplaced, new))),
        _finding("new records are whole", _incomplete(new)),
        *(_looked_into(results, name) for name in new if RECORD.fullmatch(name) and name.endswith(".json")),
    ]


def _links(folder: Path) -> Iterator[str]:
    """Whatever is neither a file nor a folder of its own, the folder itself included."""
    if folder.is_symlink():
        yield f"{folder.name} is a link"
    for home, folders, files in os.walk(folder):
        for path in (Path(home, name) for name in [*folders, *files]):
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                yield f"{path.relative_to(folder)} is a link, or no file"


def _names(folder: Path) -> set[str]:
    """All files below a folder, hidden ones too."""
    return {Path(home, name).relative_to(folder).as_posix() for home, _, files in os.walk(folder) for name in files}


def _changed(results: Path, base: Path, there: set[str], known: set[str]) -> Iterator[str]:
    """Boards may change; nothing else that is known does."""
    for name in sorted(known):
        if BOARD.fullmatch(name):
            continue
        if name not in there:
            yield f"{name} is gone"
        elif not filecmp.cmp(results / name, base / name, shallow=False):
            yield f"{name} is another"


def _misplaced(name: str) -> str:
    """Why a new file does not belong here; empty if it does."""
    last = name.rpartition("/")[2]
    if last.endswith(state.ENDING):
        return f"{name}: how far a record was looked into is for those to say who keep it"
    if last == declared.FILE:
        return f"{name}: a declaration comes in a bundle"
    if any(kind.fullmatch(name) for kind in (RECORD, BUNDLE, BOARD)):
        return ""
    return f"{name} is no file that the program writes there"


def _incomplete(new: Iterable[str]) -> Iterator[str]:
    """Files of records without the others: they would be those of another record, or of none."""
    found: dict[str, set[str]] = {}
    for name in new:
        if match := RECORD.fullmatch(name):
            found.setdefault(name.removesuffix(match[1]), set()).add(match[1])
    for stem, endings in found.items():
        yield from (f"{stem}{ending} is not new with the rest" for ending in records.ENDINGS if ending not in endings)


def _looked_into(results: Path, name: str) -> Finding:
    """What the checks say of one record: what is wrong with it, else what could not be checked."""
    problems, opened = [], []
    try:
        record = records.read(results / name)
        found = check_record.run(record)
        problems += [f"{one.name}: {one.detail}" for one in found if not one.ok]
        opened += [f"{one.name}: {one.detail}" for one in found if one.detail.startswith("not checked")]
        if found[0].ok:
            problems += _foreign(record, name)
    except Exception as error:  # whatever a stranger wrote into a file
        problems.append(f"stopped with {type(error).__name__}: {error}")
    return _finding(name, problems) if problems else Finding(name, True, _listed(opened))


def _foreign(record: Record, name: str) -> Iterator[str]:
    """What no record has that a run wrote."""
    facts, upstream = record.facts, record.facts["upstream"]
    own = records.folder(Path(), facts) / f"{facts['plan']['id']}-{record.number}.json"
    if own.as_posix() != name:
        yield f"by what it says its place is {own.as_posix()}"
    if upstream.get("spec", upstream["name"]) != upstream["name"]:
        yield f"it is called {upstream['name']}, but would be run as {upstream['spec']}"
    rows = [[row["id"], row["groups"]] for row in record.rows()]
    yield from declared.unprintable([{**facts, "labels": None}, rows], "record")


def _finding(check: str, problems: Iterable[str]) -> Finding:
    found = list(problems)
    return Finding(one_line(check), not found, _listed(found))


def _listed(found: Sequence[str]) -> str:
    """The first of several sentences, as a terminal may show them."""
    more = [f"and {len(found) - SHOWN:,} more"] if len(found) > SHOWN else []
    return "; ".join([*(one_line(one)[:300] for one in found[:SHOWN]), *more])
