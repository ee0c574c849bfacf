"""LibriSpeech in small: short sentences and strings of words in English, spoken by the demo's voices.

`LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac` with `<speaker>-<chapter>.trans.txt`
beside them, 16 kHz, about two seconds each (protocol sheet superb 2.2). The people are those of the keyword corpus, in
the same rooms. Chapter 1 holds sentences and commands as the pack has them, no two splits sharing one; chapter 2
strings of single words, so that nobody learns the sentences by heart.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it: the numbers of speakers and utterances, `WORDS_EACH` and `SNR`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earbench.demo import speech
from earbench.demo.keywords import RATE, Noises, bank, stretch, surroundings
from earbench.demo.lexicon import KEYWORDS, OTHERS
from earbench.demo.speakers import Speaker, SplitName, cast, recording, recordings
from earbench.kit.seeds import generator

SUBSETS: Mapping[SplitName, str] = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}
SPEAKERS: Mapping[SplitName, int] = {"train": 48, "valid": 12, "test": 24}
SENTENCES, STRINGS = 4, 4
"""How many of each a speaker says."""
WORDS_EACH = (3, 4)
"""Words in a string, at least and at most."""
SNR = (15.0, 40.0)
"""Decibels by which an utterance lies above its noise, drawn evenly."""

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write the three subsets under `root`."""
    for split, subset in SUBSETS.items():
        noises = bank(split)
        for number, person in enumerate(cast(split, SPEAKERS[split])):
            name = str(1000 * (1 + list(SUBSETS).index(split)) + number)
            for chapter, texts in said(person).items():
                folder = root / "LibriSpeech" / subset / name / chapter
                write_chapter(folder, f"{name}-{chapter}", person, texts, noises)


def said(person: Speaker) -> dict[str, list[tuple[tuple[str, str], ...]]]:
    """What a speaker says by chapter: utterances as the (kind, text) of the recordings that they are made of."""
    rng = generator("demo utterances", person.id)
    lines = [key for key in recordings(person.voice, person.setting) if key[0] in ("command", "sentence")]
    words = KEYWORDS + OTHERS
    sentences = [(lines[at],) for at in rng.permutation(len(lines))[:SENTENCES]]
    counts = rng.integers(WORDS_EACH[0], WORDS_EACH[1] + 1, size=STRINGS)
    strings = [tuple(("word", words[at]) for at in rng.integers(len(words), size=count)) for count in counts]
    return {"1": sentences, "2": strings}


def write_chapter(
    folder: Path, name: str, person: Speaker, texts: list[tuple[tuple[str, str], ...]], noises: Noises
) -> None:
    folder.mkdir(parents=True)
    response = surroundings(person)
    lines = []
    for number, parts in enumerate(texts):
        utterance = f"{name}-{number:04}"
        save(folder / f"{utterance}.flac", utter(person, utterance, parts, response, noises))
        lines.append(f"{utterance} {' '.join(text for _, text in parts).upper()}\n")
    (folder / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8", newline="\n")


def utter(person: Speaker, name: str, parts: tuple[tuple[str, str], ...], response: Wave, noises: Noises) -> Wave:
    """One utterance: the recordings one after another in the speaker's voice and room, over noise, at some level."""
    rng = generator("demo utterance", name)
    tract, pace = person.tract * rng.uniform(0.98, 1.02), person.pace * rng.uniform(0.92, 1.08)
    spoken = np.concatenate(list(spaced(person, parts, rng)))
    dry = speech.change_pace(speech.scale_tract(spoken, tract), pace / tract)
    heard = speech.convolve(dry, response)
    noise = stretch(noises, len(heard), rng)
    clip = speech.add_noise(heard, noise, rng.uniform(*SNR), speech=heard[: len(dry)])
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-0.9, -0.03))


def spaced(person: Speaker, parts: tuple[tuple[str, str], ...], rng: np.random.Generator) -> Iterator[Wave]:
    """The recordings, with a short pause before, between and behind them."""
    for kind, text in parts:
        yield np.zeros(int(rng.uniform(0.02, 0.12) * RATE))
        yield recording(person.voice, person.setting, kind, text)
    yield np.zeros(int(rng.uniform(0.02, 0.12) * RATE))


def save(path: Path, wave: Wave) -> None:
    """16-bit FLAC; full scale is 32767 on both sides. (Through memory: soundfile would sync every file to disk.)"""
    pcm = np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, pcm, RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(encoded.getvalue())
