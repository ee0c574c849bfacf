"""Digests of the code that an encoder runs: of another text of it, nobody knows whether it is the same encoder."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from earbench.kit.weights import file_digest


def package_digest(name: str) -> str:
    """Over all Python files of the package that the imported module `name` belongs to, or over its one file.

    What these import from elsewhere is not in it.
    """
    package = sys.modules[name.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    files = [(path.relative_to(folder), path) for folder in folders for path in folder.rglob("*.py")]
    if not files and package.__file__:
        files = [(Path(Path(package.__file__).name), Path(package.__file__))]
    return files_digest(files)


def files_digest(files: Iterable[tuple[Path, Path]]) -> str:
    """Over the names and contents of `files`, each given as the name that counts and where it lies."""
    lines = sorted(f"{name.as_posix()} {file_digest(path)}" for name, path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
