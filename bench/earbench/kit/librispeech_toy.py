"""LibriSpeech's tree with tones for letters: what the tasks on that corpus try themselves on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from earbench.kit import toy
from earbench.kit.seeds import generator

LETTERS = "ETAON"
WORDS = ("ATE", "EAT", "NET", "NOT", "ONE", "TEA", "TEN", "TOE")
SPEAKERS = {"train-clean-100": range(1, 7), "dev-clean": range(7, 9), "test-clean": range(9, 12)}
RATE = 16_000


def write_toy(root: Path, seed: int) -> None:
    """Eleven speakers "say" twelve short texts each, a tone for every letter: 132 files of about a second."""
    for subset, speakers in SPEAKERS.items():
        for speaker in speakers:
            rng = generator("asr toy", seed, speaker)
            folder, name = root / "LibriSpeech" / subset / f"{speaker}" / "1", f"{speaker}-1"
            texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 4))) for _ in range(12)]
            for number, text in enumerate(texts):
                toy.write(folder / f"{name}-{number:04}.flac", speech(text, rng))
            lines = [f"{name}-{number:04} {text}\n" for number, text in enumerate(texts)]
            (folder / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8", newline="\n")


def speech(text: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """One tone after another at a voice's own height and loudness, a longer pause between words, over faint noise."""
    height, loudness = rng.uniform(0.97, 1.03), rng.uniform(0.1, 0.3)
    pieces = [np.zeros(800)]
    for letter in text:
        times = np.arange(int(rng.uniform(0.06, 0.1) * RATE)) / RATE
        pitch = 400 * 1.5 ** LETTERS.index(letter) if letter in LETTERS else 0.0
        pieces += [loudness * np.sin(2 * np.pi * pitch * height * times), np.zeros(480)]
    wave = np.concatenate(pieces)
    return wave + rng.normal(0.0, 0.01, len(wave))
