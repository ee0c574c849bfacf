"""HEAR's prepared task folders: checked as a whole, read into clips and folds (HEAR sheet 2, 4)."""

from __future__ import annotations

import csv
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earbench.contract import Clip, Fold, Labels, Split
from earbench.errors import MissingCorpus
from earbench.kit.events import Event
from earbench.kit.hear_find import METADATA, nearest, rates
from earbench.kit.hear_layout import RATES

VOCABULARY = "labelvocabulary.csv"
TRAIN_VALID_TEST, KFOLD = "trainvaltest", ("new_split_kfold", "presplit_kfold")
FACTS: Mapping[str, type] = {
    "embedding_type": str,
    "prediction_type": str,
    "split_mode": str,
    "splits": list,
    "evaluation": list,
}
"""What the evaluation needs of the metadata (sheet 2.1). Not `task_name`: a published folder carries a wrong one."""
MULTICLASS, MULTILABEL, EVENTS = ("scene", "multiclass"), ("scene", "multilabel"), ("event", "multilabel")
"""What a task may ask, by its embedding and prediction type: one label, any labels, or which events when."""

Answer = str | tuple[str, ...] | tuple[Event, ...]
Reader = Callable[[Any], Answer | None]


@dataclass(frozen=True)
class TaskFolder:
    """One prepared task, read and checked.

    `answers[split][file]` is that file's label (multiclass), labels or events; labels are spelled as in the
    vocabulary, the folder writes some as numbers. `rate` names the folder of audio that is used, `wanted` is the
    encoder's own.
    """

    path: Path
    metadata: Mapping[str, Any]
    labels: Labels
    answers: Mapping[str, Mapping[str, Answer]]
    rate: int
    wanted: int

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def kind(self) -> tuple[str, str]:
        """MULTICLASS, MULTILABEL or EVENTS."""
        return self.metadata["embedding_type"], self.metadata["prediction_type"]

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
        audio = self.path / str(self.rate) / split / file
        return Clip(f"{split}/{file}", audio, self.answers[split][file], group)


def read(path: Path, wanted: int) -> TaskFolder:
    """The task folder at `path` with audio for an encoder at `wanted` hertz; all that is wrong with it is one error."""
    problems: list[str] = []
    metadata = _metadata(path, problems)
    _stop(path, problems)
    labels = _labels(path, problems)
    reader = READERS[metadata["embedding_type"], metadata["prediction_type"]]
    answers = {split: _answers(path, split, set(labels), reader, problems) for split in metadata["splits"]}
    rate = _rate(path, answers, wanted, problems)
    _stop(path, problems)
    return TaskFolder(path, metadata, labels, answers, rate, wanted)


# ---- the files of a task folder --------------------------------------------------------------------------------------


def _stop(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise MissingCorpus(f"the HEAR task folder {path} cannot be read:", *problems[:20], *more)


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError) as error:
        problems.append(f"{path.name}: {error.strerror if isinstance(error, OSError) else error}")
        return {}
    except RecursionError:
        problems.append(f"{path.name}: what it holds is nested too deeply")
        return {}
    if not isinstance(found, dict):
        problems.append(f"{path.name}: a JSON object is expected")
        return {}
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different: of two answers for one file, neither is the right one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice[:60]!r} is there twice in one object")
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
    problems += [
        f"{METADATA}: '{key}' should list names, found {str(one)[:60]}"
        for key in ("splits", "evaluation")
        if isinstance(found.get(key), list)
        for one in found[key]
        if not isinstance(one, str) or Path(one).name != one
    ]
    if not problems:
        problems += _kind_problems(found["embedding_type"], found["prediction_type"])
        problems += _split_problems(found["split_mode"], found["splits"])
    return found


def _kind_problems(*kind: str) -> list[str]:
    known = ", ".join(map(" ".join, READERS))
    return [] if kind in READERS else [f"{METADATA}: the task is {' '.join(kind)}, not one of {known}"]


