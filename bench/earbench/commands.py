"""What the commands that need torch do, once their words are understood."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from earbench import additions, cells, registry, report, store
from earbench import record as records
from earbench.checks import Finding
from earbench.checks import record as check_record
from earbench.checks import task as check_task
from earbench.checks import upstream as check_upstream
from earbench.config import Settings
from earbench.contract import Upstream
from earbench.errors import MissingExtra, MissingWeights, RequestError
from earbench.line import Forecast, forecast, run
from earbench.plan import Request, load_task, load_upstream
from earbench.prepare import ANY_ENCODER
from earbench.progress import Progress
from earbench.record import Record
from earbench.suites import asked


def run_all(
    upstreams: Sequence[str],
    tasks: Sequence[str],
    options: Mapping[str, Any],
    settings: Settings,
    forecast_only: bool,
    as_json: bool,
    debug: bool,
    jobs: int = 1,
) -> int:
    """Every upstream on every task, `jobs` at a time. A cell that fails does not stop the others; the exit code is the
    worst. To debug, the first that fails does stop the rest.
    """
    progress = Progress(quiet=as_json)
    if not upstreams or not tasks:
        raise RequestError(f"--{'task' if upstreams else 'upstream'} is empty")
    for name in upstreams:
        registry.load("upstream", registry.split_spec(name)["name"])
    plugins: dict[Any, str] = {}
    for task in asked(tasks, options.get("data"), settings, progress):
        plain, argument = registry.split_task(task)
        plugins.setdefault((registry.load("task", plain), argument), task)  # a task under two names runs once
    requests = [Request(name, task, **options) for name in upstreams for task in plugins.values()]
    work: cells.Work = forecast if forecast_only else run
    if debug:
        outcomes = [cells.Outcome(work(request, settings, progress)) for request in requests]
    elif jobs > 1 and len(requests) > 1:
        outcomes = cells.side_by_side(work, requests, settings, progress, jobs)
    else:
        outcomes = list(cells.one_by_one(work, requests, settings, progress))
    done: list[Any] = [one.found for one in outcomes if one.found]
    _print_forecasts(done, as_json) if forecast_only else _print_records(done, as_json)
    return max((one.code for one in outcomes), default=0)


def _print_records(done: Sequence[Record], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"records": [record.facts for record in done]}, indent=1, ensure_ascii=False))
        return
    if not done:
        return
    rows = [row for record in done for row in _score_rows(record)]
    print(tabulate(rows, headers="keys", disable_numparse=True))
    if any(record.facts["task"]["demo"] for record in done):
        print(f"\n{report.DEMO_NOTE}")
    for record in done:
        print(f"record: {record.path}", file=sys.stderr)


def _score_rows(record: Record) -> list[dict[str, str]]:
    """A line per score; those of the layers follow where `--layers` asked for each, and valid chose the score's."""
    layers, lines = record.facts["layers"], list(record.scores.items())
    asked = any(deviation.startswith("layers-") for deviation in record.facts["deviations"])
    for one in layers["each"] if asked else ():
        chosen = ", chosen on valid" if one["layer"] == layers["best"] else ""
        lines += [(f"{name}, layer {one['layer']}{chosen}", score) for name, score in one["scores"].items()]
    return [
        {
            "upstream": record.upstream,
            "task": record.task,
            "score": name,
            "value [95 %]": report.score_text(score),
            "unit": score["unit"],
        }
        for name, score in lines
    ]


def _print_forecasts(done: Sequence[Forecast], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"plans": [asdict(one) for one in done]}, indent=1))
        return
    rows = [
        {
            "upstream": one.upstream,
            "task": one.task,
            "clips": f"{one.clips:,}",
            "hours": f"{one.hours:.2f}",
            "disk": _disk(one),
            "extraction": _duration(one.extract_seconds),
            "heads": str(one.heads),
            "steps": f"up to {one.steps:,}",
            "record": "stored" if one.recorded else "to be made",
        }
        for one in done
    ]
    print(tabulate(rows, headers="keys", disable_numparse=True))


def _disk(one: Forecast) -> str:
    """What the features take; or, over the budget, how often the encoder runs because they are not kept."""
    need = f"{one.disk_bytes / 1e6:,.1f} MB"
    return f"{need}, over budget_gb: streamed in up to {one.passes:,.0f} passes" if one.streams else need


def _duration(seconds: float) -> str:
    """About how long, for people.

    >>> _duration(5400)
    'about 1.5 h'
    """
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def findings(
    upstream: str | None, task: str | None, record: Path | None, sent: tuple[Path, Path] | None = None
) -> list[dict[str, Any]]:
    """What the checks found, one row per check. `sent` is a results folder and the one that it is to become."""
    if sent is not None:
        found = additions.run(*sent)
    elif record is not None:
        found = check_record.run(records.read(record))
    elif upstream is not None:
        encoder, loaded = checkable(upstream)
        notes = [Finding("worth knowing", True, note) for note in encoder.notes]
        found = [*loaded, *notes, *check_upstream.run(encoder)]
    else:
        found = [*_made_up(str(task)), *check_task.run(load_task(str(task)), ANY_ENCODER)]
    return [{"check": one.name, "ok": one.ok, "detail": one.detail} for one in found]


def _made_up(task: str) -> list[Finding]:
    """That `NAME:WHAT` is checked without WHAT, which may be a folder of the user's."""
    name, argument = registry.split_task(task)
    if argument is None:
        return []
    said = f"all that follows is of made-up data for '{name}', not of {argument}"
    return [Finding("corpus", True, f"{said}: `bench prepare --task {shlex.quote(task)}` looks into that")]


def checkable(spec: str) -> tuple[Upstream, list[Finding]]:
    """The encoder that `spec` names; its untrained twin, and a finding that says so, where a plain name's weights are
    not here.
    """
    parts = registry.split_spec(spec)
    try:
        return load_upstream(spec), []
    except (MissingWeights, MissingExtra):
        if parts["argument"] or parts["checkpoint"] or parts["random"]:
            raise
        twin = f"{spec}~random"
        return load_upstream(twin), [Finding("weights", True, f"not here: all that follows is of {twin}")]


def cache_rows(settings: Settings) -> list[dict[str, Any]]:
    """Stored features by encoder and grain."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in store.entries(settings.cache):
        key = (entry.folder.parent.name, entry.folder.name)
        row = found.setdefault(key, {"upstream": key[0], "grain": key[1], "shards": 0, "clips": 0, "MB": 0.0})
        row["shards"] += 1
        row["clips"] += entry.clips
        row["MB"] = round(row["MB"] + entry.bytes / 1e6, 1)
    others = [(name, store.size_of(settings.cache / name)) for name in ("fits", "heads", "pretrained", "demo")]
    rest = [
        {"upstream": "", "grain": name, "shards": None, "clips": None, "MB": round(size / 1e6, 1)}
        for name, size in others
    ]
    return [*found.values(), *(row for row in rest if row["MB"])]
