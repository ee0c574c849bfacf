"""Heads on stored features: every recipe of the grid, each seed, one fold; judged by the valid split only.

Recipes that see the same frames train in lock step, so one pass over the encoder feeds them all. The state is saved
between judgements, every few seconds at most, so a kill costs little and the resumed run ends with the same digits.
"""

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from earbench import saved
from earbench.contract import Fold, Head, Metric, Recipe, Space, Task
from earbench.examples import Examples, Gathered, SingleFrames, single_frames
from earbench.files import digest_of
from earbench.kit.seeds import derive, generator
from earbench.plan import Plan
from earbench.progress import Bar, Progress
from earbench.saved import Lane, Team
from earbench.stack import Probe, Stack, stack_size

SAVE_SECONDS = 5.0
"""A small head is judged many times a second; writing its state each time took up to half of a fit."""


@dataclass(frozen=True)
class Bench:
    """What fitting one fold needs, whatever the recipe."""

    task: Task
    plan: Plan
    fold: Fold
    space: Space
    train: Examples | SingleFrames
    valid: Examples
    device: torch.device
    folder: Path


@dataclass(frozen=True)
class Fitted:
    """One trained head: the recipe and seed it came from, and its best state as the valid split judged it, read by
    `decoding`.

    `kept` says where the states of fixed steps lie, for recipes that keep them.
    """

    recipe: int
    seed: int
    layer: int | None
    valid: float
    step: int
    curve: tuple[tuple[int, float], ...]
    state: Mapping[str, Tensor] = field(repr=False)
    kept: tuple[tuple[int, Path], ...] = ()
    decoding: Mapping[str, Any] = field(default_factory=dict)

    def weights(self) -> list[float] | None:
        """The learned share of each layer, or None where there is only one."""
        return self.state["mix"].softmax(0).tolist() if "mix" in self.state else None


def grid(bench: Bench, recipes: Sequence[int], seed: int, layer: int | None, progress: Progress) -> list[Fitted]:
    """Train the plan's `recipes` (by number) from one seed: those that see the same frames in lock step.

    Where features lie ready, one stack after another makes better use of a processor's cache.
    """
    found: list[Fitted] = []
    for group in in_step(bench.plan.recipes, recipes):
        stacks = _stacks(bench, group, seed)
        for part in [[one] for one in stacks] if isinstance(bench.train, Gathered) else [stacks]:
            found += _train(bench, part, seed, layer, progress)
    return sorted(found, key=lambda fitted: recipes.index(fitted.recipe))


