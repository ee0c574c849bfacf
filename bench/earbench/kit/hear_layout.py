"""Writes a task folder as HEAR's own tool lays it out (HEAR sheet 2); made corpora and toys are read like real ones.

Apart from the reader, so that writing needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Wave = np.ndarray[Any, np.dtype[np.float64]]
HOME = Path("hear-2021.0.6", "tasks")
"""Where the members of HEAR's archives lie."""
RATES = (16_000, 22_050, 32_000, 44_100, 48_000)
"""The sample rates in hertz that HEAR has."""
SCENE = {"embedding_type": "scene", "prediction_type": "multiclass"}
"""One label per clip."""


def write(
    path: Path, facts: Mapping[str, Any], labels: Sequence[Any], splits: Mapping[str, Iterable[tuple[str, Any, Wave]]]
) -> None:
    """The task folder `path`: each split's (file name, answer, samples at 16 kHz), the vocabulary and the metadata.

    An answer is one label, a list of labels (none is allowed), or a list of events `{"label", "start", "end"}` in
    milliseconds (sheet 2.2). Labels are written as they are, numbers too. `facts` are further metadata, such as the
    scores (`evaluation`), and say so where the task is not "scene" or not "multiclass".
    """
    answers: dict[str, dict[str, list[Any]]] = {split: {} for split in splits}
    for split, clips in splits.items():
        home = path / "16000" / split
        home.mkdir(parents=True)
        for file, answer, wave in clips:
            _save(home / file, wave)
            answers[split][file] = answer if isinstance(answer, list) else [answer]
    describe(path, {**SCENE, **facts}, labels, answers)


def describe(
    path: Path, facts: Mapping[str, Any], labels: Sequence[Any], answers: Mapping[str, Mapping[str, Sequence[Any]]]
) -> None:
    """All of the task folder `path` but its audio: each split's answers by file name, the vocabulary, the metadata.

    A file's answers are a list of labels, or of events. `facts` are all of the metadata but the names of the splits.
    """
    for split, found in answers.items():
        _write_json(path / f"{split}.json", dict(sorted(found.items())))
    rows = ["idx,label", *(f"{number},{label}" for number, label in enumerate(labels))]
    (path / "labelvocabulary.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    _write_json(path / "task_metadata.json", {"splits": list(answers), **facts})


def _save(path: Path, wave: Wave) -> None:
    """16-bit PCM, full scale 32767 on both sides."""
    from scipy.io import wavfile  # not at the top: `bench list` answers at once

    wavfile.write(path, 16_000, np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16))


def _write_json(path: Path, found: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")
