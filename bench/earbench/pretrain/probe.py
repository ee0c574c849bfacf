"""How good an encoder is while it trains: a linear probe on a few clips of a task, judged on its valid split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from earbench import audio, data, packed
from earbench.config import Settings
from earbench.contract import Split, Task, Upstream
from earbench.errors import RequestError
from earbench.forward import encode
from earbench.plan import load_task, load_upstream
from earbench.progress import Progress

TOGETHER = 16
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def probe(
    upstream: str, name: str, where: str | None, settings: Settings, progress: Progress
) -> Callable[[Path], float]:
    """What scores a weight file of `upstream` on task `name`: its first metric, of a logistic regression on the means
    over time of all layers, trained and judged on as many clips as a quick run has.
    """
    task = load_task(name)
    if task.card.grain == "frame":
        raise RequestError(f"task '{name}' asks about frames; the probe needs one that pools, such as 'ks'")
    card = load_upstream(f"{upstream}~random").card
    place = packed.unpacked(task, card, data.locate(task, where, settings, progress), settings, progress)
    task = data.at(task, card, place)
    fold = data.quick(data.folds_of(task, card, place)[0])
    waves = [
        [audio.read(clip, card.sample_rate or 16_000) for clip in split.clips] for split in (fold.train, fold.valid)
    ]

    def score(weights: Path) -> float:
        encoder = load_upstream(f"{upstream}@{weights}")
        train, valid = (pooled(encoder, some) for some in waves)
        return judged(task, fold.valid, guesses(train, [clip.label for clip in fold.train.clips], valid))

    return score


def pooled(encoder: Upstream, waves: Sequence[audio.Samples]) -> Array:
    """The mean over time of every layer, side by side: [clip, layer times width]."""
    rows = []
    for start in range(0, len(waves), TOGETHER):
        rows += encode(encoder, waves[start : start + TOGETHER], "mean", "fp32", torch.device("cpu")).rows
    return torch.cat(rows).flatten(1).double().numpy()


def guesses(train: Array, labels: Sequence[str], valid: Array) -> Sequence[str]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", C=0.01, max_iter=300))
    with threadpool_limits(1):  # the matrices are small: a second thread costs more than it does
        return list(model.fit(train, labels).predict(valid))


def judged(task: Task, split: Split, said: Sequence[str]) -> float:
    predictions = {clip.id: guess for clip, guess in zip(split.clips, said, strict=True)}
    return task.card.metrics[0].value(task.rows(split, predictions), task.weights(split, "standard"))
