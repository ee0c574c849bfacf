"""Records of one encoder packed into a bundle: which of them, with which heads, and what is declared. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earbench import bundle, declared
from earbench import record as records
from earbench.config import Settings
from earbench.declared import Declared
from earbench.errors import RequestError
from earbench.record import Record
from earbench.selection import countable, deviation_names, excludes, newest_last


@dataclass(frozen=True)
class Wish:
    """What is asked for. No tasks are all that there are records of; with `all_`, records that no board shows too."""

    upstream: str
    tasks: tuple[str, ...]
    out: Path
    all_: bool = False


def submit(wish: Wish, file: Path | None, options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """What was packed: the bundle, its records, and of each task's corpus whether the encoder has seen it.

    A `file` and `options` together declare contact, licence, seen and not_seen.
    """
    chosen = choose(wish, settings.results)
    said = declaration(file, options, chosen[0].facts["upstream"]["licence"])
    declared.check_known(said, chosen)
    heads = [path for record in chosen for path in _heads(record, settings.cache)]
    manifest = bundle.pack(wish.out, chosen, sorted(set(heads)), said)
    return {
        "bundle": str(wish.out),
        "upstream": manifest["upstream"],
        "records": [_line(record, said) for record in chosen],
        "heads": len(set(heads)),
        "bytes": wish.out.stat().st_size,
    }


def choose(wish: Wish, results: Path) -> list[Record]:
    """The newest record of every plan of the encoder, oldest first."""
    every = records.every(results)
    of_name = [one for one in every if wish.upstream in (one.upstream, one.path.parent.parent.name)]
    if not of_name:
        known = sorted({one.upstream for one in every})
        raise RequestError(
            f"there are no records of '{wish.upstream}' in {results}",
            f"there are of: {', '.join(known)}" if known else "`bench run` makes them",
        )
    if len(folders := sorted({one.path.parent.parent.name for one in of_name})) > 1:
        raise RequestError(
            f"records of {len(folders)} different encoders are called '{wish.upstream}': {', '.join(folders)}",
            "a bundle is of one: give the name of its folder",
        )
    if missing := [task for task in wish.tasks if task not in {one.task for one in of_name}]:
        raise RequestError(f"'{wish.upstream}' has no record of {', '.join(missing)}", "`bench run` makes them")
    asked = [one for one in of_name if not wish.tasks or one.task in wish.tasks]
    fitting = [one for one in asked if wish.all_ or countable(one)]
    if refused := [one for one in asked if one not in fitting and (wish.tasks or not fitting)]:
        raise RequestError(
            "no board shows these records:",
            *(f"{one.task}, {one.path.name}: {', '.join(filter(excludes, deviation_names(one)))}" for one in refused),
            "run them whole, or pack them all the same with --all",
        )
    return list({one.facts["plan"]["id"]: one for one in sorted(fitting, key=newest_last)}.values())


def text(packed: dict[str, Any]) -> str:
    """What was packed, for people."""
    from tabulate import tabulate

    unknown = sorted({one["corpus"] for one in packed["records"] if one["seen"] == declared.UNKNOWN})
    lines = [tabulate(packed["records"], headers="keys", disable_numparse=True), ""]
    lines += [
        f"{packed['bundle']}: {len(packed['records'])} records, {packed['heads']} heads, {packed['bytes']:,} bytes"
    ]
    if unknown:
        lines += [f"boards will say 'unknown' of {', '.join(unknown)}: --seen or --not-seen CORPUS says otherwise"]
    return "\n".join([*lines, "`bench verify BUNDLE` is what its receiver will run"])


def _heads(record: Record, cache: Path) -> list[Path]:
    """The chosen heads of a record."""
    paths = [cache / "heads" / f"{digest}.safetensors" for digest in record.facts["layers"].get("heads", [])]
    if gone := [path.stem for path in paths if not path.is_file()]:
        raise RequestError(
            f"{len(gone)} of {len(paths)} heads of {record.task}, {record.path.name}, are not in {cache}: {gone[0]}",
            f"`bench run --upstream … --task {record.task} --again` makes them once more, and a new record",
            "where they lie in another cache, --cache DIR names it",
        )
    return paths


def _line(record: Record, said: Declared) -> dict[str, Any]:
    return {
        "task": record.task,
        "record": record.path.name,
        "kept off boards": ", ".join(filter(excludes, deviation_names(record))),
        "corpus": declared.corpus_of(record),
        "seen": declared.seen(record, said),
    }


def declaration(file: Path | None, options: Mapping[str, Any], licence: str) -> Declared:
    """What a file and the command line declare together; `licence` where neither says one."""
    given = {key: value for key, value in options.items() if value}
    stated = declared.from_toml(file) if file else {}
    if twice := sorted(given.keys() & stated.keys()):
        raise RequestError(f"{', '.join(twice)} are both in {file} and on the command line: say each once")
    if "contact" not in {*given, *stated}:
        raise RequestError("nobody to ask: --contact is an address that is shown with the records", "or --declare FILE")
    return declared.declared({"licence": licence} | stated | given, str(file or "the command line"))
