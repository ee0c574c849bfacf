"""Who speaks in the demo corpus: the split of voices, the speakers made of them, and their recordings in the pack.

There are six voices, so six real identities; a *speaker* is one of them at one pitch, with a vocal tract, a pace, a
microphone and a room of its own. All speakers of one voice belong to one split: nothing that is trained on the demo,
a head or an encoder, ever hears a valid or test voice. Train and test each hold one voice that speaks English as its
own language and at least one with an accent, so that test is neither easier nor stranger than train; the single valid
voice has an accent. A result on the test speakers therefore speaks for two unseen voices only, however many speakers
the interval counts: one more reason why the demo never ranks encoders.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from earbench.kit.seeds import generator

SplitName = Literal["train", "valid", "test"]
Wave = np.ndarray[Any, np.dtype[np.float64]]

TRAIN_VOICES = ("en-US", "de-DE", "fr-FR")
VALID_VOICES = ("es-ES",)
TEST_VOICES = ("en-GB", "it-IT")
VOICES: Mapping[SplitName, tuple[str, ...]] = {"train": TRAIN_VOICES, "valid": VALID_VOICES, "test": TEST_VOICES}

TRACTS: Mapping[str, tuple[float, float]] = {"low": (0.82, 1.0), "high": (0.94, 1.14)}
"""Formants are moved by a factor from this range: large bodies for the low pitch, small ones for the high."""

PACK = Path(__file__).parent / "pack"


@dataclass(frozen=True)
class Speaker:
    """`tract` multiplies the formants (and the pitch), `pace` the speed; `tilt` is the microphone, in dB from 100 Hz
    to 8 kHz; `echo` the room's reverberation time in seconds.
    """

    id: str
    voice: str
    setting: str
    tract: float
    pace: float
    tilt: float
    echo: float


def cast(split: SplitName, count: int) -> tuple[Speaker, ...]:
    """The first `count` speakers of a split; a longer cast begins with the same people.

    >>> cast("test", 2) == cast("test", 5)[:2]
    True
    """
    hands = [(voice, setting) for setting in TRACTS for voice in VOICES[split]]
    return tuple(speaker(split, number, *hands[number % len(hands)]) for number in range(count))


def speaker(split: SplitName, number: int, voice: str, setting: str) -> Speaker:
    rng = generator("demo speaker", split, number)
    return Speaker(
        id=identifier(split, number),
        voice=voice,
        setting=setting,
        tract=float(rng.uniform(*TRACTS[setting])),
        pace=float(rng.uniform(0.88, 1.18)),
        tilt=float(rng.uniform(-5, 5)),
        echo=float(rng.uniform(0.1, 0.35)),
    )


def identifier(split: SplitName, number: int) -> str:
    """Eight hex digits that the split rule of Speech Commands puts where the speaker belongs.

    p below 10 is valid, 10 to 20 (there: the old test set) is left to the test speakers, the rest is train.
    """
    low, high = {"train": (20, 101), "valid": (0, 10), "test": (10, 20)}[split]
    tries = (hashlib.sha256(f"{split} {number} {attempt}".encode()).hexdigest()[:8] for attempt in range(10_000))
    return next(name for name in tries if low <= percentile(name) < high)


def percentile(speaker_id: str) -> float:
    """Where the split rule of Speech Commands puts a speaker, from 0 to 100 (protocol sheet superb 2.3).

    >>> percentile("0a7c2a8d") == percentile("0a7c2a8d") < 100
    True
    """
    return int(hashlib.sha1(speaker_id.encode()).hexdigest(), 16) % (1 << 27) * 100.0 / ((1 << 27) - 1)


def recording(voice: str, setting: str, kind: str, text: str) -> Wave:
    """What the pack holds of a voice: samples at 16 kHz with a peak of one."""
    samples = recordings(voice, setting)[kind, text].astype(np.float64)
    return np.asarray(samples / np.abs(samples).max())


@functools.cache
def recordings(voice: str, setting: str) -> dict[tuple[str, str], np.ndarray[Any, np.dtype[np.int16]]]:
    """Every (kind, text) that a voice says at a setting; kinds are "word", "command", "sentence" and "native"."""
    name = f"{voice}-{setting}.flac"
    samples, _ = soundfile.read(PACK / name, dtype="int16")
    return {(kind, text): samples[start:stop] for kind, text, start, stop in index()["files"][name]["segments"]}


@functools.cache
def index() -> dict[str, Any]:
    """The pack's own table of contents, as `earbench.demo.voices` wrote it."""
    found: dict[str, Any] = json.loads((PACK / "index.json").read_text(encoding="utf-8"))
    return found
