"""HEAR's scores of whole clips, as shares between 0 and 1, which is how HEAR prints them (HEAR sheet 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from earbench.contract import Labels, Metric, Rows, Split
from earbench.kit.classification import match_ids
from earbench.kit.metrics.ranking import Ranking, ranking

Floats = NDArray[np.float64]
SEMITONES = 12


def scene_rows(split: Split, predictions: Mapping[str, Any], labels: Labels) -> Rows:
    """One row per clip: "score" and "target" [clip, label], and "guess" and "truth", where they are highest first.

    A clip's label is one name or a tuple of them; a prediction is a probability per label, or one name. Where a clip
    has several labels "truth" is the first of the vocabulary, and without any it is label 0: so has HEAR's own tool it.
    """
    match_ids(split, predictions)
    numbers = {label: number for number, label in enumerate(labels)}
    target = np.array([_answer(clip.label, numbers) for clip in split.clips])
    score = np.array([_answer(predictions[clip.id], numbers) for clip in split.clips], np.float32)
    ids, groups = tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips)
    guess, truth = score.argmax(1), target.argmax(1)
    return Rows(ids, groups, {"guess": guess, "truth": truth, "score": score, "target": target.astype(np.uint8)})


def top1_accuracy(rows: Rows, weights: Floats) -> float:
    """The weighted share of rows whose label number "guess" is "truth"; NaN where all weights are zero.

    >>> rows = Rows(("a", "b"), (("x",), ("y",)), {"guess": np.array([3, 15]), "truth": np.array([3, 3])})
    >>> top1_accuracy(rows, np.ones(2)), chroma_accuracy(rows, np.ones(2))
    (0.5, 1.0)
    """
    return _share(rows.arrays["guess"] == rows.arrays["truth"], weights)


def chroma_accuracy(rows: Rows, weights: Floats) -> float:
    """The same with both label numbers modulo 12: an octave too high or low is right."""
    return _share(rows.arrays["guess"] % SEMITONES == rows.arrays["truth"] % SEMITONES, weights)


def mean_average_precision(rows: Rows, weights: Floats) -> float:
    """Average precision, mean over labels. A label that no row has counts 0, as in scikit-learn.

    In a resample, labels that are only missing there are left out of the mean.
    """
    found = _ranked(rows)
    return _mean(found, np.where(found.absent, 0.0, found.precisions(weights)), weights)


def mean_area(rows: Rows, weights: Floats) -> float:
    """Area under the ROC curve, mean over labels; NaN if a label has rows of one kind only.

    In a resample, labels that have one kind only there are left out of the mean.
    """
    found = _ranked(rows)
    return nan if found.one_sided.any() else _mean(found, found.areas(weights), weights)


def d_prime(rows: Rows, weights: Floats) -> float:
    """The square root of 2 times the normal quantile of each label's area, mean over labels; the same labels count.

    Infinite where one label is told apart without an error.
    """
    found = _ranked(rows)
    if found.one_sided.any():
        return nan
    with np.errstate(invalid="ignore"):  # the mean of both infinities
        return _mean(found, np.sqrt(2.0) * ndtri(found.areas(weights)), weights)


def _answer(said: str | Sequence[Any] | NDArray[Any], numbers: Mapping[str, int]) -> NDArray[Any]:
    """Names as ones among zeros; numbers stay as they are."""
    if not isinstance(said, str | tuple):
        return np.asarray(said)
    found = np.zeros(len(numbers))
    found[[numbers[name] for name in ((said,) if isinstance(said, str) else said)]] = 1.0
    return found


def _ranked(rows: Rows) -> Ranking:
    return ranking(rows, lambda rows: rows.arrays["target"] > 0)


def _mean(ranked: Ranking, values: Floats, weights: Floats) -> float:
    """The mean of the labels that have a value; none if scores are not numbers, or nothing has a weight."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) and ranked.sound.all() and weights.any() else nan


def _share(right: NDArray[np.bool_], weights: Floats) -> float:
    total = float(weights.sum())
    return float((weights * right).sum()) / total if total else nan


def _metric(name: str, value: Callable[[Rows, Floats], float], best: float = 1.0, lowest: float = 0.0) -> Metric:
    return Metric(name, unit="", better="higher", best=best, bounds=(lowest, best), value=value)


TOP1_ACC, PITCH_ACC = _metric("top1_acc", top1_accuracy), _metric("pitch_acc", top1_accuracy)
CHROMA_ACC = _metric("chroma_acc", chroma_accuracy)
MEAN_AP, AUCROC = _metric("mAP", mean_average_precision), _metric("aucroc", mean_area)
D_PRIME = _metric("d_prime", d_prime, best=inf, lowest=-inf)

METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (TOP1_ACC, PITCH_ACC, CHROMA_ACC, MEAN_AP, D_PRIME, AUCROC)
}
"""By the names that task folders use."""
