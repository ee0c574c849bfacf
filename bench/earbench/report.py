"""Boards: stored records in, tables out. Nothing here trains or loads torch."""

import csv
import io
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import files
from earbench.aggregates import AGGREGATES
from earbench.config import BoardPlan
from earbench.errors import BenchError
from earbench.record import EXCLUDING, Record

RESTRICTED = re.compile(r"\bNC\b|non-?commercial|evaluation|research|unclear", re.IGNORECASE)
"""Licences that do not allow every use, or of which nobody is sure."""
DEMO_NOTE = (
    "Scores on the built-in demo corpus: for trying the program and catching regressions. They do not rank encoders."
)


@dataclass(frozen=True)
class Board:
    """One table: a row per encoder (name and weights), a column per score."""

    plan: BoardPlan
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def board(plan: BoardPlan, records: Iterable[Record]) -> Board:
    """The board of `plan`, best first by its first aggregate, else its first column.

    Of several records of one cell the newest counts.
    """
    fitting = [record for record in records if _fits(record, plan)]
    _check_repeats(fitting)
    cells = {
        (record.upstream, record.facts["upstream"]["digest"], record.task): record
        for record in sorted(fitting, key=_age)
    }
    names = sorted({key[:2] for key in cells})
    columns = _columns(plan, cells.values())
    rows = _aggregated(plan, [_row(name, digest, columns, cells) for name, digest in names], cells)
    notes = sorted({note for record in cells.values() for note in _notes(record)})
    by = (*plan.aggregates, *columns)[0]
    return Board(plan, tuple(sorted(rows, key=lambda row: _rank_key(row[by]))), tuple(notes))


def markdown(board: Board) -> str:
    """The board as a Markdown page, for results/boards."""
    lines = [f"# {board.plan.title}", ""]
    lines += [DEMO_NOTE, ""] if board.plan.corpus == "demo" else []
    lines += [table(board, "github"), "", "Score, 95 % interval in brackets.", ""]
    lines += [f"* {note}" for note in board.notes]
    return "\n".join(lines).rstrip() + "\n"


def table(board: Board, style: str = "simple") -> str:
    """The board as text; a missing score is a dash."""
    if not board.rows:
        return f"no records for the board '{board.plan.name}' yet"
    shown = [{key: _cell(value) for key, value in row.items() if key not in ("digest",)} for row in board.rows]
    return tabulate(shown, headers="keys", tablefmt=style, disable_numparse=True)


def why_empty(records: Sequence[Record]) -> str:
    """What to tell somebody whose boards are all empty."""
    if not records:
        return "no records yet: `bench run` makes them"
    reasons = Counter(name for record in records for name in _deviation_names(record) if _excludes(name))
    said = ", ".join(f"{name} ({count})" for name, count in reasons.items())
    return f"{len(records)} records, none on a board" + (f": {said}" if said else "")


