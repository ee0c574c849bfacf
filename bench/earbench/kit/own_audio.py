"""Anybody's own labelled audio, once it is read: what is asked of it, and its folds.

Where the user states a split it holds, and what would make its score worthless (a group on two sides, a class that is
never taught) is refused. Otherwise folds are made by group: fold i is tested, fold i + 1 is valid, the rest train.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from earbench.contract import Clip, Fold, Labels, Split
from earbench.errors import RequestError
from earbench.kit import folding

Kind = Literal["classes", "tags", "values"]
FOLDS, FEWEST = 5, 3
SHOWN = 20
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What people call the splits, in lower case."""


@dataclass(frozen=True)
class Labelled:
    """Labelled audio: one class per clip, any number of tags per clip (tuples), or one number (floats).

    `clips` are sorted by id. `splits` names each clip's split, or is empty where none is stated. `notes` says by name
    what was decided on the way.
    """

    name: str
    kind: Kind
    labels: Labels
    clips: tuple[Clip, ...]
    splits: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def folds(audio: Labelled) -> tuple[list[Fold], dict[str, str]]:
    """The folds, and notes on how they came about; whatever makes them unfit for a score is one error."""
    found, notes = _stated(audio) if audio.splits else _made(audio)
    problems = [problem for fold in found for problem in _unfit(audio, fold)]
    refuse(audio.name, problems, "add clips of other groups, or state another split: train, valid and test")
    return found, notes


def refuse(name: str, problems: Sequence[str], *hints: str) -> None:
    """All `problems` as one error, if there are any."""
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise RequestError(f"{name} cannot be used as it is; nothing was trained", *problems[:SHOWN], *more, *hints)


# ---- a split that is stated ------------------------------------------------------------------------------------------


def _stated(audio: Labelled) -> tuple[list[Fold], dict[str, str]]:
    there = set(audio.splits.values())
    if not {"train", "test"} <= there:
        refuse(audio.name, [f"the splits are {', '.join(sorted(there))}: state train and test, or no split at all"])
    refuse(audio.name, list(_straddling(audio)), "clips of one group say too much about each other to be on two sides")
    parts = {split: [clip for clip in audio.clips if audio.splits[clip.id] == split] for split in there}
    notes = {}
    if "valid" not in there:
        count = _most_folds(audio, parts["train"], least=2)
        numbers = folding.dealt(parts["train"], _strata(audio, parts["train"], count), count)
        carved = {clip.id for clip, number in zip(parts["train"], numbers, strict=True) if number == 0}
        parts["valid"] = [clip for clip in parts["train"] if clip.id in carved]
        parts["train"] = [clip for clip in parts["train"] if clip.id not in carved]
        notes["own-valid"] = f"no valid split is stated: one group in {count} of train, {len(carved)} clips"
    untested = sorted(set(audio.labels).difference(*map(_answers, parts["test"])))
    if untested and audio.kind != "values":
        notes["untested"] = f"no test clip of {', '.join(untested)}"
    train, valid, test = (Split(tuple(parts[split])) for split in ("train", "valid", "test"))
    return [Fold(train, valid, test)], notes


def _straddling(audio: Labelled) -> Iterator[str]:
    seen: dict[str, str] = {}
    told: set[str] = set()
    for clip in audio.clips:
        split = audio.splits[clip.id]
        first = seen.setdefault(clip.group, split)
        if split != first and clip.group not in told:
            told.add(clip.group)
            yield f"the group '{clip.group}' is in {first} and in {split}"


# ---- folds of our own ------------------------------------------------------------------------------------------------


def _made(audio: Labelled) -> tuple[list[Fold], dict[str, str]]:
    count = _most_folds(audio, audio.clips, least=FEWEST)
    numbers = folding.dealt(audio.clips, _strata(audio, audio.clips, count), count)
    parts = [
        tuple(clip for clip, one in zip(audio.clips, numbers, strict=True) if one == number) for number in range(count)
    ]
    found = []
    for test in range(count):
        valid = (test + 1) % count
        train = [clip for number, part in enumerate(parts) if number not in (test, valid) for clip in part]
        train.sort(key=lambda clip: clip.id)
        found.append(Fold(Split(tuple(train)), Split(parts[valid]), Split(parts[test]), f"fold{test + 1}"))
    groups = len({clip.group for clip in audio.clips})
    return found, {"own-folds": f"no split is stated: {count} folds of {groups} groups, each tested once"}


def _most_folds(audio: Labelled, clips: Sequence[Clip], least: int) -> int:
    """`FOLDS`, or as many as there are groups of the scarcest label (of numbers: as there are groups)."""
    if audio.kind == "values":
        counts = {"numbers": len({clip.group for clip in clips})}
    else:
        found = folding.groups_per_label(clips, [_answers(clip) for clip in clips])
        counts = {f"'{label}'": number for label, number in found.items()} or {"any label": 0}
    few = [f"{what}: clips of {number} group{'s' * (number != 1)}" for what, number in counts.items() if number < least]
    where = "train, valid and test" if least == FEWEST else "train and valid"
    hint = f"{where} each need a group with it (its `group`, else its file): add clips, leave it out, or state a split"
    refuse(audio.name, few, hint)
    return min((FOLDS, *counts.values()))


def _strata(audio: Labelled, clips: Sequence[Clip], count: int) -> list[int]:
    if audio.kind == "values":
        return folding.by_rank([clip.label for clip in clips], max(1, min(FOLDS, len(clips) // count)))
    return folding.rarest([_answers(clip) for clip in clips])


# ---- any fold --------------------------------------------------------------------------------------------------------


def _unfit(audio: Labelled, fold: Fold) -> Iterator[str]:
    where = "" if fold.name == "main" else f"{fold.name}: "
    for name, split in fold.splits().items():
        if not split.clips:
            yield f"{where}no clip is left for {name}"
    if audio.kind == "values":
        if len({clip.label for clip in fold.train.clips}) < 2:
            yield f"{where}all numbers in train are the same"
        return
    for name in ("valid", "test") if audio.kind == "tags" else ():
        if not any(clip.label for clip in fold.splits()[name].clips):
            yield f"{where}no clip in {name} has any label"
    taught = {label for clip in fold.train.clips for label in _answers(clip)}
    for label in audio.labels:
        if label not in taught:
            yield f"{where}no clip of '{label}' is in train"


def _answers(clip: Clip) -> tuple[str, ...]:
    """The labels that a clip counts for; none if its answer is a number."""
    if isinstance(clip.label, float):
        return ()
    return (clip.label,) if isinstance(clip.label, str) else tuple(clip.label)
