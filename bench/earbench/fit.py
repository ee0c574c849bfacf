"""Heads on stored features: every recipe of the grid, each seed, one fold; judged by the valid split only.

The features stay on the device and batches are index gathers. The state is saved at every judgement, so a kill costs
at most one interval and the resumed run ends with the same digits.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from earbench import files
from earbench.contract import Fold, Metric, Recipe, Space, Split, Task
from earbench.extract import Shelf
from earbench.kit.seeds import derive, generator
from earbench.plan import Plan
from earbench.progress import Bar, Progress
from earbench.stack import Batch, Probe, Stack, stack_size
from earbench.tensors import digest

EVALUATE_CLIPS = 2048


@dataclass(frozen=True)
class Examples:
    """One split on the device: rows [sum of rows, layer, width], and what each clip should be answered with."""

    split: Split
    rows: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    framewise: bool

    def batch(self, indices: Tensor) -> Batch:
        """Features [clip, layer, width] (or [clip, layer, time, width] and true lengths), targets and their lengths."""
        targets, target_lengths = self.targets[indices], self.target_lengths[indices]
        if not self.framewise:
            return self.rows[indices], None, targets, target_lengths
        lengths = self.lengths[indices]
        starts = (self.lengths.cumsum(0) - self.lengths)[indices]
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        inside = steps < lengths[:, None]
        rows = self.rows[torch.where(inside, starts[:, None] + steps, 0)] * inside[..., None, None]
        return rows.transpose(1, 2), lengths, targets, target_lengths

    def layer(self, number: int) -> "Examples":
        """The same split seen through one layer."""
        return replace(self, rows=self.rows[:, number : number + 1].contiguous())

    def slices(self) -> Iterator[Tensor]:
        """All clip numbers in order, as many at a time as are judged together."""
        yield from torch.split(torch.arange(len(self.split.clips), device=self.rows.device), EVALUATE_CLIPS)


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
    decoding: int = 0

    def weights(self) -> list[float] | None:
        """The learned share of each layer, or None where there is only one."""
        return self.state["mix"].softmax(0).tolist() if "mix" in self.state else None


def examples(task: Task, split: Split, space: Space, shelf: Shelf, device: torch.device) -> Examples:
    """The features and targets of one split, moved to `device` once."""
    rows, lengths = shelf.read(split.clips)
    framewise = task.card.grain == "frame"
    times = _times(shelf, lengths) if framewise else [None] * len(lengths)
    targets = [task.target(clip, at, space) for clip, at in zip(split.clips, times, strict=True)]
    padded, target_lengths = _pad(targets)
    return Examples(split, rows.to(device), lengths.to(device), padded.to(device), target_lengths.to(device), framewise)


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


@dataclass
class Lane:
    """The history of one recipe within a stack."""

    recipe: int
    best: float = float("nan")
    step: int = 0
    stale: int = 0
    running: bool = True
    curve: list[tuple[int, float]] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)


def _train(bench: Bench, numbers: Sequence[int], seed: int, layer: int | None, progress: Progress) -> list[Fitted]:
    recipes = [bench.plan.recipes[number] for number in numbers]
    stack = Stack(_probe(bench, recipes[0], seed), recipes, bench.device)
    lanes = [Lane(number) for number in numbers]
    path = (
        bench.folder
        / f"{bench.fold.name}-s{seed}-l{layer if layer is not None else 'x'}-{'_'.join(map(str, numbers))}.safetensors"
    )
    done = _restore(path, stack, lanes, progress)
    title = f"{bench.task.card.name}: {len(numbers)} recipe{'s' if len(numbers) > 1 else ''}, seed {seed}"
    with progress.bar(title, recipes[0].steps, "steps") as bar, _one_thread(bench):
        bar.advance(done)
        _loop(bench, stack, lanes, recipes[0], seed, done, path, bar)
    return [Fitted(lane.recipe, seed, layer, lane.best, lane.step, tuple(lane.curve), lane.state) for lane in lanes]


def _loop(
    bench: Bench, stack: Stack, lanes: list[Lane], recipe: Recipe, seed: int, done: int, path: Path, bar: Bar
) -> None:
    stream = _stream(bench, recipe, seed, skip=done)
    while done < recipe.steps and any(lane.running for lane in lanes):
        steps = min(recipe.every - done % recipe.every, recipe.steps - done)
        for _ in range(steps):
            stack.step(bench.train.batch(next(stream)) for _ in range(recipe.accum))
            bar.advance(1)
        done += steps
        _judge(bench, stack, [lane for lane in lanes if lane.running], recipe, done)
        _save(path, stack, lanes, done)


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


def _stream(bench: Bench, recipe: Recipe, seed: int, skip: int) -> Iterator[Tensor]:
    """Batches of clip indices on the device, from step `skip` on; the same for every recipe with this batch size."""
    rng = generator("batches", bench.task.card.name, bench.fold.name, seed)
    batches = bench.task.batches(bench.train.split, recipe, rng)
    for indices in itertools.islice(batches, skip * recipe.accum, None):
        yield torch.as_tensor(np.asarray(indices), device=bench.device)


def _judge(bench: Bench, stack: Stack, running: list[Lane], recipe: Recipe, done: int) -> None:
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
            answers = stack.probe.head.predict(output, lengths, None, **decoding)
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
        torch.manual_seed(start)
        head = bench.task.head(width, bench.space, recipe)
    head.generator = torch.Generator().manual_seed(start)
    return Probe(head, layers)


def _pad(targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([target.shape[0] if target.dim() else 1 for target in targets])
    if targets[0].dim() == 0:
        return torch.stack(list(targets)), lengths
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True), lengths


def _times(shelf: Shelf, lengths: Tensor) -> list[Tensor]:
    hop, first = shelf.store.times()
    return [first + hop * torch.arange(int(length)) for length in lengths]


# ---- saved state -----------------------------------------------------------------------------------------------------


def _save(path: Path, stack: Stack, lanes: Sequence[Lane], done: int) -> None:
    """The whole state of a fit in one file, which is either the old one or the new one."""
    facts = [{key: value for key, value in vars(lane).items() if key != "state"} for lane in lanes]
    best = {f"best/{lane.recipe}/{name}": value for lane in lanes for name, value in lane.state.items()}
    tensors, said = stack.tensors() | best, {"done": str(done), "lanes": json.dumps(facts)}
    said["checksum"] = digest(tensors, *said.values())
    files.write(path, lambda temporary: save_file(tensors, temporary, metadata=said))


def _restore(path: Path, stack: Stack, lanes: Sequence[Lane], progress: Progress) -> int:
    """Fill `stack` and `lanes` from a saved state, if there is a sound one; the number of steps already done."""
    if not path.is_file():
        return 0
    saved = _read(path)
    if saved is None:
        progress.warn(f"the saved state of a fit is damaged; training starts over ({path.name})")
        return 0
    tensors, said = saved
    for lane, facts in zip(lanes, json.loads(said["lanes"]), strict=True):
        prefix = f"best/{lane.recipe}/"
        vars(lane).update(facts | {"curve": [tuple(point) for point in facts["curve"]]})
        lane.state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    running = [index for index, lane in enumerate(lanes) if lane.running]
    if running:
        stack.keep(running)
        stack.restore(tensors)
    return int(said["done"])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """What `_save` wrote, or None if it is not that any more."""
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    checksum = said.pop("checksum", None)
    return (tensors, said) if checksum == digest(tensors, *(said.get(key) for key in ("done", "lanes"))) else None
