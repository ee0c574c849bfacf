"""One recording becomes many: another vocal tract, another pace, a room, a microphone, noise at a stated level.

Everything is numpy, scipy and soxr in double precision, and every random draw comes from a generator that the caller
names: the same call gives the same samples each time on one platform. Waves are one-dimensional at 16 kHz.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

RATE = 16_000
Wave = np.ndarray[Any, np.dtype[np.float64]]


def scale_tract(wave: Wave, factor: float) -> Wave:
    """`wave` with all frequencies times `factor`: above one a shorter vocal tract, a higher voice, and less time."""
    moved: Wave = soxr.resample(wave, RATE, RATE / factor, quality="HQ")
    return moved


def change_pace(wave: Wave, factor: float, window: int = 480, reach: int = 120) -> Wave:
    """`wave` spoken `factor` times as fast at unchanged pitch (WSOLA: overlap-add of the best matching windows).

    >>> round(len(change_pace(np.sin(np.arange(16_000) / 20), 2.0)) / 8_000, 1)
    1.0
    """
    hop = window // 2
    count = int(len(wave) / (hop * factor))
    padded = np.pad(wave, (reach, window + 2 * reach + hop))
    taper = np.hanning(window + 1)[:window]
    out = np.zeros((count + 1) * hop)
    start = reach
    for step in range(count):
        out[step * hop : step * hop + window] += taper * padded[start : start + window]
        wanted = padded[start + hop : start + hop + window]
        middle = int((step + 1) * hop * factor) + reach
        lags = np.correlate(padded[middle - reach : middle + reach + window], wanted, mode="valid")
        start = middle - reach + int(lags.argmax())
    return out


def room(rng: np.random.Generator, echo: float, direct: float = 0.75) -> Wave:
    """A small synthetic room: the direct sound, then noise that falls by 60 dB in `echo` seconds.

    `direct` is the share of the energy that arrives directly.
    """
    times = np.arange(int(echo * RATE)) / RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / echo) * (times > 0.003)
    response = tail * np.sqrt((1 - direct) / np.square(tail).sum())
    response[0] = np.sqrt(direct)
    return np.asarray(response)


def tilt(response: Wave, decibels: float) -> Wave:
    """`response` through a microphone that rises by `decibels` from 100 Hz to 8 kHz, evenly per octave.

    Minimum phase, so that the filter rings after the sound only: its cepstrum is folded onto positive times.
    """
    size = next_fast_len(4 * len(response), real=True)
    octaves = np.log2(np.maximum(rfftfreq(size, 1 / RATE), 100.0) / 100.0) / np.log2(80)
    cepstrum = irfft(np.log(10) / 20 * decibels * octaves, size)
    cepstrum[1 : (size + 1) // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    return np.asarray(irfft(rfft(response, size) * np.exp(rfft(cepstrum)), size)[: len(response)])


def convolve(wave: Wave, response: Wave) -> Wave:
    """`wave` heard through `response`, with its tail."""
    length = len(wave) + len(response) - 1
    size = next_fast_len(length, real=True)
    return np.asarray(irfft(rfft(wave, size) * rfft(response, size), size)[:length])


def add_noise(wave: Wave, noise: Wave, snr: float, speech: Wave) -> Wave:
    """`wave` plus `noise`, `snr` decibels below the mean power of `speech` (the word without its pauses).

    >>> add_noise(np.zeros(4), np.ones(4), snr=20.0, speech=np.ones(2))
    array([0.1, 0.1, 0.1, 0.1])
    """
    ratio = np.square(speech).mean() / np.square(noise).mean()
    return np.asarray(wave + noise * np.sqrt(ratio) * 10 ** (-snr / 20))


def place(wave: Wave, length: int, start: int) -> Wave:
    """`wave` from sample `start` on in a stretch of `length` samples, cut at its end if need be."""
    out = np.zeros(length)
    piece = wave[: max(0, length - start)]
    out[start : start + len(piece)] = piece
    return out
