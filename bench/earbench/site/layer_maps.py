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
    """One row of a map, a value per layer (None: not known), each with its text and its shade from 0 to 1."""

    title: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    shades: tuple[float | None, ...]


def scores_by_layer(records: Iterable[Record]) -> list[Strip]:
    """A strip per task from its newest record that has a score for each layer; its best layer has shade 1."""
    found = _newest(record for record in records if record.facts["layers"].get("each"))
    return [_scored(title, record) for title, record in found.items()]


def weights_by_layer(records: Iterable[Record]) -> list[Strip]:
    """A strip per task from its newest record with learned weights, the mean over folds and seeds; they sum to 1."""
    found = _newest(record for record in records if _weights(record))
    return [_weighed(title, _weights(record)) for title, record in found.items()]


def plain(strips: Sequence[Strip]) -> dict[str, Any]:
    """Strips as a chart takes them: rows of equal length."""
    count = max((len(strip.values) for strip in strips), default=0)
    return {
        "rows": [strip.title for strip in strips],
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


def _scored(title: str, record: Record) -> Strip:
    """The task's first score."""
    each = sorted(record.facts["layers"]["each"], key=lambda one: int(one["layer"]))
    name = next(iter(each[0]["scores"]))
    scores: list[Mapping[str, Any]] = [one["scores"][name] for one in each]
    values = [score["value"] for score in scores]
    goodness = [_signed(value, scores[0]["better"]) for value in values]
    texts = tuple(score_text(score) for score in scores)
    return Strip(f"{title} {name}", tuple(values), texts, _shades(goodness))


def _signed(value: float | None, better: str) -> float | None:
    return value if value is None or better == "higher" else -value


def _shades(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Values from 0, the least, to 1, the greatest; all 1 where they are equal."""
    known = [value for value in values if value is not None]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    return tuple(None if value is None else (value - low) / span if span else 1.0 for value in values)


def _weights(record: Record) -> list[list[float]]:
    """The weights that every head has learned, of all folds and seeds; none where there is one layer."""
    folds = record.facts["layers"].get("weights") or []
    return [head for fold in folds for head in fold if head]


def _weighed(title: str, heads: Sequence[Sequence[float]]) -> Strip:
    values = tuple(fmean(layer) for layer in zip(*heads, strict=True))
    greatest = max(values)
    return Strip(title, values, tuple(f"{value:.3f}" for value in values), tuple(one / greatest for one in values))
