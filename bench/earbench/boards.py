"""Boards as data: which record stands in which cell, its rank, what is made of whole rows, what must be said of it.

`earbench.report` writes them as text. Nothing here trains or loads torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any

from earbench import declared, state
from earbench.aggregates import AGGREGATES
from earbench.config import BoardPlan
from earbench.intervals import TOO_FEW
from earbench.paired import Standing
from earbench.published import Published, table
from earbench.ranking import Ranks, ranks
from earbench.record import Record
from earbench.selection import Chosen, Key, Tested, chosen, common_list, list_of, newest_last

RESTRICTED = re.compile(r"\bNC\b|non-?commercial|evaluation|research|unclear", re.IGNORECASE)
"""Licences that do not allow every use, or of which nobody is sure."""


@dataclass(frozen=True)
class Column:
    """One score of one task, titled "task metric"; an aggregate has no task. `unit` and `better` are those of the
    records; empty where there is none.
    """

    title: str
    task: str
    metric: str
    unit: str = ""
    better: str = "higher"


@dataclass(frozen=True)
class Cell:
    """One score of one encoder: `score` is the record's (value, low, high, unit, better, …), or the same made of a
    whole row, without a record.

    `standing` is its rank in the column, if paired tests could say anything. `mark` tells the "best" and the "second"
    value of those that were run here. `folds` are the scores of each fold, the mean over seeds. `notes` are places in
    the board's notes.
    """

    score: Mapping[str, Any]
    record: Record | None = None
    standing: Standing | None = None
    mark: str | None = None
    folds: tuple[float, ...] = ()
    notes: tuple[int, ...] = ()

    @property
    def value(self) -> float | None:
        found: float | None = self.score["value"]
        return found

    @property
    def spread(self) -> float | None:
        """The sample standard deviation over folds, as HEAR's tables have it; None of one fold."""
        return stdev(self.folds) if len(self.folds) > 1 else None


@dataclass(frozen=True)
class Row:
    """One encoder. `cells` go by the title of their column; a missing score has no cell. `facts`: parameters,
    real_time_factor (of its slowest task), licence, family, pretraining, effort, state (the weakest of the scores that
    are shown), seen (by task, whether its corpus was heard in pretraining). `title` is the name with digits of the
    digest where another row has the same name.
    """

    upstream: str
    digest: str
    facts: Mapping[str, Any]
    cells: Mapping[str, Cell]
    title: str


@dataclass(frozen=True)
class Board:
    """One table. `rows` are sorted by its columns, best first, ties and gaps by the next; `published` stands apart and
    is never ranked.
    """

    plan: BoardPlan
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    published: Published | None = None


def board(plan: BoardPlan, records: Iterable[Record]) -> Board:
    """The board of `plan`, best first by its aggregates, then its columns.

    Of several records of one cell the newest counts.
    """
    cells = chosen(plan, records)
    columns = _columns(plan, cells)
    lists = {task: common_list(task, cells) for task in plan.tasks}
    notes = sorted({note for found in cells.values() for record in found.values() for note in _notes(record, lists)})
    made = tuple(Column(name, "", name, AGGREGATES[name].unit) for name in plan.aggregates)
    values, ranked = _aggregated(plan, cells), _ranks(plan, columns, cells, lists)
    rows = []
    for number, (key, found) in enumerate(cells.items()):
        whole = _whole(made, number, values, ranked)
        scored = _scored(found, columns, number, ranked)
        noted = {title: replace(cell, notes=_places(cell, notes, lists)) for title, cell in scored.items()}
        facts = _facts(list(found.values())) | {"state": _state(found, columns)}
        rows.append(Row(*key, facts, whole | noted, _title(key, cells)))
    every = (*made, *columns)
    rows = sorted(_marked(rows, every), key=lambda row: [_place(row.cells.get(column.title)) for column in every])
    published = table(plan.published) if plan.published else None
    return Board(plan, every, tuple(rows), tuple(notes), published)


def _title(key: Key, keys: Iterable[Key]) -> str:
    """A name that no other encoder on the board has: two rows of one name are of different weights."""
    name, digest = key
    others = [other for same, other in keys if same == name and other != digest]
    digits = 8 if all(other[:8] != digest[:8] for other in others) else len(digest)
    return f"{name}#{digest[:digits]}" if others else name


def _columns(plan: BoardPlan, cells: Chosen) -> tuple[Column, ...]:
    """The columns of the plan, else all scores. A task that nobody was scored on yet has one without a metric."""
    scores: dict[str, dict[str, Mapping[str, Any]]] = {task: {} for task in plan.tasks}
    for found in cells.values():
        for task, record in found.items():
            scores[task] |= {metric: score for metric, score in record.scores.items() if metric not in scores[task]}
    named = [(task, metric) for task, _, metric in (column.partition(" ") for column in plan.columns)]
    every = [(task, metric) for task, metrics in scores.items() for metric in metrics or [""]]
    return tuple(
        Column(f"{task} {metric}".rstrip(), task, metric, *_unit(scores[task].get(metric)))
        for task, metric in named or every
    )


def _unit(score: Mapping[str, Any] | None) -> tuple[str, str]:
    return (score["unit"], score["better"]) if score else ("", "")


