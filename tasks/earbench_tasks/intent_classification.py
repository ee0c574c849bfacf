"""Intent classification: what is asked for, of what, and where?"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Recipe, Space, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.classification import HIDDEN, Classification
from earbench.kit.fluent import FLUENT, SLOTS, TABLES, fluent
from earbench.kit.heads.intents import IntentLinear, Intents
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
TOY_VALUES = (("start", "stop", "bring"), ("lamp", "music", "none"), ("kitchen", "none"))
TOY_SPEAKERS = {"train": range(1, 7), "valid": range(7, 10), "test": range(10, 13)}
TOY_RATE = 16_000


class IntentClassification(Classification):
    """Action, object and location of the commands of Fluent Speech Commands (SUPERB IC, protocol sheet 2.8).

    An answer is right if all three are. A value that no training clip has cannot be said, so its clips count as wrong.
    """

    card = TaskCard(
        "ic",
        version=1,
        title="Intent classification",
        corpus=FLUENT,
        grain="mean",
        metrics=(ACCURACY,),
        suite="superb",
        protocol="SUPERB IC",
    )
    select = "accuracy"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [fluent(root)]

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """The number of values: how many recordings there must be is not known for certain."""
        return {"values": len(self.space(folds[0]))}

    def space(self, fold: Fold) -> Intents:
        return Intents.seen(clip.label for clip in fold.train.clips)

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=32, steps=1_500, every=50, clip=1.0) for lr in RATES]
        return [Recipe(lr=lr, batch=32, steps=200_000, every=5_000, clip=1.0) for lr in RATES]

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(cast(Intents, space).encode(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return IntentLinear(width, HIDDEN, cast(Intents, space))

    def toy(self, root: Path, seed: int) -> None:
        """Twelve speakers "say" each of eighteen intents, a tone for every value: 216 files of about half a second."""
        home = root / "fluent_speech_commands_dataset"
        intents = list(itertools.product(*TOY_VALUES))
        for split, speakers in TOY_SPEAKERS.items():
            lines = [(f"speaker{speaker:02}", number) for speaker in speakers for number in range(len(intents))]
            (home / "data").mkdir(parents=True, exist_ok=True)
            with (home / "data" / TABLES[split]).open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["", "path", "speakerId", "transcription", *SLOTS])
                for line, (speaker, number) in enumerate(lines):
                    path, intent = f"wavs/speakers/{speaker}/{speaker}-{number:02}.wav", intents[number]
                    table.writerow([line, path, speaker, ", ".join(intent), *intent])
                    toy.write(home / path, _toy_command(intent, generator("ic toy", seed, speaker, number)))


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_command(intent: Sequence[str], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """One tone per slot, each slot in an octave of its own, at some loudness over faint noise."""
    pieces = []
    for octave, (value, values) in enumerate(zip(intent, TOY_VALUES, strict=True)):
        times = np.arange(int(rng.uniform(0.12, 0.2) * TOY_RATE)) / TOY_RATE
        pitch = 300 * 2.4**octave * 1.3 ** values.index(value) * rng.uniform(0.97, 1.03)
        pieces.append(np.sin(2 * np.pi * pitch * times))
    wave = rng.uniform(0.1, 0.3) * np.concatenate(pieces)
    return wave + rng.normal(0.0, 0.01, len(wave))
