"""Whether the audio of a HEAR task folder is what the folder says of it (HEAR sheet 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earbench.contract import Clip, Fold
from earbench.errors import BadAudio
from earbench.kit.events import Event

LATE = 1.0
"""Seconds that an event may last longer than its clip. HEAR's own tool drops what starts after the end of a clip and
cuts what goes on, so that folders of its making need none; sed_eval scores an event as it is stated, and so do we.
"""


def check_rates(rates: Mapping[Path, int], wanted: int) -> None:
    """Refuse files (hertz by path) that are at another rate than the folder of audio at `wanted` hertz they lie in."""
    wrong = {path: rate for path, rate in rates.items() if rate != wanted}
    if wrong:
        first = min(wrong)
        raise BadAudio(
            f"{len(wrong):,} of {len(rates):,} audio files in {wanted}/ are not at {wanted} Hz; nothing was trained",
            f"the first: {first} is at {wrong[first]} Hz",
            _advice(set(wrong.values()), first.parents[1], len(wrong) == len(rates)),
        )


def _advice(found: set[int], home: Path, every: bool) -> str:
    if every and len(found) == 1:
        return f"all are at one rate: give the folder its name, {home.with_name(str(*found))}"
    return f"resample these to {home.name} Hz, or delete {home} and fetch or make it anew"


def check_events(folds: Sequence[Fold]) -> None:
    """Refuse events that start behind the end of their clip, or end more than `LATE` seconds behind it.

    What may stay is scored as it is stated; that also bounds the segments that are counted.
    """
    outside = {clip.id: (event, seconds) for fold in folds for clip, event, seconds in _outside(fold)}
    if outside:
        first, (event, seconds) = min(outside.items())
        raise BadAudio(
            f"{len(outside):,} clips have events outside them; nothing was trained",
            f"the first: {first} lasts {1000 * seconds:.0f} ms, and has {event.label!r} "
            f"from {1000 * event.start:.0f} to {1000 * event.stop:.0f} ms",
            f"events start before their clip ends, and end at most {1000 * LATE:.0f} ms later: mend the split's JSON",
        )


def _outside(fold: Fold) -> Iterator[tuple[Clip, Event, float]]:
    for split in fold.splits().values():
        for clip, seconds in zip(split.clips, split.seconds, strict=True):
            for event in clip.label:
                if event.start > seconds or event.stop > seconds + LATE:
                    yield clip, event, seconds
