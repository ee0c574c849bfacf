"""Text that is shown where people compare things: one line of letters that are seen, and names with one spelling."""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

MARKS = 4
"""Combining marks that a letter may carry, as scripts need them; more of them run over the lines above and below."""
LONGEST_NAME, LONGEST_NOTE = 200, 2000


def line(text: str, most: int = LONGEST_NOTE) -> str:
    """The text as one line that can be shown: a question mark for each letter that cannot be seen.

    >>> line("two\\nlines"), line("a" + 9 * chr(0x301)) == "a" + 4 * chr(0x301)
    ('two?lines', True)
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return "".join(letter for letter, marks in _marked(shown) if marks <= MARKS)[:most]


def name(text: str) -> str:
    """The one spelling of a name (NFKC), without spaces around it.

    >>> name(" ﬁlter" + chr(0x2003)), name("e" + chr(0x301)) == chr(0xE9)
    ('filter', True)
    """
    return line(unicodedata.normalize("NFKC", text).strip(), LONGEST_NAME).strip()


def problem(text: str) -> str:
    """Why a text cannot be shown as it is; empty if it can."""
    if not text.isprintable():
        return "holds line breaks, control characters or others that are not seen"
    return "holds a heap of combining marks" if any(marks > MARKS for _, marks in _marked(text)) else ""


def problems(value: Any, where: str) -> Iterator[str]:
    """What cannot be shown of all text in plain data, each with where it stands."""
    for place, text in texts(value, where):
        if said := problem(text):
            yield f"{place} {said}: {text[:60]!a}"


def texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """All text in plain data, names of entries too, each behind where it stands.

    >>> list(texts({"a": ["b", 1]}, "all"))
    [('all, a name', 'a'), ('all/a', 'b')]
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{where}, a name", str(key)
            yield from texts(inner, where if problem(str(key)) else f"{where}/{key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts(inner, where)
    elif isinstance(value, str):
        yield where, value


def _marked(text: str) -> Iterator[tuple[str, int]]:
    """Every letter, with the number of combining marks since the last that is none, itself included."""
    marks = 0
    for letter in text:
        marks = marks + 1 if not letter.isascii() and unicodedata.category(letter) in ("Mn", "Me") else 0
        yield letter, marks
