"""A run after it happened: a JSON record, its rows and its replicates, written once and never edited. No torch."""

import gzip
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import filelock
import jsonschema
import numpy as np

from earbench import files, words
from earbench.errors import BenchError

SCHEMA = 1
EXCLUDING = ("partial", "quick", "bf16")
"""Deviations that keep a record off the boards, as other layers than the task's do; all others are footnotes."""

ENDINGS = (".json", ".rows.jsonl.gz", ".replicates.npz")
"""The files of one record."""
SCHEMAS = ("record", "state", "declared", "bundle")
"""What has a schema: a record; what was found out of it and what was declared, beside it; the manifest of a bundle."""
LONG = ("recipe", "search", "labels", "decoding", "columns", "notes")
"""What a record says of how its heads were found; boards show none of it."""


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int),
)
"""A whole number is written as one: 1.0 is none."""


@dataclass(frozen=True)
class Record:
    """A stored record: its JSON as `facts`, and where it lies."""

    path: Path
    facts: Mapping[str, Any]

    @property
    def upstream(self) -> str:
        return str(self.facts["upstream"]["name"])

    @property
    def task(self) -> str:
        return str(self.facts["task"]["name"])

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.facts["scores"]
        return found

    @property
    def number(self) -> int:
        return int(self.path.stem.rpartition("-")[2])

    def rows(self, score: str | None = None) -> list[dict[str, Any]]:
        """What was said of each test unit: id, groups, fold, seed, statistics and prediction.

        Some scores (columns, readings, what was tuned on test) have rows of their own, which are asked for by name.
        """
        return [row for row in self.lines() if row.get("score_of") == score]

    def lines(self) -> Iterator[dict[str, Any]]:
        """The rows of all scores, one at a time: what is read of many of them should be little."""
        with gzip.open(self.beside(".rows.jsonl.gz"), "rt", encoding="utf-8") as file:
            yield from map(loads, file)

    def replicates(self) -> dict[str, np.ndarray[Any, Any]]:
        """Bootstrap replicates of each score, [seed, 1000]."""
        with np.load(self.beside(".replicates.npz")) as arrays:
            return dict(arrays)

    def replicates_of(self, score: str) -> np.ndarray[Any, Any] | None:
        """Bootstrap replicates of one score, [seed, 1000]; None where the record has none."""
        path = self.beside(".replicates.npz")
        try:
            with np.load(path) as arrays:
                return np.asarray(arrays[score]) if score in arrays else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise BenchError(f"{path} cannot be read: {error}") from None

    def beside(self, ending: str) -> Path:
        """Where what belongs to the record lies: `ENDINGS`, and `.state.json`."""
        return self.path.with_name(self.path.stem + ending)


def write(
    results: Path,
    facts: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    replicates: Mapping[str, np.ndarray[Any, Any]],
) -> Record:
    """Store a new record; the JSON comes last, so a record that can be found is whole."""
    problems = list(problems_of(facts))
    if problems:
        raise BenchError("the record would not be valid", *problems)
    with files.explained(results):
        results.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(results / ".lock")
    with lock:
        return _write(results, facts, rows, replicates)


