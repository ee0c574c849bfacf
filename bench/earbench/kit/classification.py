"""What a classifier's predictions say, clip by clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from earbench.contract import Rows, Split
from earbench.errors import BenchError


def hits(split: Split, predictions: Mapping[str, str]) -> Rows:
    """One row per clip: "hit" is 1.0 where the predicted label is the clip's, beside "prediction" and "label".

    Where labels are tuples, all of their parts must be right. Every clip needs a prediction and every prediction a
    clip: a score over part of a test set is another score.
    """
    ids = tuple(clip.id for clip in split.clips)
    match_ids(split, predictions)
    labels = np.array([clip.label for clip in split.clips], np.str_)
    guesses = np.array([predictions[name] for name in ids], np.str_)
    right = (guesses == labels).reshape(len(ids), -1).all(1)
    arrays = {"hit": right.astype(np.float64), "prediction": guesses, "label": labels}
    return Rows(ids, tuple((clip.group,) for clip in split.clips), arrays)


def match_ids(split: Split, predictions: Mapping[str, Any]) -> None:
    """Refuse predictions that leave out a clip of the split or name one that it does not have."""
    ids = [clip.id for clip in split.clips]
    missing = [name for name in ids if name not in predictions]
    extra = sorted(set(predictions).difference(ids))
    if missing or extra:
        examples = ", ".join([*missing[:3], *extra[:3]])
        raise BenchError(
            f"predictions do not fit the split: {len(missing)} clips have none, {len(extra)} belong to no clip",
            f"for example {examples}",
            "predict every clip of the split once, under the id that `bench clips` shows",
        )
