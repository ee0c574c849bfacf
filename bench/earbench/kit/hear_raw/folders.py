"""Where an original corpus lies in the folder that the user names, and all that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from earbench.errors import MissingCorpus

SHOWN = 40


def one(raw: Path, fits: Callable[[Path], bool], what: str, archive: str) -> Path:
    """The folder `raw`, or the only folder directly in it, that `fits`.

    `what` says in words what fits, `archive` what is unpacked to it.
    """
    if not raw.is_dir():
        raise MissingCorpus(f"--from-raw {raw} is not a folder", f"unpack {archive} and name the folder it lies in")
    if fits(raw):
        return raw
    inside = sorted(path for path in raw.iterdir() if path.is_dir() and path.name[0] not in "._")
    found = [path for path in inside if fits(path)]
    if len(found) == 1:
        return found[0]
    raise MissingCorpus(
        f"{archive} is not found under {raw}: need {what}, in one folder, found {len(found)}",
        *(f"found {path}" for path in found),
        f"looked in {', '.join(map(str, [raw, *inside[:8]]))}{' and more' if len(inside) > 8 else ''}",
        "unpack the archive and name the folder it lies in",
    )


def waves(folder: Path) -> list[Path]:
    """The WAV files of one folder, sorted by name; hidden ones, which other systems leave behind, are passed over."""
    return sorted(path for path in folder.glob("*.wav") if path.name[0] != ".") if folder.is_dir() else []


def text(path: Path, problems: list[str]) -> str:
    """What a table or list says; nothing, and a problem, if it cannot be read."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        problems.append(f"{path}: {error.strerror if isinstance(error, OSError) else error}")
        return ""


def stop(home: Path, problems: Sequence[str]) -> None:
    """Refuse the corpus at `home` if anything is wrong with it."""
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise MissingCorpus(
            f"{len(problems)} things in {home} are not as published; nothing was written",
            *problems[:SHOWN],
            *more,
            "unpack the archive again into an empty folder",
        )


def twice(names: Iterable[tuple[str, Path]]) -> list[str]:
    """A problem for every clip whose name another one has already."""
    seen: dict[str, Path] = {}
    return [f"{path}: has the name of {seen[stem]}" for stem, path in names if seen.setdefault(stem, path) != path]
