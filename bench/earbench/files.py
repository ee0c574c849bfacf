"""Files that are either whole or not there, and digests of plain data."""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from earbench.errors import BenchError


def digest_of(value: object) -> str:
    """Sixteen hex digits that stand for plain data: equal data, equal digits.

    >>> digest_of({"b": 1, "a": [1.5, None]}) == digest_of({"a": [1.5, None], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def checksum(path: Path) -> str:
    """The blake2b checksum of a file's bytes, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_text(path: Path, text: str) -> None:
    write(path, lambda temporary: temporary.write_text(text, "utf-8"))


def write(path: Path, fill: Callable[[Path], Any]) -> None:
    """Let `fill` write a temporary file, then sync it and rename it to `path`; a failure leaves nothing behind."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            fill(temporary)
            sync(temporary)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once the bytes of `path` are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Refuse to work in `folder` where another process is at it; `doing` says what with."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BenchError(f"another process is {doing}", "wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def check_writable(folder: Path, purpose: str) -> None:
    """Fail now, not after an hour's work, if `folder` cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchError(
            f"cannot write {purpose} to {folder}: {error.strerror or error}",
            "choose another folder with --results or --cache, or in bench.toml",
        ) from None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the disk says into what the user can do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else _errno(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise BenchError(
                f"the disk is full: could not write {path.name} in {path.parent}",
                "nothing is lost: free some space (`bench cache prune --keep-gb 0`), then give the same command again",
            ) from None
        said = isinstance(error, OSError) and error.strerror
        raise BenchError(f"could not write {path}: {said or error}") from None


def _errno(error: SafetensorError) -> int | None:
    """safetensors wraps what the disk said; `os error N` inside is the number."""
    found = re.search(r"os error (\d+)", str(error))
    return int(found[1]) if found else None
