"""Accuracy: the share of right answers, in percent."""

from __future__ import annotations

from typing import Any

import numpy as np

from earbench.contract import Metric, Rows


def accuracy(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """The weighted mean of the array "hit", times 100; NaN where all weights are zero (an empty resample).

    >>> accuracy(Rows(("a", "b"), (("x",), ("y",)), {"hit": np.array([1.0, 0.0])}), np.array([3.0, 1.0]))
    75.0
    """
    total, right = float(weights.sum()), float((weights * rows.arrays["hit"]).sum())
    return 100.0 * (right / total) if total else float("nan")


ACCURACY = Metric("accuracy", unit="%", better="higher", best=100.0, bounds=(0.0, 100.0), value=accuracy)
