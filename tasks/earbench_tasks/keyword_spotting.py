"""Keyword spotting: which of ten words was said, another word, or nothing?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.contract import Effort, Fold, Labels, Recipe, Split, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.classification import Classification
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.sampling import balanced, balanced_draw, class_balanced_weights
from earbench.kit.seeds import generator
from earbench.kit.speech_commands import (
    KEYWORDS,
    LATER,
    SILENCE,
    SPEECH_COMMANDS_LABELS,
    SPEECH_COMMANDS_V1,
    UNKNOWN,
    official_split,
    speech_commands,
)

SILENCE_POOL = 64
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LABELS = Labels(SPEECH_COMMANDS_LABELS)
TOY_WORDS = (*KEYWORDS, "bed", "cat", "house", "wow")
TOY_SPEAKERS = {"train": 5, "valid": 3, "test": 3}
TOY_RATE = 16_000


class KeywordSpotting(Classification):
    """Twelve-way keyword spotting on Speech Commands v0.01 (SUPERB KS, protocol sheet 2.3).

    The protocol judges the valid split by a random draw, every class equally likely, and re-seeds before each
    judgement. "reference" does the same with one fixed draw. Other efforts weight the clips by that draw's expectation:
    the same question, without its noise.
    """

    card = TaskCard(
        "ks",
        version=1,
        title="Keyword spotting",
        corpus=SPEECH_COMMANDS_V1,
        grain="mean",
        metrics=(ACCURACY,),
        suite="superb",
        protocol="SUPERB KS",
        verified="scores",
    )
    select = "accuracy"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [speech_commands(root, SILENCE_POOL)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Units per split and class; a background recording counts once, as in the published tables.

        The words that only v0.02 has are counted first: a corpus of the wrong version is then named as such.
        """
        later = {clip.id.partition("/")[0] for clip in folds[0].train.clips}.intersection(LATER)
        counts = {"words of v0.02": len(later)}
        for name, split in folds[0].splits().items():
            found = Counter(split.clips[unit[0]].label for unit in split.units())
            counts |= {f"{name}/{label}": found[label] for label in LABELS}
        return counts

    def space(self, fold: Fold) -> Labels:
        return LABELS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=32, steps=1_500, every=50, clip=1.0) for lr in RATES]
        return [Recipe(lr=lr, batch=32, steps=200_000, every=5_000, clip=1.0) for lr in RATES]

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        return balanced(split, recipe.batch, rng)

    def deviations(self, effort: Effort) -> Mapping[str, str]:
        found = {"silence-pool-64": "silence is one of 64 stored seconds of each recording, not a new crop every time"}
        if effort != "reference":
            found["valid-expectation"] = "valid is judged by the expectation of the protocol's random draw"
        return found

    def weights(self, split: Split, effort: Effort) -> np.ndarray[Any, Any]:
        if effort == "reference":
            return balanced_draw(split, generator("ks", "valid draw"))
        return class_balanced_weights(split)

    def toy(self, root: Path, seed: int) -> None:
        """Eleven speakers say fourteen "words", pairs of tones; two background recordings: about 200 files."""
        archive, test_archive = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
        for number, word in enumerate(TOY_WORDS):
            for speaker in _toy_speakers(seed):
                tones = _toy_word(number, generator("ks toy", seed, word, speaker))
                toy.write(archive / word / f"{speaker}_nohash_0.wav", tones)
                if official_split(speaker) == "test":
                    toy.write(test_archive / _toy_test_name(word, speaker), tones)
        for number in range(2):
            toy.write(archive / "_background_noise_" / f"noise_{number}.wav", _toy_noise(5.0, seed, number))
        for number in range(3):
            toy.write(test_archive / SILENCE / f"{number}.wav", _toy_noise(1.0, seed, 2 + number))


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_speakers(seed: int) -> list[str]:
    """Speaker hashes, as many as wanted on each side of the official split rule."""
    rng, found = generator("ks toy", seed, "speakers"), {name: list[str]() for name in TOY_SPEAKERS}
    while any(len(found[name]) < number for name, number in TOY_SPEAKERS.items()):
        speaker = f"{rng.integers(2**32):08x}"
        found[official_split(speaker)].append(speaker)
    return [speaker for name, number in TOY_SPEAKERS.items() for speaker in found[name][:number]]


def _toy_word(number: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Two tones whose pitches tell the words apart, at a voice's own height and loudness, over faint noise."""
    times = np.arange(int(rng.uniform(0.5, 1.0) * TOY_RATE)) / TOY_RATE
    pitch = 250.0 * 1.22**number * rng.uniform(0.97, 1.03)
    tones = np.sin(2 * np.pi * pitch * times) + 0.5 * np.sin(2 * np.pi * 1.5 * pitch * times)
    return rng.uniform(0.1, 0.3) * tones + rng.normal(0.0, 0.01, len(times))


def _toy_noise(seconds: float, seed: int, number: int) -> np.ndarray[Any, Any]:
    return generator("ks toy", seed, "noise", number).normal(0.0, 0.01, int(seconds * TOY_RATE))


def _toy_test_name(word: str, speaker: str) -> str:
    if word in KEYWORDS:
        return f"{word}/{speaker}_nohash_0.wav"
    return f"{UNKNOWN}/{word}_{speaker}_nohash_0.wav.wav"
