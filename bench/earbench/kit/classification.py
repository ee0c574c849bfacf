"""Tasks that ask for one label per clip, and what their predictions say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Clip, Head, Labels, Recipe, Rows, Space, Split, Task
from earbench.errors import BenchError
from earbench.kit.heads.pooled import PooledLinear

HIDDEN = 256


class Classification(Task):
    """One of the `Labels` of its space for each clip, by SUPERB's head for whole utterances (sheet 1.5)."""

    def target(self, clip: Clip, times: Tensor | None, space: Space) -> Tensor:
        return torch.tensor(cast(Labels, space).index(clip.label))

    def head(self, width: int, space: Space, recipe: Recipe) -> Head:
        return PooledLinear(width, HIDDEN, cast(Labels, space))

    def rows(self, split: Split, predictions: Mapping[str, Any]) -> Rows:
        return hits(split, predictions)

    def ideal(self, split: Split) -> Mapping[str, Any]:
        return {clip.id: clip.label for clip in split.clips}


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
