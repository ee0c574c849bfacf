"""Tasks by layers: how well heads do on each layer alone, and how much of each layer learned mixes take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from earbench.record import Record
from earbench.report import score_text
from earbench.selection import newest_last


@dataclass(frozen=True)
class Strip:
    """One row of a map, a value per layer (None: not known), each with its text and its shade from 0 to 1. `ends` are
    the values of shade 0 and shade 1.
    """

    title: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    ends: tuple[float, float]

    @property
    def shades(self) -> tuple[float | None, ...]:
        light, dark = self.ends
        return tuple(
            None if value is None else (value - light) / (dark - light) if dark != light else 0.5
            for value in self.values
        )


def scores_by_layer(records: Iterable[Record]) -> list[Strip]:
    """A strip per task from its newest record that has a score for each layer; darker is better."""
    found = _newest(record for record in records if record.facts["layers"].get("each"))
    return [_scored(title, record) for title, record in found.items()]


def weights_by_layer(records: Iterable[Record]) -> list[Strip]:
    """A strip per task from its newest record with learned weights, the mean over folds and seeds; they sum to 1."""
    found = _newest(record for record in records if _weights(record))
    return [_weighed(title, _weights(record)) for title, record in found.items()]


def without_weights(records: Sequence[Record]) -> dict[str, list[str]]:
    """Why tasks have no learned weights: the titles of those tasks by the reason."""
    known = _newest(record for record in records if _weights(record))
    mixed = (record for record in records if not record.facts["layers"].get("each"))
    found: dict[str, list[str]] = {}
    for title, record in (_newest(records) | _newest(mixed)).items():
        if title not in known:
            found.setdefault(_why_no_mix(record), []).append(title)
    return found


def _why_no_mix(record: Record) -> str:
    kind = str(record.facts["layers"].get("choice") or "mix").rpartition(".")[2]
    if kind.isdigit():
        return f"heads see layer {kind} alone"
    reasons = {"last": "heads see the last layer alone", "each": "every layer had a head of its own"}
    return reasons.get(kind, "there is one layer, and nothing to mix")


def plain(strips: Sequence[Strip]) -> dict[str, Any]:
    """Strips as a chart takes them: rows of equal length."""
    count = max((len(strip.values) for strip in strips), default=0)
    return {
        "rows": [strip.title for strip in strips],
        "cells": [[*map(_short, strip.values), *[""] * (count - len(strip.values))] for strip in strips],
        "shades": [[*strip.shades, *[None] * (count - len(strip.shades))] for strip in strips],
        "texts": [[*strip.texts, *[""] * (count - len(strip.texts))] for strip in strips],
    }


def _newest(records: Iterable[Record]) -> dict[str, Record]:
    """The newest record of each task, sorted by title; demo and published corpora, and groups of layers, apart."""
    found = {_title(record): record for record in sorted(records, key=newest_last)}
    return dict(sorted(found.items()))


def _title(record: Record) -> str:
    choice = str(record.facts["layers"].get("choice") or "mix").partition(".")[0]
    group = "" if choice in ("mix", "last", "each") or choice.isdigit() else f", {choice}"
    return record.task + group + (" (demo)" if record.facts["task"]["demo"] else "")


def _short(value: float | None) -> str:
    """A value as a cell of a map has room for it.

    >>> _short(24.36), _short(0.13373), _short(None)
    ('24.4', '0.134', '')
    """
    return "" if value is None else f"{value:.1f}" if abs(value) >= 1 else f"{value:.3f}"


def _scored(title: str, record: Record) -> Strip:
    """The task's first score."""
    each = sorted(record.facts["layers"]["each"], key=lambda one: int(one["layer"]))
    name = next(iter(each[0]["scores"]))
    scores: list[Mapping[str, Any]] = [one["scores"][name] for one in each]
    ends = _ends(scores)
    return Strip(
        f"{title} {name}",
        tuple(score["value"] for score in scores),
        tuple(score_text(score) for score in scores),
        ends if scores[0]["better"] == "higher" else ends[::-1],
    )


def _ends(scores: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """What shades span, around the scores: as much as they do, but no less than their widest interval does, so that
    what no test would separate does not look far apart. Without intervals all that the metric can be.
    """
    known = [score["value"] for score in scores if score["value"] is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    least, most = (None, None) if scores[0].get("bounds") is None else scores[0]["bounds"]
    widths = [score["high"] - score["low"] for score in scores if score["low"] is not None]
    if not widths and least is not None and most is not None:
        return least, most
    width = max(high - low, *widths, 0.0)
    start = (low + high - width) / 2
    start = start if most is None else min(start, max(most - width, low))
    start = start if least is None else max(start, min(least, high))
    return start, start + width


def _weights(record: Record) -> list[list[float]]:
    """The weights that every head has learned, of all folds and seeds; none where there is one layer."""
    folds = record.facts["layers"].get("weights") or []
    return [head for fold in folds for head in fold if head]


def _weighed(title: str, heads: Sequence[Sequence[float]]) -> Strip:
    values = tuple(fmean(layer) for layer in zip(*heads, strict=True))
    return Strip(title, values, tuple(f"{value:.3f}" for value in values), (0.0, max(values)))