def _split_problems(mode: str, splits: list[str]) -> list[str]:
    if mode == TRAIN_VALID_TEST and sorted(splits) != ["test", "train", "valid"]:
        return [f"{METADATA}: 'splits' should be train, valid and test, found {splits!r}"]
    if twice := sorted({split for split in splits if splits.count(split) > 1}):
        return [f"{METADATA}: 'splits' names {', '.join(map(repr, twice))} more than once"]
    if mode in KFOLD and len(splits) < 3:
        return [f"{METADATA}: train, valid and test need at least three folds, found {splits!r}"]
    if mode not in (TRAIN_VALID_TEST, *KFOLD):
        return [f"{METADATA}: 'split_mode' is {mode!r}, not one of {', '.join((TRAIN_VALID_TEST, *KFOLD))}"]
    return []


def _labels(path: Path, problems: list[str]) -> Labels:
    try:
        with (path / VOCABULARY).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        problems.append(f"{VOCABULARY}: {error.strerror if isinstance(error, OSError) else error}")
        return Labels()
    labels = Labels(row.get("label") or "" for row in rows)
    if [row.get("idx") for row in rows] != [str(number) for number in range(len(rows))]:
        problems.append(f"{VOCABULARY}: 'idx' should count 0, 1, 2, …")
    if not labels or "" in labels or len(set(labels)) < len(labels):
        problems.append(f"{VOCABULARY}: 'label' should name at least one label, and none twice")
    return labels


def _answers(path: Path, split: str, known: AbstractSet[str], reader: Reader, problems: list[str]) -> dict[str, Answer]:
    """What is said of every file of a split, in the order of its JSON."""
    found = {}
    for file, given in _json(path / f"{split}.json", problems).items():
        where = f"{split}.json: {file}"
        if Path(file).name != file:
            problems.append(f"{where}: a file name is expected, not a path")
        if (answer := reader(given)) is None:
            problems.append(f"{where}: {EXPECTED[reader]} expected, got {str(given)[:60]}")
            continue
        found[file] = answer
        names = [answer] if isinstance(answer, str) else [one if isinstance(one, str) else one.label for one in answer]
        problems += [
            f"{where}: the label {label[:60]!r} is not in {VOCABULARY}" for label in sorted({*names}.difference(known))
        ]
    return found


def _rate(path: Path, answers: Mapping[str, Mapping[str, Answer]], wanted: int, problems: list[str]) -> int:
    """The sample rate that is read for an encoder at `wanted` hertz; all audio of that rate has to be there."""
    if not (there := rates(path)):
        known = ", ".join(f"{rate}/" for rate in RATES)
        found = ", ".join(sorted(f"{entry.name}/" for entry in path.iterdir() if entry.is_dir())) or "none"
        problems.append(f"no folder of audio: {known} are expected, one or more and not empty, found {found}")
        return wanted
    rate = nearest(there, wanted)
    files = [Path(split, file) for split, said in answers.items() for file in said]
    if absent := _absent(path / str(rate), files):
        others = [f"{one}/" for one in there if one != rate]
        instead = f", or delete {path / str(rate)} so that {' or '.join(others)} is read" if others else ""
        problems.append(
            f"{rate}/: {len(absent):,} of {len(files):,} audio files are not there ({_few(absent)}); "
            f"fetch or make the folder anew{instead}"
        )
    return rate


def _few(files: Sequence[Path]) -> str:
    return ", ".join([*map(str, files[:3]), *(["…"] if len(files) > 3 else [])])


def _absent(home: Path, files: Sequence[Path]) -> list[Path]:
    splits = {file.parent.name for file in files}
    there = {split: {*os.listdir(home / split)} if (home / split).is_dir() else set() for split in splits}
    return [file for file in files if file.name not in there[file.parent.name]]


def _one_label(given: Any) -> str | None:
    return str(given[0]) if isinstance(given, list) and len(given) == 1 else None


def _any_labels(given: Any) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(map(str, given))) if isinstance(given, list) else None


def _events(given: Any) -> tuple[Event, ...] | None:
    """Milliseconds become seconds."""
    try:
        found = tuple(Event(str(one["label"]), one["start"] / 1000, one["end"] / 1000) for one in given)
    except (TypeError, KeyError, IndexError, OverflowError):
        return None
    return found if all(0 <= one.start <= one.stop < math.inf for one in found) else None


READERS: Mapping[tuple[str, str], Reader] = {MULTICLASS: _one_label, MULTILABEL: _any_labels, EVENTS: _events}
EXPECTED: Mapping[Reader, str] = {
    _one_label: "a list of one label",
    _any_labels: "a list of labels",
    _events: "a list of events, each with label, start and end (milliseconds)",
}
