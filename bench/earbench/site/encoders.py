"""The page of one encoder: its scores beside its untrained twin's, its layers, what its runs cost and came from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earbench import declared, state
from earbench.boards import Column
from earbench.record import Record
from earbench.selection import Key, deviation_names, excludes, newest_last
from earbench.site.addresses import Asked
from earbench.site.tables import TWIN, Shown, Table, amount


@dataclass(frozen=True)
class Scored:
    """One score of a task, and the untrained twin's."""

    task: Asked
    column: Column
    own: Shown
    twin: Shown | None


def scores(name: str, link: str, tables: Mapping[Asked, Table]) -> list[Scored]:
    """All that the encoder whose page is `link` has in the tables of single tasks."""
    return [one for asked, table in tables.items() for one in _scores(name, link, asked, table)]


def twins(key: Key, keys: Sequence[Key]) -> list[Key]:
    """The untrained twins of an encoder; of a twin the trained ones."""
    name = key[0].removesuffix(TWIN) if key[0].endswith(TWIN) else key[0] + TWIN
    return [other for other in keys if other[0] == name]


def facts(records: Sequence[Record], card: Mapping[str, Any]) -> dict[str, str]:
    """What is known of the encoder, by what it is called on the page: from its newest record, then from its card, and
    what was declared beside its records.
    """
    newest = max(records, key=newest_last).facts["upstream"]
    said = declared.of(records[-1])
    source = ", ".join(f"{name} {value}" for name, value in newest.get("source", {}).items())
    return {
        "Family": newest["family"],
        "Licence of the weights": newest["licence"],
        "State": _state(records),
        "Corpora seen in pre-training": _seen(records),
        "Declared licence": said.licence if said else "nothing declared",
        "Contact": said.contact if said else "nothing declared",
        "Pre-training": newest.get("pretraining") or "unknown",
        "Parameters": amount(newest["parameters"]),
        "Input": f"{newest['sample_rate']:,} Hz",
        "Frames": f"one per {newest['hop'] * 1000:g} ms",
        "Layers": f"{newest['layers']} × {newest['width']:,} features",
        "Weights": source or card.get("weights") or "unknown",
        "Digest of the weights": newest["digest"],
        "Compared with the reference implementation": PARITY.get(card.get("parity", ""), "unknown"),
    }


def _state(records: Sequence[Record]) -> str:
    """How many of the runs are in which state, the most known of first."""
    counts = Counter(state.of(record, record.scores) for record in records)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name}: {counts[name]} runs" for name in reversed(state.STATES) if counts[name])


def _seen(records: Sequence[Record]) -> str:
    """The corpora of its tasks by whether the encoder heard them."""
    corpora: dict[str, set[str]] = {}
    for record in records:
        corpora.setdefault(declared.seen(record), set()).add(declared.corpus_of(record))
    order = (declared.SEEN, declared.UNKNOWN, declared.NOT_SEEN)
    return "; ".join(f"{said}: {', '.join(sorted(corpora[said]))}" for said in order if said in corpora)


PARITY = {"run": "yes, feature by feature", "source only": "no, written after its source"}


def runs(records: Sequence[Record], endings: Sequence[str]) -> list[dict[str, Any]]:
    """A line per record, tasks in order and the newest first: its files, cost, provenance, and what keeps it off the
    boards.
    """
    ordered = sorted(sorted(records, key=newest_last, reverse=True), key=lambda record: record.task)
    return [_run(record) | {"files": _files(record, endings)} for record in ordered]


def _files(record: Record, endings: Sequence[str]) -> list[tuple[str, str, str]]:
    """The files of a record that the site has: what they hold, where they lie, how large they are."""
    found = [(ending, path) for ending in endings if (path := record.beside(ending)).is_file()]
    return [(FILES[ending], "/".join(path.parts[-4:]), _bytes(path.stat().st_size)) for ending, path in found]


FILES = {".json": "record", ".replicates.npz": "replicates", ".rows.jsonl.gz": "rows"}


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 1):.0f} kB"


def _scores(name: str, link: str, asked: Asked, table: Table) -> Iterator[Scored]:
    own = next((line for line in table.lines if line.link == link), None)
    twin = next((line for line in table.lines if line.name == name + TWIN), None)
    if own is None:
        return
    others = twin.cells if twin else (None,) * len(own.cells)
    for column, cell, other in zip(table.board.columns, own.cells, others, strict=True):
        if cell:
            yield Scored(asked, column, cell, other)


def _run(record: Record) -> dict[str, Any]:
    said, cost, provenance = (record.facts[name] for name in ("task", "cost", "provenance"))
    size = cost.get("feature_bytes")
    return {
        "task": (record.task, said["demo"]),
        "version": said["version"],
        "plan": record.path.stem,
        "state": state.of(record, record.scores),
        "seen": declared.seen(record),
        "effort": record.facts["effort"],
        "layers": record.facts["layers"].get("choice") or "–",
        "seeds": record.facts["seeds"],
        "excluded": [name for name in deviation_names(record) if excludes(name)],
        "deviations": record.facts["deviations"],
        "notes": record.facts["notes"],
        "factor": cost["real_time_factor"],
        "extract": cost["extract_seconds"],
        "fit": cost["fit_seconds"],
        "audio": cost["audio_seconds"],
        "features": None if size is None else size / 1e6,
        "when": str(provenance.get("when", ""))[:10],
        "device": " ".join(dict.fromkeys(str(provenance[name]) for name in ("device", "device_name"))),
        "program": _program(provenance),
        "versions": ", ".join(f"{name} {version}" for name, version in provenance["versions"].items()),
    }


def _program(provenance: Mapping[str, Any]) -> str:
    """Version and commit; "+" where files were changed that are not in the commit."""
    commit = str(provenance.get("commit") or "")[:8]
    changed = "+" if provenance.get("dirty") else ""
    return " ".join(filter(None, (str(provenance["earbench"]), f"{commit}{changed}")))
