"""Six background noises, each standing for the file of that name in Speech Commands; power one, seeded.

They differ in colour and in how they move: steady white and pink noise, a flickering tap, clinking dishes, a humming
and pumping exercise bike, and several people talking at once where the original has a man miaowing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.fft import irfft, rfftfreq

from earbench.demo.speakers import recording, recordings

RATE = 16_000
Wave = np.ndarray[Any, np.dtype[np.float64]]


def noise(name: str, seconds: float, rng: np.random.Generator, voices: Sequence[str]) -> Wave:
    """`seconds` of the noise called `name` (a key of `NOISES`); `voices` are those that may be heard in the babble."""
    wave = NOISES[name](round(seconds * RATE), rng, voices)
    return np.asarray(wave / np.sqrt(np.square(wave).mean()))


def white(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:  # noqa: ARG001
    return rng.standard_normal(length)


def pink(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:  # noqa: ARG001
    return coloured(length, rng, lambda hertz: np.maximum(hertz, 30.0) ** -0.5)


def tap(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:  # noqa: ARG001
    """Bright noise whose level flickers a few times a second."""
    bright = coloured(length, rng, lambda hertz: hertz / (hertz + 2500.0))
    return np.asarray(bright * (1.0 + 0.5 * np.abs(smooth(length, rng, 6.0))))


def dishes(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:
    """A dull floor with about three clinks a second: each a few high resonances dying away in a tenth of a second."""
    floor = pink(length, rng, voices)
    wave: Wave = np.asarray(0.3 * floor / floor.std())
    for start in rng.integers(0, length, size=max(1, 3 * length // RATE)):
        times = np.arange(min(RATE // 3, length - start)) / RATE
        for hertz in rng.uniform(1500, 6500, size=4):
            wave[start : start + len(times)] += (
                rng.uniform(0.5, 3) * np.exp(-times / rng.uniform(0.02, 0.09)) * np.sin(2 * np.pi * hertz * times)
            )
    return wave


def bike(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:  # noqa: ARG001
    """The hum of a motor with its overtones, and a breath of dull noise at every turn of the pedals."""
    times = np.arange(length) / RATE
    hertz = rng.uniform(48, 52)
    hum = sum(
        rng.uniform(0.3, 1) / order * np.sin(2 * np.pi * (hertz * order * times + rng.uniform()))
        for order in range(1, 13)
    )
    breath = coloured(length, rng, lambda hertz: 1.0 / (1.0 + (hertz / 900.0) ** 2))
    turns = 1 + np.sin(2 * np.pi * (rng.uniform(1.2, 2.2) * times + rng.uniform()))
    return np.asarray(hum + 1.5 * turns * breath / breath.std())


def babble(length: int, rng: np.random.Generator, voices: Sequence[str]) -> Wave:
    """Five people talking at once, out of the pack's sentences, over a little pink noise."""
    floor = pink(length, rng, voices)
    wave: Wave = np.asarray(0.1 * floor / floor.std())
    for _ in range(5):
        voice, setting = str(rng.choice(list(voices))), str(rng.choice(["low", "high"]))
        lines = [key for key in recordings(voice, setting) if key[0] in ("command", "sentence")]
        talk = np.concatenate([recording(voice, setting, *lines[at]) for at in rng.permutation(len(lines))])
        wave += np.resize(np.roll(talk, int(rng.integers(len(talk)))), length)
    return wave


NOISES: Mapping[str, Callable[[int, np.random.Generator, Sequence[str]], Wave]] = {
    "doing_the_dishes": dishes,
    "dude_miaowing": babble,
    "exercise_bike": bike,
    "pink_noise": pink,
    "running_tap": tap,
    "white_noise": white,
}
"""The six file names of `_background_noise_`, and what the demo puts in their place."""


def coloured(length: int, rng: np.random.Generator, gain: Callable[[Wave], Wave]) -> Wave:
    """Gaussian noise whose amplitude at each frequency (hertz) is `gain`."""
    hertz = rfftfreq(length, 1 / RATE)
    spectrum = rng.standard_normal(len(hertz)) + 1j * rng.standard_normal(len(hertz))
    return np.asarray(irfft(spectrum * gain(hertz), length) * np.sqrt(length))


def smooth(length: int, rng: np.random.Generator, hertz: float) -> Wave:
    """Slow noise of standard deviation one with nothing much above `hertz`."""
    wave = coloured(length, rng, lambda at: (at < hertz).astype(np.float64))
    return np.asarray(wave / wave.std())
