"""Keyword spotting with all 35 words: which one was said?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.contract import Effort, Fold, Head, Labels, Recipe, Space, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.classification import Classification
from earbench.kit.heads.pooled import LinearProbe
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.kit.speech_commands import ALL_WORDS, SPEECH_COMMANDS_V2, listed_words

RATES = (1e-2, 1e-3, 1e-4, 1e-5)
LABELS = Labels(ALL_WORDS)
TOY_SPEAKERS = {"train": 4, "valid": 2, "test": 2}
TOY_RATE = 16_000


class KeywordSpotting35(Classification):
    """A linear probe of all words of Speech Commands v0.02 on the official lists, the split that BYOL-A uses.

    The recipe is our own, after what we remember of BYOL-A's, unverified: the mean over time (here of the learned layer
    mix), standardised, one linear layer, Adam, at most 200 passes with patience 20.
    """

    card = TaskCard(
        "ks35",
        version=1,
        title="Keyword spotting, 35 words",
        corpus=SPEECH_COMMANDS_V2,
        grain="mean",
        metrics=(ACCURACY,),
        suite="extra",
        protocol="official split, own linear probe",
        verified="layout",
    )
    select = "accuracy"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [listed_words(root)]

    def space(self, fold: Fold) -> Labels:
        return LABELS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=64, steps=60, every=2, patience=10, unit="epoch") for lr in RATES]
        return [Recipe(lr=lr, batch=256, steps=200, every=1, patience=20, unit="epoch") for lr in RATES]

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        return {"own-probe": "no published recipe: linear on standardised means of a learned layer mix, patience 20"}

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return LinearProbe(width, LABELS)

    def toy(self, root: Path, seed: int) -> None:
        """Eight speakers say 35 "words", tones of other pitches: 280 files of a third of a second."""
        archive = root / "speech_commands_v0.02"
        listed: dict[str, list[str]] = {split: [] for split in TOY_SPEAKERS}
        for split, count in TOY_SPEAKERS.items():
            for number in range(count):
                speaker = hashlib.sha1(f"{seed} {split} {number}".encode()).hexdigest()[:8]
                for word in ALL_WORDS:
                    name = f"{word}/{speaker}_nohash_0.wav"
                    toy.write(archive / name, _toy_word(word, generator("ks35 toy", seed, name)))
                    listed[split].append(f"{name}\n")
        (archive / "validation_list.txt").write_text("".join(listed["valid"]), encoding="utf-8", newline="\n")
        (archive / "testing_list.txt").write_text("".join(listed["test"]), encoding="utf-8", newline="\n")


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_word(word: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A tone whose pitch tells the words apart, at some loudness, over faint noise."""
    times = np.arange(int(rng.uniform(0.25, 0.4) * TOY_RATE)) / TOY_RATE
    pitch = 200.0 * 1.1 ** ALL_WORDS.index(word) * rng.uniform(0.99, 1.01)
    return rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * pitch * times) + rng.normal(0.0, 0.01, len(times))
