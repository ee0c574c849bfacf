"""A task on its toy corpus, and what the checks feed it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import numpy as np
import soundfile
import torch
from torch import Tensor

from earbench.contract import Clip, Effort, Example, Fold, Head, Metric, Recipe, Rows, Split, Task, UpstreamCard
from earbench.examples import padded_targets, single_frames
from earbench.kit.seeds import generator
from earbench.stack import Batch

EFFORTS: Sequence[Effort] = get_args(Effort)


@dataclass(frozen=True)
class Toy:
    """A task on its toy corpus, asked for the sake of an upstream with this card."""

    task: Task
    card: UpstreamCard
    root: Path
    folds: Sequence[Fold]

    def recipes(self) -> list[Recipe]:
        """All recipes, of every effort, published and demo; those that differ in rates and lengths alone once."""
        asked = itertools.product(EFFORTS, (False, True))
        found = itertools.chain.from_iterable(self.task.recipes(effort, demo) for effort, demo in asked)
        same = {"lr": 1.0, "weight_decay": 0.0, "steps": 1, "every": 1, "patience": None}
        return list({repr(recipe.with_(**same)): recipe for recipe in found}.values())


def measured(fold: Fold) -> Fold:
    """The fold with the duration of every clip filled in, as the engine has it once the audio is read."""
    return fold.each(lambda _, split: replace(split, seconds=tuple(map(_seconds, split.clips))))


@contextmanager
def listings_reversed() -> Iterator[None]:
    """Folders list their files backwards. (Copying the tree would not do: many systems order by hash.)"""
    listdir, scandir = os.listdir, os.scandir
    with (
        mock.patch.object(os, "listdir", lambda path=".": listdir(path)[::-1]),
        mock.patch.object(os, "scandir", lambda path=".": _Backwards(scandir(path))),
    ):
        yield


def scored(
    toy: Toy, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], reverse: bool = False
) -> Iterator[tuple[str, Metric, Rows]]:
    """The rows of changed ideal answers on each fold's test split, with every metric."""
    for fold in toy.folds:
        split = replace(fold.test, clips=fold.test.clips[::-1], seconds=()) if reverse else fold.test
        answers = change(toy.task.ideal(fold.test))
        rows = toy.task.rows(split, answers)
        for metric in toy.task.card.metrics:
            yield f"fold '{fold.name}'", metric, rows


def shuffled(answers: Mapping[str, Any]) -> Mapping[str, Any]:
    names = sorted(answers)
    order = generator("check", "answers").permutation(len(names))
    return {name: answers[names[index]] for name, index in zip(names, order, strict=True)}


def frame_times(toy: Toy, clip: Clip) -> Tensor | None:
    """Regular frame times as an upstream with the card's hop (else 20 ms) would give them."""
    if toy.task.card.grain != "frame":
        return None
    hop = toy.card.hop or 0.02
    return (torch.arange(max(1, int(_seconds(clip) / hop)), dtype=torch.float64) + 0.5) * hop


def examples_of(toy: Toy, split: Split) -> int:
    """How many examples a train split holds: its clips or their frames."""
    if toy.task.example == "clip":
        return len(split.clips)
    return sum(len(times) for clip in split.clips if (times := frame_times(toy, clip)) is not None)


def batches_of(toy: Toy, split: Split, recipe: Recipe, rng: np.random.Generator) -> Iterator[Sequence[int]]:
    """The batches that the engine would ask for in training."""
    if toy.task.example == "frame":
        return toy.task.frame_batches(examples_of(toy, split), recipe, rng)
    return toy.task.batches(split, recipe, rng)


def one_pass_problem(toy: Toy, head: Head, width: int, clips: Sequence[Clip]) -> str | None:
    """What is wrong with one pass of random features forth and back through `head`."""
    times = [frame_times(toy, clip) for clip in clips]
    x, lengths = _features(times, width)
    space = toy.task.space(toy.folds[0])
    answers = [toy.task.target(clip, at, space) for clip, at in zip(clips, times, strict=True)]
    loss = _loss(head, (x[:, None], lengths, *padded_targets(answers)), toy.task.example)
    if loss.dim() or not torch.isfinite(loss):
        return f"the loss is {loss!r}, not one finite number"
    loss.backward()  # type: ignore[no-untyped-call]
    if not any(weight.grad is not None and weight.grad.any() for weight in head.parameters()):
        return "the loss does not move with any weight of the head"
    still = [
        name for name, weight in head.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()
    ]
    if still:
        return f"no finite gradient reaches {', '.join(still[:3])}"
    head.eval()
    with torch.no_grad():
        said = head.predict(head(x, lengths), lengths, _stacked(times), **toy.task.decodings[0])
    return None if len(said) == len(clips) else f"{len(said)} predictions for {len(clips)} clips"


def _seconds(clip: Clip) -> float:
    stop = soundfile.info(clip.audio).duration if clip.stop is None else clip.stop
    return float(stop - (clip.start or 0.0))


def _features(times: Sequence[Tensor | None], width: int) -> tuple[Tensor, Tensor | None]:
    """Random features: [clip, width] without times, else [clip, time, width] and the true lengths."""
    random = torch.Generator().manual_seed(0)
    lengths = [len(at) for at in times if at is not None]
    if not lengths:
        return torch.randn(len(times), width, generator=random), None
    return torch.randn(len(times), max(lengths), width, generator=random), torch.tensor(lengths)


def _loss(head: Head, batch: Batch, example: Example) -> Tensor:
    """The loss of one batch of one layer, taken apart into its frames where those are the examples."""
    x, lengths, targets, target_lengths = single_frames(batch) if example == "frame" else batch
    return head.loss(head(x[:, 0], lengths), lengths, targets, target_lengths)


def _stacked(times: Sequence[Tensor | None]) -> Tensor | None:
    """Frame times [clip, time] as long as the longest of them; without any, None."""
    found = [at for at in times if at is not None]
    longest = max(found, key=len, default=None)
    return None if longest is None else longest.expand(len(found), -1)


class _Backwards(Iterator["os.DirEntry[str]"]):
    """What `os.scandir` gives, last entry first."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self._left = reversed(list(entries))

    def __next__(self) -> os.DirEntry[str]:
        return next(self._left)

    def __enter__(self) -> _Backwards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._left = reversed([])
