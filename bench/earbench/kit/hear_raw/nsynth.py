"""NSynth pitch as HEAR has it: the corpus' own splits, pitches 21 to 108, a draw of each (HEAR sheet 2.3, 2 and 3).

Accepted: the three "json/wav" archives of NSynth, `nsynth-train/`, `nsynth-valid/` and `nsynth-test/`, each with
`examples.json` and `audio/`, side by side or each in a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earbench.kit.hear_raw import folders, splits
from earbench.kit.hear_raw.draft import Draft
from earbench.kit.hear_raw.samples import Source

NOTES = "examples.json"
LOWEST, HIGHEST = 21, 108
SECONDS = 4.0
FACTS = {
    "task_name": "nsynth_pitch",
    "version": "v2.2.3",
    "split_mode": "trainvaltest",
    "sample_duration": SECONDS,
    "pitch_range_min": LOWEST,
    "pitch_range_max": HIGHEST,
    "evaluation": ["pitch_acc", "chroma_acc"],
    "default_mode": "5h",
}


def five_hours(raw: Path) -> Draft:
    return _draft(raw, 5)


def fifty_hours(raw: Path) -> Draft:
    return _draft(raw, 50)


def _draft(raw: Path, hours: int) -> Draft:
    homes = {split: _home(raw, f"nsynth-{split}") for split in splits.SHARES}
    problems: list[str] = []
    pitches = {split: _pitches(home, problems) for split, home in homes.items()}
    folders.stop(raw, problems)
    limits = splits.most(hours, SECONDS)
    clips = {
        split: {
            stem: (notes[stem], Source(homes[split] / "audio" / f"{stem}.wav"))
            for stem in splits.kept(notes, split, limits[split])
        }
        for split, notes in pitches.items()
    }
    return Draft({**FACTS, "max_task_duration_by_split": splits.longest(hours), "mode": f"{hours}h"}, clips)


def _home(raw: Path, name: str) -> Path:
    """The folder `name` of one split, in `raw` or in a folder of it."""
    place = folders.one(raw, lambda path: (path / name / NOTES).is_file(), f"{name}/{NOTES}", f"{name}.jsonwav.tar.gz")
    return place / name


def _pitches(home: Path, problems: list[str]) -> Mapping[str, int]:
    """The pitch of every note that is in range, by its name; each has a recording."""
    try:
        notes = json.loads(folders.text(home / NOTES, problems), object_hook=_short)
    except ValueError as error:
        problems.append(f"{home.name}/{NOTES}: {error}")
        return {}
    if not isinstance(notes, dict) or not all(isinstance(pitch, int) for pitch in notes.values()):
        problems.append(f"{home.name}/{NOTES}: an object of notes, each with a whole 'pitch', is expected")
        return {}
    found = {name: pitch for name, pitch in notes.items() if LOWEST <= pitch <= HIGHEST}
    if not found:
        problems.append(f"{home.name}/{NOTES}: no note with a pitch from {LOWEST} to {HIGHEST}")
    there = {path.stem for path in folders.waves(home / "audio")}
    problems += [
        f"{home.name}/audio/{name}.wav: named by {NOTES}, and not there" for name in sorted(found) if name not in there
    ]
    return found


def _short(found: dict[str, Any]) -> Any:
    """A note's pitch in place of the note: of 300,000 notes nothing else is needed."""
    return found.get("pitch", found)
