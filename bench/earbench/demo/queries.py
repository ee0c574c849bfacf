"""QUESST 2014 in small: phrases to be found in longer speech, spoken by the demo's voices (protocol sheet superb 2.4).

`quesst14Database/` holds `Audio/`, `dev_queries/` and `eval_queries/` at 8 kHz as the archive does, `scoring/` the
lists of languages and the answer keys. Both splits search the same documents. Nothing is trained here: valid and test
voices, which no encoder of ours has heard, speak queries and documents alike; no speaker does both.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours was
scored on it: one word is too short to be found by log-mel energies in another's voice (0.04), three are not (0.33).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from scipy.io import wavfile

from earbench.demo import speech
from earbench.demo.keywords import Noises, bank, stretch, surroundings
from earbench.demo.lexicon import WORDS
from earbench.demo.speakers import Speaker, cast
from earbench.demo.utterances import spaced
from earbench.kit.seeds import generator

RATE = 8_000
DOCUMENTS = 60
PHRASES, WORDS_EACH = 2, 3
"""In a document; in a phrase."""
QUERIES = 20
"""In each of dev and eval, another phrase each."""
NOISE = (30.0, 50.0)
"""Decibels by which speech lies above its noise, drawn evenly."""
CENSUS: Mapping[str, Mapping[str, int]] = {"qbe": {"recordings": DOCUMENTS + 2 * QUERIES}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write the database under `root`."""
    home, rng, noises = root / "quesst14Database", generator("demo quesst"), bank("test")
    people = list(rng.permutation(np.array([*cast("valid", 30), *cast("test", 60)], object)))
    phrases = [" ".join(rng.choice(WORDS, WORDS_EACH, replace=False)) for _ in range(2 * QUERIES)]
    documents = {
        f"quesst14_{number:05}": " ".join(rng.choice(phrases, PHRASES, replace=False))
        for number in range(1, DOCUMENTS + 1)
    }
    askers, tellers = people[: 2 * QUERIES], people[2 * QUERIES :]
    for number, (name, text) in enumerate(documents.items()):
        save(home / "Audio" / f"{name}.wav", utter(tellers[number % len(tellers)], text, name, noises))
    list_languages(home, "utterances", "Audio", list(documents))
    for subset in ("dev", "eval"):
        queries = {f"quesst14_{subset}_{number:04}": phrases.pop() for number in range(1, QUERIES + 1)}
        for name, text in queries.items():
            save(home / f"{subset}_queries" / f"{name}.wav", utter(askers.pop(), text, name, noises))
        list_languages(home, subset, f"{subset}_queries", list(queries))
        write_key(home / "scoring" / f"groundtruth_quesst14_{subset}", f"quesst14_{subset}", queries, documents)


def utter(person: Speaker, text: str, name: str, noises: Noises) -> Wave:
    """The words one after another in the speaker's voice and room, over noise, at some level; at 8 kHz."""
    rng = generator("demo quesst", name)
    tract, pace = person.tract * rng.uniform(0.98, 1.02), person.pace * rng.uniform(0.92, 1.08)
    spoken = np.concatenate(list(spaced(person, text.split(), rng)))
    dry = speech.change_pace(speech.scale_tract(spoken, tract), pace / tract)
    heard = speech.convolve(dry, surroundings(person))
    noisy = speech.add_noise(heard, stretch(noises, len(heard), rng), rng.uniform(*NOISE), speech=heard[: len(dry)])
    clip = soxr.resample(noisy, speech.RATE, RATE, quality="HQ")
    return np.asarray(clip / np.abs(clip).max() * 10 ** rng.uniform(-0.9, -0.03))


def save(path: Path, wave: Wave) -> None:
    """16-bit PCM; full scale is 32767 on both sides. (soundfile would sync every file to disk.)"""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, RATE, np.round(np.clip(wave, -1.0, 1.0) * 32767).astype(np.int16))


def list_languages(home: Path, subset: str, folder: str, names: Sequence[str]) -> None:
    lines = [f"{home.name}/{folder}/{name}.wav nnenglish\n" for name in names]
    _write(home / "scoring" / f"language_key_{subset}.lst", "".join(lines))


def write_key(folder: Path, name: str, queries: Mapping[str, str], documents: Mapping[str, str]) -> None:
    """The answer key: which queries and documents there are, and what is said in which; times are not told."""
    lines = [
        f"LEXEME {document} 1 0.00 1.00 {query} lex <NA> <NA>\n"
        for document, text in documents.items()
        for query, phrase in queries.items()
        if f" {phrase} " in f" {text} "
    ]
    terms = [f'  <term termid="{query}"><termtext>{text}</termtext></term>\n' for query, text in queries.items()]
    excerpts = [f'  <excerpt audio_filename="{document}" channel="1" tbeg="0" dur="1"/>\n' for document in documents]
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    _write(folder / f"{name}.rttm", "".join(lines))
    _write(folder / f"{name}.tlist.xml", f"{head}<termlist>\n{''.join(terms)}</termlist>\n")
    _write(folder / f"{name}.ecf.xml", f"{head}<ecf>\n{''.join(excerpts)}</ecf>\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
