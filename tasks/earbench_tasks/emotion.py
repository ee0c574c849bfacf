"""Emotion recognition: does the speaker sound neutral, happy, angry or sad?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.contract import Effort, Fold, Labels, Recipe, TaskCard, UpstreamCard
from earbench.kit import toy
from earbench.kit.classification import Classification
from earbench.kit.iemocap import EMOTIONS, IEMOCAP, SESSIONS, iemocap
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LABELS = Labels(EMOTIONS)
TOY_DIALOGUES = ("F_impro01", "M_script01_1")
TOY_LABELS = ("neu", "hap", "exc", "ang", "sad", "fru", "xxx")
TOY_RATE = 16_000


class Emotion(Classification):
    """Four emotions of IEMOCAP, a fold for each session (SUPERB ER, protocol sheet 2.10).

    The score is the unweighted mean of the five accuracies. A head's best state is chosen by its own fold's valid
    split, the rate by all five together: the paper reports one for all. Valid is drawn at random from the training
    sessions, so its speakers are heard in training; those of test are not. A fold's test holds two speakers only.
    """

    card = TaskCard(
        "er",
        version=1,
        title="Emotion recognition",
        corpus=IEMOCAP,
        grain="mean",
        metrics=(ACCURACY,),
        suite="superb",
        protocol="SUPERB ER",
        verified="vectors",
    )
    select = "accuracy"
    search = "all"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return iemocap(root)

    def census(self, folds: Sequence[Fold]) -> Mapping[str, int]:
        """Train and valid of each fold, and the labels of its test session."""
        counts = {}
        for fold in folds:
            found = Counter(clip.label for clip in fold.test.clips)
            counts |= {f"{fold.name}/train": len(fold.train.clips), f"{fold.name}/valid": len(fold.valid.clips)}
            counts |= {f"{fold.name}/test/{label}": found[label] for label in LABELS}
        return counts

    def space(self, fold: Fold) -> Labels:
        return LABELS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            return [Recipe(lr=lr, batch=32, steps=500, every=25, clip=1.0) for lr in RATES[:4]]
        return [Recipe(lr=lr, batch=4, accum=8, steps=30_000, every=1_000, clip=1.0) for lr in RATES]

    def toy(self, root: Path, seed: int) -> None:
        """Two dialogues in each session, in which both speakers "say" everything once: 140 files of half a second."""
        for session in SESSIONS:
            for name in (f"Ses0{session}{dialogue}" for dialogue in TOY_DIALOGUES):
                folder = root / f"Session{session}"
                lines = ["% [START - END] TURN EMOTION [V, A, D]\n\n"]
                for letter in "FM":
                    for number, label in enumerate(TOY_LABELS):
                        id = f"{name}_{letter}{number:03}"
                        lines.append(f"[{number}.0000 - {number}.5000]\t{id}\t{label}\t[2.5, 2.5, 2.5]\n")
                        wave = _toy_voice(label, generator("er toy", seed, id))
                        toy.write(folder / "sentences" / "wav" / name / f"{id}.wav", wave)
                labels = folder / "dialog" / "EmoEvaluation" / f"{name}.txt"
                labels.parent.mkdir(parents=True, exist_ok=True)
                labels.write_text("".join(lines), encoding="utf-8", newline="\n")


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_voice(label: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A buzz whose height tells the label, over faint noise."""
    times = np.arange(int(rng.uniform(0.4, 0.6) * TOY_RATE)) / TOY_RATE
    height = {"sad": 150, "neu": 300, "hap": 600, "exc": 620, "ang": 1200}.get(label, 2400) * rng.uniform(0.97, 1.03)
    buzz = sum(np.sin(2 * np.pi * order * height * times) / order for order in (1, 2, 3))
    return rng.uniform(0.1, 0.2) * buzz + rng.normal(0.0, 0.01, len(times))
