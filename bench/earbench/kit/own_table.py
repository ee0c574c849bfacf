"""A table of labelled audio: a CSV file with a row per clip.

`path` and the answer are needed; `split`, `group`, `start` and `stop` (seconds) are optional; other columns are left
alone. The answer is one of: `label`, a class or a number; `value`, a number; `labels`, any number of names with ; or |
between; or columns `label_NAME` that say 0 or 1.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earbench.contract import Clip, Labels
from earbench.errors import RequestError
from earbench.kit.own_audio import FEWEST, SPLITS, Kind, Labelled, refuse

ELSEWHERE = "elsewhere"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
FORM = "columns: path, and one of label, value, labels, label_NAME …; optional: split, group, start, stop"


@dataclass(frozen=True)
class Row:
    """One line of the table; `cells` by column, stripped."""

    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True)
class Answered:
    """What the answers turned out to be: one per row, and how that was decided."""

    kind: Kind
    labels: Labels
    answers: Sequence[Any]
    said: str


def read(file: Path) -> Labelled:
    """Every row as a clip. Paths are relative to the table's folder; whatever is wrong with the table is one error.

    A clip is named by its path and, if stated, its stretch; a file outside the table's folder by the last parts of its
    path, as many as tell such files apart. Its group is `group`, else its file.
    """
    columns, rows = _rows(file)
    problems: list[str] = []
    answered = _answered(file, columns, rows, problems)
    names = _names(file.parent, [row["path"] for row in rows])
    clips = [
        _clip(row, names[row["path"]], file.parent, answer, "group" in columns, problems)
        for row, answer in zip(rows, answered.answers, strict=True)
    ]
    problems += _twice(rows, clips)
    splits = _splits(rows, clips, problems) if "split" in columns else {}
    refuse(file.name, problems, FORM)
    clips.sort(key=lambda clip: clip.id)
    return Labelled(file.stem, answered.kind, answered.labels, tuple(clips), splits, {"read-as": answered.said})


# ---- the file --------------------------------------------------------------------------------------------------------


def _rows(file: Path) -> tuple[list[str], list[Row]]:
    """Column names (those we know in lower case) and rows. Commas, semicolons or tabs, whichever the header has."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            header = opened.readline()
            mark = next((mark for mark in ",;\t" if mark in header), ",")
            opened.seek(0)
            reader = csv.reader(opened, delimiter=mark, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except UnicodeDecodeError:
        raise RequestError(f"{file} is not UTF-8", "save it as UTF-8") from None
    except csv.Error as error:
        raise RequestError(f"{file} is not a CSV file: line {reader.line_num}: {error}") from None
    if len(lines) < 2:
        raise RequestError(f"{file} has no rows", FORM)
    columns = [_column(name) for name in lines[0][1]]
    problems = [f"two columns are called '{name}'" for name, count in Counter(columns).items() if count > 1 and name]
    problems += [
        f"line {line}: {len(cells)} cells under {len(columns)} columns"
        for line, cells in lines[1:]
        if len(cells) != len(columns)
    ]
    refuse(file.name, problems)
    return columns, [Row(line, dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]]


def _column(name: str) -> str:
    """Known names in lower case; of `label_NAME` the name stays as it is."""
    return "label_" + name[6:] if name.lower().startswith("label_") else name.lower()


# ---- answers ---------------------------------------------------------------------------------------------------------


def _answered(file: Path, columns: Sequence[str], rows: Sequence[Row], problems: list[str]) -> Answered:
    flags = [name for name in columns if name.startswith("label_") and len(name) > len("label_")]
    there = [name for name in ("label", "value", "labels") if name in columns] or flags[:1]
    if "path" not in columns or len(there) != 1:
        answers = "no answer" if not there else f"{len(there)} kinds of answer, {' and '.join(there)}"
        raise RequestError(
            f"{file.name}: {answers if 'path' in columns else 'no column path'}",
            f"found the columns {', '.join(columns)}",
            FORM,
        )
    read: dict[str, Callable[[Sequence[Row], list[str]], Answered]]
    read = {"label": _by_content, "value": _values, "labels": _listed}
    return read[there[0]](rows, problems) if there[0] in read else _flagged(flags, rows, problems)


def _by_content(rows: Sequence[Row], problems: list[str]) -> Answered:
    """Classes or numbers. Words are classes. Numbers are classes if all are whole and there are at least three rows to
    each on average (folds need as many of a class); else they are numbers.
    """
    texts = [row["label"] for row in rows]
    if empty := [f"line {row.line}: no label" for row in rows if not row["label"]]:
        problems += empty
        return Answered("classes", Labels(), texts, "")
    numbers = [text for text in texts if NUMBER.fullmatch(text)]
    if not numbers:
        return _classes(rows, sorted(set(texts)), "it holds words", problems)
    if len(numbers) < len(texts):
        word = next(row for row in rows if not NUMBER.fullmatch(row["label"]))
        mixed = f"the label '{word['label']}' is no number, but {len(numbers)} of {len(texts)} labels are"
        problems.append(f"line {word.line}: {mixed}")
        return Answered("classes", Labels(), texts, "")
    whole = all(float(text).is_integer() for text in texts)
    if whole and len(set(map(float, texts))) * FEWEST <= len(rows):
        names = sorted(set(texts), key=lambda text: (float(text), text))
        return _classes(rows, names, "it holds whole numbers that recur; name it `value` to regress", problems)
    why = "it holds whole numbers that hardly recur" if whole else "it holds numbers that are not whole"
    return Answered("values", Labels(), [float(text) for text in texts], f"a number per clip, by `label`: {why}")


def _classes(rows: Sequence[Row], names: Sequence[str], why: str, problems: list[str]) -> Answered:
    if len({float(name) if NUMBER.fullmatch(name) else name for name in names}) < len(names):
        problems.append(f"some labels are one number in two spellings: {', '.join(names[:10])}")
    if len(names) < 2:
        problems.append(f"all labels are '{names[0]}': at least two classes are needed")
    said = f"one of {len(names)} classes per clip, by `label`: {why}"
    return Answered("classes", Labels(names), [row["label"] for row in rows], said)


def _values(rows: Sequence[Row], problems: list[str]) -> Answered:
    answers = [_number(row, "value", problems) for row in rows]
    return Answered("values", Labels(), answers, "a number per clip, by `value`")


def _listed(rows: Sequence[Row], problems: list[str]) -> Answered:
    found = [{part.strip() for part in re.split(r"[;|]", row["labels"])} - {""} for row in rows]
    labels = Labels(sorted(set().union(*found)))
    if not labels:
        problems.append("the column labels is empty")
    said = f"any of {len(labels)} labels per clip, by `labels`"
    return Answered("tags", labels, [tuple(sorted(one)) for one in found], said)


def _flagged(columns: Sequence[str], rows: Sequence[Row], problems: list[str]) -> Answered:
    problems += [
        f"line {row.line}: {name} is '{row[name]}', not 0 or 1"
        for row in rows
        for name in columns
        if not NUMBER.fullmatch(row[name]) or float(row[name]) not in (0, 1)
    ]
    names = sorted(columns)
    answers = [
        tuple(name.removeprefix("label_") for name in names if NUMBER.fullmatch(row[name]) and float(row[name]))
        for row in rows
    ]
    labels = Labels(name.removeprefix("label_") for name in names)
    problems += [f"label_{label} is never 1" for label in labels if not any(label in one for one in answers)]
    return Answered("tags", labels, answers, f"any of {len(labels)} labels per clip, by {', '.join(names[:3])} …")


# ---- clips -----------------------------------------------------------------------------------------------------------


def _clip(row: Row, name: str, home: Path, answer: Any, grouped: bool, problems: list[str]) -> Clip:
    if not row["path"]:
        problems.append(f"line {row.line}: no path")
    if grouped and not row["group"]:
        problems.append(f"line {row.line}: no group")
    start, stop = (_number(row, column, problems) if row[column] else None for column in ("start", "stop"))
    if start is not None and start < 0:
        problems.append(f"line {row.line}: start {start:g} lies before the file")
    if stop is not None and (start or 0.0) >= stop:
        problems.append(f"line {row.line}: start {start or 0.0:g} is not before stop {stop:g}")
    stretch = "" if start is stop is None else f"#{'' if start is None else start}-{'' if stop is None else stop}"
    group = row["group"] if grouped else name
    return Clip(name + stretch, _absolute(home, row["path"]), answer, group, start, stop, leak=group)


def _number(row: Row, column: str, problems: list[str]) -> float:
    if not NUMBER.fullmatch(row[column]) or not math.isfinite(float(row[column])):
        problems.append(f"line {row.line}: {column} '{row[column]}' is not a number")
        return 0.0
    return float(row[column])


def _names(home: Path, paths: Sequence[str]) -> dict[str, str]:
    """What each path is called in records: as seen from `home`; outside of it `elsewhere/`, a number for the folder and
    the file's own name, which do not say where on this machine it lies.
    """
    full = {path: _absolute(home, path) for path in dict.fromkeys(paths)}
    outside = {path for path in full.values() if not path.is_relative_to(home)}
    folders = {folder: number for number, folder in enumerate(sorted({path.parent for path in outside}), 1)}
    return {
        path: f"{ELSEWHERE}/{folders[where.parent]}/{where.name}"
        if where in outside
        else where.relative_to(home).as_posix()
        for path, where in full.items()
    }


def _absolute(home: Path, path: str) -> Path:
    """The path without `..`; links stay as they are."""
    return Path(os.path.normpath(home / path))


def _twice(rows: Sequence[Row], clips: Sequence[Clip]) -> list[str]:
    seen: dict[str, int] = {}
    return [
        f"line {row.line}: the same clip as line {seen[clip.id]}, {clip.id}; several answers go into one row, as labels"
        for row, clip in zip(rows, clips, strict=True)
        if seen.setdefault(clip.id, row.line) != row.line
    ]


def _splits(rows: Sequence[Row], clips: Sequence[Clip], problems: list[str]) -> dict[str, str]:
    known = ", ".join(SPLITS)
    problems += [
        f"line {row.line}: the split '{row['split']}' is none of {known}"
        for row in rows
        if row["split"].lower() not in SPLITS
    ]
    return {clip.id: SPLITS.get(row["split"].lower(), "") for row, clip in zip(rows, clips, strict=True)}
