"""HEAR's split rule: which clips a task keeps, and which fold they fall in (HEAR sheet 2.3).

Both are drawn by generators whose seeds are words, so that anybody draws the same from the same list of names.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping

import numpy as np

from earbench.errors import MissingCorpus

SHARES = {"train": 80, "valid": 10, "test": 10}
"""Percent. Hours count for train and valid together, and test gets its share on top: 5 hours are 5.56 with test."""
DRAWS = 999
"""So many seeds are tried; a draw with the thousandth would not be accepted."""


def most(hours: float, seconds: float) -> dict[str, int]:
    """How many clips of `seconds` each split keeps of a task of `hours`.

    >>> most(5, 4.0)
    {'train': 4000, 'valid': 500, 'test': 500}
    """
    return {split: int(length / seconds) for split, length in longest(hours).items()}


def longest(hours: float) -> dict[str, float]:
    """Seconds of audio that each split may hold."""
    return {split: 3600 * hours * share / (SHARES["train"] + SHARES["valid"]) for split, share in SHARES.items()}


def kept(stems: Iterable[str], split: str, limit: int | None) -> list[str]:
    """At most `limit` of the clips of a split; a smaller limit keeps the beginning of what a larger one keeps."""
    names = sorted(stems)
    order = np.random.RandomState(_number(f"SubsampleSplit({split})")).permutation(len(names))
    return [names[index] for index in order[:limit]]


def folds(labels: Mapping[str, str], count: int) -> dict[str, list[str]]:
    """The stems of each of `count` folds of nearly equal size: the first draw in which every fold has every label."""
    for number in range(DRAWS):
        stems = sorted(labels)
        random.Random(f"split_k_folds_retry_{number - 1}" if number else "split_k_folds").shuffle(stems)
        parts = [[str(stem) for stem in part] for part in np.array_split(np.array(stems, dtype=object), count)]
        if all({labels[stem] for stem in part} == set(labels.values()) for part in parts):
            return {f"fold{index:02d}": part for index, part in enumerate(parts)}
    raise MissingCorpus(
        f"{len(labels)} clips of {len(set(labels.values()))} labels cannot be divided into {count} folds that have "
        f"every label each ({DRAWS} draws tried)",
        "the published corpus can: is it whole?",
    )


def _number(words: str) -> int:
    return int(hashlib.sha1(words.encode()).hexdigest(), 16) % (2**32 - 1)
