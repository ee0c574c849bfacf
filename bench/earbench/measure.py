"""The test split, read once: predictions, scores, and beside them what a nearest neighbour and a regression say."""

from collections.abc import Iterator, Mapping, Sequence
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
from earbench.simple import Column
from earbench.tuned import Tuned, best_on_test


@dataclass(frozen=True)
class Measured:
    """Everything that was said about the test splits. `samples[score][seed][fold]`; rows carry fold and seed.

    `others` are the rows of scores beside those of the chosen heads: columns, what was tuned on test, readings.
    """

    samples: dict[str, list[list[Sampled]]]
    metrics: dict[str, Metric]
    rows: list[tuple[str, int, Rows]]
    others: dict[str, list[tuple[str, int, Rows]]]
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
    others: dict[str, list[tuple[str, int, Rows]]] = {}
    columns: list[dict[str, Column]] = []
    decodings: list[Mapping[str, Any]] = []
    tuned: list[list[Tuned]] = []
    regress = not simple.one_class(task, folds)  # a score is of all folds
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
        columns.append(simple.columns(bench, test, progress, cell.layer, regress))
        seen = test if found.best_layer is None else test.layer(found.best_layer)
        best, winners = through(bench, found.best_layer), found.heads[found.best_layer][number]
        tuned.append([best_on_test(best, seen, head) for head in winners] if task.published else [])
        for name, seed, one in _others(best, seen, winners, columns[-1], tuned[-1]):
            others.setdefault(name, []).append((fold.name, seed, one))
    layers = per_layer(task, scored) if cell.choice == "each" else []
    samples = by_metric(task, scored[found.best_layer])
    extra = {name: of_rows(task, folds, name, some) for name, some in others.items()}
    metrics = {name: metric_of(task, name) for name in (*samples, *extra)}
    chosen = _chosen(task, columns[0], tuned[0])
    return Measured(samples | extra, metrics, rows, others, layers, dict(decodings[0]), chosen)


def _others(
    bench: Bench, test: Examples, heads: Sequence[Fitted], columns: Mapping[str, Column], tuned: Sequence[Tuned]
) -> Iterator[tuple[str, int, Rows]]:
    """The further scores of one fold, by name and seed, as rows."""
    task, metric = bench.task, bench.task.card.metrics[0].name
    for name, column in columns.items():
        yield f"{metric}_{name}", 0, task.rows(test.split, column.predictions)
    for head, best in zip(heads, tuned, strict=False):
        yield f"{task.published}_published", head.seed, best.rows
    for head in heads if task.readings else ():
        answers = predict(bench, head, test, list(task.readings.values()))
        for name, said in zip(task.readings, answers, strict=True):
            yield f"{metric}_{name}", head.seed, task.rows(test.split, said)


def _chosen(task: Task, columns: Mapping[str, Column], tuned: Sequence[Tuned]) -> dict[str, Any]:
    """How each further score was made, on the first fold."""
    found: dict[str, Any] = {name: column.facts for name, column in columns.items()}
    for best in tuned[:1]:
        found["published"] = {"step": best.step, "decoding": dict(best.decoding)}
    return found | {name: {"decoding": dict(decoding)} for name, decoding in task.readings.items()}


def _say(bench: Bench, test: Examples, layer: int | None, head: Fitted) -> dict[str, Any]:
    """Predictions on test, decoded the way that was best on valid."""
    (said,) = predict(bench, head, test if layer is None else test.layer(layer), [head.decoding])
    return said


def metric_of(task: Task, score: str) -> Metric:
    """The metric behind a score; that of a column is the first, or the one before "_published"."""
    named = {metric.name: metric for metric in task.card.metrics}
    return named.get(score.removesuffix("_published"), task.card.metrics[0])


def of_rows(
    task: Task, folds: Sequence[Fold], score: str, rows: Sequence[tuple[str, int, Rows]]
) -> list[list[Sampled]]:
    """One score, `[seed][fold]`, from its rows in the order of folds."""
    metric, names = metric_of(task, score), {fold.name: _resampled(task, fold) for fold in folds}
    found: dict[int, list[Sampled]] = {}
    for fold, seed, one in rows:
        found.setdefault(seed, []).append(intervals.sample(metric, one, *names[fold]))
    return list(found.values())


def samples_of(task: Task, fold: Fold, rows: Rows) -> dict[str, Sampled]:
    names = _resampled(task, fold)
    return {metric.name: intervals.sample(metric, rows, *names) for metric in task.card.metrics}


def scores_of(task: Task) -> tuple[list[str], list[str]]:
    """The scores that every record of a task has, and those that one may have besides, both in their order."""
    first = task.card.metrics[0].name
    must = [metric.name for metric in task.card.metrics]
    columns = [f"{first}_{name}" for name in simple.COLUMNS]
    published = [f"{task.published}_published"] if task.published else []
    return must, [*columns, *published, *(f"{first}_{name}" for name in task.readings)]


def _resampled(task: Task, fold: Fold) -> tuple[str, int, str]:
    """What resamples are drawn from: they are the same for every encoder."""
    units = dict.fromkeys(clip.whole or clip.id for clip in fold.test.clips)  # how many chunks depends on the encoder
    return task.card.name, task.card.version, digest_of(list(units))


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
