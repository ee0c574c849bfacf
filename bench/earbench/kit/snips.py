"""Audio SNIPS as SUPERB prepares it: one text file of words and slots for every speaker, and how it is spelled."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earbench.contract import Clip, Corpus, Fold, Split
from earbench.errors import BadAudio, MissingCorpus

SPEAKERS = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
TEXT, NAMES = "all.iob.snips.txt", "slots.txt"
NO_SLOT = "O"
PUNCTUATION = "?!.,;-"
SYMBOLS = ("<pad>", "<eos>", "<unk>", " ", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
AUDIO = (".wav", ".flac")
SHOWN = 100

SNIPS = Corpus(
    id="snips",
    title="Audio SNIPS",
    page="https://github.com/aws-samples/aws-lex-noisy-spoken-language-understanding",
    licence="see the page; speech by Amazon Polly",
    layout=(
        "A folder SNIPS/ as s3prl's snips_prepare_data.sh leaves it:\n"
        "  SNIPS/<split>/<Speaker>-snips-<split>-<number>.wav   of train, valid, test; 16 kHz, from its MP3\n"
        "  SNIPS/all.iob.snips.txt   a line of words and slots per utterance\n"
        "  SNIPS/slots.txt           the names of the slots, O first\n"
        "The root may be SNIPS/ itself or what holds it. Speakers of other splits are not read."
    ),
    counts={"train": 104_672, "valid": 2_800, "test": 2_800, "slots": 39},
)
"""Utterances of the speakers of each split, and slots (SUPERB sheet 2.9)."""


def snips(root: Path) -> Fold:
    """The three splits, one clip per utterance in the order of ids; its label is `text` as `SlotSpelling` reads it.

    A split's `truth` holds "slots", their names in order. Whatever has no partner (audio without a line, a line without
    audio) and every line that cannot be read is reported as one list.
    """
    home, problems = _home(root), list[str]()
    slots = _names(home / NAMES)
    lines = dict(_lines(home / TEXT, SlotSpelling(slots), problems))
    clips = [tuple(_clips(home / name, lines, problems)) for name in SPEAKERS]
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        message = f"{len(problems)} utterances of Audio SNIPS cannot be used; nothing was trained"
        raise BadAudio(message, *problems[:SHOWN], *more, "prepare the corpus again, or remove what has no partner")
    train, valid, test = (Split(some, {"slots": slots}) for some in clips)
    return Fold(train, valid, test)


class SlotSpelling:
    """SUPERB's symbols for slot filling: characters, and a pair of markers around the words of each slot (sheet 2.9).

    A text is a line of the corpus without its id, sentence marks and intent: "words<TAB>slots", one slot per word.
    """

    def __init__(self, slots: Sequence[str]) -> None:
        markers = [(f"B-{slot}", f"E-{slot}") for slot in slots]
        self.symbols = (*SYMBOLS, *itertools.chain(*markers))
        self._numbers = {symbol: number for number, symbol in enumerate(self.symbols)}
        spaced = ((f"{begin} ", f" {end}") for begin, end in markers)
        self._shown = ["" if symbol == "<eos>" else symbol for symbol in SYMBOLS] + list(itertools.chain(*spaced))

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The numbers of all symbols: a marker where a slot begins and ends, `<eos>` behind the last word.

        Punctuation is left out, and with it the markers or the `<eos>` that it would carry: s3prl's rule.

        >>> spelling = SlotSpelling(["who"])
        >>> [spelling.symbols[number] for number in spelling.encode("HI BO ?\\tO who O")]
        ['H', 'I', ' ', 'B-who', 'B', 'O', 'E-who', ' ']
        """
        words, slots = (part.split(" ") for part in text.split("\t"))
        found: list[str] = []
        for number, word in enumerate(words):
            if word in PUNCTUATION:
                continue
            slot = slots[number]
            begins = slot not in (NO_SLOT, *slots[number - 1 : number])
            ends = slot not in (NO_SLOT, *slots[number + 1 : number + 2])
            found += [f"B-{slot}"] if begins else []
            found += "AND" if word == "&" else word
            found += [f"E-{slot}"] if ends else []
            found.append("<eos>" if number == len(words) - 1 else " ")
        unknown = self._numbers["<unk>"]
        return [self._numbers.get(symbol, unknown) for symbol in found]

    def decode(self, symbols: Sequence[int]) -> str:
        """The text with its markers set off by spaces, no two spaces in a row; `<eos>` is dropped.

        >>> spelling = SlotSpelling(["who"])
        >>> spelling.decode(spelling.encode("HI BO\\tO who"))
        'HI B-who BO E-who'
        """
        return re.sub(" +", " ", "".join(self._shown[number] for number in symbols))

    def spelled(self, text: str) -> str:
        """What a perfect recogniser says of a text."""
        return self.decode(self.encode(text))


