"""How far a record was looked into by others: a small file beside it, since a record is never edited. No torch.

It is the word of whoever keeps the records: it is bound to the bytes of a record, and not signed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema

from earbench import files
from earbench.errors import BenchError
from earbench.record import ENDINGS, Record, schema
from earbench.versions import versions

STATES = ("self-reported", "re-scored", "reproduced")
"""From the least to the most: as it came; its scores made again from its predictions and the corpus; its plan run
again.
"""
ENDING = ".state.json"


def digest(record: Record) -> str:
    """What stands for a record with its rows and replicates: another digest, another record."""
    paths = [record.beside(ending) for ending in ENDINGS]
    return files.digest_of([files.checksum(path) if path.is_file() else None for path in paths])


def of(record: Record, scores: Iterable[str]) -> str:
    """The weakest state of some scores of a record; a file that speaks of another record is an error."""
    known = {state: facts["scores"] for state, facts in read(record).items()}
    return weakest(_best(known, score) for score in scores)


def weakest(states: Iterable[str]) -> str:
    """The least of several states.

    >>> weakest(["reproduced", "re-scored"])
    're-scored'
    """
    return min(states, key=STATES.index, default=STATES[0])


def _best(known: Mapping[str, Sequence[str]], score: str) -> str:
    return next((state for state in reversed(STATES[1:]) if score in known.get(state, ())), STATES[0])


def read(record: Record) -> dict[str, Any]:
    """What is known of a record by state: the scores, when, by whom and with what; empty where nobody looked."""
    path = record.beside(ENDING)
    if not path.is_file():
        return {}
    try:
        said = json.loads(path.read_text("utf-8"))
        jsonschema.Draft202012Validator(schema("state")).validate(said)
    except (OSError, ValueError, jsonschema.ValidationError) as error:
        raise BenchError(f"{path} is no state of a record: {str(error).splitlines()[0]}") from None
    if said["record"] != digest(record):
        raise BenchError(
            f"{path.name} speaks of another record than the one beside it",
            f"it was changed, or its rows or replicates were: {record.path.parent}",
            "remove the state, or bring back the record",
        )
    found: dict[str, Any] = said["states"]
    return found


def write(record: Record, state: str, scores: Iterable[str], by: str | None) -> Path:
    """Note beside a record that these scores are in `state`; what was noted before stays."""
    known = read(record)
    known[state] = {
        "scores": sorted({*scores, *known.get(state, {}).get("scores", ())}),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": by,
        "earbench": versions(["earbench"]).get("earbench"),
    }
    path = record.beside(ENDING)
    said = {"schema": 1, "record": digest(record), "states": known}
    files.write_text(path, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return path
