"""Archives unpacked without trust: only folders and files, only below the folder asked for, only as much as is likely.

No part of an archive is written by the archive libraries themselves: names, kinds and sizes are checked here, and
contents copied into new files with the usual permissions. That refuses more than tarfile's `data` filter, which strips
leading slashes and lets links through that stay inside, and is there in every Python that we support.
"""

import gzip
import io
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from earbench import files
from earbench.errors import BenchError

RATIO, FLOOR = 20, 1 << 28
"""An archive may hold so many times its own size, and so many bytes whatever its size. Corpora of audio hold 1 to 3."""
MEMBERS = 1_000_000
BLOCK = 1 << 20
KINDS = (".tar.gz", ".tgz", ".zip")

BROKEN = (EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, NotImplementedError)
"""How the libraries say that an archive cannot be read."""

Member = tuple[str, int | None, Callable[[], IO[bytes] | None]]
"""Name, size in bytes (None: a folder), and what opens the content of a file."""


class Damaged(BenchError):
    """The archive is cut off or its bytes are not what they were."""


def unpack(archive: Path, folder: Path, name: str, advanced: Callable[[int], None]) -> dict[str, int]:
    """The files written below `folder`, which must not be there, and their sizes in bytes; all of them or none.

    `name` says by its ending what the archive is. `advanced` is called with numbers of bytes of the archive.
    """
    if not name.endswith(KINDS):
        raise BenchError(f"{name} is no archive that can be unpacked here", f"known: {', '.join(KINDS)}")
    members = _zip_members if name.endswith(".zip") else _tar_members
    try:
        with files.explained(folder), _sound(name):
            folder.mkdir(parents=True)
            with closing(members(archive, name, advanced)) as found:
                return _written(found, folder, name, _limit(archive))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def _sound(name: str) -> Iterator[None]:
    """Tell what the libraries say of an archive that cannot be read."""
    try:
        yield
    except BROKEN as error:
        raise Damaged(f"{name} is damaged: {error}") from None


def _written(members: Iterator[Member], folder: Path, name: str, limit: int) -> dict[str, int]:
    found: dict[str, int] = {}
    total = 0
    for number, (inner, size, content) in enumerate(members, 1):
        total += size or 0
        if total > limit or number > MEMBERS:
            raise _unsafe(name, f"it would fill more than {limit:,} bytes or {MEMBERS:,} entries")
        path = _inside(inner, name)
        target = folder / path
        if size is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise _unsafe(name, f"it holds '{inner}' twice")
        with content() or io.BytesIO() as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
        found[path.as_posix()] = size
    return found


def _inside(inner: str, name: str) -> PurePosixPath:
    """The member's path below the folder it is unpacked into."""
    path = PurePosixPath(inner)
    if not inner.isprintable():
        raise _unsafe(name, f"the name {inner!r} cannot be kept")
    if path.parts[:1] == (".downloads",):
        raise _unsafe(name, f"{inner!r} would lie among the downloads")
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(inner).drive or set(inner) & {"\\", "\0"}:
        raise _unsafe(name, f"the name {inner!r} leads out of its folder")
    return path


def _tar_members(archive: Path, name: str, advanced: Callable[[int], None]) -> Generator[Member, None, None]:
    """The stream is read to its very end, where gzip keeps its checksum."""
    with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        done = 0
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            for member in opened:
                if not (member.isdir() or member.isreg()) or member.issparse():
                    raise _unsafe(name, f"'{member.name}' is neither a file nor a folder, but a link or worse")
                yield member.name, None if member.isdir() else member.size, partial(opened.extractfile, member)
                advanced(raw.tell() - done)
                done = raw.tell()
        while stream.read(BLOCK):
            pass


def _zip_members(archive: Path, name: str, advanced: Callable[[int], None]) -> Generator[Member, None, None]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = member.external_attr >> 28  # Unix keeps the kind of file in the highest bits
            if kind not in (0, 4, 8):
                raise _unsafe(name, f"'{member.filename}' is neither a file nor a folder, but a link or worse")
            if member.flag_bits & 1:
                raise _unsafe(name, f"'{member.filename}' is encrypted")
            yield member.filename, None if member.is_dir() else member.file_size, partial(opened.open, member)
            advanced(member.compress_size)


def _limit(archive: Path) -> int:
    return max(FLOOR, RATIO * archive.stat().st_size)


def _unsafe(name: str, why: str) -> BenchError:
    return BenchError(f"{name} is not unpacked: {why}", "nothing of it was kept; ask its publisher")
