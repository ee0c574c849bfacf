"""Numbers that others published, packaged as small tables. They stand beside a board, apart: nobody ran them here."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

FOLDER = resources.files("earbench").joinpath("tables")


@dataclass(frozen=True)
class PublishedRow:
    """One model: its scores by "task metric", in the digits they were published with, as far as they were."""

    name: str
    scores: Mapping[str, str]


@dataclass(frozen=True)
class Published:
    """A table of published scores, and where it comes from."""

    name: str
    source: str
    rows: tuple[PublishedRow, ...]


def names() -> list[str]:
    """The packaged tables."""
    return sorted(path.name.removesuffix(".csv") for path in FOLDER.iterdir() if path.name.endswith(".csv"))


@cache
def table(name: str) -> Published:
    """A packaged table: a CSV whose first line says where it comes from and whose first column names the models."""
    source, *lines = FOLDER.joinpath(f"{name}.csv").read_text("utf-8").splitlines()
    return Published(name, source.removeprefix("# "), tuple(_rows(lines)))


def _rows(lines: list[str]) -> Iterator[PublishedRow]:
    for row in csv.DictReader(lines):
        yield PublishedRow(row.pop("model"), {column: text for column, text in row.items() if text})
