"""HEAR's prepared task folders: found at any depth, checked as a whole, read into clips and folds (HEAR sheet 2, 4)."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earbench.contract import Clip, Fold, Labels, Split
from earbench.errors import MissingCorpus, RequestError

METADATA, VOCABULARY = "task_metadata.json", "labelvocabulary.csv"
TRAIN_VALID_TEST, KFOLD = "trainvaltest", ("new_split_kfold", "presplit_kfold")
FACTS: Mapping[str, type] = {
    "embedding_type": str,
    "prediction_type": str,
    "split_mode": str,
    "splits": list,
    "evaluation": list,
}
"""What the evaluation needs of the metadata (sheet 2.1). Not `task_name`: a published folder carries a wrong one."""


@dataclass(frozen=True)
class TaskFolder:
    """One prepared task, read and checked.

    `answers[split][file]` are that file's labels as the vocabulary spells them; the folder writes some as numbers.
    `rate` names the folder of audio that is used, `wanted` is the encoder's own rate.
    """

    path: Path
    metadata: Mapping[str, Any]
    labels: Labels
    answers: Mapping[str, Mapping[str, tuple[str, ...]]]
    rate: int
    wanted: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores, the primary one first."""
        return tuple(self.metadata["evaluation"])

    def folds(self, group: Callable[[str], str]) -> list[Fold]:
        """Train, valid and test as named, or one fold per split: test i, valid i + 1, train the rest (sheet 4.5).

        Clips stand in the order of the reference's rows. `group` tells from a file's name what it is resampled with.
        """
        clips = self._clips(group)
        if self.metadata["split_mode"] == TRAIN_VALID_TEST:
            return [Fold(Split(clips["train"]), Split(clips["valid"]), Split(clips["test"]))]
        names = sorted(clips)
        found = []
        for test, valid in zip(names, [*names[1:], names[0]], strict=True):
            train = tuple(clip for name in names if name not in (test, valid) for clip in clips[name])
            found.append(Fold(Split(train), Split(clips[valid]), Split(clips[test]), test))
        return found

    def _clips(self, group: Callable[[str], str]) -> dict[str, tuple[Clip, ...]]:
        """Every split in the order of sheet 4.1: one generator of seed 0 shuffles the file lists in turn."""
        order, found = random.Random(0), {}
        for split in self.metadata["splits"]:
            files = list(self.answers[split])
            order.shuffle(files)
            found[split] = tuple(self._clip(split, file, group(file)) for file in files)
        return found

    def _clip(self, split: str, file: str, group: str) -> Clip:
        (label,) = self.answers[split][file]
        return Clip(f"{split}/{file}", self.path / str(self.rate) / split / file, label, group)


def find(root: Path, name: str) -> Path:
    """The task folder called `name` at any depth under `root`; if none has the name, the only one there is."""
    folders, archives = _walk(root)
    for fitting in ([path for path in folders if path.name == name], folders):
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise MissingCorpus(
                f"{root} holds {len(fitting)} HEAR task folders; which of them is '{name}'?",
                *(f"found {path}" for path in fitting[:12]),
                "name the folder itself with --data",
            )
    raise MissingCorpus(
        f"no HEAR task folder found under {root}: none of its folders holds {METADATA}",
        *(f"unpack it first: tar xzf {path} -C {root}" for path in archives[:3]),
    )


def read(path: Path, wanted: int, kind: tuple[str, str]) -> TaskFolder:
    """The task folder at `path` with audio for an encoder at `wanted` hertz; all that is wrong with it is one error.

    `kind` is the embedding and prediction type that the caller can evaluate, such as ("scene", "multiclass").
    """
    problems: list[str] = []
    metadata = _metadata(path, problems)
    _stop(path, problems)
    found = metadata["embedding_type"], metadata["prediction_type"]
    if found != kind:
        raise RequestError(f"this task reads {' '.join(kind)} folders, and {path.name} is {' '.join(found)}")
    labels = _labels(path, problems)
    answers = {split: _answers(path, split, labels, kind[1] == "multiclass", problems) for split in metadata["splits"]}
    rates = sorted(int(entry.name) for entry in path.iterdir() if entry.is_dir() and entry.name.isdecimal())
    if not rates:
        problems.append("no folder of audio: one per sample rate is expected, 16000/, 44100/, 48000/, …")
    _stop(path, problems)
    return TaskFolder(path, metadata, labels, answers, nearest(rates, wanted), wanted)


