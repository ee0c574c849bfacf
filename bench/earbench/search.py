"""Which recipe: the grid on train, the choice on valid, by the rule the task declares."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from earbench.contract import Effort, Fold, Match, Task
from earbench.errors import BenchError
from earbench.examples import examples, train_examples
from earbench.extract import Shelf
from earbench.fit import Bench, Fitted, better, grid, judge
from earbench.plan import Cell, Plan, in_steps, plain_recipe
from earbench.progress import Progress

K = TypeVar("K")
Opener = Callable[[Fold], Bench]


@dataclass(frozen=True)
class Found:
    """The outcome of the search on every fold: for each layer choice the winning heads, seed by seed, and the table.

    `heads[layer][fold]` lists one head per seed. The key None stands for all layers together (or the only one).
    """

    heads: dict[int | None, list[list[Fitted]]]
    table: list[dict[str, Any]]
    best_layer: int | None


def judgeable(task: Task, folds: Sequence[Fold], effort: Effort) -> tuple[Task, tuple[str, ...]]:
    """The task, judged by the loss if its metric has no value on some valid split whatever is said of it, and why.

    R2 has none where all numbers are the same, a word error rate where no word is spoken. Means over folds need one
    judge for all of them.
    """
    metric = judge(task)
    if metric is None or isinstance(task, Match):
        return task, ()
    without = []
    for fold in folds:
        rows = task.rows(fold.valid, task.ideal(fold.valid))
        if math.isnan(metric.value(rows, task.weights(fold.valid, effort))):
            without.append(f"'{fold.name}'")
    if not without:
        return task, ()
    changed = copy(task)
    changed.select, changed.decodings = "loss", task.decodings[:1]
    where = f"the valid split of fold{'s' * (len(without) > 1)} {', '.join(without)}"
    read = f", and read by the first of {len(task.decodings)} decodings" if len(task.decodings) > 1 else ""
    why = f"{metric.name} has no value on {where}, whatever is said of it"
    return changed, (f"{why}: recipes are chosen by the loss{read}",)


def search(cell: Cell, plan: Plan, folds: Sequence[Fold], opener: Opener, progress: Progress) -> Found:
    """Train the grid as the task's rule asks and keep, for every fold and seed, the head of the recipe that won."""
    table: list[dict[str, Any]] = []
    heads = {}
    for layer in layer_choices(cell):
        trained = _trained(cell.task, plan, folds, layer, opener, progress)
        heads[layer] = _winners(cell.task, trained)
        table += [_line(fold, fitted, plan) for fold, fits in zip(folds, trained, strict=True) for fitted in fits]
    return Found(heads, table, _best_layer(cell.task, heads))


def open_fold(cell: Cell, plan: Plan, fold: Fold, shelf: Shelf, folder: Any) -> Bench:
    """Features and targets of one fold's train and valid splits, on the device; epochs become this fold's steps."""
    space = cell.task.space(fold)
    train = train_examples(cell.task, fold.train, space, shelf, cell.device)
    valid = examples(cell.task, fold.valid, space, shelf, cell.device)
    plan = replace(plan, recipes=tuple(in_steps(recipe, train.units) for recipe in plan.recipes))
    return Bench(cell.task, plan, fold, space, train, valid, cell.device, folder)


def best_of(task: Task, scores: Mapping[K, Sequence[float]]) -> K:
    """The key of the best mean on valid; of equals, the first.

    A choice between keys that all have a NaN among their scores is an error. Both infinities (of a d', say) are not:
    their mean is NaN too, so such a key never wins, and where there are only such, the first does.
    """
    best, *others = scores
    if others and all(any(map(math.isnan, some)) for some in scores.values()):
        raise BenchError(
            f"task '{task.card.name}': {task.select} has no value on valid for any of {len(scores)} choices",
            "heads that diverged say nothing finite; or the valid split holds nothing that the metric could count",
        )
    means = {key: _mean(some) for key, some in scores.items()}
    for key in others:
        if better(judge(task), means[key], means[best]):
            best = key
    return best


def through(bench: Bench, layer: int | None) -> Bench:
    """The same fold seen through one layer (None: all of them)."""
    if layer is None:
        return bench
    return replace(bench, train=bench.train.layer(layer), valid=bench.valid.layer(layer))


def layer_choices(cell: Cell) -> list[int | None]:
    """The layers that heads are trained on, one at a time; None is the learned mix of all."""
    return [*range(cell.upstream.layers)] if cell.choice == "each" else [cell.layer]


def _trained(
    task: Task, plan: Plan, folds: Sequence[Fold], layer: int | None, opener: Opener, progress: Progress
) -> list[list[Fitted]]:
    """Every trained head, per fold. By the rule "first", later folds train only the recipe that won on the first."""
    everything = list(range(len(plan.recipes)))
    found: list[list[Fitted]] = []
    for fold in folds:
        bench = through(opener(fold), layer)
        only = everything if task.search != "first" or not found else [_winner(task, found[0])]
        found.append([fit for seed in range(plan.seeds) for fit in grid(bench, only, seed, layer, progress)])
    return found


def _winners(task: Task, trained: list[list[Fitted]]) -> list[list[Fitted]]:
    if task.search == "all":
        winner = _winner(task, [fit for fits in trained for fit in fits])
        return [[fit for fit in fits if fit.recipe == winner] for fits in trained]
    return [[fit for fit in fits if fit.recipe == _winner(task, fits)] for fits in trained]


def _winner(task: Task, fits: Sequence[Fitted]) -> int:
    """The recipe with the best mean on valid, over seeds (and folds); of equals, the first of the grid."""
    numbers = sorted({fit.recipe for fit in fits})
    return best_of(task, {number: [fit.valid for fit in fits if fit.recipe == number] for number in numbers})


def _best_layer(task: Task, heads: dict[int | None, list[list[Fitted]]]) -> int | None:
    return best_of(task, {layer: [fit.valid for fits in heads[layer] for fit in fits] for layer in heads})


def _mean(scores: Sequence[float]) -> float:
    """The mean, in which both infinities make a NaN: `fmean` refuses to add them.

    >>> _mean([1.0, 2.0]), _mean([math.inf, 0.0]), _mean([math.inf, -math.inf])
    (1.5, inf, nan)
    """
    return math.nan if {math.inf, -math.inf} <= set(scores) else fmean(scores)


def _line(fold: Fold, fitted: Fitted, plan: Plan) -> dict[str, Any]:
    recipe = plain_recipe(plan.recipes[fitted.recipe])
    return {
        "fold": fold.name,
        "seed": fitted.seed,
        "layer": fitted.layer,
        "recipe": fitted.recipe,
        "lr": recipe["lr"],
        "options": recipe["options"],
        "valid": fitted.valid,
        "step": fitted.step,
        "steps": fitted.curve[-1][0],
    }
