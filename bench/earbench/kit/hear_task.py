"""HEAR's protocol for any of its prepared task folders; what is asked, the folder says (HEAR sheet 2 to 5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from earbench.contract import (
    Clip,
    Draft,
    Effort,
    Fold,
    Head,
    Labels,
    Metric,
    Recipe,
    Rows,
    Space,
    Split,
    Task,
    TaskCard,
    UpstreamCard,
)
from earbench.errors import MissingCorpus, RequestError
from earbench.kit import hear, hear_audio, hear_grid, hear_raw, hear_toy
from earbench.kit.events import active
from earbench.kit.heads.shallow import EventShallow, Shallow
from earbench.kit.hear_find import Tree, rates
from earbench.kit.hear_raw.draft import MADE_HERE
from earbench.kit.metrics import events
from earbench.kit.metrics import hear as scenes
from earbench.kit.sampling import in_order, reshuffled

_SCENES = {name: (metric,) for name, metric in scenes.METRICS.items()}
SCORES: Mapping[tuple[str, str], Mapping[str, tuple[Metric, ...]]] = {
    hear.MULTICLASS: _SCENES,
    hear.MULTILABEL: _SCENES,
    hear.EVENTS: events.SCORES,
}
"""By what a task asks: the metrics of every score that a folder may want, by its name there."""
NSYNTH = re.compile(r"(.+_(?:acoustic|electronic|synthetic)_\d+)-\d+-\d+\.wav")
"""A note's file name: instrument, pitch and velocity."""
FROM_RAW = "the task folder was prepared by earbench from the original corpus, not by HEAR"
SMALL = {"hidden_layers": 1, "hidden_dim": 256, "dropout": 0.1, "initialisation": "normal", "order": "shuffled"}


