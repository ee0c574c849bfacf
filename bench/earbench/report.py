"""Boards as text: tables, Markdown, CSV and JSON, written beside the records. Nothing here trains or loads torch.

What records say is not ours: it is escaped where it enters a format (`earbench.escapes`).
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import escapes, files
from earbench.boards import Board, Cell, Column, Row
from earbench.declared import NOT_SEEN, SEEN, UNKNOWN
from earbench.selection import deviation_names

DEMO_NOTE = (
    "Scores on the built-in demo corpus: for trying the program and catching regressions. They do not rank encoders."
)
LEGEND = (
    "Score, 95 % interval in brackets, mean ± standard deviation over folds where there are several; #rank: one more "
    "than the number of encoders that are significantly better (paired test, Holm over the column), to the last rank "
    "that the tests leave open. **Best**, *second best*. State: the least that is known of a row's scores: as its "
    "submitter reports them; re-scored from predictions and corpus; reproduced by another run. Pretraining heard: "
    "whether the corpus of a task was part of it; unknown is not a no."
)
NOT_RUN = "Published elsewhere, not run again here: no intervals, no ranks"
SHOWN = ("parameters", "real_time_factor", "licence", "state")
"""The facts of an encoder that tables show; JSON has them all."""
HEARD = "pretraining heard"
DIGITS = {"%": 2, "points": 1, "wins": 2}
"""Decimals by unit; four for all other units."""
MARKS = {"best": "**", "second": "*"}


def markdown(board: Board) -> str:
    """The board as a Markdown page, for results/boards."""
    lines = [f"# {board.plan.title}", ""]
    lines += [DEMO_NOTE, ""] if board.plan.corpus == "demo" else []
    lines += [table(board, "github"), "", LEGEND, ""]
    if board.notes:
        notes = (f"{number}. {escapes.markdown(note)}" for number, note in enumerate(board.notes, 1))
        lines += ["Notes, by the small numbers above:", "", *notes, ""]
    if board.published:
        lines += ["## Published", "", f"{NOT_RUN}. Source: {board.published.source}.", ""]
        lines += [_published(board, "github"), ""]
    return "\n".join([*lines, f"`{signature(board)}`"]) + "\n"


def table(board: Board, style: str = "simple") -> str:
    """The board as text; a missing score is a dash. In the style "github" it is Markdown: the best values are marked,
    and numbers of notes stand at the cells, or at the name what holds of all its cells.
    """
    if not board.rows:
        return f"no records for the board '{board.plan.name}' yet"
    escape, of_row = (escapes.markdown, _marked) if style == "github" else (escapes.one_line, _unmarked)
    head = [escape(text) for text in ("upstream", *(column.title for column in board.columns), *SHOWN, HEARD)]
    lines = [[*of_row(row, board.columns), *map(escape, _facts(row))] for row in board.rows]
    return tabulate(lines, headers=head, tablefmt=style, disable_numparse=True)


def _marked(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    """Name and scores of a row as Markdown."""
    of_all = noted_of_all(row)
    yield f"{escapes.markdown(row.title)}{_raised(of_all)}"
    for cell in (row.cells.get(column.title) for column in columns):
        own = [note for note in cell.notes if note not in of_all] if cell else []
        yield f"{cell_text(cell, MARKS)}{_raised(own)}"


def _unmarked(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    """The same for a terminal."""
    yield escapes.one_line(row.title)
    yield from (cell_text(row.cells.get(column.title), {}) for column in columns)


def _facts(row: Row) -> list[str]:
    return [*(plain_text(row.facts[name]) for name in SHOWN), heard(row)]


def noted_of_all(row: Row) -> list[int]:
    """The notes that all scores of a row have, by their places in the board's notes."""
    scored = [cell for cell in row.cells.values() if cell.record]
    return [note for note in (scored[0].notes if scored else ()) if all(note in cell.notes for cell in scored)]


def _raised(notes: Sequence[int]) -> str:
    return f" <sup>{', '.join(str(note + 1) for note in sorted({*notes}))}</sup>" if notes else ""


def cell_text(cell: Cell | None, marks: Mapping[str, str]) -> str:
    """A cell as a table shows it: value, interval, spread over folds and rank."""
    if cell is None:
        return "-"
    value, _, interval = score_text(cell.score).partition(" ")
    mark = marks.get(cell.mark or "", "")
    spread = f"± {cell.spread:.{digits(cell.score['unit'])}f}" if cell.spread is not None else ""
    return " ".join(filter(None, (f"{mark}{value}{mark}", interval, spread, rank_text(cell))))


def rank_text(cell: Cell) -> str:
    """Where a cell stands, "#1-2" where tests leave several places open; empty where nobody knows."""
    if not cell.standing:
        return ""
    rank, worst = cell.standing.rank, cell.standing.worst
    return f"#{rank}-{worst}" if worst > rank else f"#{rank}"


def heard(row: Row) -> str:
    """Whether an encoder heard the corpora of its tasks in pretraining, one word if that is the same of all of them."""
    tasks: dict[str, list[str]] = {state: [] for state in (SEEN, UNKNOWN, NOT_SEEN)}
    for task, state in row.facts["seen"].items():
        tasks[state].append(task)
    there = {state: names for state, names in tasks.items() if names}
    return "; ".join(there if len(there) == 1 else (f"{state}: {', '.join(names)}" for state, names in there.items()))


