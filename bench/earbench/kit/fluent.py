"""Fluent Speech Commands as its archive unpacks: three tables of recordings with an action, object and location."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus

TABLES = {"train": "train_data.csv", "valid": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")
SHOWN = 100
ENDINGS = (".wav", ".WAV", ".flac", ".FLAC")

FLUENT = Corpus(
    id="fluent",
    title="Fluent Speech Commands",
    page="https://fluent.ai/",
    licence="Fluent Speech Commands Public License (academic research)",
    layout=(
        "One archive, which unpacks into fluent_speech_commands_dataset/:\n"
        "  data/train_data.csv   data/valid_data.csv   data/test_data.csv\n"
        "    columns path, action, object, location; others are not read\n"
        "  wavs/speakers/<speaker>/<utterance>.wav, as `path` names them\n"
        "The root may be that folder or what holds it."
    ),
    counts={"values": 24},
)
"""The number of values of all slots together is published (SUPERB sheet 1.5); how many recordings is not verified."""


def fluent(root: Path) -> Fold:
    """The three tables, one clip per line in the tables' own order; its label is its action, object and location.

    Clips are named by their `path` and grouped by speaker, the folder they lie in. Lines without audio or without one
    of the three answers are reported as one list.
    """
    home, problems = _home(root), list[str]()
    train, valid, test = (Split(tuple(_clips(home, table, problems))) for table in TABLES.values())
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} lines of Fluent Speech Commands cannot be used; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, "unpack the archive again, or correct its tables")
    return Fold(train, valid, test)


def _home(root: Path) -> Path:
    """The folder that holds data/ and wavs/: `root`, or one folder in it."""
    inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [folder for folder in (root, *inside) if (folder / "data" / TABLES["train"]).is_file()]
    missing = [name for name in TABLES.values() if len(found) == 1 and not (found[0] / "data" / name).is_file()]
    if len(found) == 1 and not missing:
        return found[0]
    raise MissingCorpus(
        f"Fluent Speech Commands under {root}: need one folder with {', '.join(f'data/{t}' for t in TABLES.values())}",
        *([f"{found[0]} lacks {', '.join(f'data/{name}' for name in missing)}"] if missing else []),
        *([f"found {', '.join(map(str, found))}"] if len(found) > 1 else []),
        f"looked in {', '.join(map(str, [root, *inside][:12]))}",
    )


def _clips(home: Path, table: str, problems: list[str]) -> Iterator[Clip]:
    for place, line in _lines(home / "data" / table):
        answers = tuple(line.get(slot) or "" for slot in SLOTS)
        audio = _audio(home / line["path"]) if line.get("path") else None
        if not all(answers):
            empty = [slot for slot, answer in zip(SLOTS, answers, strict=True) if not answer]
            problems.append(f"{place}: no {' and no '.join(empty)}")
        elif audio is None:
            problems.append(f"{place}: no audio {home / line['path'] if line.get('path') else 'is named'}")
        else:
            yield Clip(line["path"], audio, answers, audio.parent.name)


def _lines(table: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every line of a table by its columns, and where it stands; a column without a name counts the lines."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in ("path", *SLOTS) if column not in (reader.fieldnames or ())]
        if missing:
            has = ", ".join(filter(None, reader.fieldnames or ())) or "nothing"
            raise MissingCorpus(f"{table}: no column {', '.join(missing)}", f"it has {has}", "unpack the archive again")
        for line in reader:
            yield f"{table.name}, line {reader.line_num}", line


def _audio(path: Path) -> Path | None:
    """The file at `path`, or else the one with its name and another audio ending."""
    return next((one for one in (path, *map(path.with_suffix, ENDINGS)) if one.is_file()), None)
