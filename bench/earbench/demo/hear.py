"""HEAR 2021 in small: a prepared task folder for each kind of task that HEAR has, all under one root.

Scenes with one label (notes, strokes, languages), with several (tags), and events in two minutes of sound (office,
pieces); train, valid and test, and folds. Folder names, score names and their order, split modes and label types are
the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from earbench.demo import languages, notes, office, pieces, strokes, tags

CORNERS = (notes, strokes, tags, office, pieces, languages)
CENSUS: Mapping[str, Mapping[str, int]] = {task: counts for corner in CORNERS for task, counts in corner.CENSUS.items()}


def write(root: Path) -> None:
    """Write every task folder under `root`."""
    for corner in CORNERS:
        corner.write(root)