def score_text(score: Mapping[str, Any] | None) -> str:
    """A score as a table shows it: value and interval, or a dash.

    >>> score_text({"value": 41.383, "low": 39.6, "high": 43.1, "unit": "%"})
    '41.38 [39.60, 43.10]'
    """
    if score is None or score["value"] is None:
        return "-"
    places = digits(score["unit"])
    if score["low"] is None:
        return f"{score['value']:.{places}f}"
    return f"{score['value']:.{places}f} [{score['low']:.{places}f}, {score['high']:.{places}f}]"


def digits(unit: str) -> int:
    """How many decimals a score of this unit is shown with."""
    return DIGITS.get(unit, 4)


def signature(board: Board) -> str:
    """What made the board, in one line to paste into a paper: versions, tasks, effort, seeds and deviations."""
    records = [cell.record for row in board.rows for cell in row.cells.values() if cell.record]
    said = {
        "earbench": {record.facts["provenance"]["earbench"] for record in records},
        "tasks": {f"{record.task}-v{record.facts['task']['version']}" for record in records},
        "corpus": {board.plan.corpus},
        "effort": {record.facts["effort"] for record in records},
        "seeds": {str(record.facts["seeds"]) for record in records},
        "deviations": {name for record in records for name in deviation_names(record)} or {"none"},
    }
    text = "|".join([f"board:{board.plan.name}", *(f"{key}:{','.join(sorted(one))}" for key, one in said.items())])
    return escapes.one_line(text).replace("`", "'")  # in Markdown it is code, where nothing else can be escaped


def comma_separated(board: Board) -> str:
    """The board as CSV: of each score value, low, high, the standard deviation over folds, rank and its worst."""
    out = io.StringIO()
    rows = [_flat(row, board.columns) for row in board.rows]
    writer = csv.DictWriter(out, rows[0] if rows else ["upstream"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def plain(board: Board) -> dict[str, Any]:
    """The board as JSON data: per row and column the score with its rank, or null."""
    return {
        "name": board.plan.name,
        "title": board.plan.title,
        "rows": [
            {"upstream": row.upstream, "digest": row.digest}
            | {column.title: _plain_cell(row.cells.get(column.title)) for column in board.columns}
            | dict(row.facts)
            for row in board.rows
        ],
        "notes": list(board.notes),
        "signature": signature(board),
        "published": board.published
        and {
            "source": board.published.source,
            "rows": [{"model": one.name, **one.scores} for one in board.published.rows],
        },
    }


def write(boards: Sequence[Board], results: Path) -> list[Path]:
    """Write every board that has rows as Markdown and CSV; the paths."""
    pages = _pages(boards, results)
    for path, text in pages:
        files.write_text(path, text)
    return [path for path, _ in pages]


def differences(boards: Sequence[Board], results: Path) -> list[str]:
    """The files of these boards that are not what the records say, by name; of a board without rows there is none."""
    stated = dict(_pages(boards, results))
    paths = [path for board in boards for path in _paths(board, results)]
    return [path.name for path in paths if stated.get(path) != _text(path)]


def strays(boards: Sequence[Board], results: Path) -> list[str]:
    """Files among the boards that are of none of these, by name."""
    own = {path for board in boards for path in _paths(board, results)}
    return sorted(path.name for path in (results / "boards").glob("*") if path not in own)


FORMATS: Mapping[str, Callable[[Board], str]] = {"md": markdown, "csv": comma_separated}


def _pages(boards: Sequence[Board], results: Path) -> list[tuple[Path, str]]:
    return [
        (path, text(board))
        for board in boards
        if board.rows
        for path, text in zip(_paths(board, results), FORMATS.values(), strict=True)
    ]


def _paths(board: Board, results: Path) -> list[Path]:
    """Where a board lies, or would, in each of `FORMATS`."""
    return [results / "boards" / f"{board.plan.name}.{ending}" for ending in FORMATS]


def _text(path: Path) -> str | None:
    return path.read_text("utf-8", "replace") if path.is_file() else None


def _published(board: Board, style: str) -> str:
    """The published rows under the board's own columns, in the digits they were published with."""
    columns = [column.title for column in board.columns if column.task]
    rows = board.published.rows if board.published else ()
    shown = [[one.name, *(one.scores.get(title, "-") for title in columns)] for one in rows]
    return tabulate(shown, headers=["published model", *columns], tablefmt=style, disable_numparse=True)


def _plain_cell(cell: Cell | None) -> dict[str, Any] | None:
    """A cell as JSON: the score, its folds, and where it stands."""
    if cell is None:
        return None
    standing = cell.standing
    said = {key: value for key, value in cell.score.items() if key != "per_seed"}
    return said | {
        "folds": list(cell.folds),
        "fold_std": cell.spread,
        "rank": standing and standing.rank,
        "rank_worst": standing and standing.worst,
        "mark": cell.mark,
        "notes": list(cell.notes),
    }


def _flat(row: Row, columns: Sequence[Column]) -> dict[str, Any]:
    found: dict[str, Any] = {"upstream": row.upstream, "digest": row.digest}
    for column in columns:
        found |= dict(_parts(column.title, row.cells.get(column.title)))
    found |= {**row.facts, "seen": heard(row)}
    return {str(escapes.csv_cell(key)): escapes.csv_cell(value) for key, value in found.items()}


def _parts(title: str, cell: Cell | None) -> Iterator[tuple[str, Any]]:
    said = _plain_cell(cell) or {}
    yield title, said.get("value")
    for key in ("low", "high", "fold_std", "rank", "rank_worst"):
        yield f"{title} {key.replace('_', ' ')}", said.get(key)


def plain_text(value: Any) -> str:
    """A fact as tables show it, not yet escaped."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
