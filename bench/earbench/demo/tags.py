"""FSD50K in small, as a HEAR task folder: clips of many lengths, each with the labels of all that is heard in it.

One to three of twelve sounds lie over each other, in a room, in noise; now and then there is noise alone and no label.
Speakers of the splits have voices of their own.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `LEVEL` and `SNR`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.lexicon import WORDS
from earbench.demo.notes import hiss
from earbench.demo.sounds import TAGGED
from earbench.demo.speakers import TRACTS, VOICES, SplitName, recording
from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "fsd50k-v1.0-full"
LABELS = sorted([*TAGGED, "Speech"])
CLIPS: Mapping[SplitName, int] = {"train": 120, "valid": 40, "test": 80}
SECONDS = (0.3, 6.0)
"""Short clips are as frequent as long ones, on a logarithmic scale, but for half a second to each sound. In whole
hundredths, which transforms are quick to take.
"""
HEARD = (0.05, 0.45, 0.3, 0.2)
"""How often a clip holds no sound, one, two, three."""
LEVEL, SNR = (-14.0, 0.0), (0.0, 25.0)
"""Decibels of each sound, and of all together against the noise, drawn evenly."""
CENSUS: Mapping[str, Mapping[str, int]] = {"hear_fsd50k": {"labels": 12, "train": 120, "valid": 40, "test": 80}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "fsd50k",
        "version": "v1.0",
        "mode": "full",
        "prediction_type": "multilabel",
        "split_mode": "trainvaltest",
        "sample_duration": None,
        "evaluation": ["mAP", "d_prime", "aucroc", "top1_acc"],
    }
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, LABELS, {split: clips(split) for split in CLIPS})


def clips(split: SplitName) -> Iterator[tuple[str, list[str], Wave]]:
    """File name, labels and samples of every clip of a split."""
    for number in range(CLIPS[split]):
        rng = generator("demo tags", split, number)
        labels = sorted(rng.choice(LABELS, size=rng.choice(len(HEARD), p=HEARD), replace=False).tolist())
        yield f"{100_000 + int(rng.integers(1000)) + 1000 * number}.wav", labels, clip(labels, split, rng)


def clip(labels: list[str], split: SplitName, rng: np.random.Generator) -> Wave:
    """The sounds called `labels` over each other in a room, over noise, at some level."""
    length = 160 * int(max(np.exp(rng.uniform(*np.log(SECONDS))), 0.5 * len(labels)) * 100)
    mixed = 1e-3 * rng.standard_normal(length)
    for label in labels:
        sound = (said(split, rng) if label == "Speech" else TAGGED[label](rng))[:length]
        start = int(rng.integers(length - len(sound) + 1))
        mixed += speech.place(sound / sound.std() * 10 ** (rng.uniform(*LEVEL) / 20), length, start)
    response = speech.tilt(speech.room(rng, rng.uniform(0.1, 0.4)), rng.uniform(-4, 4))
    heard = speech.convolve(mixed, response)[:length]
    heard += hiss(length, rng) * heard.std() * 10 ** (-rng.uniform(*SNR) / 20)
    return np.asarray(heard / np.abs(heard).max() * 10 ** rng.uniform(-1.0, -0.05))


def said(split: SplitName, rng: np.random.Generator) -> Wave:
    """One to three words in one voice of the split, its vocal tract and pace moved."""
    setting = str(rng.choice(list(TRACTS)))
    voice, words = str(rng.choice(VOICES[split])), rng.choice(WORDS, size=rng.integers(1, 4))
    spoken = np.concatenate([recording(voice, setting, "word", str(word)) for word in words])
    tract = rng.uniform(*TRACTS[setting])
    return speech.change_pace(speech.scale_tract(spoken, tract), rng.uniform(0.85, 1.2) / tract)
