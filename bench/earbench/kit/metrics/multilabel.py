"""Scores of clips with any number of labels each: mean average precision and mean area under the ROC curve.

Both are means over labels, each label counting alike however rare. scikit-learn's functions say the same (tests hold
them against each other, ties and weights included); written out they are some twenty-five times faster, which a
thousand bootstrap replicates per label need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids

Floats = NDArray[np.float64]


def tagged(split: Split, predictions: Mapping[str, Sequence[float]], labels: Sequence[str]) -> Rows:
    """One row per clip: "truth" and "score", [clip, label]; a clip's label is the collection of its names."""
    match_ids(split, predictions)
    truth = np.array([[float(label in clip.label) for label in labels] for clip in split.clips])
    score = np.array([predictions[clip.id] for clip in split.clips], np.float64)
    ids, groups = tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips)
    return Rows(ids, groups, {"truth": truth, "score": score})


def average_precision(truth: Floats, score: Floats, weights: Floats) -> float:
    """Precision, weighted by the step in recall, from the highest score down; clips of one score are one step.

    NaN without a clip that has the label.

    >>> average_precision(np.array([0.0, 1.0, 0.0]), np.array([0.9, 0.5, 0.1]), np.ones(3))
    0.5
    """
    right, wrong = _down(truth, score, weights)
    if not right[-1:].any():
        return float("nan")
    passed = np.maximum(right + wrong, np.finfo(np.float64).tiny)  # clips of weight zero may come first
    return min(1.0, float((np.diff(right, prepend=0.0) * right / passed).sum() / right[-1]))


def area_under_roc(truth: Floats, score: Floats, weights: Floats) -> float:
    """How often a clip with the label scores above one without; ties count half. NaN unless there are both.

    >>> area_under_roc(np.array([1.0, 0.0, 1.0]), np.array([0.9, 0.5, 0.5]), np.ones(3))
    0.75
    """
    right, wrong = _down(truth, score, weights)
    if not right[-1:].any() or not wrong[-1:].any():
        return float("nan")
    middle = right - np.diff(right, prepend=0.0) / 2
    return min(1.0, float((np.diff(wrong, prepend=0.0) * middle).sum() / (wrong[-1] * right[-1])))


def mean_over_labels(score: Callable[[Floats, Floats, Floats], float]) -> Callable[[Rows, Floats], float]:
    """The metric that averages `score` over the labels that it has a value for; NaN if there is none."""

    def value(rows: Rows, weights: Floats) -> float:
        pairs = zip(rows.arrays["truth"].T, rows.arrays["score"].T, strict=True)
        found = [one for truth, guess in pairs if not np.isnan(one := score(truth, guess, weights))]
        return float(np.mean(found)) if found else float("nan")

    return value


def _down(truth: Floats, score: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """From the highest score down, after each distinct one: the weight so far of clips with the label, and without."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)[: len(order)]
    with_label, without = weights * truth, weights * (1 - truth)
    return np.cumsum(with_label[order])[last], np.cumsum(without[order])[last]


MEAN_AP = Metric("mAP", "", better="higher", best=1.0, bounds=(0.0, 1.0), value=mean_over_labels(average_precision))
AUROC = Metric("auroc", "", better="higher", best=1.0, bounds=(0.0, 1.0), value=mean_over_labels(area_under_roc))
