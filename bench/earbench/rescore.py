"""Scores made once more from stored rows: from what these count, or from what they say was predicted and a corpus.

Rows that are made up as a whole, wrong answers and all, count right; only the answers of the corpus find them out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earbench import intervals
from earbench.contract import Clip, Fold, Metric, Rows, Split, Task
from earbench.files import digest_of
from earbench.kit.columns import column
from earbench.measure import metric_of, of_rows
from earbench.record import Record, finite, plain

CLOSE = 1e-9
"""How far numbers may lie apart, relative to them: processors add in different orders."""
KEYS = ("id", "groups", "fold", "seed", "score_of")
APART = 1.25
"""How many times wider one interval may be than another from resamples of the same rows that were drawn otherwise."""
SHOWN = 3

Stored = list[tuple[str, int, Rows]]
"""Fold, seed and the rows of both."""
_Columns = dict[tuple[str, int], dict[str, list[Any]]]
"""By fold and seed what rows say, name by name: a dictionary for every row would take many times the room."""


@dataclass(frozen=True)
class Kept:
    """Rows of a record, and the scores that they are of, each with its metric."""

    rows: Stored
    scores: Mapping[str, Metric]


def kept(record: Record, task: Task) -> list[Kept]:
    """All rows of a record, those of the chosen heads first, with the scores that `task` has metrics for."""
    main = {metric.name: metric for metric in task.card.metrics if metric.name in record.scores}
    further = [name for name in record.scores if name not in main]
    columns: dict[str | None, _Columns] = {name: {} for name in (None, *further)}
    for line in record.lines():
        if (name := line.get("score_of")) in columns:
            _add(columns[name], line)
    found = [Kept(_stored(columns[None]), main)]
    return [*found, *(Kept(_stored(columns[one]), {one: metric_of(task, one)}) for one in further if columns[one])]


def stored(lines: Iterable[Mapping[str, Any]]) -> Stored:
    """Lines of a rows file as rows again, fold by fold and seed by seed."""
    found: _Columns = {}
    for line in lines:
        _add(found, line)
    return _stored(found)


def _add(columns: _Columns, line: Mapping[str, Any]) -> None:
    for name, values in columns.setdefault((line["fold"], line["seed"]), {name: [] for name in line}).items():
        values.append(line[name])


def _stored(columns: _Columns) -> Stored:
    return [(fold, seed, _rows(some)) for (fold, seed), some in columns.items()]


def from_rows(record: Record, task: Task, some: Kept) -> str:
    """Why the scores of a record, their intervals and replicates are not what its rows make; empty if they are."""
    for name, metric in some.scores.items():
        score = record.scores[name]
        stated = {"unit": metric.unit, "better": metric.better, "bounds": finite(list(metric.bounds))}
        if differing := [key for key, value in stated.items() if score.get(key) != value]:
            return f"{name}: {', '.join(differing)} are not those of the metric"
        found: dict[int, list[float]] = {}
        for _, seed, rows in some.rows:
            found.setdefault(seed, []).append(metric.value(rows, np.ones(len(rows))))
        counted = finite(list(found.values()))
        if not same(score["per_seed"], counted):
            return f"{name}: the record says {_short(score['per_seed'])}, its rows count {_short(counted)}"
        if problem := _interval(record, name, metric, _resampled(task, metric, some.rows), exactly=not task.trials):
            return f"{name}: {problem}"
    return ""


def _resampled(task: Task, metric: Metric, rows: Stored) -> list[list[intervals.Sampled]]:
    """One score, `[seed][fold]`, resampled as a run does where rows are of clips, in their order."""
    found: dict[int, list[intervals.Sampled]] = {}
    for _, seed, one in rows:
        names = (task.card.name, task.card.version, digest_of(list(dict.fromkeys(one.ids))))
        found.setdefault(seed, []).append(intervals.sample(metric, one, *names))
    return list(found.values())


def other_units(some: Sequence[Kept]) -> str:
    """Which further scores are of other units than the chosen heads' rows; empty if none is."""
    units = {fold: sorted(zip(rows.ids, rows.groups, strict=True)) for fold, _, rows in some[0].rows}
    for one in some[1:]:
        if any(sorted(zip(rows.ids, rows.groups, strict=True)) != units.get(fold) for fold, _, rows in one.rows):
            return f"{', '.join(one.scores)} are of other units than the other scores"
    return ""


def from_themselves(task: Task, some: Kept) -> str | None:
    """Why rows that hold both prediction and answer do not count what these say; None where rows do not tell."""
    for fold, _, rows in some.rows:
        if not {"prediction", "label"} <= rows.arrays.keys():
            return None
        labels = rows.arrays["label"].tolist()
        clips = (
            Clip(one, Path(one), label, names[0])
            for one, label, names in zip(rows.ids, labels, rows.groups, strict=True)
        )
        try:
            made = task.again(Split(tuple(clips)), rows)
        except (AttributeError, KeyError, TypeError):  # it needs more of its corpus than rows have
            return None
        if problem := difference(rows, made):
            return f"{fold}: {problem}"
    return ""


