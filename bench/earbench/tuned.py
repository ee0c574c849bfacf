"""Scores that a protocol tunes on the test split: given beside the honest ones, to stand next to published numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from earbench.contract import Metric, Rows
from earbench.examples import Examples
from earbench.fit import Bench, Fitted, better, predict


@dataclass(frozen=True)
class Tuned:
    """The best that was said of a test split, and after which step, read in which way."""

    rows: Rows
    score: float
    step: int
    decoding: Mapping[str, Any]


def best_on_test(bench: Bench, test: Examples, head: Fitted) -> Tuned:
    """The best of `task.published` on `test`, over the states the head kept and all published decodings."""
    metric = next(metric for metric in bench.task.card.metrics if metric.name == bench.task.published)

    def best_of(one: Tuned, other: Tuned) -> Tuned:
        return other if better(metric, other.score, one.score) else one

    return reduce(best_of, _candidates(bench, test, head, metric))


def _candidates(bench: Bench, test: Examples, head: Fitted, metric: Metric) -> Iterator[Tuned]:
    decodings = bench.task.published_decodings
    for step, state in _states(head):
        answers = predict(bench, replace(head, state=state), test, decodings)
        for decoding, said in zip(decodings, answers, strict=True):
            rows = bench.task.rows(test.split, said)
            yield Tuned(rows, metric.value(rows, np.ones(len(rows))), step, decoding)


def _states(head: Fitted) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    """The states kept on the way, as many as early stopping left of them, and the one that valid chose."""
    yield head.step, head.state
    for step, path in head.kept:
        yield step, load_file(path)