class HearTask(Task):
    """One prepared task folder, or several that are the folds of one task, by HEAR's shallow predictor (HEAR sheet 4).

    `layers` is "last": HEAR scores the one vector that a model calls its scene embedding, and an encoder of ours that
    does not say otherwise means its last layer. A learned mix of layers is `--layers mix`, and no HEAR number.

    `homes` are the names of the folders. A published task (`kind` says what it asks) reads no other; without a `kind`
    the beginning of a name will do, or None where there is only one folder. What the folder states (labels, folds,
    scores, grids) holds. A last batch of one row, with which the reference ends, takes one from the batch before, and
    the record has a note of it.
    """

    layers = "last"
    probable = True
    folders: tuple[hear.TaskFolder, ...] = ()
    """Once `at` has found them."""

    def __init__(self, card: TaskCard, homes: Sequence[str | None], kind: tuple[str, str] | None = None) -> None:
        self.card, self.homes, self.kind = card, homes, kind
        self.select = card.metrics[0].name
        self.usual = tuple(metric.name for metric in card.metrics if metric.name in SCORES[kind]) if kind else ()
        self.search = "first" if len(homes) == 1 else "fold"

    def builder(self) -> Callable[[Path], Draft] | None:
        return hear_raw.BUILDERS.get(self.homes[0] or "")

    def packed(self, root: Path, upstream: UpstreamCard) -> Sequence[Path]:
        tree, wanted = Tree.of(root), _rate(upstream)
        found = [tree.packed(self._name(tree, home), wanted) for home in self.homes]
        return [path for path in found if path is not None]

    def at(self, root: Path, upstream: UpstreamCard) -> Self:
        tree, stated = Tree.of(root), copy(self)
        paths = [tree.folder(self._name(tree, home), home) for home in self.homes]
        self._check_archives(root, upstream)
        stated.folders = tuple(hear.read(path, _rate(upstream)) for path in paths)
        first = stated.folders[0]
        _check_alike(stated.folders, self.kind)
        known = SCORES[first.kind]
        metrics = tuple(metric for name in first.scores for metric in known.get(name, ()))
        if first.scores[0] not in known:
            raise RequestError(
                f"the score '{first.scores[0]}' of {first.name} is not known here",
                f"known for {' '.join(first.kind)} tasks: {', '.join(known)}",
            )
        judged = first.metadata.get("use_scoring_for_early_stopping", True)
        stated.select = metrics[0].name if judged else "loss"
        stated.card = replace(self.card, metrics=metrics)
        if first.kind == hear.EVENTS:
            stated.card, stated.example = replace(stated.card, grain="frame"), "frame"
            stated.decodings = hear_grid.decodings(first.metadata, single=not judged)
        stated.recipes("reference", False)  # a grid that cannot be followed is refused here
        return stated

    def rates(self, root: Path) -> Sequence[int]:
        tree = Tree.of(root)
        paths = [tree.folder(self._name(tree, home), home) for home in self.homes]
        return sorted({rate for path in paths for rate in rates(path)})

    def check_audio(self, folds: Sequence[Fold], rates: Mapping[Path, int]) -> None:
        hear_audio.check_rates(rates, self.first.rate)
        if self.first.kind == hear.EVENTS:
            hear_audio.check_events(folds)

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        """Of several folders, each is a fold: the score is their mean."""
        if len(self.folders) == 1:
            return self.first.folds(_group)
        return [_renamed(fold, folder.name) for folder in self.folders for fold in folder.folds(_group)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Labels, and clips per split; of several folds, these and all clips."""
        labels = {"labels": len(self.first.labels)}
        if len(folds) > 1:
            return labels | {"folds": len(folds), "clips": sum(len(fold.test.clips) for fold in folds)}
        return labels | dict(super().census(folds))

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        first = self.first
        found = {"own-seeds": "each training draws from a seed of its own; the reference seeds once per task"}
        if effort != "reference":
            found["reshuffled"] = "training rows come in a new order in every epoch; the reference never reshuffles"
            found["nan-passed-over"] = "a judgement without a value is not a better one; the reference ends there"
        if first.rate != first.wanted:
            found["resampled"] = f"audio of the {first.rate} Hz folder, resampled to {first.wanted} Hz"
        if first.metadata.items() >= MADE_HERE.items():
            found["prepared-from-raw"] = FROM_RAW
        if self.usual[:1] not in ((), first.scores[:1]):
            found["other-primary-score"] = f"{first.scores[0]}; that of the published folder is {self.usual[0]}"
        if left_out := [name for name in first.scores if name not in SCORES[first.kind]]:
            found["scores-left-out"] = f"not computed: {', '.join(left_out)}"
        if len(self.folders) > 1:
            found["mean-of-folders"] = f"the mean of {len(self.folders)} task folders, which HEAR does not say it takes"
        return found

    def space(self, fold: Fold) -> Labels:
        return self.first.labels

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return _small(self.first.kind)
        order, finite = ("fixed", True) if effort == "reference" else ("shuffled", False)
        points = hear_grid.points(self.first.metadata)
        return [hear_grid.recipe(point, number, order, finite) for number, point in enumerate(points)]

    def batching_note(self, examples: int, recipe: Recipe) -> str | None:
        """HEAR sheet 10: what a harness does where the reference ends should be said."""
        if examples % recipe.batch != 1:
            return None
        return (
            f"of {examples:,} training rows in batches of {recipe.batch:,} one is left over, with which HEAR's "
            "reference fails: the last batch takes another one from the batch before"
        )

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        if recipe.options["order"] == "fixed":
            return in_order(split, recipe.batch)
        return reshuffled(len(split.clips), recipe.batch, rng)

    def frame_batches(self, count: int, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        if recipe.options["order"] == "fixed":
            return super().frame_batches(count, recipe, rng)
        return reshuffled(count, recipe.batch, rng)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        labels = self.first.labels
        if times is not None:
            return active(times, clip.label, labels)
        if self.first.kind == hear.MULTICLASS:
            return torch.tensor(labels.index(clip.label))
        return torch.tensor([float(label in clip.label) for label in labels])

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        shape = {name: value for name, value in recipe.options.items() if name != "order"}
        kind = EventShallow if self.first.kind == hear.EVENTS else Shallow
        return kind(width, self.first.labels, self.first.kind == hear.MULTICLASS, **shape)

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        if self.first.kind == hear.EVENTS:
            return events.event_rows(split, predictions, self.first.scores)
        return scenes.scene_rows(split, predictions, self.first.labels)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        """The folders of this task in small, of its kind and with its scores."""
        kind = self.kind or hear.MULTICLASS
        scores = self.usual or [metric.name for metric in self.card.metrics if metric.name in SCORES[kind]]
        folds = 3 if "folds" in self.card.corpus.counts and len(self.homes) == 1 else 0
        for home in self.homes:
            hear_toy.write(root, home or "toy", kind, scores, folds, seed)

    @property
    def first(self) -> hear.TaskFolder:
        """The folder that speaks for all: they are alike."""
        if not self.folders:
            raise RequestError(f"task '{self.card.name}' needs its folder", f"--task {self.card.name}:FOLDER")
        return self.folders[0]

    def _check_archives(self, root: Path, upstream: UpstreamCard) -> None:
        """Refuse an archive that was to be unpacked, was, and holds no audio of the rate in its name."""
        if left := self.packed(root, upstream):
            raise MissingCorpus(
                f"{left[0].name} does not hold the audio that its name says: what is unpacked of it has another rate",
                f"give {left[0]} its right name, or take it away",
            )

    def _name(self, tree: Tree, home: str | None) -> str | None:
        return home if self.kind else tree.named(home)


def _rate(upstream: UpstreamCard) -> int:
    return upstream.sample_rate or 16_000


def _group(file: str) -> str:
    """What a file is resampled with for intervals: of NSynth's notes the instrument, of others the file itself.

    >>> _group("bass_electronic_018-022-100.wav"), _group("18-22.wav")
    ('bass_electronic_018', '18-22.wav')
    """
    match = NSYNTH.fullmatch(file)
    return match[1] if match else file


def _check_alike(folders: Sequence[hear.TaskFolder], kind: tuple[str, str] | None) -> None:
    """Refuse folders that ask something else than the task does, or than each other."""
    first = folders[0]
    if kind not in (None, first.kind):
        raise RequestError(
            f"this task reads {' '.join(kind or ())} folders, and {first.name} is {' '.join(first.kind)}"
        )
    for other in folders[1:]:
        facts = [(one.labels, one.kind, one.scores, one.rate, one.metadata["split_mode"]) for one in (first, other)]
        if facts[0] != facts[1] or other.metadata["split_mode"] != hear.TRAIN_VALID_TEST:
            raise RequestError(f"{first.name} and {other.name} differ in labels, scores, rates or kind of splits")


def _renamed(fold: Fold, name: str) -> Fold:
    """The fold of one of several folders: ids tell where a clip comes from."""
    named = fold.each(lambda _, split: Split(tuple(replace(clip, id=f"{name}/{clip.id}") for clip in split.clips)))
    return replace(named, name=name)


def _small(kind: tuple[str, str]) -> list[Recipe]:
    """The recipes of the demo corpus: fewer epochs and points, a smaller head, and for events less patience."""
    if kind == hear.EVENTS:
        shape = Recipe(lr=0.0, batch=1024, steps=30, every=3, patience=3, unit="epoch", options=SMALL)
    else:
        shape = Recipe(lr=0.0, batch=256, steps=90, every=3, patience=10, unit="epoch", options=SMALL)
    return [shape.with_(lr=lr) for lr in (3.2e-3, 1e-3)]