def from_corpus(record: Record, task: Task, folds: Sequence[Fold], some: Kept) -> tuple[str, list[str]]:
    """Why the rows of a record or its scores are not what its predictions and the answers of `folds` make; and the
    names of the scores that were made again.
    """
    by_name, made = {fold.name: fold for fold in folds}, []
    if set(by_name) != {name for name, _, _ in some.rows}:
        return f"folds of the corpus: {', '.join(by_name)}; of the rows: {', '.join(n for n, _, _ in some.rows)}", []
    for name, seed, rows in some.rows:
        split = by_name[name].test
        if problem := units(rows, task.rows(split, task.ideal(split))):
            return f"{name}: {problem}", []
        made.append((name, seed, task.again(split, rows)))
        if problem := difference(rows, made[-1][2]):
            return f"{name}: {problem}", []
    done = []
    for name in some.scores:
        try:
            samples = of_rows(task, folds, name, made)
        except KeyError:  # it looks at an array that could not be made again
            continue
        if problem := _interval(record, name, some.scores[name], samples):
            return f"{name}: {problem}", []
        done.append(name)
    return "", done


def units(rows: Rows, expected: Rows) -> str:
    """How the units of rows differ from those of the test split, and their groups."""
    missing, extra = sorted({*expected.ids} - {*rows.ids}), sorted({*rows.ids} - {*expected.ids})
    if missing or extra or len(rows) != len(expected):
        shown = ", ".join([*missing[:SHOWN], *extra[:SHOWN]])
        return f"{len(missing)} units of the test split are missing, {len(extra)} are not in it, for example {shown}"
    groups = dict(zip(expected.ids, expected.groups, strict=True))
    other = next((one for one, names in zip(rows.ids, rows.groups, strict=True) if groups[one] != names), None)
    return "" if other is None else f"'{other}' belongs to other groups in the corpus"


def difference(rows: Rows, made: Rows) -> str:
    """The first entry of stored rows that is not what was made again; empty if all of them are."""
    place = {one: number for number, one in enumerate(made.ids)}
    for name, values in made.arrays.items():
        if name not in rows.arrays:
            return f"rows have no '{name}'"
        for one, value in zip(rows.ids, rows.arrays[name].tolist(), strict=True):
            anew = finite(plain(values, place[one]))
            if not same(value, anew):
                return f"'{one}': {name} is {_short(value)} in the rows, {_short(anew)} made again"
    return ""


def same(one: Any, other: Any) -> bool:
    """Whether plain data are equal, numbers nearly so. What has no value (null, NaN) equals itself."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) or (math.isnan(one) and math.isnan(other))
    return bool(one == other) or (other is None and isinstance(one, float) and math.isnan(one))


def _rows(columns: Mapping[str, Sequence[Any]]) -> Rows:
    arrays = {name: column(values) for name, values in columns.items() if name not in KEYS}
    return Rows(tuple(columns["id"]), tuple(map(tuple, columns["groups"])), arrays)


def _interval(
    record: Record, name: str, metric: Metric, samples: Sequence[Sequence[intervals.Sampled]], exactly: bool = True
) -> str:
    """How value, interval or replicates of a score differ from those that were made again; if these are not to be
    `exactly` the same, since resamples were drawn otherwise, how their widths do.
    """
    made, score = finite(intervals.interval(metric, samples)), record.scores[name]
    exact = exactly or not str(made["interval"]).startswith("bootstrap")
    for key in ("value", "groups", "interval", *(("low", "high") if exact else ())):
        if not same(score[key], made[key]):
            return f"{key} is {score[key]} in the record, {made[key]} made again"
    found, again = record.replicates_of(name), intervals.replicates(samples)
    if found is None or found.shape != again.shape:
        return "its replicates are not those of its rows"
    if exactly:
        return "" if same(found.tolist(), again.tolist()) else "its replicates are not those of its rows"
    spreads = zip([_width(score), *_spreads(found)], [_width(made), *_spreads(again)], strict=True)
    alike = all(same(one, other) or one < APART * other < APART**2 * one for one, other in spreads)
    return "" if alike else "its interval or replicates are wider or narrower than those of its rows"


def _width(score: Mapping[str, Any]) -> float:
    return 0.0 if score["low"] is None else float(score["high"] - score["low"])


def _spreads(replicates: np.ndarray[Any, Any]) -> list[float]:
    """The standard deviation of the replicates of each seed that have a value."""
    return [float(one[np.isfinite(one)].std()) if np.isfinite(one).any() else math.nan for one in replicates]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
