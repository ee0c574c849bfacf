"""Samples as HEAR's tool prepares them: 16-bit, one channel, cut or padded to the task's duration, then resampled.

The tool has ffmpeg do it, with soxr at 20 bits, which is "HQ" here: of 16-bit originals ffmpeg 9 makes equal samples.
What is already 16-bit, mono and at the wanted rate stays bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from scipy.io import wavfile

Samples = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True)
class Source:
    """A file of the original corpus from this sample on."""

    path: Path
    start: int = 0


def prepared(source: Source, seconds: float) -> tuple[int, Samples]:
    """The sample rate of the original, and exactly `seconds` of the source: zeros behind its end."""
    with soundfile.SoundFile(source.path) as file:
        rate = file.samplerate
        wanted = round(seconds * rate)
        file.seek(source.start)
        read = file.read(wanted, dtype="float64", always_2d=True)
    return rate, np.pad(_one_channel(read), (0, wanted - len(read)))


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """The same sound at `wanted` hertz, rounded to 16 bits without dither, so that it is the same every time."""
    if rate == wanted:
        return samples
    return _rounded(soxr.resample(samples.astype(np.float32), rate, wanted, quality="HQ"))


def save(path: Path, samples: Samples, rate: int) -> None:
    wavfile.write(path, rate, samples)


def _one_channel(read: np.ndarray[Any, np.dtype[np.float64]]) -> Samples:
    """Samples [time, channel] as one channel, the mean; of 16-bit mono the very numbers of the file."""
    return _rounded(np.floor(read.mean(1) * 32768 + 0.5))


def _rounded(samples: np.ndarray[Any, Any]) -> Samples:
    found: Samples = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return found
