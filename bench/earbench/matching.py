"""Tasks without a head: they answer from the features of one layer, and valid says which layer that is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Fold, Match, Rows, Split
from earbench.extract import Shelf
from earbench.fit import judge
from earbench.frames import frames_of
from earbench.measure import Measured, by_metric, per_layer, samples_of
from earbench.plan import Cell
from earbench.progress import Progress
from earbench.search import Found, best_of, layer_choices


def match(cell: Cell, task: Match, folds: Sequence[Fold], shelf: Shelf, progress: Progress) -> tuple[Found, Measured]:
    """What every layer says of valid and test, the layer that is best on valid, and its score on test."""
    source, layers = _Source(cell, task, shelf), layer_choices(cell)
    table: list[dict[str, Any]] = []
    rows: dict[int | None, list[Rows]] = {}
    with progress.bar(f"{task.card.name}: matching", len(layers) * len(folds), "layers") as bar:
        for layer in layers:
            rows[layer] = []
            for fold in folds:
                table.append({"fold": fold.name, "layer": layer, "valid": source.judged(fold.valid, layer)})
                rows[layer].append(source.rows(fold.test, layer))
                bar.advance(1)
    scored = {
        layer: [[samples_of(task, fold, one)] for fold, one in zip(folds, found, strict=True)]
        for layer, found in rows.items()
    }
    best = best_of(task, {layer: [line["valid"] for line in table if line["layer"] == layer] for layer in layers})
    said = [(fold.name, 0, one) for fold, one in zip(folds, rows[best], strict=True)]
    metrics = {metric.name: metric for metric in task.card.metrics}
    each = per_layer(task, scored) if len(layers) > 1 else []
    measured = Measured(by_metric(task, scored[best]), metrics, said, {}, each, {}, {})
    return Found({layer: [[] for _ in folds] for layer in layers}, table, best), measured


@dataclass(frozen=True)
class _Source:
    """The answers of a task on any split, seen through any layer."""

    cell: Cell
    task: Match
    shelf: Shelf

    def judged(self, split: Split, layer: int | None) -> float:
        weights = self.task.weights(split, "reference")
        metric = judge(self.task) or self.task.card.metrics[0]
        return metric.value(self.rows(split, layer), weights)

    def rows(self, split: Split, layer: int | None) -> Rows:
        return self.task.rows(split, self._said(split, layer))

    def _said(self, split: Split, layer: int | None) -> Mapping[str, Any]:
        with torch.inference_mode():
            return self.task.match(split, self._features(split, layer or 0))

    def _features(self, split: Split, layer: int) -> Callable[[str], Tensor]:
        """A function from clip ids to features on the device, in single precision."""
        device, numbers = self.cell.device, {clip.id: number for number, clip in enumerate(split.clips)}
        if self.cell.grain != "frame":
            held = self.shelf.read(split.clips)[0][:, layer].to(device)
            return lambda id: held[numbers[id]]
        frames = frames_of(self.shelf, split.clips, device).layer(layer)
        return lambda id: frames.rows(frames.fetch([numbers[id]]))[0][:, 0].to(device).float()
