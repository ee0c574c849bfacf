"""MAESTRO in small, as a HEAR task folder: two-minute pieces for one instrument, and when each note sounds.

A melody walks over a scale while chords change below it, so that up to six notes sound at once. Every piece has a key,
a tempo, a room and noise of its own; all are played on one instrument, as there are few in MAESTRO, for from two
pieces no one could learn what other instruments sound like. Three folds, the fewest that train, valid and test allow
(published: five), of two pieces each.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `SNR` and `PIANO`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.notes import PITCHES, RATE, Family, drawn, hiss, overtones
from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "maestro-v3.0.0-5h"
SECONDS = 120.0
FOLDS, EACH = 3, 2
"""How many folds, and pieces in each."""
PIANO = Family((1.0, 1.6), first=(0.5, 1.0), attack=(0.002, 0.006), decay=(0.6, 2.0))
LONGEST, RELEASE = 3.0, 0.06
"""Seconds that a string sounds at most, and in which a released one falls to 1/e."""
SNR = (10.0, 25.0)
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
CENSUS: Mapping[str, Mapping[str, int]] = {"hear_maestro_5h": {"labels": 49, "folds": 3, "clips": 6}}

Wave = np.ndarray[Any, np.dtype[np.float64]]
Note = tuple[int, float, float, float]
"""MIDI pitch, start and stop in seconds, level."""


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "maestro",
        "version": "v3.0.0",
        "mode": "5h",
        "embedding_type": "event",
        "prediction_type": "multilabel",
        "split_mode": "new_split_kfold",
        "nfolds": FOLDS,
        "sample_duration": SECONDS,
        "evaluation": ["event_onset_50ms_fms", "event_onset_offset_50ms_20perc_fms"],
        "use_scoring_for_early_stopping": False,
        "evaluation_params": {"event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]}},
    }
    splits = {f"fold{number:02}": pieces(number) for number in range(FOLDS)}
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, PITCHES, splits)


def pieces(fold: int) -> Iterator[tuple[str, list[dict[str, Any]], Wave]]:
    """File name, notes in milliseconds and samples of every piece of a fold."""
    for number in range(EACH):
        name = f"piece_{EACH * fold + number:02}.wav"
        rng = generator("demo piece", name)
        played = damped(composed(rng))
        events = [
            {"label": pitch, "start": round(start * 1000, 3), "end": round(stop * 1000, 3)}
            for pitch, start, stop, _ in played
        ]
        yield name, events, performed(played, rng)


def composed(rng: np.random.Generator) -> Iterator[Note]:
    """Bars of four beats; the key changes every few bars, and nobody plays quite in time."""
    beat, now, bar, degree = rng.uniform(0.4, 0.65), 1.0, 0, 14
    while now + 4 * beat < SECONDS - 1:
        if bar % 8 == 0:
            key, scale = int(rng.integers(12)), SCALES[rng.integers(len(SCALES))]
        yield from chord(key, scale, now, beat, rng)
        for half in np.flatnonzero(rng.uniform(size=8) < 0.6):
            degree = int(np.clip(degree + rng.integers(-3, 4), 10, 24))
            start = now + half * beat / 2 + rng.normal(0, 0.01)
            yield pitched(degree, key, scale), start, start + beat * rng.uniform(0.3, 1.2), rng.uniform(0.4, 1.0)
        now, bar = now + 4 * beat, bar + 1


def chord(key: int, scale: tuple[int, ...], now: float, beat: float, rng: np.random.Generator) -> Iterator[Note]:
    """A triad below the melody, struck once or twice in a bar."""
    root = int(rng.integers(0, 8))
    for part in range(rng.integers(1, 3)):
        for step in (0, 2, 4)[: rng.integers(2, 4)]:
            start = now + 2 * part * beat + rng.normal(0, 0.01)
            yield pitched(root + step, key, scale), start, start + beat * rng.uniform(1.0, 1.9), rng.uniform(0.3, 0.8)


def pitched(degree: int, key: int, scale: tuple[int, ...]) -> int:
    """A degree of a scale as a MIDI pitch; what would lie above the range sounds an octave lower."""
    pitch = PITCHES[0] + key + 12 * (degree // 7) + scale[degree % 7]
    return pitch if pitch <= PITCHES[-1] else PITCHES[-1] - 12 + (pitch - PITCHES[-1]) % 12


def damped(notes: Iterable[Note]) -> list[Note]:
    """Notes in order of their starts, each ended where its pitch is struck again."""
    found: list[Note] = []
    last: dict[int, int] = {}
    for note in sorted(notes, key=lambda note: (note[1], note[0])):
        if note[0] in last:
            pitch, start, stop, level = found[last[note[0]]]
            found[last[note[0]]] = pitch, start, min(stop, note[1] - 0.02), level
        last[note[0]] = len(found)
        found.append(note)
    return [note for note in found if note[2] - note[1] >= 0.06]


def performed(notes: Sequence[Note], rng: np.random.Generator) -> Wave:
    """The notes in a room, over noise; a pitch always sounds the same but for its level."""
    piano, times = drawn(PIANO, generator("demo piano")), np.arange(int(LONGEST * RATE)) / RATE
    onset = np.minimum(1, times / piano.values["attack"])
    tones = {
        pitch: onset * overtones(piano, 440 * 2 ** ((pitch - 69) / 12), 0.0, times, rng)
        for pitch in sorted({note[0] for note in notes})
    }
    wave = np.zeros(int(SECONDS * RATE))
    for pitch, start, stop, level in notes:
        sound = tones[pitch] * level * np.exp(-np.maximum(0, times - (stop - start)) / RELEASE)
        at = int(start * RATE)
        wave[at : at + len(sound)] += sound[: len(wave) - at]
    heard = speech.convolve(wave, speech.room(rng, rng.uniform(0.1, 0.4)))[: len(wave)]
    heard += hiss(len(heard), rng) * heard.std() * 10 ** (-rng.uniform(*SNR) / 20)
    return np.asarray(heard / np.abs(heard).max() * 0.9)
