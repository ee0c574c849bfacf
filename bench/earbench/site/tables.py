"""What tables of the site show: cells, rows and facts as text, with the numbers that they are sorted by."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earbench.boards import Board, Cell, Column, Row
from earbench.report import digits, heard, score_text
from earbench.selection import Key

TWIN = "~random"
"""How the name of an untrained twin ends."""
SIZES = {"none": 1, "below 10 M": 10**7, "10 to 100 M": 10**8, "100 M to 1 B": 10**9}
"""Groups of encoders by their parameters, each with the first number that is too many for it."""


@dataclass(frozen=True)
class Shown:
    """A score: the number it is sorted by, and its texts. `rank` is "2", "2–4", or "=2–4" where others have it too."""

    order: float | None
    value: str
    interval: str
    spread: str
    rank: str
    mark: str | None
    notes: tuple[int, ...]


@dataclass(frozen=True)
class Fact:
    """What is said of an encoder beside its scores; `order` is what it is sorted by."""

    text: str
    order: float | str | None


@dataclass(frozen=True)
class Line:
    """A row: an encoder, its page, a cell or None for every column, and facts by name."""

    name: str
    link: str
    twin: bool
    cells: tuple[Shown | None, ...]
    facts: Mapping[str, Fact]


@dataclass(frozen=True)
class Table:
    """A board as its page shows it. `better` says of each column, by title, if more or less is; None where no record
    and no card of an installed task knows.
    """

    board: Board
    lines: tuple[Line, ...]
    better: Mapping[str, str | None]

    @property
    def filters(self) -> dict[str, list[str]]:
        """The facts that rows can be chosen by, each with the texts that there are; only where there is a choice."""
        found = {
            name: {line.facts[name].text for line in self.lines} for name in ("family", "licence", "size", "effort")
        }
        return {name: sorted(texts, key=_filter_order) for name, texts in found.items() if len(texts) > 1}


def table(board: Board, pages: Mapping[Key, str], cards: Mapping[str, Mapping[str, Any]]) -> Table:
    """The board's rows in its order, best first; `cards` are those of tasks by name."""
    shared = {column.title: _shared(board, column) for column in board.columns}
    lines = [_line(row, board.columns, shared, pages[row.upstream, row.digest]) for row in board.rows]
    return Table(board, tuple(lines), {column.title: _better(column, cards) for column in board.columns})


def shown(cell: Cell | None, shared: Callable[[int], bool]) -> Shown | None:
    """A cell as text; None where there is no score. `shared` says if several encoders have a rank in the column."""
    if cell is None:
        return None
    value, _, interval = score_text(cell.score).partition(" ")
    spread = f"{cell.spread:.{digits(cell.score['unit'])}f}" if cell.spread is not None else ""
    return Shown(
        cell.value, value, interval.strip("[]"), spread, _rank(cell, shared), cell.mark, tuple(sorted(cell.notes))
    )


def amount(number: float | None) -> str:
    """A count in few digits.

    >>> amount(94_371_712), amount(1_843_200), amount(512), amount(0), amount(None)
    ('94.4 M', '1.84 M', '512', '0', '–')
    """
    if number is None:
        return "–"
    for size, unit in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


def size_of(parameters: int | None) -> str:
    """The group that filters have an encoder in.

    >>> size_of(0), size_of(1_843_200), size_of(10**9), size_of(None)
    ('none', 'below 10 M', '1 B and more', 'unknown')
    """
    if parameters is None:
        return "unknown"
    return next((name for name, limit in SIZES.items() if parameters < limit), "1 B and more")


def _line(row: Row, columns: Sequence[Column], shared: Mapping[str, Callable[[int], bool]], link: str) -> Line:
    cells = tuple(shown(row.cells.get(column.title), shared[column.title]) for column in columns)
    return Line(row.upstream, link, row.upstream.endswith(TWIN), cells, _facts(row))


def _facts(row: Row) -> dict[str, Fact]:
    """The facts that tables have columns for."""
    facts = row.facts
    parameters, factor = facts["parameters"], facts["real_time_factor"]
    said = {
        "family": facts["family"],
        "pretraining": facts["pretraining"] or "unknown",
        "licence": facts["licence"],
        "effort": facts["effort"],
        "state": facts["state"],
        "seen": heard(row),
        "size": size_of(parameters),
    }
    return {
        "parameters": Fact(amount(parameters), parameters),
        "real_time_factor": Fact("–" if factor is None else f"{factor:.2g}", factor),
        **{name: Fact(str(text), str(text)) for name, text in said.items()},
    }


def _better(column: Column, cards: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What records say, else the card's metric that the column's begins with ("eer" of "eer_published")."""
    if column.better:
        return column.better
    metrics = cards.get(column.task, {}).get("metrics", ())
    return next((one["better"] for one in metrics if f"{column.metric}_".startswith(f"{one['name']}_")), None)


def _shared(board: Board, column: Column) -> Callable[[int], bool]:
    """Whether several encoders have a rank in a column."""
    cells = (row.cells.get(column.title) for row in board.rows)
    counts = Counter(cell.standing.rank for cell in cells if cell and cell.standing)
    return lambda rank: counts[rank] > 1


def _filter_order(text: str) -> tuple[float, str]:
    return SIZES.get(text, float("inf")), text


def _rank(cell: Cell, shared: Callable[[int], bool]) -> str:
    if cell.standing is None:
        return ""
    rank, worst = cell.standing.rank, cell.standing.worst
    return ("=" if shared(rank) else "") + (f"{rank}–{worst}" if worst > rank else f"{rank}")
