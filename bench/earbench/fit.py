"""Heads on stored features: every recipe of the grid, each seed, one fold; judged by the valid split only.

The features stay on the device and batches are index gathers. The state is saved at every judgement, so a kill costs
at most one interval and the resumed run ends with the same digits.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earbench import saved
from earbench.contract import Fold, Metric, Recipe, Space, Task
from earbench.examples import Examples
from earbench.files import digest_of
from earbench.kit.seeds import derive, generator
from earbench.plan import Plan
from earbench.progress import Bar, Progress
from earbench.stack import Probe, Stack, stack_size


@dataclass(frozen=True)
class Bench:
    """What fitting one fold needs, whatever the recipe."""

    task: Task
    plan: Plan
    fold: Fold
    space: Space
    train: Examples
    valid: Examples
    device: torch.device
    folder: Path


@dataclass(frozen=True)
class Fitted:
    """One trained head: the recipe and seed it came from, and its best state as the valid split judged it."""

    recipe: int
    seed: int
    layer: int | None
    valid: float
    step: int
    curve: tuple[tuple[int, float], ...]
    state: Mapping[str, Tensor] = field(repr=False)

    def weights(self) -> list[float] | None:
        """The learned share of each layer, or None where there is only one."""
        return self.state["mix"].softmax(0).tolist() if "mix" in self.state else None


def grid(bench: Bench, recipes: Sequence[int], seed: int, layer: int | None, progress: Progress) -> list[Fitted]:
    """Train the plan's `recipes` (by number) from one seed. Recipes that can share a stack do; the rest follow."""
    found: list[Fitted] = []
    for group in _groups(bench, recipes):
        probe = _probe(bench, bench.plan.recipes[group[0]], seed)
        size = stack_size(probe, len(group), bench.device)
        for start in range(0, len(group), size):
            found += _train(bench, group[start : start + size], seed, layer, progress)
    return sorted(found, key=lambda fitted: recipes.index(fitted.recipe))


def predict(bench: Bench, fitted: Fitted, examples: Examples, decoding: Mapping[str, Any]) -> dict[str, Any]:
    """What a trained head says of each clip of `examples`, by clip id."""
    recipe = bench.plan.recipes[fitted.recipe]
    stack = Stack(_probe(bench, recipe, fitted.seed), [recipe], bench.device)
    stack.become(fitted.state)
    return _predictions(stack, examples, decoding)[0]


def better(metric: Metric | None, new: float, old: float) -> bool:
    """Strictly better, for a metric or (None) a loss. Nothing is better than a NaN, and a NaN than nothing."""
    if np.isnan(new) or np.isnan(old):
        return bool(np.isnan(old) and not np.isnan(new))
    return new > old if metric is not None and metric.better == "higher" else new < old


def judge(task: Task) -> Metric | None:
    """The metric that the valid split is judged by, or None for the loss."""
    if task.select == "loss":
        return None
    return next(metric for metric in task.card.metrics if metric.name == task.select)


# ---- one stack, from its first step to its last ----------------------------------------------------------------------


def _train(bench: Bench, numbers: Sequence[int], seed: int, layer: int | None, progress: Progress) -> list[Fitted]:
    recipes = [bench.plan.recipes[number] for number in numbers]
    stack = Stack(_probe(bench, recipes[0], seed), recipes, bench.device)
    lanes = [saved.Lane(number) for number in numbers]
    path = bench.folder / f"{digest_of([bench.fold.name, seed, layer, list(numbers)])}.safetensors"
    title = f"{bench.task.card.name}: {len(numbers)} recipe{'s' if len(numbers) > 1 else ''}, seed {seed}"
    with progress.bar(title, recipes[0].steps, "steps") as bar, _one_thread(bench), torch.random.fork_rng():
        torch.manual_seed(derive("training", bench.task.card.name, bench.fold.name, seed))
        done = saved.restore(path, stack, lanes, progress)
        bar.advance(done)
        _loop(bench, stack, lanes, recipes[0], seed, done, path, bar)
    return [Fitted(lane.recipe, seed, layer, lane.best, lane.step, tuple(lane.curve), lane.state) for lane in lanes]


