"""DCASE 2016 task 2 in small, as a HEAR task folder: sounds of an office one after another, and when each begins.

Two minutes hold every one of eleven classes a few times, never two at once, over steady noise in a room. Test has five
files, so that intervals over files are printed; train has two. Speakers of the splits have voices of their own.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `SNR`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.noise import coloured
from earbench.demo.sounds import OFFICE, RATE
from earbench.demo.speakers import SplitName
from earbench.demo.tags import said
from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "dcase2016_task2-hear2021-full"
LABELS = [*OFFICE, "speech"]
SECONDS = 120.0
FILES: Mapping[SplitName, int] = {"train": 2, "valid": 1, "test": 5}
EACH = (4, 6)
"""Events of each class in a file, at least and at most."""
SNR = (-3.0, 15.0)
"""Decibels of each event, while it lasts, against the noise, drawn evenly."""
CENSUS: Mapping[str, Mapping[str, int]] = {"hear_dcase2016": {"labels": 11, "train": 2, "valid": 1, "test": 5}}

Wave = np.ndarray[Any, np.dtype[np.float64]]
Event = dict[str, Any]


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "dcase2016_task2",
        "version": "hear2021",
        "mode": "full",
        "embedding_type": "event",
        "prediction_type": "multilabel",
        "split_mode": "trainvaltest",
        "sample_duration": SECONDS,
        "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
        "evaluation_params": {"event_postprocessing_grid": {"median_filter_ms": [250], "min_duration": [125, 250]}},
    }
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, LABELS, {split: files(split) for split in FILES})


def files(split: SplitName) -> Iterator[tuple[str, list[Event], Wave]]:
    """File name, events in milliseconds and samples of every mixture of a split."""
    for number in range(FILES[split]):
        name = f"{split}_{number:02}.wav"
        yield name, *mixture(split, generator("demo office", name))


def mixture(split: SplitName, rng: np.random.Generator) -> tuple[list[Event], Wave]:
    """Events in order and the samples: sounds in a drawn order, with what time is left between them."""
    order = rng.permutation([label for label in LABELS for _ in range(rng.integers(EACH[0], EACH[1] + 1))]).tolist()
    made = [said(split, rng) if label == "speech" else OFFICE[label](rng) for label in order]
    length = int(SECONDS * RATE)
    shares = rng.dirichlet(np.full(len(made) + 1, 2.0))
    gaps = np.floor(shares * (length - sum(map(len, made)))).astype(int)
    wave, events, now = np.zeros(length), list[Event](), 0
    for label, sound, gap in zip(order, made, gaps, strict=False):
        start, stop = now + int(gap), now + int(gap) + len(sound)
        wave[start:stop] = sound / sound.std() * 10 ** (rng.uniform(*SNR) / 20)
        events.append({"label": label, "start": round(start / RATE * 1000, 3), "end": round(stop / RATE * 1000, 3)})
        now = stop
    heard = speech.convolve(wave, speech.room(rng, rng.uniform(0.1, 0.3)))[:length] + steady(length, rng)
    return events, np.asarray(heard / np.abs(heard).max() * 0.9)


def steady(length: int, rng: np.random.Generator) -> Wave:
    """Noise of power one, near pink: from two training files no one could learn what other noise there is."""
    fall = rng.uniform(0.35, 0.65)
    wave = coloured(length, rng, lambda hertz: np.maximum(hertz, 50.0) ** -fall)
    return np.asarray(wave / wave.std())
