"""`bench prepare --from-raw`: the corpus that a task is run on, made from the original one.

What is made lies in a hidden folder until it is whole, and is then renamed: there is all of a corpus or none of it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from earbench import files
from earbench.archives import size_text
from earbench.audio import fingerprints
from earbench.errors import BadAudio, BenchError, RequestError
from earbench.kit.hear_layout import RATES
from earbench.progress import Progress

if TYPE_CHECKING:  # it imports torch
    from earbench.contract import Draft, Task

BUILDING = ".building"
SHOWN = 100


def builders(tasks: Mapping[str, Task], able: Callable[[], Sequence[str]]) -> dict[str, Callable[[Path], Draft]]:
    """What reads the original corpus of each task; `able` names the tasks that have one, for the error."""
    found = {name: task.builder() for name, task in tasks.items()}
    if closed := [name for name, builder in found.items() if builder is None]:
        raise RequestError(
            f"the corpus of {', '.join(closed)} cannot be made from an original one",
            f"--from-raw takes: {', '.join(able())}",
        )
    return {name: builder for name, builder in found.items() if builder}


def chosen(text: str) -> list[int]:
    """The sample rates of a list such as "16000,48000", ascending.

    >>> chosen("48000,16000")
    [16000, 48000]
    """
    words = text.split(",")
    if not all(word.isdecimal() and int(word) in RATES for word in words):
        raise RequestError(f"--rates {text}: expected one or more of {', '.join(map(str, RATES))}, with commas between")
    return sorted({int(word) for word in words})


def build(drafts: Sequence[Draft], root: Path, rates: Sequence[int], cache: Path, progress: Progress) -> None:
    """Write every corpus that is not there yet into its folder in `root`, after all audio was found to be readable."""
    files.check_writable(root, "the prepared corpus")
    with files.alone(root, f"preparing corpora in {root}"):
        todo = [draft for draft in drafts if not _there(root / draft.folder, rates, progress)]
        _check_room(todo, root, rates, progress)
        _check_audio(todo, cache, progress)
        for draft in todo:
            _written(draft, root, rates, progress)


def _there(path: Path, rates: Sequence[int], progress: Progress) -> bool:
    """Whether the corpus is there already, at all the rates."""
    if not path.exists():
        return False
    if missing := [str(rate) for rate in rates if not (path / str(rate)).is_dir()]:
        raise RequestError(
            f"{path} is there already, without {', '.join(missing)} Hz",
            "move it away to have it made anew, or name another folder with --data",
        )
    _tell(progress, f"{path} is there already and stays as it is")
    return True


def _check_room(drafts: Sequence[Draft], root: Path, rates: Sequence[int], progress: Progress) -> None:
    need, free = sum(draft.bytes(rates) for draft in drafts), shutil.disk_usage(root).free
    for draft in drafts:
        size, at = size_text(draft.bytes(rates)), ", ".join(map(str, rates))
        _tell(progress, f"{draft.folder}: {len(draft):,} clips at {at} Hz, {size}")
    if need > free:
        raise BenchError(
            f"the disk has no room: {size_text(need)} to write into {root}, {size_text(free)} free",
            "choose another folder with --data, or fewer sample rates with --rates",
        )


def _check_audio(drafts: Sequence[Draft], cache: Path, progress: Progress) -> None:
    """Decode every file once; all that cannot be used is one error."""
    paths = sorted({path for draft in drafts for path in draft.sources()})
    with progress.bar("checking audio", len(paths), "files") as bar:
        facts = fingerprints(paths, cache, lambda: bar.advance(1))
    if bad := [f"{path}: {fact.problem}" for path, fact in facts.items() if fact.problem]:
        more = [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise BadAudio(
            f"{len(bad)} audio files cannot be used; nothing was written",
            *bad[:SHOWN],
            *more,
            "unpack the archive again into an empty folder",
        )


def _written(draft: Draft, root: Path, rates: Sequence[int], progress: Progress) -> None:
    place = root / f".{draft.folder}{BUILDING}"
    shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
    try:
        with files.explained(root / draft.folder), progress.bar(draft.folder, len(draft), "clips") as bar:
            draft.write(place, rates, lambda: bar.advance(1))
            place.rename(root / draft.folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tell(progress: Progress, line: str) -> None:
    if not progress.quiet:
        print(line, file=sys.stderr)
