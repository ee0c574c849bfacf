"""Anybody's own labelled audio, without code: `--task folder:DIR` and `--task csv:FILE`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from earbench.contract import (
    Clip,
    Corpus,
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
from earbench.kit import own_audio, own_folder, own_table, toy
from earbench.kit.classification import hits
from earbench.kit.heads.multilabel import PooledTags
from earbench.kit.heads.pooled import PooledLinear
from earbench.kit.heads.regression import PooledValue, Scale
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.metrics.multilabel import AUROC, MEAN_AP, tagged
from earbench.kit.metrics.regression import MAE, R2, RMSE, numbered
from earbench.kit.own_audio import Labelled
from earbench.kit.seeds import generator
from earbench.kit.text import slug

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
HIDDEN, BATCH, INTERVAL = 256, 32, 200
EPOCHS, STEPS = 100, (1_000, 10_000)
"""Training ends after so many epochs, but not before the first number of steps, nor after the second."""
TOY_RATE = 16_000
TOY_PITCHES = {"low": 300, "middle": 600, "high": 1200}


class OwnAudio(Task):
    """Classes, tags or numbers of the user's own clips, by the head that SUPERB puts on whole clips (sheet 1.5).

    What is asked, the folds and the name of the task are the data's. One recipe is chosen over all folds together:
    folds of a small corpus have few valid clips.
    """

    search = "all"
    select = ACCURACY.name
    audio: Labelled
    question: Question
    made: Sequence[Fold] = ()

    @abstractmethod
    def read(self, root: Path) -> Labelled:
        """The labelled audio under `root`."""

    def at(self, root: Path, upstream: UpstreamCard) -> Task:
        stated = copy(self)
        stated.audio = self.read(root)
        stated.made, notes = own_audio.folds(stated.audio)
        stated.audio = replace(stated.audio, notes={**stated.audio.notes, **notes})
        stated.question = QUESTIONS[stated.audio.kind](stated.audio.labels)
        metrics = stated.question.metrics
        corpus = replace(self.card.corpus, counts=stated.census(stated.made))
        name = f"{self.card.name}-{slug(stated.audio.name)}"
        stated.card = replace(self.card, name=name, metrics=metrics, corpus=corpus)
        stated.select = metrics[0].name
        return stated

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        if not self.made:
            raise RequestError(f"task '{self.card.name}' needs audio of yours", f"--task {self.card.name}:PATH")
        return self.made

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Clips per split, or of several folds all clips. Nothing is published: what is found is what there is."""
        return super().census(folds) if len(folds) == 1 else {"clips": sum(len(fold.test.clips) for fold in folds)}

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        """There is no protocol; how the audio was read and divided."""
        return self.audio.notes

    def space(self, fold: Fold) -> Space:
        return self.question.space(fold)

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        longest = max((len(fold.train.clips) for fold in self.made), default=0)
        steps = min(max(EPOCHS * longest // BATCH, STEPS[0]), STEPS[1])
        return [Recipe(lr=lr, batch=BATCH, steps=steps, every=INTERVAL, clip=1.0) for lr in RATES]

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return self.question.target(clip, space)

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return self.question.head(width, space)

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return self.question.rows(split, predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: self.question.ideal(clip) for clip in split.clips}


def card(name: str, title: str, layout: str, metrics: tuple[Metric, ...]) -> TaskCard:
    """The card of one form of own audio, before any audio is known; of its `metrics` some will be asked."""
    corpus = Corpus(name, "your own audio", page="", licence="yours", layout=layout)
    return TaskCard(name, 1, title, corpus, "mean", metrics, suite="own", protocol="none")


# ---- the tasks -------------------------------------------------------------------------------------------------------


class Folder(OwnAudio):
    """Which class? `folder:DIR`: one sub-folder per class, perhaps below train/, valid/ and test/."""

    card = card(
        "folder",
        "Yours: folder:DIR, a folder per class",
        "DIR/CLASS/FILE\nor with the split stated: DIR/train/CLASS/FILE, DIR/test/…, perhaps DIR/valid/…",
        (ACCURACY,),
    )

    @classmethod
    def load(cls, argument: str | None) -> Task:
        task = cls()
        if argument is not None:
            task.root = Path(argument).expanduser().resolve()
            if not task.root.is_dir():
                raise MissingCorpus(f"--task folder:{argument}: {task.root} is not a folder")
        return task

    def read(self, root: Path) -> Labelled:
        return own_folder.read(root)

    def toy(self, root: Path, seed: int) -> None:
        """Tones of three pitches, twelve takes each; the folder is the class."""
        for take in range(12):
            for label, tone in _toy_tones(seed, take).items():
                toy.write(root / label / f"{take:02}.wav", tone)


class Csv(OwnAudio):
    """What the table asks. `csv:FILE`: a row per clip, with its path and its label, labels or value."""

    card = card("csv", "Yours: csv:FILE, a row per clip", f"a CSV file\n{own_table.FORM}", (ACCURACY, MEAN_AP, R2))
    table: Path | None = None

    @classmethod
    def load(cls, argument: str | None) -> Task:
        task = cls()
        if argument is not None:
            task.table = Path(argument).expanduser().resolve()
            task.root = task.table.parent
            if not task.table.is_file():
                raise MissingCorpus(f"--task csv:{argument}: {task.table} is not a file")
        return task

    def read(self, root: Path) -> Labelled:
        return own_table.read(self.table or self._only_table(root))

    def _only_table(self, root: Path) -> Path:
        tables = sorted(root.glob("[!.]*.csv"))
        if len(tables) != 1:
            raise RequestError(f"{root} holds {len(tables)} CSV files", "name one: --task csv:FILE")
        return tables[0]

    def toy(self, root: Path, seed: int) -> None:
        """Ten recordings of three tones each in random order; a row per tone."""
        lines = ["path,label,start,stop"]
        for take in range(10):
            tones = _toy_tones(seed, take)
            order = generator("own toy", seed, take, "order").permutation(list(tones)).tolist()
            toy.write(root / "takes" / f"{take}.wav", np.concatenate([tones[label] for label in order]))
            ends = np.cumsum([len(tones[label]) for label in order]) / TOY_RATE
            starts = [0.0, *ends[:-1]]
            lines += [
                f"takes/{take}.wav,{label},{start:g},{stop:g}"
                for label, start, stop in zip(order, starts, ends, strict=True)
            ]
        (root / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


# ---- what is asked of a clip -----------------------------------------------------------------------------------------


class Question(Protocol):
    """What a clip's answer is: everything of the task that depends on it."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    def space(self, fold: Fold) -> Space: ...
    def target(self, clip: Clip, space: Any) -> Tensor: ...
    def head(self, width: int, space: Any) -> Head: ...
    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows: ...
    def ideal(self, clip: Clip) -> Any: ...


@dataclass(frozen=True)
class Classes:
    """One of `labels`."""

    labels: Labels
    metrics: tuple[Metric, ...] = (ACCURACY,)

    def space(self, fold: Fold) -> Labels:
        return self.labels

    def target(self, clip: Clip, space: Labels) -> Tensor:
        return torch.tensor(space.index(clip.label))

    def head(self, width: int, space: Labels) -> Head:
        return PooledLinear(width, HIDDEN, space)

    def rows(self, split: Split, predictions: Mapping[str, str]) -> Rows:
        return hits(split, predictions)

    def ideal(self, clip: Clip) -> str:
        return str(clip.label)


@dataclass(frozen=True)
class Tags:
    """Any of `labels`. Mean average precision comes first: of rare labels the ROC curve flatters."""

    labels: Labels
    metrics: tuple[Metric, ...] = (MEAN_AP, AUROC)

    def space(self, fold: Fold) -> Labels:
        return self.labels

    def target(self, clip: Clip, space: Labels) -> Tensor:
        return torch.tensor(self.ideal(clip))

    def head(self, width: int, space: Labels) -> Head:
        return PooledTags(width, HIDDEN, space)

    def rows(self, split: Split, predictions: Mapping[str, Sequence[float]]) -> Rows:
        return tagged(split, predictions, self.labels)

    def ideal(self, clip: Clip) -> list[float]:
        return [float(label in clip.label) for label in self.labels]


@dataclass(frozen=True)
class Values:
    """A number; heads learn it standardised by the train split."""

    labels: Labels
    metrics: tuple[Metric, ...] = (R2, RMSE, MAE)

    def space(self, fold: Fold) -> Scale:
        return Scale.of([clip.label for clip in fold.train.clips])

    def target(self, clip: Clip, space: Scale) -> Tensor:
        return torch.tensor(space.standard(clip.label))

    def head(self, width: int, space: Scale) -> Head:
        return PooledValue(width, HIDDEN, space)

    def rows(self, split: Split, predictions: Mapping[str, float]) -> Rows:
        return numbered(split, predictions)

    def ideal(self, clip: Clip) -> float:
        return float(clip.label)


QUESTIONS: Mapping[own_audio.Kind, type[Classes | Tags | Values]] = {"classes": Classes, "tags": Tags, "values": Values}


# ---- the toy corpora -------------------------------------------------------------------------------------------------


def _toy_tones(seed: int, take: int) -> dict[str, np.ndarray[Any, Any]]:
    """A tone of 0.3 s for each class, all at one take's height and loudness, over faint noise."""
    rng = generator("own toy", seed, take)
    height, loudness = rng.uniform(0.9, 1.1), rng.uniform(0.1, 0.3)
    times = np.arange(round(0.3 * TOY_RATE)) / TOY_RATE
    return {
        label: loudness * np.sin(2 * np.pi * pitch * height * times) + rng.normal(0.0, 0.01, len(times))
        for label, pitch in TOY_PITCHES.items()
    }
