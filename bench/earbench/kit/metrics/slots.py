"""Slot filling: which slots a transcript holds and what stands in them, in percent (SUPERB sheet 2.9)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids

SPAN = re.compile(r"B-(\S+) (.+?) E-\1")
"""The shortest text between two markers of one slot. As in s3prl, the end of `playlist_owner` ends a `playlist` too."""


def slots(split: Split, truths: Mapping[str, str], predictions: Mapping[str, str]) -> Rows:
    """One row per clip, from texts with markers: "f1", and "value_errors" in "value_characters", beside both texts.

    "f1" compares the sets of slots: 1 where both are empty, 0 where one is. Each value of the truth is compared with
    the likest value that the prediction has for its slot, or with nothing; values that nobody said cost nothing.
    """
    match_ids(split, predictions)
    pairs = [(truths[clip.id], predictions[clip.id]) for clip in split.clips]
    found = [(spans(truth), spans(said, marked=False)) for truth, said in pairs]
    errors = np.array([value_errors(*one) for one in found])
    arrays = {"f1": np.array([type_f1(set(truth), set(said)) for truth, said in found])}
    arrays |= {"value_errors": errors[:, 0], "value_characters": errors[:, 1]}
    arrays |= {"prediction": np.array([said for _, said in pairs]), "label": np.array([truth for truth, _ in pairs])}
    return Rows(tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips), arrays)


def spans(text: str, marked: bool = True) -> dict[str, list[str]]:
    """The values of each slot in a text; markers inside a value stay if `marked`.

    >>> spans("PLAY B-artist BO E-artist AND B-artist JO B-year E-artist NOW")
    {'artist': ['BO', 'JO B-year']}
    """
    found: dict[str, list[str]] = {}
    for slot, value in SPAN.findall(text):
        bare = re.sub(r" E-\S+", "", re.sub(r"B-\S+ ", "", value))
        found.setdefault(slot, []).append(value if marked else bare)
    return found


def type_f1(truth: set[str], said: set[str]) -> float:
    """Twice what is shared, over the sizes of both sets; two empty ones are equal.

    >>> type_f1({"artist", "year"}, {"artist"}), type_f1(set(), {"year"}), type_f1(set(), set())
    (0.6666666666666666, 0.0, 1.0)
    """
    total = len(truth) + len(said)
    return 2 * len(truth & said) / total if total else 1.0


def value_errors(truth: Mapping[str, list[str]], said: Mapping[str, list[str]]) -> tuple[int, int]:
    """Characters to be edited in the likest values of `said`, and characters of all values of `truth`.

    >>> value_errors({"artist": ["BO", "JO"], "year": ["TEN"]}, {"artist": ["JO"]})
    (4, 7)
    """
    pairs = [(value, said.get(slot, [""])) for slot, values in truth.items() for value in values]
    return sum(min(_edits(value, one) for one in some) for value, some in pairs), sum(len(value) for value, _ in pairs)


def _edits(truth: str, said: str) -> int:
    import jiwer

    found = jiwer.process_characters(truth, said)
    return found.substitutions + found.deletions + found.insertions


def mean_f1(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """The weighted mean over utterances, times 100; NaN where all weights are zero (an empty resample)."""
    total = float(weights.sum())
    return 100.0 * float((weights * rows.arrays["f1"]).sum()) / total if total else float("nan")


def value_cer(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """Weighted edits over weighted characters of the truth, times 100; NaN where there are none."""
    total = float((weights * rows.arrays["value_characters"]).sum())
    return 100.0 * float((weights * rows.arrays["value_errors"]).sum()) / total if total else float("nan")


SLOT_TYPE_F1 = Metric("slot_type_f1", "%", better="higher", best=100.0, bounds=(0.0, 100.0), value=mean_f1)
SLOT_VALUE_CER = Metric("slot_value_cer", "%", better="lower", best=0.0, bounds=(0.0, float("inf")), value=value_cer)