def predict(
    bench: Bench, fitted: Fitted, examples: Examples, decodings: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What a trained head says of each clip of `examples`, by clip id, once for each decoding."""
    recipe = bench.plan.recipes[fitted.recipe]
    stack = Stack(_probe(bench, recipe, fitted.seed), [recipe], bench.device)
    stack.become(fitted.state)
    return _predictions([stack], examples, decodings)[0]


def in_step(recipes: Sequence[Recipe], numbers: Sequence[int]) -> list[list[int]]:
    """`numbers`, those of one batch size and schedule together: they see the same batches."""
    found: dict[tuple[int | None, ...], list[int]] = {}
    for number in numbers:
        one = recipes[number]
        found.setdefault((one.batch, one.accum, one.steps, one.every, one.keep), []).append(number)
    return list(found.values())


def better(metric: Metric | None, new: float, old: float) -> bool:
    """Strictly better, for a metric or (None) a loss. Nothing is better than a NaN, and a NaN than nothing.

    Single precision decides: one F of 6/11 may be a last digit above another that other counts led to. (HEAR's kit
    does so for accuracies and the scores of events, which are Python's floats; d_prime, and mAP and aucroc under older
    releases of scikit-learn, are numpy's and stay double there, sheet 4.4.)
    """
    if np.isnan(new) or np.isnan(old):
        return bool(np.isnan(old) and not np.isnan(new))
    one, other = np.float32(new), np.float32(old)
    return bool(one > other if metric is not None and metric.better == "higher" else one < other)


def worst(metric: Metric | None) -> float:
    """What everything is better than, but a NaN."""
    return -math.inf if metric is not None and metric.better == "higher" else math.inf


def judge(task: Task) -> Metric | None:
    """The metric that the valid split is judged by, or None for the loss."""
    if task.select == "loss":
        return None
    return next(metric for metric in task.card.metrics if metric.name == task.select)


# ---- some recipes, from their first step to their last ---------------------------------------------------------------


def _train(
    bench: Bench, stacks: Sequence[Sequence[int]], seed: int, layer: int | None, progress: Progress
) -> list[Fitted]:
    recipe, count = bench.plan.recipes[stacks[0][0]], sum(map(len, stacks))
    path = bench.folder / f"{digest_of([bench.fold.name, seed, layer, bench.device.type, stacks])}.safetensors"
    title = f"{bench.task.card.name}: {count} recipe{'s' if count > 1 else ''}, seed {seed}"
    with progress.bar(title, recipe.steps, "steps") as bar, _one_thread(bench), torch.random.fork_rng():
        torch.manual_seed(derive("training", bench.task.card.name, bench.fold.name, seed))
        teams = [_team(bench, numbers, seed) for numbers in stacks]
        done = saved.restore(path, teams, progress)
        bar.advance(done)
        _loop(bench, teams, recipe, seed, done, path, bar)
    return [_fitted(bench, lane, seed, layer, path) for team in teams for lane in team.lanes]


def _fitted(bench: Bench, lane: Lane, seed: int, layer: int | None, path: Path) -> Fitted:
    kept = tuple((step, saved.kept(path, lane.recipe, step)) for step in lane.kept)
    decoding, valid = bench.task.decodings[lane.decoding], lane.best
    if np.isnan(valid) and (bench.plan.recipes[lane.recipe].finite or _sound(lane.state)):
        valid = worst(judge(bench.task))
    return Fitted(lane.recipe, seed, layer, valid, lane.step, tuple(lane.curve), lane.state, kept, decoding)


def _sound(state: Mapping[str, Tensor]) -> bool:
    """Whether a head has not diverged: if it has no score, it said nothing that counts, such as no event at all."""
    return all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point())


def _stacks(bench: Bench, numbers: Sequence[int], seed: int) -> list[list[int]]:
    """Recipes that differ only in rate and decay share a stack, as many as is fast."""
    alike: dict[str, list[int]] = {}
    for number in numbers:
        alike.setdefault(repr(bench.plan.recipes[number].with_(lr=0.0, weight_decay=0.0)), []).append(number)
    found = []
    for group in alike.values():
        size = stack_size(_probe(bench, bench.plan.recipes[group[0]], seed), len(group), bench.device)
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return found


def _team(bench: Bench, numbers: Sequence[int], seed: int) -> Team:
    recipes = [bench.plan.recipes[number] for number in numbers]
    return Team(Stack(_probe(bench, recipes[0], seed), recipes, bench.device), [Lane(one) for one in numbers])


def _loop(bench: Bench, teams: Sequence[Team], recipe: Recipe, seed: int, done: int, path: Path, bar: Bar) -> None:
    """Every team takes every step on the same batch, so that features made for one are made for all."""
    stream, saved_at, saved_until = _stream(bench, recipe, seed, skip=done), time.monotonic(), done
    while done < recipe.steps and (running := [team for team in teams if team.running()]):
        steps = _until_next(recipe, done)
        order = list(itertools.islice(stream, steps * recipe.accum))
        for number, batch in enumerate(bench.train.batches(order), 1):
            for team in running:
                team.stack.add(batch)
                if number % recipe.accum == 0:
                    team.stack.move()
            bar.advance(1 / recipe.accum)
        done += steps
        if recipe.keep and done % recipe.keep == 0:
            saved.keep(path, running, done)
        if done % recipe.every == 0 or done == recipe.steps:
            _judge(bench, running, done)
        if time.monotonic() - saved_at >= SAVE_SECONDS:
            saved.save(path, teams, done)
            saved_at, saved_until = time.monotonic(), done
    if saved_until < done:
        saved.save(path, teams, done)


def _until_next(recipe: Recipe, done: int) -> int:
    """Steps to the next judgement, the next state to keep or the end."""
    stops = [recipe.every, recipe.keep] if recipe.keep else [recipe.every]
    return min(recipe.steps - done, *(stop - done % stop for stop in stops))


@contextmanager
def _one_thread(bench: Bench) -> Iterator[None]:
    """Batches of vectors are too small to share: handing half to a second thread costs more than the work."""
    threads = torch.get_num_threads()
    if bench.device.type == "cpu" and isinstance(bench.train, Gathered):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _stream(bench: Bench, recipe: Recipe, seed: int, skip: int) -> Iterator[Sequence[int]]:
    """Batches of numbers of examples from step `skip` on; the same for every recipe with this batch size."""
    task, train = bench.task, bench.train
    rng = generator("batches", task.card.name, bench.fold.name, seed)
    if isinstance(train, SingleFrames):
        endless = task.frame_batches(len(train.rows), recipe, rng)
    else:
        endless = task.batches(train.split, recipe, rng)
    return itertools.islice(endless, skip * recipe.accum, None)


def _judge(bench: Bench, teams: Sequence[Team], done: int) -> None:
    judgements = iter(_judgements(bench, [team.stack for team in teams]))
    for team in teams:
        running = team.running()
        for index, lane in enumerate(running):
            score, decoding = next(judgements)
            lane.curve.append((done, score))
            if not lane.state or better(judge(bench.task), score, lane.best):
                lane.best, lane.decoding, lane.step, lane.stale = score, decoding, done, 0
                lane.state = team.stack.member(index)
            else:
                lane.stale += 1
            recipe = team.stack.recipes[index]
            impatient = recipe.patience is not None and lane.stale >= recipe.patience
            lane.running = not impatient and not (recipe.finite and not math.isfinite(score))
        kept = [index for index, lane in enumerate(running) if lane.running]
        if 0 < len(kept) < len(running):
            team.stack.keep(kept)


class Judgement(NamedTuple):
    """What valid says of a head, and the number of the decoding that it was best read by."""

    score: float
    decoding: int


def _judgements(bench: Bench, stacks: Sequence[Stack]) -> list[Judgement]:
    """The judgement of every recipe of every stack, in their order."""
    metric, split = judge(bench.task), bench.valid.split
    if metric is None:
        return [Judgement(loss, 0) for loss in _valid_losses(bench, stacks)]
    weights = bench.task.weights(split, bench.plan.effort)
    recipes = [recipe for stack in stacks for recipe in stack.recipes]
    return [
        _best(metric, [metric.value(bench.task.rows(split, said), weights) for said in answers], recipe.finite)
        for recipe, answers in zip(recipes, _predictions(stacks, bench.valid, bench.task.decodings), strict=True)
    ]


def _best(metric: Metric, scores: Sequence[float], finite: bool) -> Judgement:
    """The best of the scores of all decodings, of equals the first; and a NaN only if there is nothing else.

    Of a `finite` recipe a NaN counts 0 here (HEAR sheet 4.6). So where one decoding finds no event, and a later one
    none that is right, the judgement is the NaN, and ends the training.
    """
    counted = [0.0 if finite and math.isnan(score) else score for score in scores]
    best = 0
    for number, score in enumerate(counted):
        if better(metric, score, counted[best]):
            best = number
    return Judgement(scores[best], best)


def _valid_losses(bench: Bench, stacks: Sequence[Stack]) -> list[float]:
    """The mean over all clips, or where those are the examples, over all frames together (HEAR sheet 4.4)."""
    losses, counts = [], []
    for batch in bench.valid.batches(bench.valid.order()):
        x, lengths, targets, target_lengths = single_frames(batch) if bench.task.example == "frame" else batch
        each = [head.loss(output, lengths, targets, target_lengths) for head, output in _outputs(stacks, x, lengths)]
        losses.append(torch.stack(each).detach())
        counts.append(len(x))
    total = torch.zeros_like(losses[0])
    for loss, count in zip(losses, counts, strict=True):
        total += loss * (count / sum(counts))
    return total.tolist()


def _predictions(
    stacks: Sequence[Stack], examples: Examples, decodings: Sequence[Mapping[str, Any]]
) -> list[list[dict[str, Any]]]:
    """For every recipe of every stack and every decoding, what is said of each clip, in the order of the split."""
    clips, order = examples.split.clips, examples.order()
    said: list[list[dict[str, Any]]] = [[{} for _ in decodings] for stack in stacks for _ in stack.recipes]
    for numbers, (x, lengths, _, _) in zip(order, examples.batches(order), strict=True):
        times = examples.times(numbers, lengths)
        for own, (head, output) in zip(said, _outputs(stacks, x, lengths), strict=True):
            for answers, decoding in zip(own, decodings, strict=True):
                spoken = head.predict(output, lengths, times, **decoding)
                answers |= {clips[number].id: one for number, one in zip(numbers, spoken, strict=True)}
    return [[{clip.id: answers[clip.id] for clip in clips} for answers in own] for own in said]


def _outputs(stacks: Sequence[Stack], x: Tensor, lengths: Tensor | None) -> Iterator[tuple[Head, Tensor]]:
    return ((stack.probe.head, output) for stack in stacks for output in stack.outputs(x, lengths))


def _probe(bench: Bench, recipe: Recipe, seed: int) -> Probe:
    """A fresh head behind fresh layer weights: the same for every recipe of a seed that has this shape and start."""
    layers, width = bench.train.shape
    own = [recipe.start] if recipe.start else []
    start = derive("head", bench.task.card.name, bench.fold.name, seed, *own)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(start)
        head = bench.task.head(width, bench.space, recipe)
    head.generator = torch.Generator().manual_seed(start)
    return Probe(head, layers)
