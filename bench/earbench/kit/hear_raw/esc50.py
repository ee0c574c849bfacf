"""ESC-50 as HEAR has it: fold n of the corpus is fold{n-1:02d}, every clip five seconds (HEAR sheet 2.3, number 9).

Accepted: the repository's archive, `ESC-50-master/` with `meta/esc50.csv` and `audio/`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from earbench.kit.hear_raw import folders
from earbench.kit.hear_raw.draft import Draft
from earbench.kit.hear_raw.samples import Source

TABLE = Path("meta", "esc50.csv")
FOLDS = 5
FACTS = {
    "task_name": "esc50",
    "version": "v2.0.0",
    "sample_duration": 5,
    "split_mode": "presplit_kfold",
    "nfolds": FOLDS,
    "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"],
    "default_mode": "full",
    "max_task_duration_by_fold": None,
    "mode": "full",
}


def draft(raw: Path) -> Draft:
    home = folders.one(raw, lambda path: (path / TABLE).is_file(), f"{TABLE} beside audio/", "ESC-50-master.zip")
    problems: list[str] = []
    rows = _rows(home, problems)
    paths = [home / "audio" / row["filename"] for row in rows]
    problems += folders.twice((path.stem, path) for path in paths)
    folders.stop(home, problems)
    clips: dict[str, dict[str, tuple[str, Source]]] = {f"fold{index:02d}": {} for index in range(FOLDS)}
    for row, path in zip(rows, paths, strict=True):
        clips[f"fold{int(row['fold']) - 1:02d}"][path.stem] = row["category"], Source(path)
    return Draft(FACTS, clips)


def _rows(home: Path, problems: list[str]) -> list[dict[str, str]]:
    """The rows of the table that name a fold, a category and a recording that is there."""
    table = csv.DictReader(folders.text(home / TABLE, problems).splitlines())
    if missing := {"filename", "fold", "category"} - set(table.fieldnames or ()):
        problems.append(f"{TABLE}: no column {', '.join(sorted(missing))}")
        return []
    found = []
    rows = list(table)
    for line, row in enumerate(rows, 2):
        if row["fold"] not in map(str, range(1, FOLDS + 1)) or not row["category"]:
            problems.append(f"{TABLE}, line {line}: a fold from 1 to {FOLDS} and a category are expected, got {row}")
        elif not (home / "audio" / row["filename"]).is_file():
            problems.append(f"audio/{row['filename']}: named by {TABLE}, and not there")
        else:
            found.append(row)
    if not rows:
        problems.append(f"{TABLE}: names no recordings")
    return found
