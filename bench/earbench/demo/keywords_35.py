"""Speech Commands v0.02 in small: all 35 words, with the archive's two lists.

`speech_commands_v0.02/<word>/<speaker>_nohash_0.wav`, `validation_list.txt` and `testing_list.txt`. The people are the
first of the keyword corpus (`earbench.demo.keywords`), in the same rooms and noises; each says every word once, less
the omissions. The lists name whom the official split rule would.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors): `SNR`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from earbench.demo.keywords import Noises, bank, save, surroundings, utter
from earbench.demo.lexicon import WORDS
from earbench.demo.speakers import Speaker, SplitName, cast
from earbench.kit.seeds import generator

SPEAKERS: Mapping[SplitName, int] = {"train": 40, "valid": 8, "test": 16}
LISTS: Mapping[SplitName, str] = {"valid": "validation_list.txt", "test": "testing_list.txt"}
SNR = (25.0, 45.0)
"""Decibels by which a word lies above its noise: more than among twelve classes, or log-mel learns next to nothing."""
KEPT = 0.96
"""The share of words that a speaker says."""
CENSUS: Mapping[str, Mapping[str, int]] = {"ks35": {"train": 1345, "valid": 270, "test": 536}}


def write(root: Path) -> None:
    """Write the archive's folder under `root`."""
    home = root / "speech_commands_v0.02"
    for split, count in SPEAKERS.items():
        noises = bank(split)
        names = [name for person in cast(split, count) for name in said(home, person, noises)]
        if split in LISTS:
            (home / LISTS[split]).write_text("".join(f"{name}\n" for name in sorted(names)), "utf-8", newline="\n")


def said(home: Path, person: Speaker, noises: Noises) -> Iterator[str]:
    """The names of the clips of one speaker, each written first."""
    rng = generator("demo omissions of 35", person.id)
    response = surroundings(person)
    for word in WORDS:
        if rng.uniform() < KEPT:
            name = f"{word}/{person.id}_nohash_0.wav"
            save(home / name, utter(person, word, 0, response, noises, SNR))
            yield name
