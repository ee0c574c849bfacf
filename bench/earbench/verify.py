"""A bundle looked into without trust: what could be verified, what could not, and what is refused.

Digests prove nothing, since whoever changes a record can make them anew. Scores are therefore made again from rows, and
from predictions and the answers of the corpus where that is here. Without it a forgery that fits together is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from tabulate import tabulate

from earbench import bundle, declared, rescore, state
from earbench import record as records
from earbench.bundle import Bundle
from earbench.checks import record as check_record
from earbench.config import Settings
from earbench.contract import Fold, Task, UpstreamCard
from earbench.data import at, census_differences, folds_of, locate, quick
from earbench.errors import BenchError, RequestError
from earbench.files import digest_of
from earbench.packed import unpacked
from earbench.plan import load_task
from earbench.progress import Progress
from earbench.record import Record
from earbench.selection import check_repeats, deviation_names
from earbench.tensors import digest

CLOCKS = timedelta(days=1)
"""How far clocks may be apart."""
LONGEST = 300
"""Letters of what is said of a check."""
VERIFIED, OPEN, REFUSED = "verified", "not checked", "refused"


@dataclass(frozen=True)
class Wish:
    """Where the corpus lies (None: as the settings say), whether to keep what holds, and who says so."""

    data: str | None = None
    keep: bool = False
    by: str | None = None


@dataclass(frozen=True)
class Found:
    """What one check said of one record, or of the bundle as a whole ("")."""

    record: str
    check: str
    verdict: str
    detail: str


def verify(path: Path, wish: Wish, settings: Settings, progress: Progress) -> dict[str, Any]:
    """What `bench verify --json` prints: every finding, whether the bundle holds, and what was kept of it."""
    if not path.is_file():
        raise RequestError(f"there is no bundle {path}", "`bench submit` makes one")
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(bundle.opened(path))
        except BenchError as error:
            return _told(path, [Found("", "bundle", REFUSED, str(error))], None, [])
        found = [Found("", "bundle", VERIFIED, f"{len(opened.files)} files as its manifest lists them")]
        seen = {one: _looked_into(opened, one, wish, settings, progress) for one in opened.records()}
        found += [one for looked in seen.values() for one in looked.found]
        kept: list[Path] = []
        if wish.keep and not any(one.verdict == REFUSED for one in found):
            kept = _keep(opened, seen, wish, settings.results)
        return _told(path, found, opened, kept)


def text(told: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for record in dict.fromkeys(one["record"] for one in told["findings"]):
        some = [one for one in told["findings"] if one["record"] == record]
        shown = [[one["verdict"], one["check"], one["detail"]] for one in some]
        lines += [record or told["bundle"], "", tabulate(shown, tablefmt="plain", maxcolwidths=[None, 45, 90]), ""]
    lines += [f"kept: {path}" for path in told["kept"]]
    opened = [one for one in told["findings"] if one["verdict"] == OPEN]
    lines += [f"{len(opened)} checks could not be made: of these it is the submitter's word"] if opened else []
    holds = "holds, as far as it could be checked" if opened else "holds"
    return "\n".join([*lines, holds if told["holds"] else "refused"])


# ---- one record ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Looked:
    """What was found of a record, and the scores that its predictions and the corpus gave again."""

    found: list[Found]
    again: list[str]


def _looked_into(opened: Bundle, path: Path, wish: Wish, settings: Settings, progress: Progress) -> _Looked:
    name = path.relative_to(opened.folder / "records").as_posix()
    again: list[str] = []
    try:
        found = [
            replace(one, record=name, detail=_printable(one.detail))
            for one in _findings(opened, path, wish, settings, progress, again)
        ]
    except Exception as error:  # whatever a stranger wrote into a file
        found, again = [Found(name, "record", REFUSED, _printable(f"stopped with {type(error).__name__}: {error}"))], []
    return _Looked(found, again)


def _findings(
    opened: Bundle, path: Path, wish: Wish, settings: Settings, progress: Progress, again: list[str]
) -> Iterator[Found]:
    """Check after check; the scores that the corpus gave again are added to `again`."""
    record = records.read(path)
    for one in check_record.run(record):
        unchecked = one.detail.startswith("not checked: ")
        verdict = REFUSED if not one.ok else OPEN if unchecked else VERIFIED
        yield Found("", one.name, verdict, one.detail.removeprefix("not checked: "))
        if one.name == "valid record" and not one.ok:
            return
    yield _verdict("place and encoder", _place_problem(opened, record))
    # Labels may be symbols such as <pad>; no board shows them.
    said = chain([{**record.facts, "labels": None}], ([row["id"], row["groups"]] for row in record.lines()))
    problems = (problem for part in said for problem in declared.unprintable(part, "record"))
    yield _verdict("plain text", next(problems, ""))
    yield _verdict("time", _time_problem(record))
    yield _verdict("plan", _plan_problem(record))
    yield from _head_findings(opened, record)
    try:
        task = load_task(record.task)
    except BenchError as error:
        yield Found("", "scores", OPEN, str(error.args[0]))
        return
    if task.card.version != record.facts["task"]["version"]:
        yield Found("", "scores", OPEN, f"version {task.card.version} of task '{record.task}' is installed here")
        return
    if record.facts["layers"]["choice"] != task.layers and not any(
        name.startswith("layers-") for name in deviation_names(record)
    ):
        yield Found("", "layers", REFUSED, f"the task has '{task.layers}', and no deviation says so")
    yield from _corpus_findings(record, task, wish, settings, progress, again)


def _time_problem(record: Record) -> str:
    """Why the run cannot have been then; the newest of several records is shown."""
    when = datetime.fromisoformat(record.facts["provenance"]["when"])
    return f"the run of {when.isoformat()} has not been yet" if when > datetime.now(UTC) + CLOCKS else ""


def _place_problem(opened: Bundle, record: Record) -> str:
    facts = record.facts
    own = records.folder(opened.folder, facts) / f"{facts['plan']['id']}-{record.number}.json"
    if own != record.path:
        return "the record lies where another one belongs"
    if {key: facts["upstream"][key] for key in ("name", "digest")} != opened.upstream:
        return f"it is of {facts['upstream']['name']}, the bundle of {opened.upstream['name']}"
    return ""


def _plan_problem(record: Record) -> str:
    """Why a record is not of its plan, whose digest is the run's id."""
    facts, plan = record.facts, record.facts["plan"]["facts"]
    if digest_of(plan) != facts["plan"]["id"]:
        return "its id is not the digest of its facts"
    stated = {
        "upstream": facts["upstream"]["digest"],
        "layers": facts["layers"]["choice"],
        "effort": facts["effort"],
        "seeds": facts["seeds"],
    }
    differing = [key for key, value in stated.items() if plan[key] != value]
    differing += [key for key in ("name", "version") if plan["task"][key] != facts["task"][key]]
    if differing:
        return f"the record states another {', '.join(differing)} than its plan"
    named = deviation_names(record)
    missing = [name for name, is_so in _excluding(plan).items() if is_so and name not in named]
    return f"the deviation '{missing[0]}' is not stated" if missing else ""


