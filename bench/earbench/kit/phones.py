"""Phones with stress, and the lexica that say which phones a word of LibriSpeech has (SUPERB sheet 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from earbench.contract import Clip, Split
from earbench.errors import MissingCorpus

LEXICA = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
"""In the order in which they are read: of a word in both, the first file's pronunciation counts."""
LEXICON_FOLDER = "lexicon"
SHOWN = 100

Lexicon = Mapping[str, tuple[str, ...]]


class Phones(tuple[str, ...]):
    """The symbols of a phone recogniser; the position of a symbol is its number."""

    __slots__ = ()

    def encode(self, text: str) -> list[int]:
        """The numbers of phones that are parted by spaces, `<eos>` at the end.

        >>> PHONES.encode("N OW1")
        [49, 52, 1]
        """
        return [self.index(symbol) for symbol in (*text.split(), "<eos>")]

    def decode(self, symbols: Sequence[int]) -> str:
        """Phones with one space between them; `<eos>` is dropped wherever it stands, as in s3prl.

        >>> PHONES.decode([49, 1, 52, 1])
        'N OW1'
        """
        return " ".join(self[number] for number in symbols if self[number] != "<eos>")


PHONES = Phones(
    (
        *("<pad>", "<eos>", "<unk>", "SIL", "SPN"),
        *("AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1", "AO2"),
        *("AW0", "AW1", "AW2", "AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2"),
        *("ER0", "ER1", "ER2", "EY0", "EY1", "EY2", "F", "G", "HH", "IH0", "IH1", "IH2"),
        *("IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG", "OW0", "OW1", "OW2"),
        *("OY0", "OY1", "OY2", "P", "R", "S", "SH", "T", "TH", "UH0", "UH1", "UH2"),
        *("UW0", "UW1", "UW2", "V", "W", "Y", "Z", "ZH"),
    )
)
"""s3prl's 74 symbols in its order; `<pad>` serves as the blank (SUPERB sheet 2.1 and Appendix B)."""


def read_lexica(paths: Iterable[Path]) -> Lexicon:
    """The phones of every word: of several pronunciations the first, over all files in their order.

    Lines are a word, then its phones, parted by tabs or spaces. Lines without phones or with a symbol that is none are
    reported as one list.
    """
    found: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for path in paths:
        for line in _lines(path):
            if line.problem:
                problems.append(f"{path}, line {line.number}: {line.problem}")
            else:
                found.setdefault(line.word, line.phones)
    if problems:
        message = f"{len(problems)} lines of the lexicon files cannot be used"
        raise MissingCorpus(message, *_shown(problems), "get the files again: one word and its phones a line")
    return found


def pronounced(splits: Sequence[Split], lexicon: Lexicon) -> list[Split]:
    """The splits with the words of every label turned into phones, nothing between words.

    Words that the lexicon lacks are reported as one list, each with the first clip that has it.
    """
    missing: dict[str, str] = {}
    for clip in (clip for split in splits for clip in split.clips):
        for word in clip.label.split():
            if word not in lexicon:
                missing.setdefault(word, clip.id)
    if missing:
        raise MissingCorpus(
            f"{len(missing)} words of the transcripts are in no lexicon file",
            *_shown([f"{word} (in {id})" for word, id in sorted(missing.items())]),
            f"get the whole {' and '.join(LEXICA)}, or add the words to the second",
        )
    return [replace(split, clips=tuple(_pronounced(clip, lexicon) for clip in split.clips)) for split in splits]


@dataclass(frozen=True)
class _Line:
    """One entry of a lexicon file; `problem` says why it is none."""

    number: int
    word: str
    phones: tuple[str, ...]

    @property
    def problem(self) -> str | None:
        if not self.phones:
            return f"no phones for the word {self.word}"
        unknown = [phone for phone in self.phones if phone not in _KNOWN]
        return f"{self.word} has {unknown[0]!r}, which is no phone of the protocol" if unknown else None


def _lines(path: Path) -> Iterator[_Line]:
    for number, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if text.strip():
            word, *phones = text.split()
            yield _Line(number, word.upper(), tuple(phones))


def _pronounced(clip: Clip, lexicon: Lexicon) -> Clip:
    return replace(clip, label=" ".join(phone for word in clip.label.split() for phone in lexicon[word]))


def _shown(problems: Sequence[str]) -> list[str]:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return [*problems[:SHOWN], *more]


_KNOWN = frozenset(PHONES[PHONES.index("SIL") :])
