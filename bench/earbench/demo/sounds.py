"""Short sounds of a room and of people in it, each drawn anew: no two coughs are alike.

Every one is a function of a generator and gives samples at 16 kHz at no particular level. Steady ones last as long as
they may, which is `LONGEST`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from earbench.demo import scenes
from earbench.demo.noise import coloured, smooth

RATE = 16_000
LONGEST = 6.0
Wave = np.ndarray[Any, np.dtype[np.float64]]
Random = np.random.Generator


def clear_throat(rng: Random) -> Wave:
    """A low, rough voice and its breath."""
    length = int(rng.uniform(0.4, 0.9) * RATE)
    pitch = rng.uniform(80, 160) * np.exp(0.08 * smooth(length, rng, 20))
    rough = voiced(pitch, rng.uniform(400, 900), rng) * (1 + 0.7 * smooth(length, rng, 30))
    return np.asarray((rough + 0.7 * band(length, rng, 300, 2500)) * np.hanning(length))


def cough(rng: Random) -> Wave:
    """One to three bursts of breath."""
    centre = rng.uniform(500, 1500)
    return in_a_row(lambda: dying(band(4000, rng, centre / 2, centre * 2), rng.uniform(0.04, 0.1)), 1, 3, 0.1, 0.4, rng)


def laughter(rng: Random) -> Wave:
    """Three to eight syllables, each a falling voice with some breath."""
    height, formant = rng.uniform(150, 400), rng.uniform(600, 1400)

    def syllable() -> Wave:
        pitch = np.linspace(1.15, 0.9, 1800) * height
        return np.asarray((voiced(pitch, formant, rng) + 0.4 * band(1800, rng, 500, 4000)) * np.hanning(1800))

    return in_a_row(syllable, 3, 8, 0.02, 0.12, rng)


def door_slam(rng: Random) -> Wave:
    """A dull thump with a crack at its front."""
    thump = dying(band(12_000, rng, 40, rng.uniform(120, 400)), rng.uniform(0.06, 0.2))
    return np.asarray(thump + rng.uniform(0.2, 1.0) * dying(band(12_000, rng, 500, 5000), rng.uniform(0.01, 0.04)))


def drawer(rng: Random) -> Wave:
    """Rattling that grows and ends in a knock."""
    length = int(rng.uniform(0.4, 1.0) * RATE)
    slide = band(length, rng, 200, rng.uniform(1500, 5000)) * (1 + 0.6 * smooth(length, rng, 15))
    return np.concatenate([slide * np.linspace(0.2, 0.8, length), 2 * single_knock(rng)])


def keyboard(rng: Random) -> Wave:
    """Four to twelve bright clicks."""
    high = rng.uniform(3000, 7000)
    return in_a_row(lambda: dying(band(800, rng, 1000, high), rng.uniform(0.003, 0.012)), 4, 12, 0.04, 0.15, rng)


def keys(rng: Random) -> Wave:
    """A bunch of keys: many high resonances in short order."""
    wave = np.zeros(int(rng.uniform(0.4, 0.9) * RATE))
    for start in rng.integers(0, len(wave) // 2, size=rng.integers(6, 16)):
        clink = scenes.clink(rng)[: len(wave) - start]
        wave[start : start + len(clink)] += rng.uniform(0.2, 1.0) * clink
    return wave


def knock(rng: Random) -> Wave:
    """Two to five raps on wood."""
    return in_a_row(lambda: single_knock(rng), 2, 5, 0.05, 0.25, rng)


def page_turn(rng: Random) -> Wave:
    """Bright rustling."""
    length = int(rng.uniform(0.3, 0.8) * RATE)
    rustle = band(length, rng, rng.uniform(500, 1500), 7000) * (1 + 0.8 * smooth(length, rng, 30))
    return np.asarray(rustle * np.hanning(length))


def phone(rng: Random) -> Wave:
    """Two pitches in quick turns."""
    times = np.arange(int(rng.uniform(0.5, 1.5) * RATE)) / RATE
    low = rng.uniform(500, 1500)
    pitch = np.where(np.sin(2 * np.pi * rng.uniform(6, 20) * times) > 0, low, low * rng.uniform(1.1, 1.5))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return np.asarray(np.sin(phase) + rng.uniform(0, 0.5) * np.sin(3 * phase))


def applause(rng: Random) -> Wave:
    """Many hands: a clap is a short burst somewhere between 600 Hz and 3 kHz."""
    wave = np.zeros(int(LONGEST * RATE))
    claps = [dying(band(800, rng, low, 2 * low), 0.008) for low in rng.uniform(600, 2000, size=12)]
    for start in rng.integers(0, len(wave) - 800, size=rng.integers(120, 900)):
        wave[start : start + 800] += claps[rng.integers(len(claps))]
    return wave


def bell(rng: Random) -> Wave:
    """A few partials out of tune with each other that ring on."""
    times, strike = np.arange(int(rng.uniform(0.8, 2.5) * RATE)) / RATE, rng.uniform(350, 1400)
    orders = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.7, 3.0]) * rng.uniform(0.98, 1.02, size=7)
    ring = rng.uniform(0.3, 1.2)
    return np.asarray(
        sum(rng.uniform(0.2, 1) * np.sin(2 * np.pi * strike * k * times) * np.exp(-times * k / ring) for k in orders)
    )


def rain(rng: Random) -> Wave:
    """Even noise under drops."""
    length = int(LONGEST * RATE)
    drops = (rng.uniform(size=length) < rng.uniform(0.001, 0.01)) * rng.standard_normal(length) * 20
    return np.asarray(band(length, rng, 400, 7000) + band(length, rng, 1000, 6000) * np.abs(drops).clip(0, 20) + drops)


def engine(rng: Random) -> Wave:
    return scenes.engine(int(LONGEST * RATE), rng)


def wind(rng: Random) -> Wave:
    return scenes.wind(int(LONGEST * RATE), rng)


OFFICE: Mapping[str, Callable[[Random], Wave]] = {
    "clearthroat": clear_throat,
    "cough": cough,
    "doorslam": door_slam,
    "drawer": drawer,
    "keyboard": keyboard,
    "keys": keys,
    "knock": knock,
    "laughter": laughter,
    "pageturn": page_turn,
    "phone": phone,
}
"""The classes of DCASE 2016 task 2, but for speech."""

TAGGED: Mapping[str, Callable[[Random], Wave]] = {
    "Applause": applause,
    "Bell": bell,
    "Bird": scenes.bird,
    "Cough": cough,
    "Engine": engine,
    "Keys_jangling": keys,
    "Knock": knock,
    "Laughter": laughter,
    "Rain": rain,
    "Telephone": phone,
    "Wind": wind,
}
"""Classes of FSD50K; speech besides."""


# ---- what they are made of -------------------------------------------------------------------------------------------


def band(length: int, rng: Random, low: float, high: float) -> Wave:
    """Noise between two frequencies, in hertz, of power one."""
    wave = coloured(length, rng, lambda hertz: hertz / (hertz + low) / (1 + (hertz / high) ** 3))
    return np.asarray(wave / wave.std())


def dying(wave: Wave, seconds: float) -> Wave:
    """`wave` falling to 1/e in so many seconds, after 2 ms of onset."""
    times = np.arange(len(wave)) / RATE
    return np.asarray(wave * np.minimum(1, times / 0.002) * np.exp(-times / seconds))


def voiced(pitch: Wave, formant: float, rng: Random) -> Wave:
    """Overtones of a moving pitch, in hertz, loudest about `formant`; power near one."""
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    orders = np.arange(1, int(4000 / pitch.mean()))
    levels = orders**-0.5 * (0.1 + np.exp(-((np.log2(orders * pitch.mean() / formant) / 0.7) ** 2)))
    wave = sum(level * np.sin(order * phase + rng.uniform(0, 6)) for order, level in zip(orders, levels, strict=True))
    return np.asarray(wave / np.std(wave))


def single_knock(rng: Random) -> Wave:
    times = np.arange(RATE // 12) / RATE
    tone = np.sin(2 * np.pi * rng.uniform(120, 500) * times) + 0.3 * rng.standard_normal(len(times))
    return dying(np.asarray(tone), rng.uniform(0.008, 0.03))


def in_a_row(make: Callable[[], Wave], least: int, most: int, short: float, long: float, rng: Random) -> Wave:
    """`least` to `most` sounds at levels of their own, with `short` to `long` seconds between them."""
    pieces: list[Wave] = []
    for _ in range(rng.integers(least, most + 1)):
        pieces += [make() * rng.uniform(0.5, 1.0), np.zeros(int(rng.uniform(short, long) * RATE))]
    return np.concatenate(pieces[:-1])
