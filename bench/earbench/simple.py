"""Columns beside the learned head, on the same stored features: nearest neighbours and logistic regression.

They have no learning rate and no seed, so they show what the features hold before any tuning.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from earbench.contract import Fold, Labels, Task
from earbench.examples import Examples, Pooled
from earbench.fit import Bench, better
from earbench.progress import Progress
from earbench.rows import HeldRows

COLUMNS = ("knn", "logistic")
NEIGHBOURS = 10
ITERATIONS = 300
SMALL = 10_000_000
"""Numbers in a feature matrix below which one thread is faster than several."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Column:
    """What one method says of the test clips, and how it was set up."""

    predictions: Mapping[str, Any]
    facts: Mapping[str, Any]


def columns(
    bench: Bench, test: Examples, progress: Progress, only: int | None = None, regress: bool = True
) -> dict[str, Column]:
    """The two columns, for tasks that give each clip one of a list of labels; none for other tasks.

    Features are standardised by the train split. Both use the layer on which the nearest neighbours do best on valid,
    judged on at most 10,000 train and 2,000 valid clips, or the `only` layer that the run is about.
    `knn`: the 10 nearest by cosine, weighted by closeness. `logistic`: L2 penalty C = 1, classes weighted equally; left
    out unless asked to `regress`, which takes two classes.
    """
    held, valid, labels = bench.train, bench.valid, bench.space
    if not (isinstance(held, Pooled) and isinstance(valid, Pooled) and isinstance(test, Pooled)):
        return {}
    if not isinstance(labels, Labels) or held.targets.dim() != 1:
        return {}
    with progress.note("nearest neighbours and logistic regression"), _few_threads(held):
        layer = _best_layer(bench, held, valid, labels) if only is None else only
        (train, given), scale = _fitted(held, layer)
        seen = scale.transform(_layer(test, layer))
        found = {"knn": Column(_said(bench.task, labels, test, _knn(train, given, seen, labels)), {"layer": layer})}
        if regress:
            guess, converged = _logistic(train, given, seen, labels)
            facts = {"layer": layer, "converged": converged}
            found["logistic"] = Column(_said(bench.task, labels, test, guess), facts)
        return found


def one_class(task: Task, folds: Sequence[Fold]) -> list[str]:
    """The folds in which all train clips are of one class: heads learn nothing there, and a regression cannot be."""
    return [fold.name for fold in folds if _one_class(task, fold)]


def _one_class(task: Task, fold: Fold) -> bool:
    space = task.space(fold)
    if task.card.grain == "frame" or not isinstance(space, Labels):
        return False
    targets = (task.target(clip, None, space) for clip in fold.train.clips)
    first = next(targets)
    return not first.dim() and all(torch.equal(first, other) for other in targets)


def _said(task: Task, labels: Labels, examples: Pooled, likely: Array) -> dict[str, Any]:
    """Probabilities [clip, label] as the task's predictions, by clip id: as they are, or the likeliest label."""
    answers = likely if task.probable else [labels[number] for number in likely.argmax(1).tolist()]
    return {clip.id: answer for clip, answer in zip(examples.split.clips, answers, strict=True)}


def _few_threads(train: Pooled) -> AbstractContextManager[object]:
    """One thread for a small matrix: sharing its products out costs far more than they do."""
    from threadpoolctl import threadpool_limits

    small = len(train.rows) * train.rows.shape[2] < SMALL
    limits: AbstractContextManager[object] = threadpool_limits(1 if small else None)
    return limits


def _best_layer(bench: Bench, held: Pooled, valid: Pooled, labels: Labels) -> int:
    layers = range(held.shape[0])
    if len(layers) == 1:
        return 0
    metric = bench.task.card.metrics[0]
    train, valid = _some(held, 10_000), _some(valid, 2_000)
    weights = bench.task.weights(valid.split, bench.plan.effort)
    best, best_score = 0, float("nan")
    for layer in layers:
        (features, given), scale = _fitted(train, layer)
        guess = _knn(features, given, scale.transform(_layer(valid, layer)), labels)
        rows = bench.task.rows(valid.split, _said(bench.task, labels, valid, guess))
        if better(metric, score := metric.value(rows, weights), best_score):
            best, best_score = layer, score
    return best


def _some(examples: Pooled, count: int) -> Pooled:
    """At most `count` clips, evenly spaced over the split."""
    if len(examples.split.clips) <= count:
        return examples
    kept = np.linspace(0, len(examples.split.clips) - 1, count).round().astype(int).tolist()
    split = replace(examples.split, clips=tuple(examples.split.clips[index] for index in kept), seconds=())
    rows = HeldRows(examples.rows.take(torch.tensor(kept)))
    return replace(examples, split=split, rows=rows, targets=examples.targets[kept])


def _fitted(examples: Pooled, layer: int) -> tuple[tuple[Array, Array], Any]:
    from sklearn.preprocessing import StandardScaler

    features = _layer(examples, layer)
    scale = StandardScaler().fit(features)
    return (scale.transform(features), examples.targets.cpu().numpy()), scale


def _layer(examples: Pooled, layer: int) -> Array:
    """Features of one layer, [clip, width], in double precision: the regression needs it to converge."""
    found: Array = examples.rows.matrix(layer).double().numpy()
    return found


def _knn(train: Array, given: Array, seen: Array, labels: Labels) -> Array:
    from sklearn.neighbors import KNeighborsClassifier

    count = min(NEIGHBOURS, len(train))
    model = KNeighborsClassifier(count, metric="cosine", algorithm="brute", weights="distance").fit(train, given)
    return _spread(model, seen, labels)


def _logistic(train: Array, given: Array, seen: Array, labels: Labels) -> tuple[Array, bool]:
    """Probabilities for `seen`, and whether the optimiser had converged when its iterations ended."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train, given)
    return _spread(model, seen, labels), bool(model.n_iter_.max() < ITERATIONS)


def _spread(model: Any, seen: Array, labels: Labels) -> Array:
    """The model's probability of every label, [clip, label]; of those that train lacks it is zero."""
    found = np.zeros((len(seen), len(labels)))
    found[:, model.classes_] = model.predict_proba(seen)
    return found