# ---- the folder ------------------------------------------------------------------------------------------------------


def _home(root: Path) -> Path:
    """The folder that holds both text files and the three splits: `root`, or SNIPS/ in it."""
    found = [home for home in (root, root / "SNIPS") if (home / TEXT).is_file()]
    if not found:
        raise MissingCorpus(f"Audio SNIPS under {root}: no {TEXT}", f"looked in {root} and {root / 'SNIPS'}")
    missing = [name for name in SPEAKERS if not (found[0] / name).is_dir()]
    missing += [] if (found[0] / NAMES).is_file() else [NAMES]
    if missing:
        raise MissingCorpus(f"Audio SNIPS: {found[0]} lacks {', '.join(missing)}")
    return found[0]


def _names(path: Path) -> tuple[str, ...]:
    """The slots, one a line, in the order of the file; its first line is "O", no slot."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) < 2 or lines[0] != NO_SLOT or len(set(lines)) < len(lines):
        raise MissingCorpus(f"{path}: need a line '{NO_SLOT}', then the name of each slot once", f"it has {lines[:5]}")
    return tuple(lines[1:])


def _lines(path: Path, spelling: SlotSpelling, problems: list[str]) -> Iterator[tuple[str, str]]:
    """(id, text) of every utterance that one of the splits uses."""
    seen = set[str]()
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            id, _, said = line.strip().partition(" ")
            if _split_of(id) is None:
                continue
            text = "\t".join(" ".join(part.split(" ")[1:-1]) for part in said.split("\t"))
            problem = "a second line" if id in seen else _problem(text, spelling)
            problems += [f"{path.name}, line {number}: {problem} of {id}"] if problem else []
            seen.add(id)
            yield id, text


def _problem(text: str, spelling: SlotSpelling) -> str | None:
    """What is wrong with a text, if anything."""
    words, *others = (part.split(" ") for part in text.split("\t"))
    if len(others) != 1 or len(words) != len(others[0]):
        return f"{len(words)} words, {' and '.join(str(len(other)) for other in others) or 'no'} slots"
    known = (NO_SLOT, *(symbol[2:] for symbol in spelling.symbols[len(SYMBOLS) :]))
    unknown = sorted(set(others[0]).difference(known))
    if unknown:
        return f"the slot {unknown[0]}, which {NAMES} does not name,"
    return None if spelling.encode(text) else "no word in the text"


def _clips(folder: Path, lines: Mapping[str, str], problems: list[str]) -> Iterator[Clip]:
    """The utterances of one split that have both audio and a line."""
    audio: dict[str, Path] = {}
    for path in sorted(folder.rglob("[!.]*")):
        if path.suffix.lower() in AUDIO and _split_of(path.stem) == folder.name:
            first = audio.setdefault(path.stem, path)
            problems += [f"{path}: the same utterance as {first}"] if first != path else []
    said = {id for id in lines if _split_of(id) == folder.name}
    problems += [f"{audio[id]}: no line in {TEXT}" for id in sorted(audio.keys() - said)]
    problems += [f"{folder}: no audio for the line {id}" for id in sorted(said - audio.keys())]
    for id in sorted(said & audio.keys()):
        speaker, _, text = id.partition("-")  # four voices read test: what a resample can exchange is the text
        yield Clip(id, audio[id], lines[id], text, leak=speaker)


def _split_of(id: str) -> str | None:
    """The split that uses an utterance: its own if its speaker is one of that split's, else none."""
    speaker, _, rest = id.partition("-snips-")
    split = rest.partition("-")[0]
    return split if speaker in SPEAKERS.get(split, ()) else None
