"""Speech recognition: what was said, letter by letter?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Fold, Head, Recipe, Rows, Space, Split, Task, TaskCard, UpstreamCard
from earbench.kit.heads.ctc import RecurrentCTC
from earbench.kit.librispeech import LIBRISPEECH, librispeech
from earbench.kit.metrics.errors import CER, WER, transcripts
from earbench.kit.sampling import by_length
from earbench.kit.seeds import generator
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import LETTERS, Characters

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
TOY_LETTERS = "ETAON"
TOY_WORDS = ("ATE", "EAT", "NET", "NOT", "ONE", "TEA", "TEN", "TOE")
TOY_SPEAKERS = {"train-clean-100": range(1, 7), "dev-clean": range(7, 9), "test-clean": range(9, 12)}
TOY_RATE = 16_000


class SpeechRecognition(Task):
    """Letters of LibriSpeech by CTC, trained on 100 clean hours, without a language model (SUPERB ASR, sheet 2.2).

    The protocol's batches of 32 are halved whenever the longest of them exceeds 2,000 samples, which always holds:
    `batch` is what remains.
    """

    card = TaskCard(
        "asr",
        version=1,
        title="Speech recognition",
        corpus=LIBRISPEECH,
        grain="frame",
        metrics=(WER, CER),
        suite="superb",
        protocol="SUPERB ASR",
    )
    select = "wer"

    def folds(self, root: Path, upstream: UpstreamCard) -> Sequence[Fold]:
        return [librispeech(root)]

    def space(self, fold: Fold) -> Characters:
        return LETTERS

    def recipes(self, effort: Effort, demo: bool) -> Sequence[Recipe]:
        if demo:
            small = {"hidden": 128, "time_limit": 1, "feature_limit": 1}  # few steps leave no room for masks: width 0
            return [Recipe(lr=2e-3, batch=16, steps=600, every=100, clip=1.0, options=small)]
        published = {"hidden": 1024, "time_limit": 40, "feature_limit": 50}
        return [Recipe(lr=lr, batch=16, steps=200_000, every=2_000, clip=1.0, options=published) for lr in RATES]

    def batches(self, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        return by_length(split, recipe.batch, rng)

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(LETTERS.encode(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        limits = {name: recipe.options[name] for name in ("time_limit", "feature_limit")}
        return RecurrentCTC(width, recipe.options["hidden"], LETTERS, SpecAugment(**limits))

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return transcripts(split, predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root: Path, seed: int) -> None:
        """Eleven speakers "say" twelve short texts each, a tone for every letter: 132 files of about a second."""
        for subset, speakers in TOY_SPEAKERS.items():
            for speaker in speakers:
                rng = generator("asr toy", seed, speaker)
                folder, name = root / "LibriSpeech" / subset / f"{speaker}" / "1", f"{speaker}-1"
                texts = [" ".join(rng.choice(TOY_WORDS, size=rng.integers(1, 4))) for _ in range(12)]
                for number, text in enumerate(texts):
                    _write(folder / f"{name}-{number:04}.flac", _toy_speech(text, rng))
                lines = [f"{name}-{number:04} {text}\n" for number, text in enumerate(texts)]
                (folder / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8", newline="\n")


# ---- the toy corpus --------------------------------------------------------------------------------------------------


def _toy_speech(text: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """One tone after another at a voice's own height and loudness, a longer pause between words, over faint noise."""
    height, loudness = rng.uniform(0.97, 1.03), rng.uniform(0.1, 0.3)
    pieces = [np.zeros(800)]
    for letter in text:
        times = np.arange(int(rng.uniform(0.06, 0.1) * TOY_RATE)) / TOY_RATE
        pitch = 400 * 1.5 ** TOY_LETTERS.index(letter) if letter in TOY_LETTERS else 0.0
        pieces += [loudness * np.sin(2 * np.pi * pitch * height * times), np.zeros(480)]
    wave = np.concatenate(pieces)
    return wave + rng.normal(0.0, 0.01, len(wave))


def _write(path: Path, samples: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, TOY_RATE, subtype="PCM_16")
