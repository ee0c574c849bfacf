"""Mridangam strokes as HEAR has them: five folds drawn by recording, 0.81 s each (HEAR sheet 2.3, numbers 16 and 17).

Accepted: version 1.5, `mridangam_stroke_1.5/` with WAV files at any depth whose names end in STROKE-TONIC-NUMBER:
`B/224030__akshaylaya__bheem-b-001.wav`.
"""

from __future__ import annotations

from pathlib import Path

from earbench.kit.hear_raw import folders, splits
from earbench.kit.hear_raw.draft import Draft
from earbench.kit.hear_raw.samples import Source

FOLDS = 5
ARCHIVE = "mridangam_stroke_1.5"
STROKES = ("bheem", "cha", "dheem", "dhin", "num", "ta", "tha", "tham", "thi", "thom")
TONICS = ("b", "c", "csh", "d", "dsh", "e")
FACTS = {
    "version": "v1.5",
    "split_mode": "new_split_kfold",
    "nfolds": FOLDS,
    "sample_duration": 0.81,
    "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"],
    "default_mode": "full",
    "max_task_duration_by_fold": None,
    "mode": "full",
}


def stroke(raw: Path) -> Draft:
    return _draft("mridangam_stroke", raw, 0)


def tonic(raw: Path) -> Draft:
    return _draft("mridangam_tonic", raw, 1)


def _draft(name: str, raw: Path, part: int) -> Draft:
    """The task whose label is this part of the names: 0 the stroke, 1 the tonic."""
    place = raw / ARCHIVE if (raw / ARCHIVE).is_dir() else raw
    home = folders.one(place, _holds, "recordings called …STROKE-TONIC-NUMBER.wav", f"{ARCHIVE}.zip")
    paths = [path for folder in (home, *sorted(home.rglob("*/"))) for path in folders.waves(folder)]
    parts = {path: said for path in paths if (said := _said(path)) is not None}
    problems = [f"{path}: its name does not end in STROKE-TONIC-NUMBER" for path in paths if path not in parts]
    problems += folders.twice((path.stem, path) for path in paths)
    folders.stop(home, problems)
    labels = {path.stem: said[part] for path, said in parts.items()}
    sources = {path.stem: Source(path) for path in parts}
    drawn = splits.folds(labels, FOLDS)
    clips = {fold: {stem: (labels[stem], sources[stem]) for stem in stems} for fold, stems in drawn.items()}
    return Draft({"task_name": name, **FACTS}, clips)


def _holds(path: Path) -> bool:
    return any(_said(found) for pattern in ("*.wav", "*/*.wav") for found in path.glob(pattern))


def _said(path: Path) -> tuple[str, str] | None:
    """Stroke and tonic, as the name of a recording has them."""
    words = path.name.rpartition("__")[2].split("-")
    if len(words) < 3 or words[-3] not in STROKES or words[-2] not in TONICS:
        return None
    return words[-3], words[-2]
