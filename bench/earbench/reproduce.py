"""A record's plan run again, and whether every score holds."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import state
from earbench.config import Settings
from earbench.errors import BenchError, RequestError
from earbench.line import opened, run
from earbench.plan import Request, freeze
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
}
"""What to do where a part of the plan differs."""


@dataclass(frozen=True)
class Wish:
    """Where things lie on this machine, as far as the record cannot say. With `use_cache` stored features and finished
    fits are taken as they are; else everything is computed anew.
    """

    upstream: str | None = None
    task: str | None = None
    data: str | None = None
    use_cache: bool = False


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
    lines += [f"{key}: {then} then, {now} now" for key, (then, now) in told["provenance"].items()]
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
    upstream, task = record.facts["upstream"], record.facts["task"]
    return Request(
        upstream=wish.upstream or upstream.get("spec", upstream["name"]),
        task=wish.task or task["name"],
        data=wish.data or ("demo" if task["demo"] else None),
        partial="partial" in deviation_names(record),
        layers=record.facts["plan"]["facts"]["layers"],
        use_cache=wish.use_cache,
    )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance with a line for every package; when it was made is no difference."""
    rest = {key: value for key, value in facts.items() if key not in ("when", "versions")}
    return rest | {f"version of {name}": version for name, version in facts["versions"].items()}
