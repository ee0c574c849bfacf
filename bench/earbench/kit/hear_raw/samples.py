"""Samples as HEAR's tool prepares them: 16-bit, one channel, cut or padded to the task's duration, then resampled.

The tool has ffmpeg do it, with soxr at 20 bits, which is "HQ" here. What is already 16-bit and mono stays bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from scipy.io import wavfile

Samples = np.ndarray[Any, np.dtype[np.int16]]


@dataclass(frozen=True)
class Source:
    """A file of the original corpus or, with `start`, the second of it from this sample on."""

    path: Path
    start: int | None = None


def prepared(source: Source, seconds: float) -> tuple[int, Samples]:
    """The sample rate of the original, and exactly `seconds` of it: the beginning, zeros behind its end."""
    with soundfile.SoundFile(source.path) as file:
        rate = file.samplerate
        wanted = round(seconds * rate)
        if source.start is not None:
            file.seek(source.start)
        read = file.read(wanted if source.start is None else rate, dtype="float64", always_2d=True)
    samples = _one_channel(read) if source.start is None else _slice(read, rate)
    return rate, np.pad(samples[:wanted], (0, max(0, wanted - len(samples))))


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


def _slice(read: np.ndarray[Any, np.dtype[np.float64]], rate: int) -> Samples:
    """What a slice is after soundfile wrote it from floating point: loud positive samples are one less."""
    written = BytesIO()
    soundfile.write(written, read, rate, "PCM_16", format="WAV")
    written.seek(0)
    found: Samples = soundfile.read(written, dtype="int16", always_2d=True)[0][:, 0]
    return found


def _rounded(samples: np.ndarray[Any, Any]) -> Samples:
    found: Samples = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return found
