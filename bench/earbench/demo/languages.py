"""VoxLingua107 top 10 in small, as a HEAR task folder: which of five languages is spoken, in five folds.

**Language is voice here.** English has two of the six synthetic voices, every other language one, so that who tells
the voices apart has told the languages apart. A score says nothing about languages that people speak. Native words are
spoken, several in a row, with a vocal tract, a pace, a room and a microphone of their own in every clip; the folds
share no meaning ("five", "evening"), so that no word is heard in train that is tested. Training voices of the demo
are among the six: encoders that were trained on the demo know them.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `TRACT`, `TILT` and `SNR`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.keywords import Noises, stretch
from earbench.demo.lexicon import NATIVE
from earbench.demo.noise import noise
from earbench.demo.speakers import TRACTS, recording
from earbench.demo.speech import RATE
from earbench.kit import hear_layout
from earbench.kit.seeds import generator

FOLDER = "vox_lingua_top10-hear2021-full"
VOICES: Mapping[str, tuple[str, ...]] = {
    "de": ("de-DE",),
    "en": ("en-US", "en-GB"),
    "es": ("es-ES",),
    "fr": ("fr-FR",),
    "it": ("it-IT",),
}
SECONDS = 2.0
FOLDS, EACH = 5, 7
"""How many folds, and clips in each of each language."""
NOISES = ("pink_noise", "running_tap", "doing_the_dishes", "exercise_bike")
"""Those without voices."""
TRACT, TILT = 0.06, 4.0
"""How far a clip strays from the pack: in the logarithm of the vocal tract, in decibels of the microphone."""
SNR = (10.0, 30.0)
CENSUS: Mapping[str, Mapping[str, int]] = {"hear_vox_lingua_top10": {"labels": 5, "folds": 5, "clips": 175}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


def write(root: Path) -> None:
    """Write the task folder under `root`, as deep as HEAR's archives have it."""
    facts = {
        "task_name": "vox_lingua_top10",
        "version": "hear2021",
        "mode": "full",
        "split_mode": "new_split_kfold",
        "nfolds": FOLDS,
        "sample_duration": SECONDS,
        "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"],
    }
    noises = {name: noise(name, 30.0, generator("demo noise", "languages", name), ()) for name in NOISES}
    splits = {f"fold{fold:02}": clips(fold, noises) for fold in range(FOLDS)}
    hear_layout.write(root / hear_layout.HOME / FOLDER, facts, list(VOICES), splits)


def clips(fold: int, noises: Noises) -> Iterator[tuple[str, str, Wave]]:
    """File name, language and samples of every clip of a fold."""
    for language, voices in VOICES.items():
        words = NATIVE[language][fold::FOLDS]
        for number in range(EACH):
            file = f"{language}__{fold}{number:03}.wav"
            yield file, language, clip(voices, words, generator("demo language", file), noises)


def clip(voices: tuple[str, ...], words: tuple[str, ...], rng: np.random.Generator, noises: Noises) -> Wave:
    """Words in a row by one of the voices, in a room, over noise, at some level."""
    voice, setting, length = str(rng.choice(voices)), str(rng.choice(list(TRACTS))), int(SECONDS * RATE)
    tract, pieces = np.exp(rng.uniform(-TRACT, TRACT)), list[Wave]()
    while sum(map(len, pieces)) < length:
        dry = speech.scale_tract(recording(voice, setting, "native", str(rng.choice(words))), tract)
        pieces += [speech.change_pace(dry, rng.uniform(0.85, 1.2) / tract), np.zeros(int(rng.uniform(0, 0.15) * RATE))]
    response = speech.tilt(speech.room(rng, rng.uniform(0.1, 0.4)), rng.uniform(-TILT, TILT))
    heard = speech.convolve(np.concatenate(pieces), response)[:length]
    heard = speech.add_noise(heard, stretch(noises, length, rng), rng.uniform(*SNR), speech=heard)
    return np.asarray(heard / np.abs(heard).max() * 10 ** rng.uniform(-0.9, -0.03))