def _notes(record: Record, lists: Mapping[str, Tested | None]) -> list[str]:
    """Footnotes: how it differs from the protocol, why there is no rank, weights not for every use, supervision."""
    upstream, task = record.facts["upstream"], record.task
    name, licence, pretraining = upstream["name"], upstream["licence"], upstream.get("pretraining")
    other = [f"{name}: {task} was tested on another list than the others, without rank"]
    groups = {score["groups"] for score in record.scores.values()}
    few = [f"{task}: {min(groups)} groups are too few for ranks"] if min(groups) < TOO_FEW else []
    restricted = [f"{name}: licence of the weights: {licence}"] if RESTRICTED.search(licence) else []
    supervised = [f"{name}: pretrained with supervision"] if pretraining == "supervised" else []
    unranked = other if list_of(record) != lists[task] else few
    return [*record.facts["deviations"], *unranked, *restricted, *supervised]


def _scored(found: Mapping[str, Record], columns: Sequence[Column], number: int, ranked: Ranks) -> dict[str, Cell]:
    """The scores of row `number`, with their standings."""
    cells = {}
    for column in columns:
        record = found.get(column.task)
        if record and column.metric in record.scores:
            score = record.scores[column.metric]
            standings = ranked.of.get((column.task, column.metric))
            standing = standings[number] if standings else None
            cells[column.title] = Cell(score, record, standing, folds=_folds(score))
    return cells


def _places(cell: Cell, notes: Sequence[str], lists: Mapping[str, Tested | None]) -> tuple[int, ...]:
    """Where the notes of a cell stand among all."""
    return tuple(notes.index(note) for note in _notes(cell.record, lists)) if cell.record else ()


def _folds(score: Mapping[str, Any]) -> tuple[float, ...]:
    """The score on each fold, the mean over seeds; nothing where some have no value."""
    seeds = score.get("per_seed", [])
    if score["value"] is None or not seeds:
        return ()
    return tuple(sum(fold) / len(seeds) for fold in zip(*seeds, strict=True))


def _facts(records: Sequence[Record]) -> dict[str, Any]:
    """Facts of the encoder, as its newest record has them, and of its runs."""
    upstream = max(records, key=newest_last).facts["upstream"]
    costs = [record.facts["cost"]["real_time_factor"] for record in records]
    return {
        "parameters": upstream["parameters"],
        "real_time_factor": max((cost for cost in costs if cost is not None), default=None),
        "licence": upstream["licence"],
        "family": upstream["family"],
        "pretraining": upstream.get("pretraining"),
        "effort": ", ".join(sorted({record.facts["effort"] for record in records})),
        "seen": {record.task: declared.seen(record) for record in records},
    }


def _state(found: Mapping[str, Record], columns: Sequence[Column]) -> str:
    """The weakest state of the scores of a row."""
    shown = {task: [one.metric for one in columns if one.task == task] for task in found}
    return state.weakest(
        state.of(record, [name for name in shown[task] if name in record.scores]) for task, record in found.items()
    )


def _aggregated(plan: BoardPlan, cells: Chosen) -> dict[str, list[float | None]]:
    """The board's aggregates, a value for every row."""
    scores = [
        {
            (task, metric): score["value"]
            for task, record in found.items()
            for metric, score in record.scores.items()
            if score["value"] is not None
        }
        for found in cells.values()
    ]
    return {name: AGGREGATES[name].values(scores) for name in plan.aggregates}


def _ranks(
    plan: BoardPlan,
    columns: Sequence[Column],
    cells: Chosen,
    lists: Mapping[str, Tested | None],
) -> Ranks:
    entries = {
        task: [
            record if (record := found.get(task)) and list_of(record) == lists[task] else None
            for found in cells.values()
        ]
        for task in plan.tasks
    }
    return ranks(entries, {(column.task, column.metric): column.better for column in columns}, plan.aggregates)


def _whole(
    made: Sequence[Column], number: int, values: Mapping[str, Sequence[float | None]], ranked: Ranks
) -> dict[str, Cell]:
    """The aggregates of row `number`, with interval and standing where there is one."""
    cells = {}
    for column in made:
        key, value = ("", column.metric), values[column.metric][number]
        half = ranked.halves[key][number] if key in ranked.halves else None
        standing = ranked.of[key][number] if key in ranked.of else None
        if value is not None:
            cells[column.title] = Cell(_score(column, value, half), standing=standing)
    return cells


def _score(column: Column, value: float, half: float | None) -> dict[str, Any]:
    """A made value as records have scores. Its limits are rounded to digits that every machine agrees on."""
    low, high = (None, None) if half is None else (float(f"{value + sign * half:.6g}") for sign in (-1, 1))
    facts = {"value": value, "low": low, "high": high, "unit": column.unit, "better": column.better}
    return facts | {"interval": "none" if half is None else "t"}


def _marked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Rows with the best and second best value of every column marked, where there are two values at all."""
    marks: dict[tuple[str, float | None], str] = {}
    for column in columns:
        values = {row.cells[column.title].value for row in rows if column.title in row.cells} - {None}
        ordered = sorted(values, reverse=column.better == "higher")  # type: ignore[type-var]
        if len(ordered) > 1:
            marks |= {(column.title, value): mark for value, mark in zip(ordered, ("best", "second"), strict=False)}
    return [
        replace(
            row,
            cells={title: replace(cell, mark=marks.get((title, cell.value))) for title, cell in row.cells.items()},
        )
        for row in rows
    ]


def _place(cell: Cell | None) -> tuple[bool, float]:
    """Best first; rows without a score come last."""
    if cell is None or cell.value is None:
        return True, 0.0
    return False, -cell.value if cell.score["better"] == "higher" else cell.value
