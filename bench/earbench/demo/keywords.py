"""Speech Commands v0.01 in small: the official two folders, spoken by the demo's voices (protocol sheet superb 2.3).

`speech_commands_v0.01/<word>/<speaker>_nohash_<n>.wav` holds train and valid, told apart by the SHA-1 rule that real
readers apply, and `_background_noise_/`; `speech_commands_test_set_v0.01/<class>/` the twelve test folders. As in the
archive: 16-bit PCM at 16 kHz, one second, a few clips shorter, some words missing for some speakers.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it: `SNR` and the ranges in `earbench.demo.speakers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile

from earbench.demo import speech
from earbench.demo.lexicon import KEYWORDS, OTHERS
from earbench.demo.noise import NOISES, noise
from earbench.demo.speakers import VOICES, Speaker, SplitName, cast, recording
from earbench.kit.seeds import generator

RATE = 16_000
SNR = (10.0, 40.0)
"""Decibels by which a word lies above its noise, drawn evenly."""

SPEAKERS: Mapping[SplitName, int] = {"train": 48, "valid": 16, "test": 40}
TAKES = 2
"""Each speaker of train and valid says each keyword so often, less the omissions."""
KEPT: Mapping[SplitName, tuple[float, float]] = {"train": (0.94, 0.94), "valid": (0.65, 0.45), "test": (1.0, 1.0)}
"""The share of takes that exist: of keywords, of other words (said once each)."""

_COUNTS = {
    "train": (89, 90, 89, 94, 84, 88, 90, 89, 90, 91, 901, 6),
    "valid": (18, 24, 17, 25, 21, 18, 22, 21, 23, 22, 134, 6),
    "test": (40,) * 12,
}
CENSUS: Mapping[str, Mapping[str, int]] = {
    "ks": {
        f"{split}/{name}": count
        for split, counts in _COUNTS.items()
        for name, count in zip((*KEYWORDS, "_unknown_", "_silence_"), counts, strict=True)
    }
}
"""A background file is one unit of silence."""

Wave = np.ndarray[Any, np.dtype[np.float64]]
Noises = Mapping[str, Wave]


def write(root: Path) -> None:
    """Write both folders under `root`."""
    main, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    write_backgrounds(main / "_background_noise_")
    for split in ("train", "valid"):
        noises = bank(split)
        for person in cast(split, SPEAKERS[split]):
            for path, wave in said(person, split, noises):
                save(main / path, wave)
    noises = bank("test")
    for number, person in enumerate(cast("test", SPEAKERS["test"])):
        for path, wave in tested(person, number, noises):
            save(test / path, wave)


def write_backgrounds(folder: Path) -> None:
    """Six files of 15 to 20 seconds; what `_silence_` is cut from in train and valid."""
    for name in NOISES:
        rng = generator("demo background", name)
        wave = noise(name, rng.uniform(15, 20), rng, VOICES["train"])
        save(folder / f"{name}.wav", wave * rng.uniform(0.02, 0.06))


def bank(split: SplitName, seconds: float = 30.0) -> Noises:
    """The noises behind the words of a split: other stretches than the background files, other voices in the babble."""
    return {name: noise(name, seconds, generator("demo noise", split, name), VOICES[split]) for name in NOISES}


def said(person: Speaker, split: SplitName, noises: Noises) -> Iterator[tuple[str, Wave]]:
    """Everything that a speaker of train or valid says, as (path in the archive, samples)."""
    rng = generator("demo omissions", person.id)
    response = surroundings(person)
    for word in KEYWORDS + OTHERS:
        keyword = word in KEYWORDS
        for take in range(TAKES if keyword else 1):
            if rng.uniform() < KEPT[split][0 if keyword else 1]:
                yield f"{word}/{person.id}_nohash_{take}.wav", utter(person, word, take, response, noises)


def tested(person: Speaker, number: int, noises: Noises) -> Iterator[tuple[str, Wave]]:
    """What a test speaker adds to each of the twelve folders: ten keywords, one other word, one silence."""
    response = surroundings(person)
    for word in KEYWORDS:
        yield f"{word}/{person.id}_nohash_0.wav", utter(person, word, 0, response, noises)
    other = OTHERS[number % len(OTHERS)]
    yield f"_unknown_/{person.id}_nohash_0.wav", utter(person, other, 0, response, noises)
    rng = generator("demo silence", person.id)
    microphone = speech.tilt(np.eye(1, 512)[0], person.tilt)
    silence = speech.convolve(stretch(noises, RATE, rng), microphone)[:RATE]
    yield f"_silence_/{person.id}_nohash_0.wav", silence * 10 ** rng.uniform(-2.5, -1.2)


def surroundings(person: Speaker) -> Wave:
    """The speaker's room and microphone as one impulse response."""
    return speech.tilt(speech.room(generator("demo room", person.id), person.echo), person.tilt)


def utter(
    person: Speaker, word: str, take: int, response: Wave, noises: Noises, snr: tuple[float, float] = SNR
) -> Wave:
    """One clip: the word in the speaker's voice and room, somewhere in a second of noise, at some level."""
    rng = generator("demo clip", person.id, word, take)
    tract, pace = person.tract * rng.uniform(0.98, 1.02), person.pace * rng.uniform(0.92, 1.08)
    moved = speech.scale_tract(recording(person.voice, person.setting, "word", word), tract)
    dry = speech.change_pace(moved, pace / tract)
    heard = speech.convolve(dry, response)
    length = RATE if rng.uniform() < 0.94 else int(rng.uniform(0.7, 0.98) * RATE)
    start = int(rng.uniform(0, max(1, length - len(dry))))
    clip = speech.place(heard, length, start)
    clip = speech.add_noise(clip, stretch(noises, length, rng), rng.uniform(*snr), speech=heard[: len(dry)])
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-0.9, -0.03))


def stretch(noises: Noises, length: int, rng: np.random.Generator) -> Wave:
    """A random stretch of a random noise."""
    wave = noises[list(noises)[int(rng.integers(len(noises)))]]
    start = int(rng.integers(len(wave) - length))
    return wave[start : start + length]


def save(path: Path, wave: Wave) -> None:
    """16-bit PCM; full scale is 32767 on both sides. (soundfile would sync every file to disk: twice the time.)"""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, RATE, np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16))
