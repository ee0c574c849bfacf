"""What submitters declare of an encoder, and whether it heard a task's corpus: seen, not seen, unknown. No torch.

A declaration lies beside the records of its encoder. Nobody can verify it; what nobody declared is unknown.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from earbench import files, registry, words
from earbench.errors import BenchError, RequestError
from earbench.record import Record, schema

FILE = "declared.json"
SEEN, NOT_SEEN, UNKNOWN = "seen", "not seen", "unknown"

MADE_OF: Mapping[str, tuple[str, ...]] = {
    "libri2mix": ("librispeech",),  # Cosentino et al. 2020: mixtures of its utterances
    "hear_libricount": ("librispeech",),  # Stöter et al. 2018: the same, of its test-clean
    "hear_speech_commands_5h": ("speech_commands_v2",),  # HEAR sheet 2.3, as are those below
    "hear_speech_commands_full": ("speech_commands_v2",),
    "hear_nsynth_pitch_5h": ("nsynth",),
    "hear_nsynth_pitch_50h": ("nsynth",),
    "pitch": ("nsynth",),
    "hear_esc50": ("esc50",),
    "hear_fsd50k": ("fsd50k",),
    "hear_crema_d": ("crema_d",),
    "hear_gtzan_genre": ("gtzan",),
    "hear_maestro_5h": ("maestro",),
    "hear_vox_lingua_top10": ("voxlingua107",),
}
"""Corpora whose audio is that of others: who heard either has heard the other."""
RECORDED = (
    *("speech_commands_v1", "speech_commands_v2", "fluent", "snips", "iemocap", "tau2019", "crema_d", "nsynth"),
    *("mir1k", "asterisk_prompts", "demo"),
)
ORIGINS: Mapping[str, tuple[str, ...]] = {
    "librispeech": ("LibriVox",),  # Panayotov et al. 2015
    "librilight": ("LibriVox",),  # Kahn et al. 2020
    "mls": ("LibriVox",),  # Pratap et al. 2020
    "gigaspeech": ("audiobooks", "LibriVox", "YouTube"),  # Chen et al. 2021
    "voxceleb1": ("YouTube",),  # Nagrani et al. 2017
    "voxlingua107": ("YouTube",),  # Valk and Alumäe 2021
    "audioset": ("YouTube",),  # Gemmeke et al. 2017
    "esc50": ("Freesound",),  # Piczak 2015
    "fsd50k": ("Freesound",),  # Fonseca et al. 2022
} | dict.fromkeys(RECORDED, ())
"""Where corpora were collected, beside those that were recorded for themselves. Two of one origin may share recordings,
and what is not here may hold anything: then it is unknown.
"""
VERSIONS: Mapping[str, tuple[str, ...]] = {
    "speech_commands_v1": ("speech_commands_v2",),
    "speech_commands_v2": ("speech_commands_v1",),
}
"""Warden 2018: the second holds nearly all recordings of the first."""
UNTOLD = ("quesst14",)
"""Corpora of tasks of which it is not told where they were collected."""
TAG = re.compile(r"<\s*[A-Za-z/!?]|&#|javascript:", re.IGNORECASE)


@dataclass(frozen=True)
class Declared:
    """What whoever submits an encoder says of it. `seen` and `not_seen` are corpora as `bench list tasks` has them."""

    contact: str
    licence: str
    seen: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As it is stored."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def declared(facts: Mapping[str, Any], where: str) -> Declared:
    """A declaration from plain data, or an error that names the first thing that is wrong with it."""
    validator = jsonschema.Draft202012Validator(schema("declared"))
    for error in sorted(validator.iter_errors(facts), key=lambda error: list(map(str, error.path))):
        raise RequestError(f"{where}: {'/'.join(map(str, error.path)) or 'declaration'}: {error.message[:200]}")
    if problem := next(unprintable(facts, "declaration"), None):
        raise RequestError(f"{where}: {problem}")
    if both := sorted({*facts.get("seen", ())} & {*facts.get("not_seen", ())}):
        raise RequestError(f"{where}: {', '.join(both)} cannot be both seen and not seen")
    seen_, not_seen = (tuple(facts.get(key, ())) for key in ("seen", "not_seen"))
    return Declared(facts["contact"], facts["licence"], seen_, not_seen)


def check_known(said: Declared, records: Iterable[Record]) -> None:
    """Refuse corpora that no task has and no table: a slip of the pen would be a declaration of nothing."""
    here = {one for record in records for one in (corpus_of(record), *_heard(record))}
    known = sorted({*ORIGINS, *MADE_OF, *UNTOLD, *registry.names("task"), "demo", *here})
    for corpus in (*said.seen, *said.not_seen):
        if corpus not in known:
            close = difflib.get_close_matches(corpus, known, n=3)
            raise RequestError(
                f"no corpus is called '{corpus}'",
                *([f"did you mean: {', '.join(close)}?"] if close else []),
                f"known: {', '.join(known)}",
            )


def _heard(record: Record) -> list[str]:
    return list(record.facts["upstream"].get("pretraining_corpora") or ())


def from_toml(path: Path) -> dict[str, Any]:
    """What a file with the keys contact, licence, seen and not_seen says, as plain data."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not a declaration: {error}") from None


