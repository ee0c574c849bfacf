"""Where HEAR's prepared task folders lie below a root, and the archives that they are published as (HEAR sheet 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earbench.errors import MissingCorpus

METADATA = "task_metadata.json"
ARCHIVE = re.compile(r"hear(?:2021|-\d[\d.]*)-(?P<folder>.+)-(?P<rate>\d+)\.(?:tar\.gz|tgz)")
"""As published (`hear2021-<folder>-<rate>.tar.gz`), or as HEAR's own tool names it (`hear-<version>-<folder>-…`)."""
SHOWN = 12


@dataclass(frozen=True)
class Tree:
    """Task folders at any depth, and archives by the folder that is in them and the sample rate."""

    root: Path
    folders: tuple[Path, ...]
    archives: Mapping[str, Mapping[int, Path]]

    @classmethod
    def of(cls, root: Path) -> Tree:
        """What lies under `root`, looking neither into task folders nor into what is hidden."""
        folders: list[Path] = []
        archives: dict[str, dict[int, Path]] = {}
        for place, inside, files in os.walk(root):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            if METADATA in files:
                folders.append(Path(place))
                inside.clear()
            for match in filter(None, map(ARCHIVE.fullmatch, sorted(files))):
                archives.setdefault(match["folder"], {}).setdefault(int(match["rate"]), Path(place, match[0]))
        return cls(root, tuple(sorted(folders)), archives)

    def named(self, wish: str | None) -> str | None:
        """The folder, unpacked or not, that is called `wish`; else the only one whose name begins so (None: at all)."""
        names = sorted({*(path.name for path in self.folders), *self.archives})
        fitting = [name for name in names if name == wish] or [name for name in names if name.startswith(wish or "")]
        return fitting[0] if len(fitting) == 1 else None

    def folder(self, name: str | None, wish: str | None) -> Path:
        """The unpacked folder called `name`, which was found for `wish`."""
        found = [path for path in self.folders if path.name == name]
        if len(found) == 1:
            return found[0]
        what = f"the HEAR task folder '{wish}'" if wish else "one HEAR task folder"
        if found:
            raise MissingCorpus(
                f"{self.root} holds {len(found)} folders called {name}", *map(str, found), "--data names one of them"
            )
        if not self.folders:
            raise MissingCorpus(f"{what} is not under {self.root}: none of its folders holds {METADATA}")
        more = [f"and {len(self.folders) - SHOWN} more"] if len(self.folders) > SHOWN else []
        raise MissingCorpus(
            f"{what} is not under {self.root}, which holds {len(self.folders)}",
            *(f"found {path.name}" for path in self.folders[:SHOWN]),
            *more,
            "a folder that is not one of HEAR's nineteen tasks runs under its own name: --task hear:FOLDER",
        )

    def packed(self, name: str | None, wanted: int) -> Path | None:
        """The archive to unpack for an encoder at `wanted` hertz: none if what is there serves as well."""
        unpacked = {rate for path in self.folders if path.name == name for rate in rates(path)}
        archives = self.archives.get(name or "", {})
        best = nearest([*unpacked, *archives], wanted) if archives else None
        return None if best is None or best in unpacked else archives[best]


def rates(folder: Path) -> list[int]:
    """The sample rates in hertz that a task folder holds audio of."""
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.is_dir() and entry.name.isdecimal())


def nearest(rates: Sequence[int], wanted: int) -> int:
    """The rate to read: the wanted one, else the lowest above it (nothing is lost), else the highest.

    >>> nearest([16_000, 44_100, 48_000], 32_000), nearest([16_000], 44_100)
    (44100, 16000)
    """
    return min((rate for rate in rates if rate >= wanted), default=max(rates))
