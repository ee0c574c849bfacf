"""What charts are drawn from, as plain data beside them on the page; `assets/site.js` draws."""

from collections.abc import Sequence
from typing import Any

from earbench.boards import Board, Column, Row
from earbench.site.tables import Table

COSTS = {"real_time_factor": "real-time factor", "parameters": "parameters"}


def points(table: Table) -> dict[str, Any]:
    """Every encoder's scores with their intervals, its costs, and which encoders are on the front of each score and
    cost; only columns that somebody has a score in.
    """
    board = table.board
    columns = [column for column in board.columns if any(_triple(row, column) for row in board.rows)]
    costs = {name: [row.facts[name] for row in board.rows] for name in COSTS}
    return {
        "encoders": [{"name": line.name, "link": line.link, "twin": line.twin} for line in table.lines],
        "scores": [_score(board, column) for column in columns],
        "costs": [{"title": title, "values": costs[name]} for name, title in COSTS.items()],
        "fronts": [
            [front(costs[name], _values(board, column), column.better == "higher") for name in COSTS]
            for column in columns
        ],
    }


def front(costs: Sequence[float | None], values: Sequence[float | None], higher: bool) -> list[int]:
    """Which points nobody beats in one of cost and value without losing in the other, the cheapest first (Pareto).

    Equal points are on it together; what has no cost or no value is not.

    >>> front([1, 2, 3, 3, 4, None], [5, 9, 8, 9.5, 9.5, 99], higher=True)
    [0, 1, 3]
    """
    sign = -1 if higher else 1
    known = [
        (cost, sign * value, number)
        for number, (cost, value) in enumerate(zip(costs, values, strict=True))
        if cost is not None and value is not None
    ]
    found: list[tuple[float, float, int]] = []
    for one in sorted(known):
        if not found or one[1] < found[-1][1] or one[:2] == found[-1][:2]:
            found.append(one)
    return [number for _, _, number in found]


def _score(board: Board, column: Column) -> dict[str, Any]:
    triples = [_triple(row, column) for row in board.rows]
    return {"title": column.title, "unit": column.unit, "better": column.better, "values": triples}


def _values(board: Board, column: Column) -> list[float | None]:
    return [triple[0] if (triple := _triple(row, column)) else None for row in board.rows]


def _triple(row: Row, column: Column) -> tuple[float, float | None, float | None] | None:
    """Value and interval."""
    cell = row.cells.get(column.title)
    if cell is None or cell.value is None:
        return None
    return cell.value, cell.score["low"], cell.score["high"]
