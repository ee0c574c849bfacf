"""A whole site, written beside its place and then moved there."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from earbench import files
from earbench.boards import Board
from earbench.config import Settings
from earbench.errors import RequestError
from earbench.record import Record
from earbench.site import assets
from earbench.site.addresses import addresses

MOST = 500_000_000
"""Bytes of records, replicates and rows that a site holds at most (of records alone any number): hosts of pages take
about twice that.
"""
PARTS = {"index.html", "assets", "boards", "records", "tasks", "upstreams"}


def write(boards: Sequence[Board], records: Sequence[Record], settings: Settings, folder: Path) -> Path:
    """Write the site of `boards` and of all `records` (they may be brief) into `folder`; its first page.

    An earlier site there is replaced as a whole, and anything else is left alone with an error.
    """
    libraries = check(folder)
    from earbench.site.pages import pages  # needs what was looked for above

    with files.explained(folder), _moved_to(folder) as new:
        assets.write(libraries, new / "assets")
        at = addresses(boards, records, carried(records))
        for path, text in pages(boards, records, settings, at):
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_text(text, "utf-8")
        for record in records:
            for ending in at.endings:
                _copy(record.beside(ending), settings.results, new)
    return folder / "index.html"


def check(folder: Path) -> Mapping[str, Path]:
    """The folders of the libraries that a site takes; an error if one is missing or `folder` cannot be the site's."""
    libraries = assets.libraries()
    _check_place(folder)
    return libraries


def carried(records: Sequence[Record], most: int = MOST) -> tuple[str, ...]:
    """Which files of records the site brings along, by their endings: all, or without those that would take it over
    `most` bytes.
    """
    found, used = [], 0
    for ending in (".json", ".replicates.npz", ".rows.jsonl.gz"):
        used += sum(path.stat().st_size for record in records if (path := record.beside(ending)).is_file())
        if ending == ".json" or used <= most:
            found.append(ending)
    return tuple(found)


def _copy(file: Path, results: Path, new: Path) -> None:
    """Put a file of a record where it lies among the results, if there is one."""
    if file.is_file():
        copy = new / file.relative_to(results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RequestError(f"--html {folder} is a file", "give a folder")
    there = {path.name for path in folder.iterdir()}
    if there and (not there <= PARTS or "index.html" not in there):
        foreign = ", ".join(sorted(there - PARTS)[:3]) or "no index.html"
        raise RequestError(
            f"--html {folder} holds something that is no earlier site of ours: {foreign}",
            "the folder is replaced as a whole: give a new one, or an empty one",
        )


@contextmanager
def _moved_to(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` if all goes well, and goes away if not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
