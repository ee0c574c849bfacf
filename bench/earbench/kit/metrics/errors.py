"""Error rates of transcripts: edits per reference word, character or phone, in percent, summed before dividing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids


def transcripts(split: Split, predictions: Mapping[str, str]) -> Rows:
    """One row per clip: the least edits from its label to its prediction, and the label's length, in words and
    characters (with the spaces between words), beside both texts.
    """
    import jiwer

    match_ids(split, predictions)
    pairs = [(clip.label, predictions[clip.id]) for clip in split.clips]
    words = np.array([_counts(jiwer.process_words(*pair)) for pair in pairs])
    characters = np.array([_counts(jiwer.process_characters(*pair)) for pair in pairs])
    labels, said = zip(*pairs, strict=True)
    arrays = {"word_errors": words[:, 0], "words": words[:, 1]}
    arrays |= {"character_errors": characters[:, 0], "characters": characters[:, 1]}
    arrays |= {"prediction": np.array(said, np.str_), "label": np.array(labels, np.str_)}
    groups = tuple((clip.group,) for clip in split.clips)
    return Rows(tuple(clip.id for clip in split.clips), groups, arrays)


def spoken_phones(split: Split, predictions: Mapping[str, str]) -> Rows:
    """One row per clip: the least edits from its label to its prediction and the label's length, in phones parted by
    spaces, beside both.

    s3prl splits an empty prediction into one empty token. It stands for one of the label's phones and the others are
    missing, which are as many edits as there are phones: no token at all counts the same, and is what is counted here.
    """
    import jiwer

    match_ids(split, predictions)
    pairs = [(clip.label, predictions[clip.id]) for clip in split.clips]
    counts = np.array([_counts(jiwer.process_words(*pair)) for pair in pairs])
    labels, said = (np.array(texts, np.str_) for texts in zip(*pairs, strict=True))
    arrays = {"phone_errors": counts[:, 0], "phones": counts[:, 1], "prediction": said, "label": labels}
    return Rows(tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips), arrays)


def error_rate(rows: Rows, weights: np.ndarray[Any, Any], unit: str) -> float:
    """Weighted edits over weighted reference `unit`s, times 100; NaN where all weights are zero (an empty resample).

    >>> rows = Rows(("a", "b"), (("x",), ("y",)), {"word_errors": np.array([1, 1]), "words": np.array([3, 1])})
    >>> error_rate(rows, np.ones(2), "word"), error_rate(rows, np.array([0, 2]), "word")
    (50.0, 100.0)
    """
    total = float((weights * rows.arrays[f"{unit}s"]).sum())
    return 100.0 * float((weights * rows.arrays[f"{unit}_errors"]).sum()) / total if total else float("nan")


def _counts(found: Any) -> tuple[int, int]:
    """Edits and reference length of one pair, as jiwer aligned it."""
    edits = found.substitutions + found.deletions + found.insertions
    return edits, found.hits + found.substitutions + found.deletions


_BOUNDS = (0.0, float("inf"))
WER = Metric("wer", "%", better="lower", best=0.0, bounds=_BOUNDS, value=partial(error_rate, unit="word"))
CER = Metric("cer", "%", better="lower", best=0.0, bounds=_BOUNDS, value=partial(error_rate, unit="character"))
PER = Metric("per", "%", better="lower", best=0.0, bounds=_BOUNDS, value=partial(error_rate, unit="phone"))
