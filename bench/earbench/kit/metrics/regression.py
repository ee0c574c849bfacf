"""Scores of clips with one number each: R2, root mean squared error, mean absolute error.

R2 comes first: it reads the same whatever the unit (1 is perfect, 0 is always saying the mean of the test set, below
that is worse), and unlike a correlation it does not forgive a wrong scale or offset. The errors are in the unit of the
answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids

Floats = NDArray[np.float64]


def numbered(split: Split, predictions: Mapping[str, float]) -> Rows:
    """One row per clip: "truth", its label, and "guess"."""
    match_ids(split, predictions)
    truth = np.array([clip.label for clip in split.clips], np.float64)
    guess = np.array([predictions[clip.id] for clip in split.clips], np.float64)
    ids, groups = tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips)
    return Rows(ids, groups, {"truth": truth, "guess": guess})


def r2(rows: Rows, weights: Floats) -> float:
    """One minus the squared errors over the squares about the weighted mean; NaN where the truth does not vary.

    >>> rows = Rows(("a", "b"), (("x",), ("y",)), {"truth": np.array([1.0, 3.0]), "guess": np.array([1.0, 2.0])})
    >>> r2(rows, np.ones(2)), rmse(rows, np.ones(2)), mae(rows, np.ones(2))
    (0.5, 0.7071067811865476, 0.5)
    """
    truth = rows.arrays["truth"]
    if len(np.unique(truth[weights > 0])) < 2:
        return float("nan")
    around = (weights * (truth - np.average(truth, weights=weights)) ** 2).sum()
    return 1.0 - float((weights * _errors(rows) ** 2).sum() / around)


def rmse(rows: Rows, weights: Floats) -> float:
    return float(np.sqrt(_mean(_errors(rows) ** 2, weights)))


def mae(rows: Rows, weights: Floats) -> float:
    return _mean(np.abs(_errors(rows)), weights)


def _errors(rows: Rows) -> Floats:
    errors: Floats = rows.arrays["guess"] - rows.arrays["truth"]
    return errors


def _mean(values: Floats, weights: Floats) -> float:
    """The weighted mean; NaN where all weights are zero (an empty resample)."""
    total = float(weights.sum())
    return float((weights * values).sum()) / total if total else float("nan")


_BOUNDS = (0.0, float("inf"))
R2 = Metric("r2", "", better="higher", best=1.0, bounds=(-float("inf"), 1.0), value=r2)
RMSE = Metric("rmse", "", better="lower", best=0.0, bounds=_BOUNDS, value=rmse)
MAE = Metric("mae", "", better="lower", best=0.0, bounds=_BOUNDS, value=mae)
