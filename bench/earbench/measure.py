"""The test split, read once: predictions, scores, and beside them what a nearest neighbour and a regression say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earbench import intervals, simple
from earbench.contract import Fold, Metric, Rows, Task
from earbench.examples import Examples, examples
from earbench.extract import Shelf
from earbench.files import digest_of
from earbench.fit import Bench, Fitted, predict
from earbench.intervals import Sampled
from earbench.plan import Cell
from earbench.progress import Progress
from earbench.search import Found, Opener, through
from earbench.tuned import Tuned, best_on_test


@dataclass(frozen=True)
class Measured:
    """Everything that was said about the test splits. `samples[metric][seed][fold]`; rows carry fold and seed."""

    samples: dict[str, list[list[Sampled]]]
    metrics: dict[str, Metric]
    rows: list[tuple[str, int, Rows]]
    layers: list[dict[str, Any]]
    decoding: dict[str, Any]
    columns: dict[str, Any]

    def scores(self) -> dict[str, Any]:
        return {name: intervals.interval(self.metrics[name], samples) for name, samples in self.samples.items()}


def measure(
    cell: Cell, found: Found, folds: Sequence[Fold], opener: Opener, shelf: Shelf, progress: Progress
) -> Measured:
    """Score the chosen heads on every test split. With a score per layer, the layer that won on valid is the score."""
    task = cell.task
    scored: dict[int | None, list[list[dict[str, Sampled]]]] = {layer: [] for layer in found.heads}
    rows: list[tuple[str, int, Rows]] = []
    columns: list[dict[str, Any]] = []
    decodings: list[Mapping[str, Any]] = []
    tuned: list[list[Tuned]] = []
    read: list[list[dict[str, Sampled]]] = []
    for number, fold in enumerate(folds):
        bench = opener(fold)
        test = examples(task, fold.test, None, shelf, bench.device)  # its answers stay with the task
        for layer, heads in found.heads.items():
            said = [_say(through(bench, layer), test, layer, head) for head in heads[number]]
            fold_rows = [task.rows(fold.test, predictions) for predictions in said]
            scored[layer].append([samples_of(task, fold, one) for one in fold_rows])
            if layer == found.best_layer:
                rows += [(fold.name, head.seed, one) for head, one in zip(heads[number], fold_rows, strict=True)]
                decodings.append(heads[number][0].decoding)
        columns.append(simple.columns(bench, test, progress, cell.layer))
        seen = test if found.best_layer is None else test.layer(found.best_layer)
        winners = found.heads[found.best_layer][number]
        if task.published:
            tuned.append([best_on_test(through(bench, found.best_layer), seen, head) for head in winners])
        if task.readings:
            read.append([_readings(through(bench, found.best_layer), seen, head) for head in winners])
    layers = per_layer(task, scored) if cell.choice == "each" else []
    samples = by_metric(task, scored[found.best_layer])
    extra, chosen = _column_samples(task, folds, columns)
    if task.published:
        extra |= _published(task, folds, tuned)
        chosen["published"] = {"step": tuned[0][0].step, "decoding": dict(tuned[0][0].decoding)}
    if task.readings:
        seeds = range(len(read[0]))
        extra |= {name: [[fold[seed][name] for fold in read] for seed in seeds] for name in read[0][0]}
        chosen |= {name: {"decoding": dict(decoding)} for name, decoding in task.readings.items()}
    return Measured(samples | extra, _named(task, extra), rows, layers, dict(decodings[0]), chosen)


def _named(task: Task, extra: Iterable[str]) -> dict[str, Metric]:
    """The metric behind every score; that of a column is the first, or the one before "_published"."""
    metrics = {metric.name: metric for metric in task.card.metrics}
    return metrics | {name: metrics.get(name.removesuffix("_published"), task.card.metrics[0]) for name in extra}


def _published(task: Task, folds: Sequence[Fold], tuned: Sequence[Sequence[Tuned]]) -> dict[str, list[list[Sampled]]]:
    """The score that was tuned on test, `[seed][fold]`, by the name it goes by."""
    samples = [
        [samples_of(task, fold, one.rows)[str(task.published)] for one in heads]
        for fold, heads in zip(folds, tuned, strict=True)
    ]
    return {f"{task.published}_published": [list(one) for one in zip(*samples, strict=True)]}


def _readings(bench: Bench, test: Examples, head: Fitted) -> dict[str, Sampled]:
    """The first metric on each further reading of a head, by the name it goes by."""
    task, metric = bench.task, bench.task.card.metrics[0].name
    answers = predict(bench, head, test, list(task.readings.values()))
    samples = [samples_of(task, bench.fold, task.rows(test.split, said))[metric] for said in answers]
    return {f"{metric}_{name}": one for name, one in zip(task.readings, samples, strict=True)}


def _say(bench: Bench, test: Examples, layer: int | None, head: Fitted) -> dict[str, Any]:
    """Predictions on test, decoded the way that was best on valid."""
    (said,) = predict(bench, head, test if layer is None else test.layer(layer), [head.decoding])
    return said


def samples_of(task: Task, fold: Fold, rows: Rows) -> dict[str, Sampled]:
    units = dict.fromkeys(clip.whole or clip.id for clip in fold.test.clips)  # how many chunks depends on the encoder
    names = (task.card.name, task.card.version, digest_of(list(units)))
    return {metric.name: intervals.sample(metric, rows, *names) for metric in task.card.metrics}


def by_metric(task: Task, folds: list[list[dict[str, Sampled]]]) -> dict[str, list[list[Sampled]]]:
    """`folds[fold][seed][metric]` turned into `[metric][seed][fold]`."""
    seeds = range(len(folds[0]))
    return {
        metric.name: [[fold[seed][metric.name] for fold in folds] for seed in seeds] for metric in task.card.metrics
    }


def per_layer(task: Task, scored: dict[int | None, list[list[dict[str, Sampled]]]]) -> list[dict[str, Any]]:
    found = []
    for layer, folds in scored.items():
        samples = by_metric(task, folds)
        scores = {metric.name: intervals.interval(metric, samples[metric.name]) for metric in task.card.metrics}
        found.append({"layer": layer, "scores": scores})
    return found


def _column_samples(
    task: Task, folds: Sequence[Fold], columns: list[dict[str, Any]]
) -> tuple[dict[str, list[list[Sampled]]], dict[str, Any]]:
    """Scores of the head-free columns by `<metric>_<column>`, and how each was made on the first fold."""
    metric = task.card.metrics[0]
    extra = {}
    for name in columns[0]:
        samples = [
            samples_of(task, fold, task.rows(fold.test, column[name].predictions))[metric.name]
            for fold, column in zip(folds, columns, strict=True)
        ]
        extra[f"{metric.name}_{name}"] = [samples]
    return extra, {name: column.facts for name, column in columns[0].items()}
