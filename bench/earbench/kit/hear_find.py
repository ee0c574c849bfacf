"""Where HEAR's prepared task folders lie below a root, and the archives that they are published as (HEAR sheet 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from earbench.errors import MissingCorpus
from earbench.kit.hear_layout import RATES

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
        """What lies under `root`, linked folders too, looking neither into task folders nor into what is hidden."""
        folders: list[Path] = []
        archives: dict[str, dict[int, Path]] = {}
        for place, files in _walk(root):
            if METADATA in files:
                folders.append(place)
            for match in filter(None, map(ARCHIVE.fullmatch, sorted(files))):
                archives.setdefault(match["folder"], {}).setdefault(int(match["rate"]), place / match[0])
        return cls(root, tuple(sorted(folders)), archives)

    def named(self, wish: str | None) -> str | None:
        """The folder, unpacked or not, that is called `wish`; else the only one whose name begins so (None: at all)."""
        fitting = self._fitting(wish)
        return fitting[0] if len(fitting) == 1 else None

    def _fitting(self, wish: str | None) -> list[str]:
        names = sorted({*(path.name for path in self.folders), *self.archives})
        return [name for name in names if name == wish] or [name for name in names if name.startswith(wish or "")]

    def folder(self, name: str | None, wish: str | None) -> Path:
        """The unpacked folder called `name`, which was found for `wish`."""
        found = [path for path in self.folders if path.name == name]
        if len(found) == 1:
            return found[0]
        what = f"the HEAR task folder '{wish}'" if wish else "one HEAR task folder"
        fitting = self._fitting(wish) if wish and name is None else []
        if fitting:
            raise MissingCorpus(
                f"'{wish}' may be any of {len(fitting)} HEAR task folders under {self.root}",
                *_shown(fitting),
                f"more of its name tells them apart: --task hear:{fitting[0]}",
            )
        if found:
            raise MissingCorpus(
                f"{self.root} holds {len(found)} folders called {name}", *map(str, found), "--data names one of them"
            )
        if not self.folders:
            raise MissingCorpus(f"{what} is not under {self.root}: none of its folders holds {METADATA}")
        raise MissingCorpus(
            f"{what} is not under {self.root}, which holds {len(self.folders)}",
            *_shown([path.name for path in self.folders]),
            "a folder that is not one of HEAR's nineteen tasks runs under its own name: --task hear:FOLDER",
        )

    def packed(self, name: str | None, wanted: int) -> Path | None:
        """The archive to unpack for an encoder at `wanted` hertz: none if what is there serves as well."""
        unpacked = {rate for path in self.folders if path.name == name for rate in rates(path)}
        archives = self.archives.get(name or "", {})
        best = nearest([*unpacked, *archives], wanted) if archives else None
        return None if best is None or best in unpacked else archives[best]


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `root` with the names of its files, links followed; a task folder under each of its names, any
    other folder once, so that links may lead in circles.
    """
    seen = set()
    for place, inside, files in os.walk(root, followlinks=True):
        name = os.path.basename(place) if METADATA in files else ""
        if (key := (os.path.realpath(place), name)) in seen:
            inside.clear()
            continue
        seen.add(key)
        inside[:] = [] if name else sorted(one for one in inside if not one.startswith("."))
        yield Path(place), files


def _shown(names: Sequence[str]) -> list[str]:
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [*(f"found {name}" for name in names[:SHOWN]), *more]


def rates(folder: Path) -> list[int]:
    """The sample rates in hertz, of those that HEAR has, that a task folder holds audio of; an empty folder holds none.

    Its entries are folders of splits.
    """
    return [rate for rate in RATES if (home := folder / str(rate)).is_dir() and any(map(_filled, home.iterdir()))]


def _filled(split: Path) -> bool:
    return split.is_dir() and any(split.iterdir())


def nearest(rates: Sequence[int], wanted: int) -> int:
    """The rate to read: the wanted one, else the lowest above it (nothing is lost), else the highest.

    >>> nearest([16_000, 44_100, 48_000], 32_000), nearest([16_000], 44_100)
    (44100, 16000)
    """
    return min((rate for rate in rates if rate >= wanted), default=max(rates))