def _write(
    results: Path,
    facts: Mapping[str, Any],
    rows: Iterable[Mapping[str, Any]],
    replicates: Mapping[str, np.ndarray[Any, Any]],
) -> Record:
    number = 1 + max((found.number for found in find(results, facts["plan"]["id"])), default=0)
    path = folder(results, facts) / f"{facts['plan']['id']}-{number}.json"
    record = Record(path, facts)
    try:
        files.write(record.beside(".rows.jsonl.gz"), lambda at: _zip(rows, at))
        files.write(record.beside(".replicates.npz"), lambda at: at.write_bytes(_npz(replicates)))
        files.write_text(path, json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except BaseException:
        for ending in ENDINGS:
            record.beside(ending).unlink(missing_ok=True)
        raise
    return record


def find(results: Path, plan: str) -> list[Record]:
    """The records of one plan, oldest first."""
    return sorted(map(read, _paths(results, f"{plan}-*")), key=lambda record: record.number)


def every(results: Path) -> list[Record]:
    """All records under `results`, in the order of their paths."""
    return list(map(read, _paths(results, "*")))


def briefly(results: Path) -> Iterator[Record]:
    """All records, without what no board shows: of thousands the whole facts would fill the memory."""
    for path in _paths(results, "*"):
        facts = read(path).facts
        kept = {key: value for key, value in facts.items() if key not in LONG}
        plan, layers = {"id": facts["plan"]["id"]}, {"choice": facts["layers"].get("choice")}
        yield Record(path, kept | {"plan": plan, "layers": layers})


def _paths(results: Path, name: str) -> list[Path]:
    """Where records lie whose name is like this; nothing else that is called .json has a stem without a dot."""
    return sorted(path for path in (results / "records").glob(f"*/*/{name}.json") if "." not in path.stem)


def read(path: Path) -> Record:
    """One record, or an error that says what is wrong with the file."""
    try:
        facts = loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not a record: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise BenchError(f"{path} is not a record of schema {SCHEMA}")
    return Record(path, facts)


def problems_of(facts: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a record: against the schema, then impossible scores."""
    errors = sorted(_Validator(schema()).iter_errors(facts), key=lambda error: list(map(str, error.path)))
    yield from (f"{'/'.join(map(str, error.path)) or 'record'}: {_short(error.message)}" for error in errors)
    if errors:
        return
    for name, score in facts["scores"].items():
        yield from (f"scores/{name}: {problem}" for problem in _score_problems(score))
    yield from _layer_problems(facts["layers"])
    yield from _text_problems(facts)


def _short(message: str) -> str:
    """Without the middle of what is long, since it ends with what is wrong."""
    return message if len(message) <= 200 else f"{message[:100]} … {message[-100:]}"


def loads(text: str) -> Any:
    """Plain data out of JSON, whose numbers are all finite.

    >>> loads("[1.5, null]")
    [1.5, None]
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON has")
    return number


def finite(value: Any) -> Any:
    """The same plain data with None for every number that JSON does not have: NaN and the infinities.

    >>> finite({"valid": [1.5, float("nan")]})
    {'valid': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def schema(kind: str = "record") -> dict[str, Any]:
    """The JSON Schema of one of `SCHEMAS`."""
    text = resources.files("earbench").joinpath(f"{kind}.schema.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def plain_rows(
    fold: str,
    seed: int,
    ids: Sequence[str],
    groups: Sequence[Sequence[str]],
    arrays: Mapping[str, Any],
    score: str | None = None,
) -> Iterator[dict[str, Any]]:
    """One line per unit for the rows file. `score` is the one that the rows are of, if not those of the chosen head."""
    of = {} if score is None else {"score_of": score}
    columns = {name: np.asarray(values) for name, values in arrays.items()}
    for index, (unit, names) in enumerate(zip(ids, groups, strict=True)):
        yield (
            {"id": unit, "groups": list(names), "fold": fold, "seed": seed}
            | of
            | {name: finite(plain(values, index)) for name, values in columns.items()}
        )


def plain(values: np.ndarray[Any, Any], index: int) -> Any:
    """An entry as plain data; single precision by the shortest decimals that are read back as the same.

    >>> plain(np.array([[0.1, 1e-20]], np.float32), 0), plain(np.array([0.1]), 0)
    ([0.1, 1e-20], 0.1)
    """
    if values.dtype == object:
        return values[index]
    array = np.asarray(values[index])
    return (array.astype(str).astype(float) if array.dtype == np.float32 else array).tolist()


def slug(name: str) -> str:
    """A name fit for a folder.

    >>> slug("hf:org/model@main~random")
    'hf-org-model-main-random'
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "upstream"


def _score_problems(score: Mapping[str, Any]) -> Iterator[str]:
    value, low, high = score["value"], score["low"], score["high"]
    lowest, highest = score.get("bounds", (None, None))
    if not _ordered(low, value, high):
        yield f"{value} is outside its own interval {low} to {high}"
    if not all(_ordered(lowest, number, highest) for number in (value, low, high)):
        yield f"{value} [{low}, {high}] is impossible: the metric lies between {lowest} and {highest}"
    if problem := _folds_problem(score):
        yield problem


def _folds_problem(score: Mapping[str, Any]) -> str:
    """Why a score has no value where its folds have, or the reverse; or why its seeds have different folds."""
    seeds = score.get("per_seed", [])
    if len({len(folds) for folds in seeds}) > 1:
        return "its seeds are of different numbers of folds"
    whole = all(value is not None for folds in seeds for value in folds)
    if not seeds or whole == (score["value"] is not None):
        return ""
    return f"{score['value']} is not what its folds say, {seeds}"


def _layer_problems(layers: Mapping[str, Any]) -> Iterator[str]:
    """Layers that no map could show: shares that are not of one whole, or scores of some layers only."""
    heads = [head for fold in layers.get("weights", []) for head in fold if head is not None]
    if len({len(head) for head in heads}) > 1 or any(not math.isclose(sum(head), 1, abs_tol=1e-3) for head in heads):
        yield "layers/weights: the shares of all layers are 1 together, and every head has as many"
    each = layers.get("each", [])
    if len({(*one["scores"],) for one in each}) > 1 or len({one["layer"] for one in each}) < len(each):
        yield "layers/each: every layer stands there once, with the same scores"
    for one in each:
        for name, score in one["scores"].items():
            yield from (f"layers/each/{one['layer']}/{name}: {problem}" for problem in _score_problems(score))


def _text_problems(facts: Mapping[str, Any]) -> Iterator[str]:
    """What cannot be shown of what boards and pages show; and names with more than one spelling."""
    shown = {key: value for key, value in facts.items() if key not in (*LONG, "plan")} | {"notes": facts["notes"]}
    for where, part in shown.items():
        yield from words.problems(part, where)
    name = facts["upstream"]["name"]
    if name != words.name(name):
        yield f"upstream/name: {name!a} is not how it is spelled, {words.name(name)!a}"
    try:
        datetime.fromisoformat(facts["provenance"]["when"])
    except ValueError as error:
        yield f"provenance/when: {error}"


def _ordered(*numbers: float | None) -> bool:
    """Whether the numbers that are there do not fall."""
    there = [number for number in numbers if number is not None]
    return all(one <= next_ for one, next_ in itertools.pairwise(there))


def folder(results: Path, facts: Mapping[str, Any]) -> Path:
    """Where a record lies: by encoder, then by task."""
    upstream, task = facts["upstream"], facts["task"]
    return (
        results
        / "records"
        / f"{slug(upstream['name'])}-{upstream['digest'][:8]}"
        / f"{task['name']}-v{task['version']}"
    )


def _zip(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _npz(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    buffer = BytesIO()
    doubles = {name: array.astype(np.float64) for name, array in arrays.items()}
    np.savez_compressed(buffer, **doubles)  # type: ignore[arg-type]
    return buffer.getvalue()
