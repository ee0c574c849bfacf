"""Clips dealt into folds: whole groups stay together, and every fold gets its share of every kind of clip."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Clip

Numbers = NDArray[np.intp]


def dealt(clips: Sequence[Clip], strata: Sequence[int], count: int) -> Numbers:
    """A fold number below `count` for each clip: a group is never divided, a stratum is spread over the folds.

    The same for the same clips in the same order. By scikit-learn: stratified by group, or simply stratified where
    every clip is a group of its own, which for tens of thousands of them takes no time.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    groups = [clip.group for clip in clips]
    alone = len(set(groups)) == len(groups)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(count, shuffle=True, random_state=0)
    found: Numbers = np.zeros(len(clips), np.intp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a stratum smaller than the folds: it cannot be in each of them
        parts = splitter.split(np.zeros((len(clips), 1)), np.array(strata), None if alone else groups)
        for number, (_, held) in enumerate(parts):
            found[held] = number
    return found


def by_rank(values: Sequence[float], count: int) -> list[int]:
    """For each value which of `count` equal parts of the sorted values it falls in, ties in the order given.

    >>> by_rank([0.5, 9.0, -1.0, 7.0], 2)
    [0, 1, 0, 1]
    """
    ranks = np.argsort(np.argsort(np.array(values), kind="stable"), kind="stable")
    return [int(part) for part in ranks * count // len(values)]


def rarest(answers: Sequence[Sequence[str]]) -> list[int]:
    """For each clip the number of its rarest label over all clips (by name of equals); one more number for no label.

    >>> rarest([("dog",), ("dog", "bird"), ("dog",), ()])
    [1, 0, 1, 2]
    """
    counts: dict[str, int] = {}
    for label in (label for labels in answers for label in labels):
        counts[label] = counts.get(label, 0) + 1
    order = {label: number for number, label in enumerate(sorted(counts, key=lambda label: (counts[label], label)))}
    return [min((order[label] for label in labels), default=len(order)) for labels in answers]


def groups_per_label(clips: Sequence[Clip], answers: Sequence[Sequence[str]]) -> dict[str, int]:
    """In how many groups each label is found."""
    found: dict[str, set[str]] = {}
    for clip, labels in zip(clips, answers, strict=True):
        for label in labels:
            found.setdefault(label, set()).add(clip.group)
    return {label: len(groups) for label, groups in sorted(found.items())}
