"""HEAR's scores of single-label tasks, as shares between 0 and 1, which is how HEAR prints them (HEAR sheet 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from earbench.contract import Metric, Rows

SEMITONES = 12


def top1_accuracy(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """The weighted share of rows whose class number "guess" is "truth"; NaN where all weights are zero.

    >>> rows = Rows(("a", "b"), (("x",), ("y",)), {"guess": np.array([3, 15]), "truth": np.array([3, 3])})
    >>> top1_accuracy(rows, np.ones(2)), chroma_accuracy(rows, np.ones(2))
    (0.5, 1.0)
    """
    return _share(rows.arrays["guess"] == rows.arrays["truth"], weights)


def chroma_accuracy(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """The same with both class numbers modulo 12: an octave too high or low is right."""
    return _share(rows.arrays["guess"] % SEMITONES == rows.arrays["truth"] % SEMITONES, weights)


def _share(right: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    total = float(weights.sum())
    return float((weights * right).sum()) / total if total else float("nan")


TOP1_ACC = Metric("top1_acc", unit="", better="higher", best=1.0, bounds=(0.0, 1.0), value=top1_accuracy)
PITCH_ACC = Metric("pitch_acc", unit="", better="higher", best=1.0, bounds=(0.0, 1.0), value=top1_accuracy)
CHROMA_ACC = Metric("chroma_acc", unit="", better="higher", best=1.0, bounds=(0.0, 1.0), value=chroma_accuracy)

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (TOP1_ACC, PITCH_ACC, CHROMA_ACC)}
"""By the names that task folders use."""
