"""The archives of a corpus: fetched, held against their checksums, and unpacked where its reader looks.

Everything on the way lies in `ROOT/.downloads`. What an archive unpacked to is noted there file by file, so that a file
that went missing later is noticed and the archive is fetched again.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from earbench import files
from earbench.download import download, partial
from earbench.errors import BenchError
from earbench.progress import Progress
from earbench.unpack import Damaged, unpack

if TYPE_CHECKING:  # they import torch
    from earbench.contract import Archive, Corpus

HOME = ".downloads"
PART, NOTE, OPENED = ".part", ".files", ".unpacking"


def fetch(corpus: Corpus, root: Path, progress: Progress) -> None:
    """Return once every archive of `corpus` is unpacked below `root`. What is there already is left as it is.

    A killed fetch goes on where it was. An archive appears below `root` when all of it is unpacked, and what lies there
    under the names of its files is replaced.
    """
    home = root / HOME
    files.check_writable(home, f"the archives of {corpus.title}")
    with files.alone(home, f"fetching into {root}"):
        missing = [archive for archive in corpus.archives if not _unpacked(archive, root)]
        _announce(corpus, missing, root, progress)
        for archive in missing:
            whole = _fetched(archive, home, progress)
            _opened(archive, whole, root, progress)


def standing(corpus: Corpus, root: Path | None) -> list[dict[str, Any]]:
    """What each archive of `corpus` is, and how far it is on the way to being unpacked below `root`."""
    return [
        {
            "name": _name(archive),
            "url": archive.url,
            "into": archive.into,
            "bytes": archive.bytes,
            "checksum": archive.checksum,
            "state": "not fetched" if root is None else _state(archive, root),
        }
        for archive in corpus.archives
    ]


def size_text(size: float) -> str:
    """A number of bytes for people.

    >>> size_text(156_863), size_text(6_387_309_499)
    ('0.2 MB', '6.4 GB')
    """
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _announce(corpus: Corpus, missing: list[Archive], root: Path, progress: Progress) -> None:
    """Say what is about to be fetched under which licence; stop if the disk has no room for it."""
    if not missing:
        return
    left = sum(max(0, (archive.bytes or 0) - _here(archive, root)) for archive in missing)
    free = shutil.disk_usage(root).free
    unknown = sum(archive.bytes is None for archive in missing)
    more = f", and {unknown} of unknown size" if unknown else ""
    _tell(progress, f"{corpus.title}: licence {corpus.licence}, see {corpus.page}")
    _tell(progress, f"to fetch: {size_text(left)}{more}, into {root}, where {size_text(free)} are free")
    if left > free:
        raise BenchError(
            f"the disk has no room: {size_text(left)} to fetch into {root}, {size_text(free)} free",
            "unpacked, they take that much again, or more: choose another folder with --data",
        )


def _tell(progress: Progress, line: str) -> None:
    if not progress.quiet:
        print(line, file=sys.stderr)


def _fetched(archive: Archive, home: Path, progress: Progress) -> Path:
    """The archive itself, whole and with the right checksum."""
    whole = home / _name(archive)
    part = home / f"{whole.name}{PART}"
    if not whole.is_file():
        total = archive.bytes or partial(part)[1]
        with progress.bar(f"fetching {whole.name}", total / 1e6 if total else None, "MB") as bar:
            download(archive.url, part, lambda count: bar.advance(count / 1e6))
        part.replace(whole)
    _verify(archive, whole, progress)  # whoever put it there
    return whole


def _verify(archive: Archive, part: Path, progress: Progress) -> None:
    if archive.checksum is None:
        _tell(progress, f"{_name(archive)}: unverified, no checksum of it is publicly known")
        return
    kind, _, digits = archive.checksum.partition(":")
    with progress.note(f"checking {_name(archive)}"), part.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != digits:
        part.unlink()
        raise BenchError(
            f"{_name(archive)} has the wrong checksum: {kind} {found}, not {digits}",
            "it was removed; give the same command again to fetch it anew",
        )
    _tell(progress, f"{_name(archive)}: {kind} as published")


def _opened(archive: Archive, whole: Path, root: Path, progress: Progress) -> None:
    """Unpack to its place, note what it was, and remove the archive."""
    try:
        found = spread(whole, root / archive.into, whole.with_name(f"{whole.name}{OPENED}"), progress)
    except Damaged as error:
        whole.unlink()
        raise Damaged(str(error), "it was removed; give the same command again to fetch it anew") from None
    write_note(_note(archive, root), {str(PurePosixPath(archive.into, name)): size for name, size in found.items()})
    whole.unlink()


def spread(whole: Path, target: Path, aside: Path, progress: Progress) -> dict[str, int]:
    """Unpack an archive into the folder `aside` and, when all of it is there, move everything below `target`.

    The files and their sizes come back; what lay there under their names is replaced.
    """
    shutil.rmtree(aside, ignore_errors=True)
    with progress.bar(f"unpacking {whole.name}", whole.stat().st_size / 1e6, "MB") as bar:
        found = unpack(whole, aside, whole.name, lambda count: bar.advance(count / 1e6))
    with files.explained(target):
        _move(aside, target)
        shutil.rmtree(aside, ignore_errors=True)
    return found


def write_note(note: Path, found: Mapping[str, int]) -> None:
    """What an archive unpacked to, file by file, with sizes in bytes."""
    files.write_text(note, "".join(f"{size}\t{name}\n" for name, size in found.items()))


def noted(note: Path, root: Path) -> list[str] | None:
    """The files that a note names, if it is there and all of them still are below `root`, by name and size."""
    if not note.is_file():
        return None
    lines = [line.partition("\t") for line in note.read_text("utf-8").splitlines()]
    return [name for _, _, name in lines] if all(_size(root / name) == int(size) for size, _, name in lines) else None


def _move(source: Path, target: Path) -> None:
    """Put `source` where `target` is: in one step what is not there yet, a folder that is there entry by entry."""
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _move(entry, target / entry.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _unpacked(archive: Archive, root: Path) -> bool:
    """Whether all that the archive once unpacked to is still there, by name and size."""
    return noted(_note(archive, root), root) is not None


def _state(archive: Archive, root: Path) -> str:
    if _unpacked(archive, root):
        return "unpacked"
    if (root / HOME / _name(archive)).is_file():
        return "fetched, not unpacked"
    return f"{size_text(here)} of it fetched" if (here := _here(archive, root)) else "not fetched"


def _here(archive: Archive, root: Path) -> int:
    """How many bytes of the archive file are here."""
    whole = root / HOME / _name(archive)
    return _size(whole) or _size(whole.with_name(f"{whole.name}{PART}")) or 0


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _note(archive: Archive, root: Path) -> Path:
    return root / HOME / f"{_name(archive)}{NOTE}"


def _name(archive: Archive) -> str:
    return PurePosixPath(urlsplit(archive.url).path).name
