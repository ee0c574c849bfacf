"""Scores of clips with any number of labels each: mean average precision and mean area under the ROC curve.

Both are means over the labels that have a value, each counting alike however rare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Metric, Rows, Split
from earbench.kit.classification import match_ids
from earbench.kit.metrics.ranking import Ranking, ranking

Floats = NDArray[np.float64]


def tagged(split: Split, predictions: Mapping[str, Sequence[float]], labels: Sequence[str]) -> Rows:
    """One row per clip: "truth" and "score", [clip, label]; a clip's label is the collection of its names."""
    match_ids(split, predictions)
    truth = np.array([[float(label in clip.label) for label in labels] for clip in split.clips])
    score = np.array([predictions[clip.id] for clip in split.clips], np.float64)
    ids, groups = tuple(clip.id for clip in split.clips), tuple((clip.group,) for clip in split.clips)
    return Rows(ids, groups, {"truth": truth, "score": score})


def mean_over_labels(values: Callable[[Ranking, Floats], Floats]) -> Callable[[Rows, Floats], float]:
    """The metric that averages `values`, one per label, over the labels that have one; NaN if there is none."""

    def value(rows: Rows, weights: Floats) -> float:
        found = values(ranking(rows, lambda rows: rows.arrays["truth"] > 0), weights)
        found = found[~np.isnan(found)]
        return float(found.mean()) if len(found) else float("nan")

    return value


MEAN_AP = Metric("mAP", "", better="higher", best=1.0, bounds=(0.0, 1.0), value=mean_over_labels(Ranking.precisions))
AUROC = Metric("auroc", "", better="higher", best=1.0, bounds=(0.0, 1.0), value=mean_over_labels(Ranking.areas))
