"""What a recogniser spells with: a dictionary of characters, and the greedy reading of CTC's path; names as slugs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Protocol

BLANK = 0


class Spelling(Protocol):
    """A space of symbols of which the first is CTC's blank, and how a string of them reads."""

    def __len__(self) -> int: ...

    def decode(self, symbols: Sequence[int]) -> str: ...


class Characters(tuple[str, ...]):
    """The symbols of a character recogniser; the position of a symbol is its number. `|` ends a word."""

    __slots__ = ()

    def encode(self, text: str) -> list[int]:
        """The numbers of the upper-cased characters, `|` after each word, `</s>` at the end; others are `<unk>`.

        >>> LETTERS.encode("it is")
        [10, 6, 4, 10, 12, 4, 2]
        """
        spelled = [*"|".join(text.upper().split()), "|", "</s>"]
        return [self.index(symbol if symbol in self else "<unk>") for symbol in spelled]

    def decode(self, symbols: Sequence[int]) -> str:
        """Words with one space between them; `</s>` is dropped, anything else that is no letter stays and is wrong.

        >>> LETTERS.decode([4, 10, 6, 4, 4, 10, 12, 4, 2])
        'IT IS'
        """
        spelled = "".join(self[number] for number in symbols if self[number] != "</s>")
        return " ".join(spelled.replace("|", " ").split())


LETTERS = Characters(("<s>", "<pad>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMCWFGYPBVK'XJQZ"))
"""fairseq's letter dictionary, in its order; `<s>` serves as the blank (SUPERB sheet 2.2)."""


def collapsed(path: Sequence[int]) -> list[int]:
    """The symbols that a path of one symbol per frame stands for: repeats count once, blanks not at all.

    >>> collapsed([0, 7, 7, 0, 7, 5, 5, 0])
    [7, 7, 5]
    """
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def slug(name: str) -> str:
    """A name fit for a folder and a table.

    >>> slug("my birds (2025)")
    'my-birds-2025'
    """
    return re.sub(r"[^\w.]+", "-", name).strip("-._") or "audio"
