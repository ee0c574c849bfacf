"""What tables of the site show: cells, rows and facts as text, with the numbers that they are sorted by."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earbench.boards import Board, Cell, Column, Row
from earbench.declared import NOT_SEEN, SEEN, UNKNOWN
from earbench.report import digits, heard, score_text
from earbench.selection import Key

TWIN = "~random"
"""How the name of an untrained twin ends."""
SIZES = {"none": 1, "below 10 M": 10**7, "10 to 100 M": 10**8, "100 M to 1 B": 10**9}
"""Groups of encoders by their parameters, each with the first number that is too many for it."""


@dataclass(frozen=True)
class Shown:
    """A score: the number it is sorted by, and its texts. `rank` is "2", "2–4", or "=2–4" where others have it too.
    `notes` are places in the board's notes, without those that stand once for all, for its column or its row.
    """

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
    """A row: an encoder, its title on this board, its page, a cell or None for every column, facts by name, and the
    notes of all its cells.
    """

    name: str
    title: str
    link: str
    twin: bool
    cells: tuple[Shown | None, ...]
    facts: Mapping[str, Fact]
    notes: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """A board as its page shows it. `better` says of each column, by title, if more or less is; None where no record
    and no card of an installed task knows. `common` are the notes of every score, and `columns` those of all scores of
    a column, by title.
    """

    board: Board
    lines: tuple[Line, ...]
    better: Mapping[str, str | None]
    common: tuple[int, ...]
    columns: Mapping[str, tuple[int, ...]]

    @property
    def filters(self) -> dict[str, list[str]]:
        """The facts that rows can be chosen by, each with the texts that there are; only where there is a choice."""
        found = {
            name: {line.facts[name].text for line in self.lines}
            for name in ("family", "licence", "size", "effort", "state")
        }
        return {name: sorted(texts, key=_filter_order) for name, texts in found.items() if len(texts) > 1}


def table(board: Board, pages: Mapping[Key, str], cards: Mapping[str, Mapping[str, Any]]) -> Table:
    """The board's rows in its order, best first; `cards` are those of tasks by name."""
    shared = {column.title: _shared(board, column) for column in board.columns}
    common, columns = _noted(board)
    said = {title: {*common, *notes} for title, notes in columns.items()}
    lines = [_line(row, board.columns, shared, said, pages[row.upstream, row.digest]) for row in board.rows]
    better = {column.title: _better(column, cards) for column in board.columns}
    return Table(board, tuple(lines), better, common, columns)


def shown(cell: Cell | None, shared: Callable[[int], bool], said: Container[int] = ()) -> Shown | None:
    """A cell as text; None where there is no score. `shared` says if several encoders have a rank in the column, and
    `said` are the notes that stand elsewhere.
    """
    if cell is None:
        return None
    value, _, interval = score_text(cell.score).partition(" ")
    spread = f"{cell.spread:.{digits(cell.score['unit'])}f}" if cell.spread is not None else ""
    notes = tuple(note for note in sorted(cell.notes) if note not in said)
    return Shown(cell.value, value, interval.strip("[]"), spread, _rank(cell, shared), cell.mark, notes)


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


def _line(
    row: Row,
    columns: Sequence[Column],
    shared: Mapping[str, Callable[[int], bool]],
    said: Mapping[str, set[int]],
    link: str,
) -> Line:
    """The row as text. `said` are the notes that stand above the cells of a column."""
    own = _of_all(row.cells.values())
    notes = {note for title, cell in row.cells.items() for note in {*cell.notes} & own if note not in said[title]}
    cells = tuple(
        shown(row.cells.get(column.title), shared[column.title], said[column.title] | notes) for column in columns
    )
    return Line(row.upstream, row.title, link, row.upstream.endswith(TWIN), cells, _facts(row), tuple(sorted(notes)))


def _noted(board: Board) -> tuple[tuple[int, ...], dict[str, tuple[int, ...]]]:
    """The notes of every score of a board, and those of all scores of each column, where it has several."""
    common: set[int] = set()
    if len(board.rows) > 1:
        common = _of_all(cell for row in board.rows for cell in row.cells.values())
    columns = {}
    for column in board.columns:
        cells = [row.cells[column.title] for row in board.rows if column.title in row.cells]
        columns[column.title] = tuple(sorted(_of_all(cells) - common)) if len(cells) > 1 else ()
    return tuple(sorted(common)), columns


def _of_all(cells: Iterable[Cell]) -> set[int]:
    """The notes that all of these cells have; what is made of whole rows has none and does not count."""
    found = [{*cell.notes} for cell in cells if cell.record]
    return set.intersection(*found) if found else set()


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
        "heard": _heard(row),
        "size": size_of(parameters),
    }
    return {
        "parameters": Fact(amount(parameters), parameters),
        "real_time_factor": Fact("–" if factor is None else f"{factor:.2g}", factor),
        **{name: Fact(str(text), str(text)) for name, text in said.items()},
    }


def _heard(row: Row) -> str:
    """How many of the corpora that an encoder was tested on it heard in pre-training, in few words."""
    counts = Counter(row.facts["seen"].values())
    if len(counts) < 2:
        return next(iter(counts), UNKNOWN)
    return ", ".join(f"{counts[state]} {state}" for state in (SEEN, UNKNOWN, NOT_SEEN) if counts[state])


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