def unprintable(value: Any, where: str) -> Iterator[str]:
    """Text within plain data that holds HTML or control characters, by where it stands."""
    for place, text in words.texts(value, where):
        if TAG.search(text):
            yield f"{place} holds HTML: {text[:60]!r}"
        elif not text.replace("\n", " ").replace("\t", " ").isprintable():
            yield f"{place} holds control characters: {text[:60]!r}"


def check_same(folder: Path, said: Declared) -> None:
    """Refuse a declaration where another one lies with the records of its encoder."""
    path = folder / FILE
    if path.is_file() and (known := _read(path, path.stat().st_mtime_ns)) != said:
        raise BenchError(
            f"{folder.name} has another declaration, of {known.contact}", f"remove {path} if the new one is to hold"
        )


def write(folder: Path, said: Declared) -> None:
    """Keep a declaration with the records of its encoder; another one that lies there is not replaced."""
    check_same(folder, said)
    path = folder / FILE
    files.write_text(path, json.dumps({"schema": 1, **said.plain()}, indent=1, ensure_ascii=False) + "\n")


def of(record: Record) -> Declared | None:
    """The declaration that came with the encoder of a record, if there is one."""
    path = record.path.parent.parent / FILE
    return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@cache
def _read(path: Path, _changed: int) -> Declared:
    try:
        facts = json.loads(path.read_text("utf-8"))
        return declared({key: value for key, value in facts.items() if key != "schema"}, path.name)
    except (ValueError, AttributeError) as error:
        raise BenchError(f"{path} is not a declaration: {error}") from None


def corpus_of(record: Record) -> str:
    """What a record's corpus is called in declarations: "demo", its id, or of HEAR's folders the task."""
    task = record.facts["task"]
    if task["demo"]:
        return "demo"
    return str(task["name"] if task["corpus"] == "hear" else task["corpus"])


def seen(record: Record, said: Declared | None = None) -> str:
    """Whether the encoder of a record heard the corpus of its task in pretraining: seen, not seen or unknown.

    What is `said`, or declared beside the record, goes before the card, but does not unsay what that has as seen.
    """
    said = said or of(record)
    card, corpus = record.facts["upstream"].get("pretraining_corpora"), corpus_of(record)
    wanted = _same_audio([corpus])
    if wanted & _same_audio([*(said.seen if said else ()), *(card or ())]):
        return SEEN
    if said and (corpus in said.not_seen or {*MADE_OF.get(corpus, "-")} <= {*said.not_seen}):
        return NOT_SEEN
    return NOT_SEEN if card is not None and _apart(wanted, _same_audio(card)) else UNKNOWN


def _same_audio(corpora: Iterable[str]) -> set[str]:
    """Corpora, what they are made of, and their other versions."""
    found = set(corpora)
    for table in (MADE_OF, VERSIONS):
        found |= {one for corpus in list(found) for one in table.get(corpus, ())}
    return found


def _apart(wanted: set[str], heard: set[str]) -> bool:
    """Whether no recording can be in both, as far as is known where all of them come from."""
    ours, theirs = ({one for one in some if one not in MADE_OF} for some in (wanted, heard))
    if not theirs:
        return True
    if not ours | theirs <= ORIGINS.keys():
        return False
    return not any({*ORIGINS[one]} & {*ORIGINS[other]} for one in ours for other in theirs)
