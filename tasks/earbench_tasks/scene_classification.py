"""Acoustic scenes: where in a city was it recorded?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.contract import Effort, Fold, Labels, Recipe, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.classification import Classification
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.kit.tau import LISTS, META, SCENES, TAU2019, scenes

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LABELS = Labels(SCENES)
TOY_LOCATIONS = {"train": 4, "test": 2}
TOY_RATE = 44_100


class SceneClassification(Classification):
    """Ten scenes of TAU Urban Acoustic Scenes 2019 on its fold 1, by SUPERB's head for utterances.

    The evaluate list is test. The lists have no valid split: one recording location in five is taken from train, scene
    by scene. Stereo is averaged to one channel.
    """

    card = TaskCard(
        "scene",
        version=1,
        title="Acoustic scenes",
        corpus=TAU2019,
        grain="mean",
        metrics=(ACCURACY,),
        suite="card",
        protocol="official fold 1, own recipe",
        verified="layout",
    )
    select = "accuracy"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [scenes(root)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """The lengths of the two lists: train and valid together, and test."""
        (fold,) = folds
        train, test = len(fold.train.clips) + len(fold.valid.clips), len(fold.test.clips)
        return {"fold1_train": train, "fold1_evaluate": test}

    def space(self, fold: Fold) -> Labels:
        return LABELS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=32, steps=1_000, every=50, clip=1.0) for lr in RATES[:4]]
        return [Recipe(lr=lr, batch=32, steps=30_000, every=1_000, clip=1.0) for lr in RATES]

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {
            "valid-from-train": "the lists have no valid split; a fifth of train's locations is held out for it",
            "own-recipe": "no published recipe: SUPERB's head and rates for utterances, 30,000 steps of 32 clips",
            "plain-accuracy": "every clip counts the same; DCASE averages the accuracies of the ten scenes",
        }

    def toy(self, root: Path, seed: int) -> None:
        """Ten hums in stereo at six locations each, three clips a location: 180 files of a third of a second."""
        home = root / "TAU-urban-acoustic-scenes-2019-development"
        lines: dict[str, list[str]] = {META: ["filename\tscene_label\tidentifier\tsource_label\n"]}
        for split, name in LISTS.items():
            lines[name] = ["filename\tscene_label\n"]
            for number, scene in enumerate(SCENES):
                for place in range(TOY_LOCATIONS[split]):
                    location = f"{'lyon' if split == 'train' else 'milan'}-{10 * number + place}"
                    for segment in range(3):
                        file = f"audio/{scene}-{location}-{segment}-a.wav"
                        toy.write(home / file, _toy_hum(number, generator("scene toy", seed, file)), TOY_RATE)
                        lines[name].append(f"{file}\t{scene}\n")
                        lines[META].append(f"{file}\t{scene}\t{location}\ta\n")
        for name, found in lines.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("".join(found), encoding="utf-8", newline="\n")


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_hum(number: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A hum whose pitch tells the scenes apart, louder on one side, over faint noise: [sample, channel]."""
    times = np.arange(TOY_RATE // 3) / TOY_RATE
    pitch = 200.0 * 1.4**number * rng.uniform(0.98, 1.02)
    hum = rng.uniform(0.1, 0.2) * np.sin(2 * np.pi * pitch * times)
    return np.stack([hum, rng.uniform(0.3, 1.0) * hum], 1) + rng.normal(0.0, 0.01, (len(times), 2))
