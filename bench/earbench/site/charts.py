"""What charts are drawn from, as plain data beside them on the page; `assets/site.js` draws."""

from typing import Any

from earbench.boards import Board, Column, Row
from earbench.site.tables import Table

COSTS = {"real_time_factor": ("real-time factor", 1e-7, 1e4), "parameters": ("parameters", 0, 1e13)}
"""What charts have scores over: its title, and the least and the most that anybody can mean."""


def points(table: Table) -> dict[str, Any]:
    """Every encoder's scores with their intervals, and its costs; only columns that somebody has a score in.

    A cost that cannot be true is None and its encoder is told in `odd`: one of 1e308 would leave no room for others.
    """
    board = table.board
    columns = [column for column in board.columns if any(_triple(row, column) for row in board.rows)]
    return {
        "encoders": [{"name": line.title, "link": line.link, "twin": line.twin} for line in table.lines],
        "scores": [_score(board, column) for column in columns],
        "costs": [_cost(board, name) for name in COSTS],
    }


def _cost(board: Board, name: str) -> dict[str, Any]:
    title, least, most = COSTS[name]
    found = [row.facts[name] for row in board.rows]
    odd = [number for number, cost in enumerate(found) if cost is not None and not least <= cost <= most]
    return {
        "title": title,
        "values": [None if number in odd else cost for number, cost in enumerate(found)],
        "odd": odd,
    }


def _score(board: Board, column: Column) -> dict[str, Any]:
    triples = [_triple(row, column) for row in board.rows]
    return {"title": column.title, "unit": column.unit, "better": column.better, "values": triples}


def _triple(row: Row, column: Column) -> tuple[float, float | None, float | None] | None:
    """Value and interval."""
    cell = row.cells.get(column.title)
    if cell is None or cell.value is None:
        return None
    return cell.value, cell.score["low"], cell.score["high"]
