"""HEAR 2021's tasks with one answer per clip, each from its prepared task folder.

The protocol is one for all of them and stands in `HearScene`; a task adds its card and the name of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from earbench.contract import (
    Clip,
    Corpus,
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
from earbench.errors import RequestError
from earbench.kit import archives, hear, hear_layout, hear_raw
from earbench.kit.classification import hits
from earbench.kit.heads.shallow import Shallow, grid
from earbench.kit.metrics.hear import CHROMA_ACC, METRICS, PITCH_ACC
from earbench.kit.sampling import in_order
from earbench.kit.seeds import generator

TOY_PITCHES = range(60, 74)
TOY_INSTRUMENTS = {"train": 5, "valid": 3, "test": 3}


class HearScene(Task):
    """One label per clip from the encoder's own clip embedding, by HEAR's shallow predictor (HEAR sheet 4).

    `layers` is "last": HEAR scores the one vector that a model calls its scene embedding, and an encoder of ours that
    does not say otherwise means its last layer. A learned mix of layers is `--layers mix`, and no HEAR number.

    What the folder found at `--data` says (labels, folds, scores, their order) holds; the card says what is published.
    """

    layers = "last"
    search = "first"
    home: ClassVar[str]
    """The published task folder."""
    folder: hear.TaskFolder
    """The one in use, once `at` has found it."""

    def builder(self) -> Callable[[Path], Draft] | None:
        return hear_raw.BUILDERS.get(self.home)

    def at(self, root: Path, upstream: UpstreamCard) -> Task:
        path = hear.find(root, self.home)
        stated = copy(self)
        stated.folder = hear.read(path, upstream.sample_rate or 16_000, ("scene", "multiclass"))
        known = tuple(METRICS[name] for name in stated.folder.scores if name in METRICS)
        if not known or known[0].name != stated.folder.scores[0]:
            raise RequestError(
                f"the score '{stated.folder.scores[0]}' of {path.name} is not known here",
                f"known: {', '.join(METRICS)}",
            )
        stated.card = replace(self.card, metrics=known)
        judged = stated.folder.metadata.get("use_scoring_for_early_stopping", True)
        stated.select = known[0].name if judged else "loss"
        return stated

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return self.folder.folds(self.group)

    def group(self, file: str) -> str:
        """What a file is resampled with for intervals: itself, unless its name tells more."""
        return file

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Labels, and clips per split; of a k-fold task the folds and all clips."""
        labels = {"labels": len(self.folder.labels)}
        if len(folds) == 1:
            return labels | super().census(folds)
        return labels | {"folds": len(folds), "clips": sum(len(fold.test.clips) for fold in folds)}

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        folder = self.folder
        found = {"own-seeds": "each training draws from a seed of its own; the reference seeds once per task"}
        if folder.name != self.home:
            found["other-folder"] = f"the task folder is {folder.name}, not {self.home}"
        if folder.rate != folder.wanted:
            found["resampled"] = f"audio of the {folder.rate} Hz folder, resampled to {folder.wanted} Hz"
        if left_out := [name for name in folder.scores if name not in METRICS]:
            found["scores-left-out"] = f"not computed: {', '.join(left_out)}"
        if (folder.metadata.get("evaluation_params") or {}).get("task_specific_param_grid"):
            found["default-grid"] = "the folder asks for a grid of its own; the default one is trained"
        return found

    def space(self, fold: Fold) -> Labels:
        return self.folder.labels

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            small = {"hidden_layers": 1, "hidden_dim": 256, "dropout": 0.1, "initialisation": "normal"}
            shape = Recipe(lr=0.0, batch=256, steps=90, every=3, patience=10, unit="epoch", options=small)
            return [shape.with_(lr=lr) for lr in (3.2e-3, 1e-3)]
        return grid()

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        return in_order(split, recipe.batch)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(self.folder.labels.index(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return Shallow(width, self.folder.labels, **recipe.options)

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        found = hits(split, predictions)
        numbers = {label: number for number, label in enumerate(self.folder.labels)}
        guess, truth = (np.array([numbers[one] for one in found.arrays[key]]) for key in ("prediction", "label"))
        return replace(found, arrays={**found.arrays, "guess": guess, "truth": truth})

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        """A folder of this task's name: plain tones of fourteen pitches, a few instruments in each split."""
        splits = {
            split: [_toy_tone(f"{split}_{number}", pitch, seed) for number in range(count) for pitch in TOY_PITCHES]
            for split, count in TOY_INSTRUMENTS.items()
        }
        facts = {"split_mode": hear.TRAIN_VALID_TEST, "evaluation": [metric.name for metric in self.card.metrics]}
        hear_layout.write(root / hear_layout.HOME / self.home, facts, TOY_PITCHES, splits)


def scene_card(
    name: str, title: str, licence: str, home: str, metrics: tuple[Metric, ...], counts: Mapping[str, int]
) -> TaskCard:
    """The card of a task of HEAR 2021 whose published folder is `home`."""
    corpus = Corpus(
        id="hear",
        title=f"HEAR 2021, {home}",
        page="https://zenodo.org/records/5885750",
        licence=licence,
        layout=(
            "HEAR's prepared task folder, unpacked at any depth below one root for all tasks:\n"
            f"  {home}/   {hear.METADATA}, {hear.VOCABULARY}, a JSON per split,\n"
            "  and a folder of audio per sample rate; the encoder's own rate is preferred.\n"
            f"Published as hear2021-{home}-48000.tar.gz"
        ),
        counts=counts,
        archives=archives.hear(home),
    )
    return TaskCard(name, 1, title, corpus, "clip", metrics, suite="hear", protocol="HEAR 2021")


# ---- the tasks -------------------------------------------------------------------------------------------------------


class Pitch(HearScene):
    """Which of 88 pitches is played? NSynth in HEAR's choice of five hours (HEAR sheet 2.3, number 2)."""

    home = "nsynth_pitch-v2.2.3-5h"
    card = scene_card(
        "pitch",
        "NSynth pitch, 5 hours",
        "CC BY 4.0",
        home,
        (PITCH_ACC, CHROMA_ACC),
        {"labels": 88, "train": 4000, "valid": 500, "test": 500},
    )
    select = PITCH_ACC.name

    def group(self, file: str) -> str:
        """The instrument, which HEAR's tool splits by too: the name up to the first dash, `bass_electronic_018`."""
        return file.partition("-")[0] if self.folder.name.startswith("nsynth_pitch") else file


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_tone(instrument: str, pitch: int, seed: int) -> tuple[str, int, np.ndarray[Any, Any]]:
    """Half a second of a tone with the instrument's own overtones, over faint noise."""
    overtones = generator("hear toy", seed, instrument).uniform(0.0, 0.5, size=3)
    rng = generator("hear toy", seed, instrument, pitch)
    phases = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(8_000) / 16_000
    wave = np.sin(phases) + sum(level * np.sin(order * phases) for order, level in enumerate(overtones, 2))
    return f"{instrument}-{pitch:03}-100.wav", pitch, 0.2 * wave + rng.normal(0.0, 0.005, 8_000)
