"""NSynth pitch in small, as a HEAR task folder: four octaves of notes, every split played by instruments of its own.

A family is a way of making sound, with its own overtones, onset and decay; an instrument is a draw from it. Families of
the valid and test splits are not heard in train, so that a pitch has to be told from timbre and not learned by heart.
File names are NSynth's, `<family>_<source>_<instrument>-<pitch>-<velocity>.wav`. How hard it is was settled with
hand-made features alone (`tests/demo` keeps the floors): `CENTS`, `SNR`, and how unlike each other families are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "nsynth_pitch-v2.2.3-5h"
RATE, SECONDS = 16_000, 1.0
PITCHES = range(36, 85)
"""49 MIDI pitches, C2 (65 Hz) to C6 (1047 Hz)."""

SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("brass", "mallet", "organ", "reed", "string"),
    "valid": ("flute", "guitar"),
    "test": ("bass", "keyboard", "vocal"),
}
INSTRUMENTS: Mapping[str, int] = {"train": 5, "valid": 5, "test": 8}
"""How many of each family; each plays every pitch once, but for the omissions."""
KEPT: Mapping[str, float] = {"train": 0.9, "valid": 0.65, "test": 0.45}
CENSUS: Mapping[str, Mapping[str, int]] = {"pitch": {"labels": 49, "train": 1105, "valid": 333, "test": 501}}
OVERTONES = 30
SNR = (-5.0, 25.0)
CENTS = 40.0
CHARACTER = 10.0
"""Decibels by which the overtones of one instrument stray from those of its family (standard deviation)."""

Wave = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Family:
    """What the instruments of a family share; every pair is a range that an instrument is drawn from.

    Overtone k has the level k ** -slope, times `first` for the fundamental and `even` for even k, times a broad
    resonance at `formant` hertz of strength `body`, and falls off above `bright` hertz. `attack` and `decay` are in
    seconds, `vibrato` in cents; `breath` is the level of noise that sounds along.
    """

    slope: tuple[float, float]
    first: tuple[float, float] = (0.2, 1.0)
    even: tuple[float, float] = (0.5, 1.0)
    formant: tuple[float, float] = (400.0, 2000.0)
    body: tuple[float, float] = (0.0, 3.0)
    bright: tuple[float, float] = (1000.0, 4000.0)
    attack: tuple[float, float] = (0.01, 0.05)
    decay: tuple[float, float] = (2.0, 8.0)
    vibrato: tuple[float, float] = (0.0, 5.0)
    breath: tuple[float, float] = (0.0, 0.01)


FAMILIES: Mapping[str, Family] = {
    "brass": Family((0.3, 0.8), formant=(900.0, 1600.0), body=(1.0, 4.0), attack=(0.03, 0.08)),
    "mallet": Family((1.5, 2.5), first=(0.6, 1.0), attack=(0.002, 0.005), decay=(0.1, 0.5)),
    "organ": Family((0.3, 1.0), even=(0.8, 1.2)),
    "reed": Family((0.6, 1.2), even=(0.05, 0.3), breath=(0.01, 0.04)),
    "string": Family((0.8, 1.3), attack=(0.05, 0.15), vibrato=(5.0, 25.0), breath=(0.01, 0.05)),
    "flute": Family((1.5, 2.5), first=(0.4, 1.0), attack=(0.04, 0.1), vibrato=(5.0, 20.0), breath=(0.03, 0.1)),
    "guitar": Family((0.9, 1.5), attack=(0.002, 0.005), decay=(0.3, 1.0)),
    "bass": Family((0.7, 1.2), first=(0.05, 0.4), body=(1.0, 4.0), decay=(0.4, 2.0)),
    "keyboard": Family((1.0, 1.6), attack=(0.003, 0.008), decay=(0.4, 1.5)),
    "vocal": Family((0.8, 1.4), first=(0.1, 0.5), formant=(500.0, 1200.0), body=(3.0, 8.0), vibrato=(10.0, 30.0)),
}


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "nsynth_pitch",
        "version": "v2.2.3",
        "mode": "5h",
        "split_mode": "trainvaltest",
        "sample_duration": SECONDS,
        "evaluation": ["pitch_acc", "chroma_acc"],
    }
    played = {split: list(notes(split)) for split in SPLITS}
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, PITCHES, played)


@dataclass(frozen=True)
class Instrument:
    """One draw from a family: its value in each range, and the level of each overtone."""

    values: Mapping[str, float]
    levels: Wave


def notes(split: str) -> Iterator[tuple[str, int, Wave]]:
    """File name, pitch and samples of every note of a split."""
    for family in SPLITS[split]:
        for number in range(INSTRUMENTS[split]):
            name = f"{family}_synthetic_{number:03}"
            instrument = drawn(FAMILIES[family], generator("demo instrument", name))
            for pitch in PITCHES:
                rng = generator("demo note", name, pitch)
                if rng.uniform() < KEPT[split]:
                    velocity = int(rng.integers(25, 128))
                    yield f"{name}-{pitch:03}-{velocity:03}.wav", pitch, note(instrument, pitch, velocity, rng)


def drawn(family: Family, rng: np.random.Generator) -> Instrument:
    """One instrument of a family."""
    values = {name: float(rng.uniform(*bounds)) for name, bounds in vars(family).items()}
    levels = np.arange(1, OVERTONES + 1) ** -values["slope"] * 10 ** (rng.normal(0, CHARACTER, OVERTONES) / 20)
    levels[0] *= values["first"]
    levels[1::2] *= values["even"]
    return Instrument(values, levels)


def note(instrument: Instrument, pitch: int, velocity: int, rng: np.random.Generator) -> Wave:
    """One note: a little out of tune, brighter and louder with `velocity`, released before its end, in some noise."""
    times, values = np.arange(int(SECONDS * RATE)) / RATE, instrument.values
    hertz = 440 * 2 ** ((pitch - 69 + rng.uniform(-CENTS, CENTS) / 100) / 12)
    tone = overtones(instrument, hertz, (80 - velocity) / 160, times, rng)
    tone += values["breath"] * rng.standard_normal(len(times))
    release = rng.uniform(0.6, 0.9)
    tone *= np.minimum(1, times / values["attack"]) * np.exp(-np.maximum(0, times - release) / 0.05)
    clip = tone + hiss(len(times), rng) * tone.std() * 10 ** (-rng.uniform(*SNR) / 20)
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-1.0, -0.05) * (velocity / 127) ** 0.5)


def overtones(instrument: Instrument, hertz: float, dull: float, times: Wave, rng: np.random.Generator) -> Wave:
    """The sounding part, peak one. Each overtone is the one below times the same complex wave, and dies faster."""
    values, rate = instrument.values, 2 * np.pi * rng.uniform(4, 7)
    wobble = hertz * values["vibrato"] / 1200 * np.log(2) / rate * np.sin(rate * times)
    step = np.exp(2j * np.pi * (hertz * times + wobble) - 0.2 * times / values["decay"])
    orders = np.arange(1, min(OVERTONES, int(7500 / hertz)) + 1)
    levels = instrument.levels[: len(orders)] * orders**-dull
    levels /= 1 + (orders * hertz / (values["bright"] * rng.uniform(0.7, 1.4))) ** 4
    levels *= 1 + values["body"] * np.exp(-((np.log2(orders * hertz / values["formant"]) / 0.5) ** 2))
    turning, tone = step * np.exp(-0.8 * times / values["decay"]), np.zeros(len(times))
    for level in levels * np.exp(2j * np.pi * rng.uniform(size=len(orders))):
        tone += (level * turning).real
        turning *= step
    return np.asarray(tone / np.abs(tone).max())


def hiss(length: int, rng: np.random.Generator) -> Wave:
    """Noise of power one, anything from white to brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    wave = np.fft.irfft(spectrum * np.maximum(np.arange(len(spectrum)), 50) ** -rng.uniform(0.0, 1.0), length)
    return np.asarray(wave / wave.std())