def nearest(rates: Sequence[int], wanted: int) -> int:
    """The rate to read: the wanted one, else the lowest above it (nothing is lost), else the highest.

    >>> nearest([16_000, 44_100, 48_000], 32_000), nearest([16_000], 44_100)
    (44100, 16000)
    """
    return min((rate for rate in rates if rate >= wanted), default=max(rates))


# ---- the files of a task folder --------------------------------------------------------------------------------------


def _walk(root: Path) -> tuple[list[Path], list[Path]]:
    """All task folders under `root`, without looking into them or into what is hidden, and the archives beside them."""
    folders, archives = [], []
    for place, inside, files in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".")]
        if METADATA in files:
            folders.append(Path(place))
            inside.clear()
        archives += [Path(place, file) for file in files if file.endswith((".tar.gz", ".tgz"))]
    return sorted(folders), sorted(archives)


def _stop(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise MissingCorpus(f"the HEAR task folder {path} cannot be read:", *problems[:20], *more)


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {error.strerror if isinstance(error, OSError) else error}")
        return {}
    if not isinstance(found, dict):
        problems.append(f"{path.name}: a JSON object is expected")
        return {}
    return found


def _metadata(path: Path, problems: list[str]) -> dict[str, Any]:
    found = _json(path / METADATA, problems)
    if problems:
        return {}
    problems += [
        f"{METADATA}: '{key}' should be a {kind.__name__}, found {found.get(key)!r}"
        for key, kind in FACTS.items()
        if not isinstance(found.get(key), kind) or not found[key]
    ]
    if not problems:
        problems += _split_problems(found["split_mode"], found["splits"])
    return found


def _split_problems(mode: str, splits: list[str]) -> list[str]:
    if mode == TRAIN_VALID_TEST and sorted(splits) != ["test", "train", "valid"]:
        return [f"{METADATA}: 'splits' should be train, valid and test, found {splits!r}"]
    if mode in KFOLD and len(set(splits)) < 3:
        return [f"{METADATA}: train, valid and test need at least three folds, found {splits!r}"]
    if mode not in (TRAIN_VALID_TEST, *KFOLD):
        return [f"{METADATA}: 'split_mode' is {mode!r}, not one of {', '.join((TRAIN_VALID_TEST, *KFOLD))}"]
    return []


def _labels(path: Path, problems: list[str]) -> Labels:
    try:
        with (path / VOCABULARY).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        problems.append(f"{VOCABULARY}: {error.strerror if isinstance(error, OSError) else error}")
        return Labels()
    labels = Labels(row.get("label") or "" for row in rows)
    if [row.get("idx") for row in rows] != [str(number) for number in range(len(rows))]:
        problems.append(f"{VOCABULARY}: 'idx' should count 0, 1, 2, …")
    if not labels or "" in labels or len(set(labels)) < len(labels):
        problems.append(f"{VOCABULARY}: 'label' should name at least one label, and none twice")
    return labels


def _answers(path: Path, split: str, labels: Labels, single: bool, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """The labels of every file of a split, in the order of its JSON."""
    known, found = set(labels), {}
    for file, given in _json(path / f"{split}.json", problems).items():
        where = f"{split}.json: {file}"
        if not isinstance(given, list) or (single and len(given) != 1):
            problems.append(
                f"{where}: {'a list of one label' if single else 'a list of labels'} expected, got {given!r}"
            )
            continue
        found[file] = tuple(map(str, given))
        problems += [
            f"{where}: the label {label!r} is not in {VOCABULARY}" for label in found[file] if label not in known
        ]
        if Path(file).name != file:
            problems.append(f"{where}: a file name is expected, not a path")
    return found
