"""Audio SNIPS in small: orders with numbers, directions, animals and answers in them (protocol sheet superb 2.9).

`SNIPS/<split>/<Speaker>-snips-<split>-<number>.wav` at 16 kHz, about a second each, `all.iob.snips.txt` and
`slots.txt`. The split goes by the names of the speakers, so these are the published ones; the voices are the demo's
own, not those of Audio SNIPS. As there are few names, each stands for several of the demo's people, all of one split.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from earbench.demo.keywords import bank, save, surroundings
from earbench.demo.speakers import SplitName, cast
from earbench.demo.utterances import utter
from earbench.kit.seeds import generator

SPEAKERS: Mapping[SplitName, tuple[str, ...]] = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
PEOPLE = 6
"""Of each name."""
UTTERANCES: Mapping[SplitName, int] = {"train": 8, "valid": 4, "test": 8}
"""Of each of these people."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "animal": ("cat", "dog"),
    "answer": ("yes", "no"),
    "direction": ("left", "down"),
    "number": ("six", "two"),
}
TEMPLATES: Mapping[str, str] = {
    "go animal": "Move",
    "go answer": "Reply",
    "go direction": "Move",
    "go number": "Move",
    "stop animal": "Stop",
    "stop answer": "Reply",
    "stop direction": "Stop",
    "stop number": "Stop",
    "number animal": "Count",
}
"""What may be said, and the intent that the text file gives it.

Many are equally long when spelled: batches are made of texts of like length, and what all texts of a batch share is no
news. With lengths that gave the template away, fbank_no_cmvn said one thing about every clip for 600 steps.
"""
CENSUS: Mapping[str, Mapping[str, int]] = {"sf": {"train": 384, "valid": 96, "test": 192, "slots": 4}}


def write(root: Path) -> None:
    """Write the recordings and both text files under `root`."""
    home = root / "SNIPS"
    lines = [line for split in SPEAKERS for line in spoken(home / split, split)]
    (home / "all.iob.snips.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    (home / "slots.txt").write_text("\n".join(("O", *VALUES)), encoding="utf-8", newline="\n")


def spoken(folder: Path, split: SplitName) -> Iterator[str]:
    """Write the recordings of a split; the line of each in the text file."""
    noises = bank(split)
    for number, person in enumerate(cast(split, len(SPEAKERS[split]) * PEOPLE)):
        name, response = SPEAKERS[split][number // PEOPLE], surroundings(person)
        for take in range(UTTERANCES[split]):
            utterance = f"{name}-snips-{split}-{number % PEOPLE * UTTERANCES[split] + take}"
            rng = generator("demo slots", utterance)
            template = str(rng.choice(list(TEMPLATES)))
            words, slots = filled(template, rng)
            save(folder / f"{utterance}.wav", utter(person, words, rng, response, noises))
            text = " ".join(words).upper()
            yield f"{utterance} BOS {text} EOS\tO {' '.join(slots)} {TEMPLATES[template]}\n"


def filled(template: str, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """The words of a template, and the slot of each or "O"."""
    slots = [word if word in VALUES else "O" for word in template.split()]
    words = [str(rng.choice(VALUES[word])) if word in VALUES else word for word in template.split()]
    return words, slots
