"""A folder of audio with one sub-folder per class, or with train/, valid/ and test/ above the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earbench.contract import Clip, Labels
from earbench.kit.own_audio import SHOWN, SPLITS, Labelled, refuse

COMPRESSED = (".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2")
READ = frozenset(
    (*COMPRESSED, ".wav", ".wave", ".w64", ".rf64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph")
)
"""Endings of what soundfile decodes."""
UNREAD = frozenset((".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka", ".amr", ".3gp", ".ape", ".wv", ".ac3"))
"""Endings of audio that it does not."""


def read(root: Path) -> Labelled:
    """Every audio file at any depth below a class folder; its class is that folder, its group the file itself.

    Hidden files and folders are left alone, and so are files that are no audio by their ending, which the notes name.
    Everything else that does not fit (audio outside a class, a class without audio, audio that cannot be decoded by
    its ending) is one error.
    """
    problems: list[str] = []
    passed: list[str] = []
    found: list[tuple[str | None, Clip]] = []
    for split, home in _homes(root, problems):
        loose = _audio([path for path in _listed(home) if path.is_file()], root, passed, problems)
        problems += [f"{path.relative_to(root).as_posix()}: audio outside a class folder" for path in loose]
        for folder in _folders(home):
            paths = list(_audio(_below(folder), root, passed, problems))
            found += [(split, _clip(path, root, folder.name)) for path in paths]
            if not paths:
                problems.append(f"{folder.relative_to(root).as_posix()}/: a class without audio")
    found.sort(key=lambda pair: pair[1].id)
    real: dict[Path, str] = {}
    for _, clip in found:
        if (first := real.setdefault(clip.audio.resolve(), clip.id)) != clip.id:
            problems.append(f"{clip.id}: the same file as {first}, by a link")
    labels = Labels(sorted({clip.label for _, clip in found}))
    if len(labels) < 2:
        problems.append(f"{len(labels)} class folder{'s' * (len(labels) != 1)} with audio: at least two are needed")
    refuse(str(root), problems, "expected: CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE (valid/ may be there)")
    splits = {clip.id: split for split, clip in found if split}
    notes = {"read-as": f"one of {len(labels)} classes per clip, by folder", **_passed_over(passed)}
    return Labelled(root.name, "classes", labels, tuple(clip for _, clip in found), splits, notes)


def _homes(root: Path, problems: list[str]) -> list[tuple[str | None, Path]]:
    """The folders that hold class folders, each with its split: the root, or its folders called like splits."""
    folders = _folders(root)
    named = {SPLITS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLITS}
    if not {"train", "test"} <= named:
        return [(None, root)]
    others = [folder.name for folder in folders if folder.name.lower() not in SPLITS]
    problems += [f"{name}/: not a split, beside folders that are ({', '.join(SPLITS)})" for name in others]
    loose = _audio([path for path in _listed(root) if path.is_file()], root, [], problems)
    problems += [f"{path.name}: audio outside a split" for path in loose]
    return [(SPLITS[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLITS]


def _clip(path: Path, root: Path, label: str) -> Clip:
    name = path.relative_to(root).as_posix()
    return Clip(name, path, label, group=name)


def _audio(paths: list[Path], root: Path, passed: list[str], problems: list[str]) -> Iterator[Path]:
    """The audio among `paths`, by ending; other files are named in `passed`, audio of another kind in `problems`."""
    for path in paths:
        ending, name = path.suffix.lower(), path.relative_to(root).as_posix()
        if ending in READ:
            yield path
        elif ending in UNREAD:
            problems.append(f"{name}: {ending} cannot be decoded here; convert it to FLAC")
        else:
            passed.append(name)


def _passed_over(names: list[str]) -> dict[str, str]:
    if not names:
        return {}
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return {"passed-over": f"no audio by their ending: {', '.join(names[:SHOWN])}{more}"}


def _below(folder: Path) -> list[Path]:
    """Every file at any depth that is not hidden and not in a hidden folder."""
    found = []
    for path in _listed(folder):
        found += _below(path) if path.is_dir() else [path]
    return found


def _folders(folder: Path) -> list[Path]:
    return [path for path in _listed(folder) if path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
