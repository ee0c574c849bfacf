"""What other records do to the boards: every score that is new, gone, another, or stands elsewhere. No torch."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from tabulate import tabulate

from earbench import escapes
from earbench.boards import Board
from earbench.report import cell_text

MOST = 100
"""Rows of a table for people; a comment has room for some 65,000 letters."""


@dataclass(frozen=True)
class Change:
    """One score of one encoder on a board, as text: value, interval and #rank before and after; "-" where it has none.

    `weights` are the first digits of the encoder's digest.
    """

    board: str
    upstream: str
    weights: str
    score: str
    before: str
    after: str

    @property
    def order(self) -> int:
        """What is new or gone comes first, then other values, then the ranks that others have now."""
        if "-" in (self.before, self.after):
            return 0
        return 1 if self.before.partition("#")[0] != self.after.partition("#")[0] else 2


def changes(before: Iterable[Board], after: Iterable[Board]) -> list[Change]:
    """All changes, board by board; boards are matched by name, encoders by name and digest, scores by column."""
    old, new = ({board.plan.name: board for board in boards} for boards in (before, after))
    return [change for name in new | old for change in _of_one(old.get(name), new.get(name))]


def markdown(found: Sequence[Change]) -> str:
    """The changes as Markdown, a table per board; of very many the most telling."""
    if not found:
        return "No board changes.\n"
    shown, pages = sorted(found, key=lambda change: change.order)[:MOST], []
    for board, some in groupby(sorted(shown, key=lambda change: change.board), key=lambda change: change.board):
        pages += [f"### {board}", tabulate(map(_row, some), headers="keys", tablefmt="github", disable_numparse=True)]
    pages += [f"and {len(found) - MOST:,} more changes"] if len(found) > MOST else []
    return "\n\n".join(pages) + "\n"


def _of_one(old: Board | None, new: Board | None) -> list[Change]:
    before, after = _scores(old), _scores(new)
    name = next(board.plan.name for board in (new, old) if board)
    return [
        Change(name, *key, before.get(key, "-"), after.get(key, "-"))
        for key in after | before
        if before.get(key, "-") != after.get(key, "-")
    ]


def _scores(board: Board | None) -> dict[tuple[str, str, str], str]:
    """The text of every cell, by encoder, its weights and the column's title."""
    if board is None:
        return {}
    return {
        (row.upstream, row.digest[:8], column.title): cell_text(row.cells.get(column.title), {})
        for row in board.rows
        for column in board.columns
    }


def _row(change: Change) -> dict[str, Any]:
    facts = asdict(change)
    names = {key: escapes.markdown(facts[key]) for key in ("upstream", "weights", "score")}
    return names | {key: facts[key] for key in ("before", "after")}
