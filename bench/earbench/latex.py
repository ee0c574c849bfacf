"""A board as a LaTeX table to paste into a paper; it needs the package booktabs."""

import re
from collections.abc import Iterable

from earbench.boards import Board, Cell, Column, Row
from earbench.escapes import one_line
from earbench.report import NOT_RUN, rank_text, score_text, signature

MARKS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", None: "%s"}
ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}
SPECIAL = re.compile(r"[\\{}$&#^_%~]")
WORDS = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}


def latex(board: Board) -> str:
    """The board as a `tabular`: best bold, second best underlined, interval and rank small, published rows apart.

    The first line is a comment with the board's signature.
    """
    width = len(board.columns) + 1
    head = ["encoder", *(escaped(column.title) + ARROWS[column.better] for column in board.columns)]
    lines = [rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}", r"\toprule", _line(head), r"\midrule"]
    lines += [_line([escaped(row.title), *_cells(row, board.columns)]) for row in board.rows]
    if board.published:
        title = escaped(f"{NOT_RUN}. Source: {board.published.source}")
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{title}}}}} \\"]
        for one in board.published.rows:
            lines.append(_line([escaped(one.name), *(one.scores.get(column.title, "--") for column in board.columns)]))
    comment = f"% {signature(board)}"
    return "\n".join([comment, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> print(escaped("hubert_base & 5 %"))
    hubert\_base \& 5 \%
    """
    return SPECIAL.sub(lambda found: WORDS.get(found[0], "\\" + found[0]), one_line(text))


def _cells(row: Row, columns: Iterable[Column]) -> list[str]:
    return [_cell(row.cells.get(column.title)) for column in columns]


def _cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "--"
    value, _, interval = score_text(cell.score).partition(" ")
    small = " ".join(filter(None, (interval, escaped(rank_text(cell)))))
    return MARKS[cell.mark] % value + (rf" {{\scriptsize {small}}}" if small else "")


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
