"""Other voices, microphones and noises for a batch: one draw for all its stretches, so that none is told by it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import soxr
from scipy.fft import next_fast_len

Wave = np.ndarray[Any, Any]

SPEEDS = (0.8, 1.25)
"""Playing faster raises pitch and formants alike: another vocal tract (speed perturbation, Ko et al. 2015)."""
NOISY, SNR = 0.7, (5.0, 40.0)
TILT = 6.0
"""At most so many decibels more or less at 8 kHz than at 100 Hz."""


def draw(rng: np.random.Generator) -> dict[str, float]:
    """The factors of one batch; `snr` is infinite where no noise is added, `slope` is that of the noise's spectrum."""
    snr = rng.uniform(*SNR) if rng.uniform() < NOISY else np.inf
    low, high = np.log(SPEEDS)
    return {
        "speed": float(np.exp(rng.uniform(low, high))),
        "tilt": float(rng.uniform(-TILT, TILT)),
        "snr": float(snr),
        "slope": float(rng.uniform(0.0, 2.0)),
    }


def needed(window: int, factors: dict[str, float]) -> int:
    """How many samples make `window` once they are played faster.

    >>> needed(20_480, {"speed": 1.25})
    25600
    """
    return math.ceil(window * factors["speed"])


def longest(window: int) -> int:
    """The most samples that `needed` can ask for."""
    return needed(window, {"speed": SPEEDS[1]})


def perturb(waves: Wave, window: int, factors: dict[str, float], rng: np.random.Generator) -> Wave:
    """`window` samples of each of `waves` [stretch, sample], which are as long as `needed`, changed as drawn."""
    faster = soxr.resample(waves.T, factors["speed"], 1.0, quality="MQ").T[:, :window]
    found = np.zeros((len(waves), window), np.float32)
    found[:, : faster.shape[1]] = faster
    found = filtered(found, factors["tilt"] / 20, power=False)
    if np.isfinite(factors["snr"]):
        noise = filtered(rng.standard_normal(found.shape, dtype=np.float32), -factors["slope"] / 2, power=True)
        level = np.sqrt((found**2).mean() / max(float((noise**2).mean()), 1e-12))
        found = found + noise * level * 10 ** (-factors["snr"] / 20)
    return found.astype(np.float32)


def filtered(waves: Wave, exponent: float, power: bool) -> Wave:
    """Spectra multiplied by a power of the frequency (`power`), or by 10 to `exponent` from 100 Hz to 8 kHz."""
    size = next_fast_len(waves.shape[1], real=True)
    position = np.maximum(np.arange(size // 2 + 1) / (size // 2), 1 / 80)
    gain = position**exponent if power else 10 ** (exponent * (1 + np.log(position) / np.log(80)))
    found: Wave = np.fft.irfft(np.fft.rfft(waves, size) * gain, size)[:, : waves.shape[1]]
    return found
