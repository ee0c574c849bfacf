"""Mridangam strokes in small, as a HEAR task folder: ten ways to strike a drum with two heads, in five folds.

A stroke lets the bass head, the partials of the tuned head and the slap of the hand sound at levels of its own, each
for some time. A drum strays from all strokes alike, a hit from its drum. As in the published folder every drum is
heard in every fold, and file names tell stroke and tonic.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `STRAY` and `SWAY`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.notes import RATE, hiss
from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "mridangam_stroke-v1.5-full"
SECONDS = 0.81
FOLDS = 5
TONICS: Mapping[str, float] = {"b": 123.5, "c": 130.8, "csh": 138.6, "d": 146.8, "dsh": 155.6, "e": 164.8}
"""Hertz; one drum for each."""
TAKES = 5
"""Of each stroke on each drum."""
STRAY, SWAY = 2.5, 3.0
"""How far a drum strays from the strokes as they are written, and a hit from its drum, in decibels (standard
deviations); decay times stray by a twelfth of it, as logarithms.
"""
SNR = (5.0, 35.0)
CENSUS: Mapping[str, Mapping[str, int]] = {"hear_mridangam_stroke": {"labels": 10, "folds": 5, "clips": 300}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Stroke:
    """Decibels of the bass head, of five partials of the tuned head, and of the slap; seconds that the heads ring."""

    bass: float
    partials: tuple[float, float, float, float, float]
    slap: float
    boom: float
    ring: float


STROKES: Mapping[str, Stroke] = {
    "bheem": Stroke(0, (-3, -8, -14, -20, -24), -16, boom=0.3, ring=0.25),
    "cha": Stroke(-25, (-12, -5, -2, -6, -10), -6, boom=0.05, ring=0.2),
    "dheem": Stroke(-4, (0, -10, -16, -20, -24), -16, boom=0.2, ring=0.3),
    "dhin": Stroke(-25, (0, -10, -14, -18, -22), -14, boom=0.05, ring=0.3),
    "num": Stroke(-25, (-10, 0, -6, -12, -16), -12, boom=0.05, ring=0.3),
    "ta": Stroke(-25, (-10, -8, -6, -6, -8), 0, boom=0.05, ring=0.04),
    "tha": Stroke(-2, (-20, -20, -20, -20, -20), -4, boom=0.06, ring=0.04),
    "tham": Stroke(-2, (-10, -2, -8, -14, -18), -14, boom=0.25, ring=0.3),
    "thi": Stroke(-22, (-3, -6, -8, -12, -14), -5, boom=0.05, ring=0.06),
    "thom": Stroke(0, (-20, -22, -24, -26, -28), -14, boom=0.3, ring=0.1),
}


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "mridangam_stroke",
        "version": "v1.5",
        "mode": "full",
        "split_mode": "new_split_kfold",
        "nfolds": FOLDS,
        "sample_duration": SECONDS,
        "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"],
    }
    hits = list(played())
    dealt = np.array_split(generator("demo stroke folds").permutation(len(hits)), FOLDS)
    splits = {f"fold{number:02}": [hits[at] for at in fold] for number, fold in enumerate(dealt)}
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, list(STROKES), splits)


def played() -> Iterator[tuple[str, str, Wave]]:
    """File name, stroke and samples of every hit."""
    for tonic, hertz in TONICS.items():
        drum = {name: strayed(stroke, STRAY, generator("demo drum", tonic, name)) for name, stroke in STROKES.items()}
        for name, stroke in drum.items():
            for take in range(TAKES):
                file = f"{name}__{tonic}-{take:03}.wav"
                yield file, name, hit(stroke, hertz, generator("demo stroke", file))


def strayed(stroke: Stroke, decibels: float, rng: np.random.Generator) -> Stroke:
    """A stroke near the one given."""
    bass, slap, *partials = np.array([stroke.bass, stroke.slap, *stroke.partials]) + rng.normal(0, decibels, 7)
    boom, ring = np.array([stroke.boom, stroke.ring]) * np.exp(rng.normal(0, decibels / 12, 2))
    first, second, third, fourth, fifth = partials
    return Stroke(bass, (first, second, third, fourth, fifth), slap, boom, ring)


def hit(stroke: Stroke, hertz: float, rng: np.random.Generator) -> Wave:
    """One hit of a drum tuned to `hertz`, in a room, over some noise, at some level."""
    own = strayed(stroke, SWAY, rng)
    times = np.arange(int(SECONDS * RATE)) / RATE
    wave = 10 ** (own.bass / 20) * np.exp(-times / own.boom) * sliding(hertz * rng.uniform(0.5, 0.65), times)
    for order, level in enumerate(own.partials, 1):
        tone = np.sin(2 * np.pi * hertz * order * rng.uniform(0.98, 1.02) * times + rng.uniform(0, 6))
        wave += 10 ** (level / 20) * tone * np.exp(-times * order**0.5 / own.ring)
    wave += 10 ** (own.slap / 20) * rng.standard_normal(len(times)) * np.exp(-times / rng.uniform(0.004, 0.02))
    heard = speech.convolve(wave, speech.room(rng, rng.uniform(0.1, 0.3)))
    clip = speech.place(heard, len(times), int(rng.uniform(0.0, 0.05) * RATE))
    clip += hiss(len(clip), rng) * clip.std() * 10 ** (-rng.uniform(*SNR) / 20)
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-1.0, -0.05))


def sliding(hertz: float, times: Wave) -> Wave:
    """A tone that begins a fifth higher and settles at `hertz` within a tenth of a second, as a slack head does."""
    return np.asarray(np.sin(2 * np.pi * hertz * (times + 0.5 * 0.03 * (1 - np.exp(-times / 0.03)))))
