"""TAU Urban Acoustic Scenes 2019 in small: ten places that mix the same eleven sounds in other proportions.

No sound belongs to one scene: each has steady sounds at some level and passing ones at some rate, a location strays
from its scene by several decibels, and a clip from its location. Test is made of locations of their own.

`TAU-urban-acoustic-scenes-2019-development/` with `meta.csv`, `evaluation_setup/` and
`audio/<scene>-<city>-<location>-<segment>-a.wav`, mono, 16-bit PCM at 16 kHz, two seconds (the original: stereo,
48 kHz, ten seconds).

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `STRAY`, `RATES_STRAY` and
`SWAY`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo import speech
from earbench.demo.keywords import RATE, save
from earbench.demo.noise import coloured, smooth
from earbench.kit.seeds import generator

SECONDS = 2.0
LOCATIONS: Mapping[str, int] = {"train": 10, "test": 4}
"""Of each scene."""
SEGMENTS = 6
"""Of each location."""
CITIES = ("barcelona", "helsinki", "lisbon", "lyon", "prague", "vienna")
STRAY, RATES_STRAY, SWAY = 3.5, 0.5, 1.5
"""How far a location strays from its scene in decibels and in the logarithm of rates, a clip from its location in
decibels (standard deviations).
"""
FLOOR = -30.0
"""What is not named in a scene lies near this level, in decibels."""
CENSUS: Mapping[str, Mapping[str, int]] = {"scene": {"fold1_train": 600, "fold1_evaluate": 240}}

Wave = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Scene:
    """Levels of steady sounds in decibels, and how often in a second each passing sound is heard."""

    levels: Mapping[str, float]
    rates: Mapping[str, float]


SCENES: Mapping[str, Scene] = {
    "airport": Scene({"crowd": -8, "air": -9, "hum": -12, "rumble": -13}, {"beep": 0.5, "step": 1.0, "clink": 0.5}),
    "bus": Scene({"engine": -6, "rumble": -7, "crowd": -16, "hum": -16}, {"squeal": 0.2, "beep": 0.2}),
    "metro": Scene({"rumble": -5, "hum": -8, "air": -12, "crowd": -15}, {"squeal": 0.7, "beep": 0.2}),
    "metro_station": Scene({"rumble": -8, "crowd": -10, "hum": -10, "air": -14}, {"squeal": 0.4, "step": 1.0}),
    "park": Scene({"wind": -9, "air": -13, "crowd": -19, "rumble": -17}, {"bird": 2.0, "step": 0.5}),
    "public_square": Scene({"crowd": -11, "wind": -10, "rumble": -12, "engine": -17}, {"bird": 0.7, "step": 1.0}),
    "shopping_mall": Scene({"crowd": -7, "hum": -11, "air": -12}, {"clink": 1.0, "beep": 0.5, "step": 1.5}),
    "street_pedestrian": Scene({"crowd": -8, "wind": -12, "rumble": -13}, {"step": 2.0, "bird": 0.4, "clink": 0.4}),
    "street_traffic": Scene({"engine": -8, "rumble": -8, "wind": -11, "air": -13}, {"beep": 0.2, "step": 0.5}),
    "tram": Scene({"rumble": -7, "hum": -8, "engine": -13, "crowd": -15}, {"squeal": 0.5, "clink": 0.3}),
}


@dataclass(frozen=True)
class Location:
    """A scene somewhere: its own levels, rates, loudness (dB of full scale), room and microphone."""

    levels: Mapping[str, float]
    rates: Mapping[str, float]
    loudness: float
    response: Wave


def write(root: Path) -> None:
    """Write the folder with its tables under `root`."""
    home, bank = root / "TAU-urban-acoustic-scenes-2019-development", steady()
    meta, lists = ["filename\tscene_label\tidentifier\tsource_label\n"], {name: [LISTED] for name in LOCATIONS}
    for number, scene in enumerate(SCENES):
        for split, place in places():
            where = f"{CITIES[(number + place) % len(CITIES)]}-{100 * number + place}"
            location = found(SCENES[scene], generator("demo location", scene, where))
            for segment in range(SEGMENTS):
                file = f"audio/{scene}-{where}-{1000 * number + 10 * place + segment}-a.wav"
                save(home / file, clip(location, generator("demo scene", file), bank))
                meta.append(f"{file}\t{scene}\t{where}\ta\n")
                lists[split].append(f"{file}\t{scene}\n")
    tables = {"meta.csv": meta, "evaluation_setup/fold1_train.csv": lists["train"]}
    tables["evaluation_setup/fold1_evaluate.csv"] = lists["test"]
    (home / "evaluation_setup").mkdir()
    for name, lines in tables.items():
        (home / name).write_text("".join(lines), encoding="utf-8", newline="\n")


LISTED = "filename\tscene_label\n"


def places() -> list[tuple[str, int]]:
    """The split of each location of a scene, and its number."""
    splits = [split for split, count in LOCATIONS.items() for _ in range(count)]
    return [(split, number) for number, split in enumerate(splits)]


def found(scene: Scene, rng: np.random.Generator) -> Location:
    levels = {name: scene.levels.get(name, FLOOR) + rng.normal(0, STRAY) for name in STEADY}
    rates = {name: scene.rates.get(name, 0.05) * np.exp(rng.normal(0, RATES_STRAY)) for name in PASSING}
    response = speech.tilt(speech.room(rng, rng.uniform(0.1, 0.5)), rng.uniform(-4, 4))
    return Location(levels, rates, rng.uniform(-22, -14), response)


def clip(location: Location, rng: np.random.Generator, bank: Mapping[str, Wave]) -> Wave:
    """Two seconds at a location: stretches of its steady sounds, and what happens to pass."""
    length = int(SECONDS * RATE)
    wave = np.zeros(length)
    for name, level in location.levels.items():
        start = int(rng.integers(len(bank[name]) - length))
        wave += bank[name][start : start + length] * 10 ** ((level + rng.normal(0, SWAY)) / 20)
    for name, rate in location.rates.items():
        for _ in range(rng.poisson(rate * SECONDS)):
            sound = PASSING[name](rng)[:length]
            start = int(rng.integers(length - len(sound) + 1))
            wave[start : start + len(sound)] += sound * 10 ** (rng.uniform(-16, -4) / 20)
    heard = speech.convolve(wave, location.response)[:length]
    heard *= 10 ** ((location.loudness + rng.normal(0, SWAY)) / 20) / heard.std()
    return np.asarray(heard * min(1.0, 0.98 / np.abs(heard).max()))


# ---- steady sounds ---------------------------------------------------------------------------------------------------


def steady() -> dict[str, Wave]:
    """A minute of each steady sound, of power one."""
    waves = {name: make(60 * RATE, generator("demo steady", name)) for name, make in STEADY.items()}
    return {name: wave / wave.std() for name, wave in waves.items()}


def rumble(length: int, rng: np.random.Generator) -> Wave:
    """Dull noise that comes and goes."""
    dull = coloured(length, rng, lambda hertz: 1 / (1 + (hertz / 150) ** 2))
    return np.asarray(dull * (1 + 0.4 * np.abs(smooth(length, rng, 0.5))))


def wind(length: int, rng: np.random.Generator) -> Wave:
    """Noise that falls evenly, in gusts."""
    falling = coloured(length, rng, lambda hertz: np.maximum(hertz, 40.0) ** -0.8)
    return np.asarray(falling * (0.5 + np.abs(smooth(length, rng, 0.8))))


def air(length: int, rng: np.random.Generator) -> Wave:
    """Bright even noise, as of ventilation or leaves."""
    return coloured(length, rng, lambda hertz: (hertz + 50) / (hertz + 800) / (1 + (hertz / 5000) ** 2))


def crowd(length: int, rng: np.random.Generator) -> Wave:
    """Noise with the spectrum of speech that flutters as fast as syllables."""
    voices = coloured(length, rng, lambda hertz: hertz / (hertz + 150) / (1 + (hertz / 600) ** 1.5))
    return np.asarray(voices * (1 + 0.5 * smooth(length, rng, 5.0)))


def hum(length: int, rng: np.random.Generator) -> Wave:
    """The overtones of 100 Hz, as of motors and transformers, each at a slowly moving level."""
    times = np.arange(length) / RATE
    tones = (np.sin(2 * np.pi * 100 * order * times + rng.uniform(0, 6)) / order for order in range(1, 9))
    return np.asarray(sum(tone * (1 + 0.3 * smooth(length, rng, 1.0)) for tone in tones))


def engine(length: int, rng: np.random.Generator) -> Wave:
    """The overtones of a pitch that wanders about 55 Hz, and noise from the same pipe."""
    phase = 2 * np.pi * np.cumsum(55 * np.exp(0.15 * smooth(length, rng, 0.3))) / RATE
    tones = sum(np.sin(order * phase + rng.uniform(0, 6)) / order**0.7 for order in range(1, 16))
    return np.asarray(tones + coloured(length, rng, lambda hertz: 1 / (1 + (hertz / 500) ** 2)))


STEADY: Mapping[str, Callable[[int, np.random.Generator], Wave]] = {
    "rumble": rumble,
    "wind": wind,
    "air": air,
    "crowd": crowd,
    "hum": hum,
    "engine": engine,
}


# ---- passing sounds --------------------------------------------------------------------------------------------------


def glide(rng: np.random.Generator, seconds: float, start: float, stop: float) -> Wave:
    """A tone that moves from one pitch to the other, in hertz, under a rounded envelope."""
    length = int(seconds * RATE)
    pitch = np.linspace(start, stop, length)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(pitch) / RATE + rng.uniform(0, 6)) * np.hanning(length))


def bird(rng: np.random.Generator) -> Wave:
    """Two to five chirps in a row."""
    start, stop = rng.uniform(2500, 6000, size=2)
    return np.concatenate([glide(rng, rng.uniform(0.05, 0.12), start, stop) for _ in range(rng.integers(2, 6))])


def beep(rng: np.random.Generator) -> Wave:
    pitch = rng.uniform(600, 1800)
    return glide(rng, rng.uniform(0.15, 0.6), pitch, pitch)


def squeal(rng: np.random.Generator) -> Wave:
    """Rails or brakes: a long high glide with its octave."""
    start, seconds = rng.uniform(1500, 3000), rng.uniform(0.4, 1.2)
    stop = start * rng.uniform(0.8, 1.2)
    return np.asarray(glide(rng, seconds, start, stop) + 0.5 * glide(rng, seconds, 2 * start, 2 * stop))


def clink(rng: np.random.Generator) -> Wave:
    """A few high resonances that die away together."""
    times = np.arange(RATE // 5) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * times) for pitch in rng.uniform(1500, 7000, size=4))
    return np.asarray(tones / 2 * np.exp(-times / rng.uniform(0.02, 0.06)))


def step(rng: np.random.Generator) -> Wave:
    """A heel: a short dull knock."""
    times = np.arange(RATE // 10) / RATE
    knock = rng.standard_normal(len(times)) + np.sin(2 * np.pi * rng.uniform(90, 250) * times) * 3
    return np.asarray(knock / 2 * np.exp(-times / rng.uniform(0.008, 0.025)))


PASSING: Mapping[str, Callable[[np.random.Generator], Wave]] = {
    "bird": bird,
    "beep": beep,
    "squeal": squeal,
    "clink": clink,
    "step": step,
}
