"""Tiny HEAR task folders of every kind, made of tones and learnable in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.kit import hear_layout
from earbench.kit.seeds import generator

PITCHES = range(60, 74)
"""Two more than an octave, so that a pitch and its chroma are not the same question."""
FEW = PITCHES[::3]
TAKES = {"train": 4, "valid": 2, "test": 3}
RATE = 16_000

Wave = np.ndarray[Any, Any]
Clips = Iterator[tuple[str, Any, Wave]]


def write(root: Path, name: str, kind: tuple[str, str], scores: Sequence[str], folds: int, seed: int) -> None:
    """The folder `name` under `root`, as deep as HEAR's archives have it; with `folds`, so many and no named splits."""
    splits = {f"fold{number:02}": 2 for number in range(folds)} or TAKES
    make = {("scene", "multiclass"): _notes, ("scene", "multilabel"): _chords, ("event", "multilabel"): _tunes}[kind]
    facts = {
        "task_name": name.partition("-")[0],
        "embedding_type": kind[0],
        "prediction_type": kind[1],
        "split_mode": "new_split_kfold" if folds else "trainvaltest",
        "evaluation": list(scores),
    }
    labels = PITCHES if make is _notes else FEW
    clips = {split: make(split, takes, seed) for split, takes in splits.items()}
    hear_layout.write(root / hear_layout.HOME / name, facts, labels, clips)


def _notes(split: str, takes: int, seed: int) -> Clips:
    """A quarter of a second of one pitch; every take has overtones of its own."""
    for take in range(takes):
        for pitch in PITCHES:
            yield f"{split}_{take}-{pitch:03}-100.wav", pitch, _tone(pitch, 0.25, split, take, seed)


def _chords(split: str, takes: int, seed: int) -> Clips:
    """Any of five pitches at once, or none; clips last differently."""
    rng = generator("hear toy", seed, split)
    for take in range(6 * takes):
        chosen = [pitch for pitch in FEW if rng.uniform() < 0.4] if take else []
        seconds = float(rng.uniform(0.2, 0.4))
        tones = [_tone(pitch, seconds, split, take, seed) for pitch in chosen]
        yield f"{take}.wav", chosen, sum(tones, _hiss(seconds, split, take, seed)) / 2


def _tunes(split: str, takes: int, seed: int) -> Clips:
    """Four seconds, in which some pitches sound for half a second each, perhaps together."""
    for take in range(takes):
        rng = generator("hear toy", seed, split, take)
        wave, heard = _hiss(4.0, split, take, seed), []
        for start in (0.25, 1.25, 2.25, 3.25):
            for pitch in rng.choice(FEW, size=int(rng.integers(1, 3)), replace=False).tolist():
                begin = round(start * RATE)
                wave[begin : begin + RATE // 2] += _tone(pitch, 0.5, split, take, seed)
                heard.append({"label": pitch, "start": 1000 * start, "end": 1000 * start + 500})
        yield f"{take}.wav", heard, wave / 2


def _tone(pitch: int, seconds: float, split: str, take: int, seed: int) -> Wave:
    overtones = generator("hear toy", seed, split, take).uniform(0.0, 0.5, size=3)
    phases = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(phases) + sum(level * np.sin(order * phases) for order, level in enumerate(overtones, 2))
    return np.asarray(0.2 * wave) + _hiss(seconds, split, take, seed)


def _hiss(seconds: float, split: str, take: int, seed: int) -> Wave:
    return generator("hear toy hiss", seed, split, take).normal(0.0, 0.005, round(seconds * RATE))