def comma_separated(board: Board) -> str:
    """The board as CSV with value, low and high of each score in columns of their own."""
    scores = {key for row in board.rows for key, value in row.items() if isinstance(value, dict)}
    flat = [_flat(row, scores) for row in board.rows]
    header = list(dict.fromkeys(key for row in flat for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, header or ["upstream"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def write(boards: Sequence[Board], results: Path) -> list[Path]:
    """Write every board that has rows as Markdown and CSV; the paths."""
    pages = _pages(boards, results)
    for path, text in pages:
        files.write_text(path, text)
    return [path for path, _ in pages]


def differences(boards: Sequence[Board], results: Path) -> list[str]:
    """The board files that are not what the records say, by name."""
    return [
        path.name for path, text in _pages(boards, results) if not path.is_file() or path.read_text("utf-8") != text
    ]


def plain(board: Board) -> dict[str, Any]:
    """The board as JSON data."""
    return {"name": board.plan.name, "title": board.plan.title, "rows": list(board.rows), "notes": list(board.notes)}


def score_text(score: Mapping[str, Any] | None) -> str:
    """A score as a table shows it: value and interval, or a dash.

    >>> score_text({"value": 41.383, "low": 39.6, "high": 43.1, "unit": "%"})
    '41.38 [39.60, 43.10]'
    """
    if score is None or score["value"] is None:
        return "-"
    digits = 2 if score["unit"] == "%" else 4
    if score["low"] is None:
        return f"{score['value']:.{digits}f}"
    return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def _pages(boards: Sequence[Board], results: Path) -> list[tuple[Path, str]]:
    folder = results / "boards"
    return [
        (folder / f"{board.plan.name}.{ending}", text(board))
        for board in boards
        if board.rows
        for ending, text in (("md", markdown), ("csv", comma_separated))
    ]


def countable(record: Record) -> bool:
    """Whether nothing keeps the record off the boards."""
    return not any(_excludes(name) for name in _deviation_names(record))


def _fits(record: Record, plan: BoardPlan) -> bool:
    facts = record.facts
    return record.task in plan.tasks and facts["task"]["demo"] == (plan.corpus == "demo") and countable(record)


def _deviation_names(record: Record) -> list[str]:
    return [deviation.split(":")[0] for deviation in record.facts["deviations"]]


def _excludes(name: str) -> bool:
    """Whether a deviation keeps a record off the boards; the others are footnotes."""
    return name in EXCLUDING or name.startswith("layers-")


def _age(record: Record) -> tuple[Any, ...]:
    """Oldest first: task version, then time of the run, then number."""
    return (record.facts["task"]["version"], record.facts["provenance"]["when"], record.number)


def _check_repeats(records: Iterable[Record]) -> None:
    """Two records of one plan that differ under equal versions and device point at a fault; the board says so."""
    seen: dict[tuple[Any, ...], Record] = {}
    for record in records:
        provenance = record.facts["provenance"]
        same = (provenance[key] for key in ("versions", "device", "device_name", "threads"))
        key = (record.facts["plan"]["id"], *map(str, same))
        other = seen.setdefault(key, record)
        if any(
            record.scores[name]["value"] != other.scores[name]["value"] for name in {*record.scores} & {*other.scores}
        ):
            raise BenchError(
                f"two records of one plan differ: {other.path.name} and {record.path.name}",
                "same versions, same device: one of them was changed, or something is not deterministic",
            )


def _notes(record: Record) -> list[str]:
    """Footnotes: how it differs from the protocol, weights that may not be used freely, supervision."""
    upstream = record.facts["upstream"]
    name, licence, pretraining = upstream["name"], upstream["licence"], upstream.get("pretraining")
    restricted = [f"{name}: licence of the weights: {licence}"] if RESTRICTED.search(licence) else []
    supervised = [f"{name}: pretrained with supervision"] if pretraining == "supervised" else []
    return [*record.facts["deviations"], *restricted, *supervised]


def _columns(plan: BoardPlan, records: Iterable[Record]) -> dict[str, tuple[str, str]]:
    """The task and metric of each score column. A task that nobody was scored on yet has one column without scores."""
    if plan.columns:
        return {column: (column.partition(" ")[0], column.partition(" ")[2]) for column in plan.columns}
    found: dict[str, dict[str, None]] = {task: {} for task in plan.tasks}
    for record in records:
        found[record.task] |= dict.fromkeys(record.scores)
    return {
        f"{task} {metric}".rstrip(): (task, metric) for task, metrics in found.items() for metric in metrics or [""]
    }


def _row(
    name: str, digest: str, columns: Mapping[str, tuple[str, str]], cells: Mapping[tuple[str, str, str], Record]
) -> dict[str, Any]:
    found = {key[2]: record for key, record in cells.items() if key[:2] == (name, digest)}
    scores = {
        title: found[task].scores.get(metric) if task in found else None for title, (task, metric) in columns.items()
    }
    upstream = next(iter(found.values())).facts["upstream"]
    costs = [record.facts["cost"]["real_time_factor"] for record in found.values()]
    cost = {"real_time_factor": max((cost for cost in costs if cost is not None), default=None)}
    facts = {"parameters": upstream["parameters"], **cost, "licence": upstream["licence"]}
    return {"upstream": name, "digest": digest, **scores, **facts}


def _aggregated(
    plan: BoardPlan, rows: Sequence[dict[str, Any]], cells: Mapping[tuple[str, str, str], Record]
) -> list[dict[str, Any]]:
    """Rows with the board's aggregates behind the encoder's name."""
    scores = [
        {
            (key[2], metric): score["value"]
            for key, record in cells.items()
            if key[:2] == (row["upstream"], row["digest"])
            for metric, score in record.scores.items()
            if score["value"] is not None
        }
        for row in rows
    ]
    made = {name: AGGREGATES[name](scores) for name in plan.aggregates}
    names = ("upstream", "digest")
    return [
        {name: row[name] for name in names} | {name: values[number] for name, values in made.items()} | row
        for number, row in enumerate(rows)
    ]


def _rank_key(score: float | Mapping[str, Any] | None) -> tuple[bool, float]:
    """Best first; rows without a score come last. Of an aggregate more is better."""
    if isinstance(score, float):
        return False, -score
    if score is None or score["value"] is None:
        return True, 0.0
    return False, -score["value"] if score["better"] == "higher" else score["value"]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return score_text(value)
    if isinstance(value, float):
        return f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else " ".join(str(value).split()).replace("|", "\\|")


def _flat(row: Mapping[str, Any], scores: Container[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in scores:
            parts = value or {"value": None, "low": None, "high": None}
            found |= {key: parts["value"], f"{key} low": parts["low"], f"{key} high": parts["high"]}
        else:
            found[key] = value
    return found
