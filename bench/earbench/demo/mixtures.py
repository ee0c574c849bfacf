"""Libri2Mix in small: two of the demo's voices talk across each other (protocol sheet superb 2.7).

`Libri2Mix/wav16k/max/{train-100,dev,test}/mix_both/<id>.wav` at 16 kHz, and `data/{train,dev,test}` with Kaldi's files,
whose paths are relative to the corpus root. A mixture lasts four to eight seconds; either speaker says two or three
phrases of one to three words, with pauses between. A turn is a phrase.

One speaker of a mixture has the low pitch and one the high, mostly of two voices; valid has a single voice, so there
pitch and vocal tract alone tell the two apart. Who is named first is drawn. With two voices of one pitch, or louder
noise, log-mel energies and the few steps of the demo's recipe would not get beyond telling speech from silence.
How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.keywords import RATE, Noises, bank, save, stretch, surroundings
from earbench.demo.lexicon import KEYWORDS, OTHERS
from earbench.demo.speakers import Speaker, SplitName, cast, recording
from earbench.kit.kaldi_writer import Mixture, write_folder
from earbench.kit.seeds import generator

FOLDERS: Mapping[SplitName, tuple[str, str]] = {
    "train": ("train", "train-100"),
    "valid": ("dev", "dev"),
    "test": ("test", "test"),
}
"""The Kaldi folder and the folder of the audio."""
MIXTURES: Mapping[SplitName, int] = {"train": 160, "valid": 32, "test": 64}
SPEAKERS: Mapping[SplitName, int] = {"train": 48, "valid": 12, "test": 24}
FIRST: Mapping[SplitName, int] = {"train": 1000, "valid": 2000, "test": 3000}
"""The number of the first speaker, as in the demo's LibriSpeech."""
SETTINGS = ("low", "high")
PHRASES, WORDS = (2, 3), (1, 3)
"""Phrases of a speaker and words of a phrase, at least and at most."""
PAUSE, GAP = (0.3, 1.2), (0.0, 0.06)
"""Seconds before phrases and between the words of one."""
LEVEL, SNR = (-3.0, 3.0), (20.0, 40.0)
"""Decibels of the second speaker against the first, and of the first against the noise, drawn evenly."""
CENSUS: Mapping[str, Mapping[str, int]] = {"sd": {"train": 160, "valid": 32, "test": 64}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write audio and Kaldi's files of the three splits under `root`."""
    for split, (folder, audio) in FOLDERS.items():
        noises, people = bank(split), cast(split, SPEAKERS[split])
        home = Path("Libri2Mix", "wav16k", "max", audio, "mix_both")
        mixtures = [write_mixture(root, home, split, number, people, noises) for number in range(MIXTURES[split])]
        write_folder(root / "data" / folder, mixtures)


def write_mixture(
    root: Path, home: Path, split: SplitName, number: int, people: tuple[Speaker, ...], noises: Noises
) -> Mixture:
    rng = generator("demo mixture", split, number)
    pair = [int(rng.choice([at for at, one in enumerate(people) if one.setting == setting])) for setting in SETTINGS]
    pair = [pair[at] for at in rng.permutation(2)]
    (first, first_turns), (second, second_turns) = (talk(people[at], rng) for at in pair)
    wave = mixed(first, second, rng, noises)
    names = [f"{FIRST[split] + at}" for at in pair]
    id = "_".join(f"{name}-{number}-{side:04}" for side, name in enumerate(names))
    save(root / home / f"{id}.wav", wave)
    turns = zip(names, (first_turns, second_turns), strict=True)
    spoken = [(name, start, stop) for name, times in turns for start, stop in times]
    return Mixture(id, (home / f"{id}.wav").as_posix(), len(wave) / RATE, spoken)


def mixed(one: Wave, two: Wave, rng: np.random.Generator, noises: Noises) -> Wave:
    """Both at once over noise, at some level, as long as the longer."""
    length = max(len(one), len(two))
    first, second = (speech.place(wave, length, 0) for wave in (one, two))
    second *= np.sqrt(np.square(first).sum() / np.square(second).sum()) * 10 ** (rng.uniform(*LEVEL) / 20)
    clip = speech.add_noise(first + second, stretch(noises, length, rng), rng.uniform(*SNR), speech=first)
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-0.9, -0.03))


def talk(person: Speaker, rng: np.random.Generator) -> tuple[Wave, list[tuple[float, float]]]:
    """Some phrases of one person in a room, each behind a pause, and their times in whole hundredths of a second."""
    tract, pace = person.tract * rng.uniform(0.98, 1.02), person.pace * rng.uniform(0.92, 1.08)
    pieces, turns, now = [], [], 0
    for _ in range(rng.integers(PHRASES[0], PHRASES[1] + 1)):
        spoken = np.concatenate(list(phrase(person, rng)))
        dry = speech.change_pace(speech.scale_tract(spoken, tract), pace / tract)
        pause = int(rng.uniform(*PAUSE) * RATE)
        turns.append((round((now + pause) / RATE, 2), round((now + pause + len(dry)) / RATE, 2)))
        pieces += [np.zeros(pause), dry]
        now += pause + len(dry)
    return speech.convolve(np.concatenate(pieces), surroundings(person)), turns


def phrase(person: Speaker, rng: np.random.Generator) -> Iterator[Wave]:
    for _ in range(rng.integers(WORDS[0], WORDS[1] + 1)):
        yield recording(person.voice, person.setting, "word", str(rng.choice(KEYWORDS + OTHERS)))
        yield np.zeros(int(rng.uniform(*GAP) * RATE))
