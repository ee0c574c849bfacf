"""VoxCeleb1's tree with chords for voices: what the two speaker tasks try themselves on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from earbench.kit import toy
from earbench.kit.seeds import generator

SPEAKERS = {"dev": range(10_001, 10_009), "test": range(10_270, 10_274)}
VIDEOS = {"a-1_x": "1", "b-2_y": "1", "c-3_z": "2", "d-4_w": "3"}
"""And the number that iden_split.txt gives their utterances."""
UTTERANCES = 2
"""Of each video; the first one of each speaker is longer than eight seconds."""
RATE = 16_000


def write_toy(root: Path, seed: int) -> None:
    """Twelve speakers "talk" in two utterances of each of four videos: 96 files of two or three seconds, 12 of nine."""
    names = []
    for part, speakers in SPEAKERS.items():
        for number in speakers:
            rng = generator("voxceleb toy", seed, number)
            voice = 200.0 * 1.11 ** (number % 1000 % 20) * rng.uniform(0.99, 1.01)
            for name in _names(f"id{number}"):
                toy.write(root / part / "wav" / name, _speech(voice, 9.0 if name.endswith("x/00001.wav") else 2.3, rng))
                names.append(name)
    _list(root / "iden_split.txt", (f"{VIDEOS[name.split('/')[1]]} {name}" for name in names))
    tested = [name for number in SPEAKERS["test"] for name in _names(f"id{number}")]
    same = {pair: int(pair[0][:7] == pair[1][:7]) for pair in combinations(tested, 2)}
    targets = [pair for pair, one in same.items() if one]
    others = [pair for pair, one in same.items() if not one][:: len(same) // len(targets) - 1][: len(targets)]
    trials = (pair for both in zip(targets, others, strict=True) for pair in both)
    _list(root / "voxceleb1_test_v2.txt", (f"{same[pair]} {' '.join(pair)}" for pair in trials))


def _names(speaker: str) -> Iterator[str]:
    return (f"{speaker}/{video}/{number:05}.wav" for video in VIDEOS for number in range(1, UTTERANCES + 1))


def _speech(voice: float, seconds: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A chord above `voice` with a slow tremor, between two silences."""
    times = np.arange(int(rng.uniform(1.0, 1.1) * seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * voice * ratio * times + rng.uniform(0, 6)) for ratio in (1.0, 1.5, 2.2))
    wave = rng.uniform(0.03, 0.1) * chord * (1 + 0.3 * np.sin(2 * np.pi * 3 * times)) + rng.normal(0, 0.01, len(times))
    return np.concatenate([np.zeros(3_000), wave, np.zeros(3_000)])


def _list(path: Path, lines: Iterator[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
