"""LibriSpeech in small: strings of three or four words, spoken by the demo's voices (protocol sheet superb 2.1, 2.2).

`LibriSpeech/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac` at 16 kHz, about two seconds each, and
`<speaker>-<chapter>.trans.txt` beside them; `lexicon/` holds the two files that say which phones a word has, under
s3prl's names. The people are the first of the keyword corpus, in the same rooms.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it: a recogniser that may take 600 steps has to begin to spell within them. With twenty words
fbank_no_cmvn stayed near 100 % word errors; with ten it gets to about 80 %.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earbench.demo import speech
from earbench.demo.keywords import RATE, Noises, bank, stretch, surroundings
from earbench.demo.lexicon import KEYWORDS
from earbench.demo.speakers import Speaker, SplitName, cast, recording
from earbench.kit.seeds import generator

SUBSETS: Mapping[SplitName, str] = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}
SPEAKERS: Mapping[SplitName, int] = {"train": 48, "valid": 12, "test": 24}
FIRST: Mapping[SplitName, int] = {"train": 1000, "valid": 2000, "test": 3000}
"""The number of the first speaker."""
CHAPTERS, UTTERANCES = 2, 4
"""Of each speaker, of each chapter."""
WORDS = (3, 4)
"""In an utterance, at least and at most."""
PAUSE = (0.02, 0.12)
"""Seconds before, between and behind the words."""
SNR = (20.0, 40.0)
"""Decibels by which an utterance lies above its noise, drawn evenly."""
LEXICA: Mapping[str, Mapping[str, str]] = {
    "librispeech-lexicon-200k-g2p.txt": {
        "YES": "Y EH1 S",
        "NO": "N OW1",
        "UP": "AH1 P",
        "DOWN": "D AW1 N",
        "LEFT": "L EH1 F T",
        "ON": "AA1 N",
        "OFF": "AO1 F",
        "GO": "G OW1",
    },
    "librispeech-lexicon-allothers-g2p.txt": {"STOP": "S T AA1 P", "ON": "AO1 N", "RIGHT": "R AY1 T"},
}
"""Phones by file and word; of ON the first file's count. Four of the six voices have an accent, and say others."""
_COUNTS = {"train": 384, "valid": 96, "test": 192}
CENSUS: Mapping[str, Mapping[str, int]] = {"asr": _COUNTS, "pr": _COUNTS}

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write the three subsets and the lexicon under `root`."""
    write_lexicon(root / "lexicon")
    for split, subset in SUBSETS.items():
        noises = bank(split)
        for number, person in enumerate(cast(split, SPEAKERS[split]), FIRST[split]):
            for chapter in range(1, CHAPTERS + 1):
                folder = root / "LibriSpeech" / subset / f"{number}" / f"{chapter}"
                write_chapter(folder, f"{number}-{chapter}", person, noises)


def write_lexicon(folder: Path) -> None:
    """A word, a tab and its phones a line."""
    folder.mkdir(parents=True)
    for name, words in LEXICA.items():
        lines = [f"{word}\t{phones}\n" for word, phones in words.items()]
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")


def write_chapter(folder: Path, name: str, person: Speaker, noises: Noises) -> None:
    folder.mkdir(parents=True)
    response, lines = surroundings(person), []
    for number in range(UTTERANCES):
        utterance = f"{name}-{number:04}"
        rng = generator("demo utterance", utterance)
        words = [str(word) for word in rng.choice(KEYWORDS, size=rng.integers(WORDS[0], WORDS[1] + 1))]
        save(folder / f"{utterance}.flac", utter(person, words, rng, response, noises))
        lines.append(f"{utterance} {' '.join(words).upper()}\n")
    (folder / f"{name}.trans.txt").write_text("".join(lines), encoding="utf-8", newline="\n")


def utter(person: Speaker, words: Sequence[str], rng: np.random.Generator, response: Wave, noises: Noises) -> Wave:
    """The words one after another in the speaker's voice and room, over noise, at some level."""
    tract, pace = person.tract * rng.uniform(0.98, 1.02), person.pace * rng.uniform(0.92, 1.08)
    spoken = np.concatenate(list(spaced(person, words, rng)))
    dry = speech.change_pace(speech.scale_tract(spoken, tract), pace / tract)
    heard = speech.convolve(dry, response)
    noise = stretch(noises, len(heard), rng)
    clip = speech.add_noise(heard, noise, rng.uniform(*SNR), speech=heard[: len(dry)])
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-0.9, -0.03))


def spaced(person: Speaker, words: Sequence[str], rng: np.random.Generator) -> Iterator[Wave]:
    """The recordings of the words and the pauses around them."""
    for word in words:
        yield np.zeros(int(rng.uniform(*PAUSE) * RATE))
        yield recording(person.voice, person.setting, "word", word)
    yield np.zeros(int(rng.uniform(*PAUSE) * RATE))


def save(path: Path, wave: Wave) -> None:
    """16-bit FLAC; full scale is 32767 on both sides. (Through memory: soundfile would sync every file to disk.)"""
    pcm = np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16)
    encoded = io.BytesIO()
    soundfile.write(encoded, pcm, RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(encoded.getvalue())