def _excluding(plan: Mapping[str, Any]) -> dict[str, bool]:
    """Deviations that a plan implies."""
    return {"quick": plan["effort"] == "quick", "bf16": plan["dtype"] == "bf16"}


def _head_findings(opened: Bundle, record: Record) -> Iterator[Found]:
    digests = record.facts["layers"].get("heads", [])
    if not digests and not record.facts["recipe"]:
        yield _verdict("heads", "", "a task without a head")
        return
    if not digests:
        yield Found("", "heads", OPEN, "the record names none")
        return
    missing = [one for one in digests if not opened.head(one).is_file()]
    other = [one for one in digests if one not in missing and digest(load_file(opened.head(one))) != one]
    said = [f"{one} is not in the bundle" for one in missing] + [f"{one} has other weights" for one in other]
    yield _verdict("heads", "; ".join(said), f"{len(digests)} with the digests that the record names")


def _printable(text: str) -> str:
    """What a stranger wrote, as a terminal may show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST])


def _corpus_findings(
    record: Record, task: Task, wish: Wish, settings: Settings, progress: Progress, again: list[str]
) -> Iterator[Found]:
    try:
        task, folds = folds_for(record, task, wish, settings, progress)
    except BenchError as error:
        yield Found("", "scores from predictions and the corpus", OPEN, str(error.args[0]))
        return
    for some in rescore.kept(record, task):
        problem, done = rescore.from_corpus(record, task, folds, some)
        if problem:
            again.clear()
            yield Found("", f"{', '.join(some.scores)} from predictions and the corpus", REFUSED, problem)
            return
        again.extend(done)
    if again:
        yield Found("", f"{', '.join(again)} from predictions and the corpus", VERIFIED, "made again")
    if rest := [name for name in record.scores if name not in again]:
        detail = "what was predicted is not in the record"
        yield Found("", f"{', '.join(rest)} from predictions and the corpus", OPEN, detail)


def folds_for(
    record: Record, task: Task, wish: Wish, settings: Settings, progress: Progress
) -> tuple[Task, Sequence[Fold]]:
    """The task as its corpus states it, and its folds; an error says why they cannot be had."""
    facts = record.facts
    upstream, stated = facts["upstream"], facts["task"]
    card = UpstreamCard(
        upstream["name"],
        upstream["family"],
        upstream["licence"],
        weights="",
        sample_rate=upstream["sample_rate"],
        hop=upstream["hop"],
        layers=upstream["layers"],
        widths=(upstream["width"],),
    )
    place = locate(task, "demo" if stated["demo"] else wish.data, settings, progress)
    if place.demo != stated["demo"]:
        raise BenchError(
            f"the folder of '{stated['corpus']}' here is the demo corpus: --data DIR names the published one"
        )
    place = unpacked(task, card, place, settings, progress)
    task = at(task, card, place)
    folds = folds_of(task, card, place)
    whole = not census_differences(task, folds, place)
    counts = dict(task.census(folds))
    if not whole and counts != stated.get("census", counts):
        raise BenchError("the corpus here is not whole, and not as the record counts it")
    return task, [quick(fold) for fold in folds] if facts["effort"] == "quick" else folds


def _verdict(check: str, problem: str, detail: str = "") -> Found:
    return Found("", check, REFUSED if problem else VERIFIED, problem or detail)


# ---- what is kept ----------------------------------------------------------------------------------------------------


def _keep(opened: Bundle, seen: dict[Path, _Looked], wish: Wish, results: Path) -> list[Path]:
    """Records into the results, each with its state, and the declaration beside them; nothing there is written over.

    All is checked before anything is written, and what was written of a bundle goes away if the rest cannot be.
    """
    found = {path: records.read(path) for path in seen}
    plans = dict.fromkeys(record.facts["plan"]["id"] for record in found.values())
    known = {plan: records.find(results, plan) for plan in plans}
    check_repeats([*chain(*known.values()), *found.values()])
    folders = {records.folder(results, record.facts).parent for record in found.values()}
    for folder in folders:
        declared.check_same(folder, opened.said)
    kept: dict[Path, Record] = {}
    with ExitStack() as undo:
        for path, record in found.items():
            same = [one for one in known[record.facts["plan"]["id"]] if one.facts == record.facts]
            kept[path] = same[0] if same else _written(record, results)
            if not same:
                undo.callback(_remove, [kept[path].beside(ending) for ending in (*records.ENDINGS, state.ENDING)])
        for folder in folders:
            if not (folder / declared.FILE).is_file():
                undo.callback(_remove, [folder / declared.FILE])
            declared.write(folder, opened.said)
        for path, record in kept.items():
            if again := seen[path].again:
                state.write(record, "re-scored", again, wish.by)
        undo.pop_all()
    return [record.path for record in kept.values()]


def _remove(paths: Sequence[Path]) -> None:
    """Take files away again, and the folders that are empty without them."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in (paths[0].parent, paths[0].parent.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _written(record: Record, results: Path) -> Record:
    lines = (row for row in record.lines() if row.get("score_of", next(iter(record.scores))) in record.scores)
    replicates = {name: array for name, array in record.replicates().items() if name in record.scores}
    return records.write(results, record.facts, lines, replicates)


def _told(path: Path, found: Sequence[Found], opened: Bundle | None, kept: Sequence[Path]) -> dict[str, Any]:
    return {
        "bundle": path.name,
        "upstream": dict(opened.upstream) if opened else None,
        "declared": opened.said.plain() if opened else None,
        "holds": not any(one.verdict == REFUSED for one in found),
        "findings": [asdict(one) for one in found],
        "kept": [str(one) for one in kept],
    }
