"""VoxCeleb1 in small: strings of words by many speakers on several occasions (protocol sheet superb 2.5, 2.6).

`dev/wav` and `test/wav` hold `<speaker>/<video>/<utterance>.wav`, 16-bit PCM at 16 kHz, about three seconds each;
`iden_split.txt` and `voxceleb1_test_v2.txt` lie beside them. As in the corpus, a video is an occasion: one room, one
microphone. Many files begin or end in near silence, a few are shorter than two seconds without it, a few longer
than eight.

What an identity is here: one of six synthetic voices at one of two pitches, with a vocal tract and a pace of its own,
both a little different in each utterance. All speakers of a voice and pitch share their prosody and their phones, and
differ in formants by a few per cent; real speakers differ in more. With three voices there are six groups of such
near twins, so a score says how finely features resolve a vocal tract across rooms, not how they would fare on people.

No encoder of ours hears valid or test voices. So training speakers of verification have the training voices, its
trials the test voices, and the speakers with the valid voice bear names that the task's rule holds out for valid (the
digest of a speaker's name). In identification the same speakers are in all three splits: iden_split.txt names
those of the valid and test voices only.

How hard it is was settled with hand-made features alone (`tests/demo` keeps the floors), before any encoder of ours
was scored on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from earbench.demo.keywords import RATE, Noises, bank, save, surroundings
from earbench.demo.lexicon import WORDS
from earbench.demo.speakers import TRACTS, Speaker, SplitName, cast
from earbench.demo.utterances import utter
from earbench.kit.seeds import generator

SPEAKERS: Mapping[SplitName, int] = {"train": 56, "valid": 8, "test": 20}
PARTS: Mapping[SplitName, str] = {"train": "dev", "valid": "dev", "test": "test"}
IDENTIFIED = {"1": 3, "2": 1, "3": 1}
"""Videos of an identified speaker in each split, as iden_split.txt numbers them."""
UNIDENTIFIED = 4
"""Videos of any other."""
UTTERANCES: Mapping[SplitName, int] = {"train": 2, "valid": 4, "test": 4}
"""Of each video."""
SPOKEN = (4, 6)
"""Words in an utterance, at least and at most."""
LONG = 16
"""Words in the first utterance of every eighth speaker."""
SILENCE = (0.0, 0.6)
"""Seconds of near silence at either end."""
TRIALS = 600
"""Of one speaker, and as many of two."""
TRIED = 2
"""Utterances of each video that trials are made of."""

CENSUS: Mapping[str, Mapping[str, int]] = {
    "sid": {"speakers": 28},
    "asv": {"training speakers": 64, "target trials": TRIALS, "other trials": TRIALS, "tested files": 200},
}

Wave = np.ndarray[Any, np.dtype[np.float64]]
Videos = Mapping[str, Sequence[str]]
"""Names of utterances by video."""


def write(root: Path) -> None:
    """Write both parts and both lists under `root`."""
    identified, tested = [], []
    for split, part in PARTS.items():
        noises = bank(split)
        for number, (name, person) in enumerate(zip(names(split), people(split), strict=True)):
            videos = said(name, split)
            words = LONG if number % 8 == 0 else 0
            for video, utterances in videos.items():
                response = surroundings(elsewhere(person, video))
                for utterance in utterances:
                    save(root / part / "wav" / utterance, speak(person, utterance, words, response, noises))
                    words = 0
            if split != "train":
                identified += list(listed(videos))
            if split == "test":
                tested.append(videos)
    write_list(root / "iden_split.txt", identified)
    write_list(root / "voxceleb1_test_v2.txt", trials(tested))


def names(split: SplitName) -> list[str]:
    """The folder names of a split's speakers; those of valid have the lowest digests of all outside test."""
    if split == "test":
        return [f"id{number}" for number in range(10_270, 10_270 + SPEAKERS["test"])]
    ranked = sorted((f"id{number}" for number in range(10_001, 10_270)), key=digest)
    valid, total = SPEAKERS["valid"], SPEAKERS["valid"] + SPEAKERS["train"]
    return sorted(ranked[:valid] if split == "valid" else ranked[valid:total])


def people(split: SplitName) -> Iterator[Speaker]:
    """The first of the keyword corpus, with vocal tracts spread evenly over each voice and pitch."""
    chosen = cast(split, SPEAKERS[split])
    hands = [(person.voice, person.setting) for person in chosen]
    for number, (person, hand) in enumerate(zip(chosen, hands, strict=True)):
        low, high = TRACTS[person.setting]
        share = (hands[:number].count(hand) + 0.5) / hands.count(hand)
        yield replace(person, tract=low + share * (high - low))


def said(name: str, split: SplitName) -> dict[str, list[str]]:
    """A speaker's videos and utterances, by the names that lists give them."""
    videos = UNIDENTIFIED if split == "train" else sum(IDENTIFIED.values())
    tokens = (digest(f"{name} {video}")[:11] for video in range(videos))
    found = [f"{name}/{token}" for token in tokens]
    return {video: [f"{video}/{number:05}.wav" for number in range(1, UTTERANCES[split] + 1)] for video in found}


def elsewhere(person: Speaker, video: str) -> Speaker:
    """The same speaker in another room, before another microphone."""
    rng = generator("demo video", video)
    return replace(person, id=video, tilt=float(rng.uniform(-2, 2)), echo=float(rng.uniform(0.1, 0.35)))


def speak(person: Speaker, name: str, words: int, response: Wave, noises: Noises) -> Wave:
    """One utterance of so many `words` (0: a few) between two stretches of near silence."""
    rng = generator("demo talk", name)
    chosen = [str(word) for word in rng.choice(WORDS, size=words or rng.integers(SPOKEN[0], SPOKEN[1] + 1))]
    wave = utter(person, chosen, rng, response, noises)
    before, behind = (1e-4 * rng.standard_normal(int(rng.uniform(*SILENCE) * RATE)) for _ in range(2))
    return np.concatenate([before, wave, behind])


def listed(videos: Videos) -> Iterator[str]:
    """Lines of iden_split.txt: whole videos go to one split."""
    splits = [split for split, number in IDENTIFIED.items() for _ in range(number)]
    for split, utterances in zip(splits, videos.values(), strict=True):
        yield from (f"{split} {name}" for name in utterances)


def trials(speakers: Sequence[Videos]) -> Iterator[str]:
    """Lines of the trial list, in turn of one speaker in two videos and of two speakers; none twice."""
    rng, seen = generator("demo trials"), set[tuple[str, ...]]()
    while len(seen) < 2 * TRIALS:
        same = len(seen) % 2 == 0
        ones, others = [int(rng.integers(len(speakers)))] * 2 if same else rng.choice(len(speakers), 2, replace=False)
        places = rng.choice(sum(IDENTIFIED.values()), 2, replace=False)
        pair = tuple(
            list(speakers[who].values())[place][int(rng.integers(TRIED))]
            for who, place in zip((ones, others), places, strict=True)
        )
        if pair not in seen and pair[::-1] not in seen:
            seen.add(pair)
            yield f"{int(same)} {' '.join(pair)}"


def write_list(path: Path, lines: Sequence[str] | Iterator[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