def _loop(
    bench: Bench, stack: Stack, lanes: list[saved.Lane], recipe: Recipe, seed: int, done: int, path: Path, bar: Bar
) -> None:
    stream = _stream(bench, recipe, seed, skip=done)
    while done < recipe.steps and any(lane.running for lane in lanes):
        steps = min(recipe.every - done % recipe.every, recipe.steps - done)
        for batches in _gathered(stream, steps, recipe.accum, bench.device):
            stack.step(bench.train.batch(indices) for indices in batches)
            bar.advance(1)
        done += steps
        _judge(bench, stack, [lane for lane in lanes if lane.running], recipe, done)
        saved.save(path, stack, lanes, done)


@contextmanager
def _one_thread(bench: Bench) -> Iterator[None]:
    """Batches of pooled features are too small to share: handing half to a second thread costs more than the work."""
    threads = torch.get_num_threads()
    if bench.device.type == "cpu" and not bench.train.framewise:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _stream(bench: Bench, recipe: Recipe, seed: int, skip: int) -> Iterator[Sequence[int]]:
    """Batches of clip indices from step `skip` on; the same for every recipe with this batch size."""
    rng = generator("batches", bench.task.card.name, bench.fold.name, seed)
    return itertools.islice(bench.task.batches(bench.train.split, recipe, rng), skip * recipe.accum, None)


def _gathered(
    stream: Iterator[Sequence[int]], steps: int, accum: int, device: torch.device
) -> Iterator[tuple[Tensor, ...]]:
    """The batches of each of `steps` steps, moved to the device all at once: a step then waits for nothing."""
    batches = [np.asarray(indices) for indices in itertools.islice(stream, steps * accum)]
    moved = torch.split(torch.as_tensor(np.concatenate(batches), device=device), [len(batch) for batch in batches])
    for start in range(0, len(moved), accum):
        yield tuple(moved[start : start + accum])


def _judge(bench: Bench, stack: Stack, running: list[saved.Lane], recipe: Recipe, done: int) -> None:
    for index, (lane, score) in enumerate(zip(running, _valid_scores(bench, stack), strict=True)):
        lane.curve.append((done, score))
        if not lane.state or better(judge(bench.task), score, lane.best):
            lane.best, lane.step, lane.stale, lane.state = score, done, 0, stack.member(index)
        else:
            lane.stale += 1
        lane.running = recipe.patience is None or lane.stale < recipe.patience
    kept = [index for index, lane in enumerate(running) if lane.running]
    if len(kept) < len(running) and kept:
        stack.keep(kept)


def _valid_scores(bench: Bench, stack: Stack) -> list[float]:
    metric = judge(bench.task)
    if metric is None:
        return _valid_losses(bench, stack)
    weights = bench.task.weights(bench.valid.split, bench.plan.effort)
    said = _predictions(stack, bench.valid, bench.task.decodings[0])
    return [metric.value(bench.task.rows(bench.valid.split, predictions), weights) for predictions in said]


def _valid_losses(bench: Bench, stack: Stack) -> list[float]:
    total = torch.zeros(len(stack.recipes), device=bench.device)
    for indices in bench.valid.slices():
        x, lengths, targets, target_lengths = bench.valid.batch(indices)
        for index, output in enumerate(stack.outputs(x, lengths)):
            loss = stack.probe.head.loss(output, lengths, targets, target_lengths)
            total[index] += loss.detach() * len(indices) / len(bench.valid.split.clips)
    return total.tolist()


def _predictions(stack: Stack, examples: Examples, decoding: Mapping[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [{} for _ in stack.recipes]
    for indices in examples.slices():
        x, lengths, _, _ = examples.batch(indices)
        ids = [examples.split.clips[index].id for index in indices.tolist()]
        for index, output in enumerate(stack.outputs(x, lengths)):
            answers = stack.probe.head.predict(output, lengths, examples.times(lengths), **decoding)
            said[index] |= dict(zip(ids, answers, strict=True))
    return said


def _groups(bench: Bench, recipes: Sequence[int]) -> list[list[int]]:
    """Recipe numbers that differ only in rate and decay, which a stack can hold together."""
    found: dict[str, list[int]] = {}
    for number in recipes:
        alike = bench.plan.recipes[number].with_(lr=0.0, weight_decay=0.0)
        found.setdefault(repr(alike), []).append(number)
    return list(found.values())


def _probe(bench: Bench, recipe: Recipe, seed: int) -> Probe:
    """A fresh head behind fresh layer weights: the same for every recipe of a seed that has this shape."""
    layers, width = bench.train.rows.shape[1:]
    start = derive("head", bench.task.card.name, bench.fold.name, seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(start)
        head = bench.task.head(width, bench.space, recipe)
    head.generator = torch.Generator().manual_seed(start)
    return Probe(head, layers)
