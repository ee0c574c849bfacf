"""The equal error rate of trials: where as many impostors are let in as true speakers are turned away."""

from __future__ import annotations

from typing import Any

import numpy as np

from earbench.contract import Metric, Rows

Array = np.ndarray[Any, np.dtype[np.float64]]


def equal_error_rate(rows: Rows, weights: np.ndarray[Any, Any]) -> float:
    """The false positive rate where it equals the false negative rate, times 100 (SUPERB sheet 2.6).

    The rates lie on the ROC of the array "score" (higher means same speaker), straight lines between its points; trials
    of one score pass or fail together. "target" is 1 for trials of one speaker. NaN where the weights leave one kind
    of trial only.

    >>> rows = Rows(("a", "b", "c"), (("x",),) * 3, {"score": np.array([0.9, 0.2, 0.5]), "target": np.array([1, 1, 0])})
    >>> equal_error_rate(rows, np.ones(3)), equal_error_rate(rows, np.array([3.0, 1.0, 2.0]))
    (50.0, 25.0)
    """
    false, true = operating_points(rows.arrays["score"], rows.arrays["target"], weights)
    if not (false[-1] and true[-1]):
        return float("nan")
    accepted = false / false[-1]
    spare = accepted + true / true[-1] - 1.0  # rises from -1 to 1 along the curve; zero where both rates are equal
    after = int(np.argmax(spare >= 0))
    before = after - 1
    share = spare[before] / (spare[before] - spare[after])
    return 100.0 * float(accepted[before] + share * (accepted[after] - accepted[before]))


def operating_points(
    scores: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]
) -> tuple[Array, Array]:
    """The weight of the false and of the true trials that pass each threshold: none at first, then score by score.

    >>> operating_points(np.array([0.5, 0.9, 0.5]), np.array([0, 1, 1]), np.ones(3))
    (array([0., 0., 1.]), array([0., 1., 2.]))
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))
    passed = [np.cumsum(weights[order] * (targets[order] == kind))[ends] for kind in (0, 1)]
    false, true = (np.concatenate([[0.0], found]) for found in passed)
    return false, true


EER = Metric("eer", "%", better="lower", best=0.0, bounds=(0.0, 100.0), value=equal_error_rate)
