"""A corpus that is still packed: archives are unpacked where they lie before a task looks for its files.

That is beside the archive, which stays; or in the cache, where nothing may be written there. Two runs do not collide:
one unpacks, the other waits and finds it done.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from earbench import files
from earbench.archives import HOME, NOTE, OPENED, noted, spread, write_note
from earbench.config import Settings
from earbench.contract import Task, UpstreamCard
from earbench.data import Place
from earbench.errors import BenchError
from earbench.progress import Progress
from earbench.store import locked
from earbench.unpack import Damaged


def unpacked(task: Task, card: UpstreamCard, place: Place, settings: Settings, progress: Progress) -> Place:
    """The place with nothing packed that the task needs; where the place is an archive, the folder that is in it."""
    if place.demo:
        return place
    if place.root.is_file():
        home = _home(place.root.parent, settings)
        with _advised(task, place.root):
            return replace(place, root=home / _common(_open(place.root, home, progress)))
    if not (wanted := task.packed(place.root, card)):
        return place
    home = _home(place.root, settings)
    for archive in wanted:
        with _advised(task, archive):
            _open(archive, archive.parent if home == place.root else home, progress)
    return replace(place, root=home)


@contextmanager
def _advised(task: Task, archive: Path) -> Iterator[None]:
    """What to do about an archive that is damaged where it lies: nothing here fetches it by itself."""
    try:
        yield
    except Damaged as error:
        corpus = task.card.corpus
        again = f"`bench prepare --task {task.card.name} --download` fetches it anew, or " if corpus.archives else ""
        page = f" from {corpus.page}" if corpus.page else ""
        raise Damaged(str(error), f"delete {archive}; {again}fetch it anew by hand{page}") from None


def _home(folder: Path, settings: Settings) -> Path:
    """The folder itself if it can be written to, else one in the cache."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return settings.cache / "unpacked" / files.digest_of(str(folder.resolve()))


def _open(archive: Path, home: Path, progress: Progress) -> list[str]:
    """The files of the archive, below `home`; it is unpacked if they are not there, or are those of another."""
    facts = archive.stat()
    aside = home / HOME
    files.check_writable(aside, f"what is in {archive.name}")
    key = f"{archive.name}-{files.digest_of([facts.st_size, facts.st_mtime_ns])}"
    with locked(aside / f"{archive.name}.lock", progress, f"another process is unpacking {archive.name}"):
        found = noted(aside / f"{key}{NOTE}", home)
        if found is not None:
            return found
        written = spread(archive, home, aside / f"{key}{OPENED}", progress)
        write_note(aside / f"{key}{NOTE}", written)
    if not progress.quiet:
        print(f"unpacked {archive.name}: {len(written):,} files in {home / _common(list(written))}", file=sys.stderr)
    return list(written)


def _common(names: list[str]) -> str:
    """The folder that all files of an archive lie in."""
    if not names:
        raise BenchError("the archive is empty")
    return os.path.commonpath([os.path.dirname(name) or "." for name in names])
