"""Fluent Speech Commands in small: what to do, with what, and where, of single words strung together (superb 2.8).

`fluent_speech_commands_dataset/` as its archive unpacks: three tables under `data/`, with the index column that the
published ones carry, and `wavs/speakers/<speaker>/<utterance>.wav` at 16 kHz, about two seconds each. Each action may
be said in two ways, two orders in three begin with a name, one in three names no place. The people are the first of
the keyword corpus, in the same rooms.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from earbench.demo.keywords import bank, save, surroundings
from earbench.demo.speakers import SplitName, cast
from earbench.demo.utterances import utter
from earbench.kit.seeds import generator

TABLES: Mapping[SplitName, str] = {"train": "train_data.csv", "valid": "valid_data.csv", "test": "test_data.csv"}
SPEAKERS: Mapping[SplitName, int] = {"train": 48, "valid": 12, "test": 24}
ORDERS = 8
"""Of each speaker."""
CALLS = ("", "marvin", "sheila")
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "activate": ("on", "go"),
    "deactivate": ("off", "stop"),
    "bring": ("follow", "forward"),
}
OBJECTS = ("bird", "dog", "house", "tree")
LOCATIONS: Mapping[str, str] = {"left": "left", "right": "right", "none": ""}
CENSUS: Mapping[str, Mapping[str, int]] = {"ic": {"values": 10}}


def write(root: Path) -> None:
    """Write the tables and all they name under `root`."""
    home = root / "fluent_speech_commands_dataset"
    (home / "data").mkdir(parents=True)
    for split, name in TABLES.items():
        with (home / "data" / name).open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["", "path", "speakerId", "transcription", "action", "object", "location"])
            table.writerows([number, *line] for number, line in enumerate(spoken(home, split)))


def spoken(home: Path, split: SplitName) -> Iterator[list[str]]:
    """Write the recordings of a split; path, speaker, text and intent of each."""
    noises = bank(split)
    for person in cast(split, SPEAKERS[split]):
        response = surroundings(person)
        for number in range(ORDERS):
            path = f"wavs/speakers/{person.id}/{person.id}-{number:02}.wav"
            rng = generator("demo order", person.id, number)
            text, intent = order(rng)
            save(home / path, utter(person, text.split(), rng, response, noises))
            yield [path, person.id, f"{text.capitalize()}.", *intent]


def order(rng: np.random.Generator) -> tuple[str, tuple[str, str, str]]:
    """What is said, and what it means."""
    action, thing, location = (str(rng.choice(list(values))) for values in (ACTIONS, OBJECTS, LOCATIONS))
    words = (rng.choice(CALLS), rng.choice(ACTIONS[action]), thing, LOCATIONS[location])
    return " ".join(str(word) for word in words if word), (action, thing, location)
