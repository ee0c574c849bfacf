"""A record's plan run again, and whether every score holds."""

import math
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import registry, state
from earbench.config import Settings
from earbench.errors import BenchError, RequestError
from earbench.escapes import one_line
from earbench.line import opened, run
from earbench.plan import Request, freeze, public_name
from earbench.progress import Progress
from earbench.record import Record
from earbench.selection import deviation_names

CLOSE = 1e-5
"""What a store that was filled in another order, or another processor, may change of a score."""
HOLDS = ("equal", "within 1e-5")
REASONS = {
    "engine": "the engine computes otherwise: install the version of earbench that the record names",
    "upstream": "other weights: --upstream SPEC says where those of the record lie",
    "folds": "other audio, labels or splits: --data DIR says where the corpus of the record lies",
    "arrays": "other features were supplied",
    "recipes": "heads would be trained otherwise: install the version of the package that the task comes from",
    "task": "another version of the task, or other labels: --task TASK and --data DIR say where they lie",
}
"""What to do where a part of the plan differs."""
DATA_ONLY = ("hf", "torchaudio", "s3prl", "features")
"""Schemes of ours whose argument names weights or arrays, which are read without running anything. Of any other it may
be code.
"""


@dataclass(frozen=True)
class Wish:
    """Where things lie on this machine, as far as the record cannot say. With `use_cache` stored features and finished
    fits are taken as they are; else everything is computed anew. `run_code` is the spec of the record, where that
    names code, said once more by who wants it run.
    """

    upstream: str | None = None
    task: str | None = None
    data: str | None = None
    use_cache: bool = False
    run_code: str | None = None


def reproduce(record: Record, wish: Wish, settings: Settings, progress: Progress) -> Record:
    """A new record of the very plan of `record`, in a folder that goes away; refused before anything is trained if this
    machine would run another plan.
    """
    plan = record.facts["plan"]["facts"]
    request = _request(record, wish)
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        changed = settings.with_(
            results=Path(folder), effort=record.facts["effort"], seeds=record.facts["seeds"], dtype=plan["dtype"]
        )
        try:
            here = freeze(*opened(request, changed, progress), changed).facts
        except BenchError as error:
            raise RequestError(
                f"{record.path.name} cannot be run here: {error}",
                "--upstream SPEC, --task TASK and --data DIR say where things lie that the record must not tell",
            ) from None
        if differing := [key for key in {**plan, **here} if plan.get(key) != here.get(key)]:
            raise RequestError(
                f"this would be another plan than that of {record.path.name}: {', '.join(differing)}",
                *(REASONS[key] for key in differing if key in REASONS),
            )
        return run(request, changed, progress)


def told(then: Record, now: Record) -> dict[str, Any]:
    """What `bench reproduce --json` prints: whether all scores hold, each of them, and what differs in provenance."""
    scores = []
    for name, score in then.scores.items():
        found = now.scores.get(name, {}).get("value")
        scores.append({"score": name, "recorded": score["value"], "found": found, "verdict": verdict(score, found)})
    return {
        "record": then.path.name,
        "holds": all(one["verdict"] in HOLDS for one in scores),
        "scores": scores,
        "provenance": provenance(then, now),
    }


def mark(then: Record, told: Mapping[str, Any], by: str | None) -> None:
    """Note beside a record that it was reproduced, if every score held."""
    if told["holds"]:
        state.write(then, "reproduced", list(then.scores), by)


def text(told: Mapping[str, Any]) -> str:
    """The same for people."""
    rows = [{key: "-" if value is None else str(value) for key, value in one.items()} for one in told["scores"]]
    lines = [tabulate(rows, headers="keys", disable_numparse=True), ""]
    lines += [one_line(f"{key}: {then} then, {now} now") for key, (then, now) in told["provenance"].items()]
    return "\n".join([*lines, "every score holds" if told["holds"] else "not every score holds"])


def verdict(score: Mapping[str, Any], found: float | None) -> str:
    """Whether a score holds: equal, or within 1e-5; or how not."""
    recorded = score["value"]
    if recorded == found:
        return "equal"
    if recorded is None or found is None:
        return "missing"
    if math.isclose(recorded, found, rel_tol=CLOSE, abs_tol=CLOSE):
        return "within 1e-5"
    inside = score["low"] is not None and score["low"] <= found <= score["high"]
    return "differs, inside the recorded interval" if inside else "differs"


def provenance(then: Record, now: Record) -> dict[str, tuple[Any, Any]]:
    """What was otherwise when the record was made (versions, machine, commit): then and now."""
    old, new = (_flat(one.facts["provenance"]) for one in (then, now))
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def _request(record: Record, wish: Wish) -> Request:
    task = record.facts["task"]
    return Request(
        upstream=wish.upstream or _spec(record, wish),
        task=wish.task or task["name"],
        data=wish.data or ("demo" if task["demo"] else None),
        partial="partial" in deviation_names(record),
        layers=record.facts["plan"]["facts"]["layers"],
        use_cache=wish.use_cache,
    )


def _spec(record: Record, wish: Wish) -> str:
    """What a record says its encoder is, as `bench run` takes it; refused where that is not for a record to say."""
    name = record.upstream
    spec = str(record.facts["upstream"].get("spec", name))
    hint = "--upstream SPEC says where its encoder lies here"
    if spec != name:
        raise RequestError(f"{record.path.name} is of '{one_line(name)}' and would run '{one_line(spec)}'", hint)
    parts = registry.split_spec(spec)
    if public_name(spec) != spec or _is_path(parts["checkpoint"]):
        raise RequestError(f"{record.path.name} names a path of this machine: '{one_line(spec)}'", hint)
    if parts["argument"] and parts["name"] not in DATA_ONLY and wish.run_code != spec:
        raise RequestError(
            f"the encoder of {record.path.name} is code that would be run: '{one_line(spec)}'",
            f"if you know and trust what lies there: --run-code {shlex.quote(one_line(spec))}",
            hint,
        )
    return spec


def _is_path(text: str | None) -> bool:
    return bool(text and ("/" in text or "\\" in text))


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance with a line for every package; when it was made is no difference."""
    rest = {key: value for key, value in facts.items() if key not in ("when", "versions")}
    return rest | {f"version of {name}": version for name, version in facts["versions"].items()}
