"""A run is one straight line: resolve, prepare, freeze, extract, search, measure, write."""

import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from earbench import describe, files, intervals, simple, supplied
from earbench import record as records
from earbench.config import Settings
from earbench.contract import Effort, Fold, Match, Recipe, Task
from earbench.data import Prepared, at, locate, prepare
from earbench.errors import BenchError
from earbench.examples import Pooled
from earbench.extract import Item, Shelf, distinct, estimate_bytes, extract, packs_of, store_of, streams
from earbench.fit import Bench, in_step
from earbench.forward import Source, source
from earbench.matching import match
from earbench.measure import Measured, measure
from earbench.packed import unpacked
from earbench.plan import Cell, Plan, Request, contradiction, epoch_units, freeze, in_steps, resolve
from earbench.progress import Progress
from earbench.record import Record
from earbench.search import Found, judgeable, layer_choices, open_fold, search
from earbench.store import locked
from earbench.tensors import digest

CONSTANT = 1e-5
STALE = 7 * 24 * 3600


def run(request: Request, settings: Settings, progress: Progress) -> Record:
    """The record of one upstream on one task: the stored one if the plan was run before, else a new one."""
    files.check_writable(settings.results, "results")
    files.check_writable(settings.cache, "the cache")
    cell, prepared = opened(request, settings, progress)
    plan = freeze(cell, prepared, settings)
    supplied.check_unchanged(cell, plan, settings.results)
    for note in (*cell.upstream.notes, *prepared.notes):
        progress.warn(note)
    lock = settings.cache / "plans" / f"{plan.id}.lock"
    lock.parent.mkdir(exist_ok=True)
    with locked(lock, progress, "another process is running this very plan"):
        known = records.find(settings.results, plan.id)
        if known and not request.again:
            return known[-1]
        with _workspace(request, settings) as workspace:
            return _work(cell, prepared, plan, settings, workspace, progress)


@dataclass(frozen=True)
class Forecast:
    """What a run would take, before it starts: `disk_bytes` and `extract_seconds` are for what is not stored yet.

    Where the disk they need is over the budget, nothing is stored: the encoder `streams`, in up to `passes` passes over
    all clips, which `extract_seconds` then counts.
    """

    upstream: str
    task: str
    plan: str
    clips: int
    hours: float
    disk_bytes: int
    extract_seconds: float
    streams: bool
    passes: float
    heads: int
    steps: int
    recorded: bool


def forecast(request: Request, settings: Settings, progress: Progress) -> Forecast:
    """Clips, hours of audio, disk and extraction time of a run; the time is measured on one batch of its own clips."""
    cell, prepared = opened(request, settings, progress)
    plan = freeze(cell, prepared, settings)
    items = distinct(prepared)
    store = store_of(cell, settings, settings.cache)
    streaming = streams(cell, items, store, settings)
    passes = _passes(cell, plan, prepared) if streaming else 1.0
    missing = store.missing(item.key for item in items)
    todo = [item for item in items if streaming or item.key in missing]
    pace = _tried(cell, source(cell, prepared, settings.dtype), settings, todo) if todo else 0.0
    fits = _fits(cell, plan, prepared)
    return Forecast(
        upstream=cell.name,
        task=cell.task.card.name,
        plan=plan.id,
        clips=len(items),
        hours=sum(item.seconds for item in items) / 3600,
        disk_bytes=estimate_bytes(cell.heard, cell.grain, todo),
        extract_seconds=passes * pace * sum(item.seconds for item in todo),
        streams=streaming,
        passes=passes,
        heads=len(fits) * plan.seeds,
        steps=sum(fits) * plan.seeds,
        recorded=bool(records.find(settings.results, plan.id)),
    )


def _fits(cell: Cell, plan: Plan, prepared: Prepared) -> list[int]:
    """The most steps of every fit of one seed; by the rule "first", later folds train one recipe, here the longest."""
    first, *others = ([recipe.steps for recipe in _in_steps(cell, plan, fold)] for fold in prepared.folds)
    later = ([max(steps)] if cell.task.search == "first" else steps for steps in others)
    return [*first, *(one for steps in later for one in steps)]


def _in_steps(cell: Cell, plan: Plan, fold: Fold) -> list[Recipe]:
    """The recipes with epochs as steps: exactly so, or where they count frames, about."""
    units = epoch_units(cell.task, fold.train, cell.upstream)
    return [in_steps(recipe, units) for recipe in plan.recipes]


def _passes(cell: Cell, plan: Plan, prepared: Prepared) -> float:
    """How often, at most, a run that stores nothing forwards every clip: train and valid once for all in lock step."""
    if isinstance(cell.task, Match):
        asked = sum(len(fold.valid.clips) + len(fold.test.clips) for fold in prepared.folds)
        return 2.0 * asked * len(layer_choices(cell)) / len(prepared.clips())  # a clip may be asked for twice
    forwarded = 0
    for fold in prepared.folds:
        recipes = _in_steps(cell, plan, fold)
        for one in (recipes[group[0]] for group in in_step(recipes, range(len(recipes)))):
            forwarded += one.steps * one.accum * one.batch + math.ceil(one.steps / one.every) * len(fold.valid.clips)
        forwarded += len(fold.test.clips)
    return forwarded * plan.seeds * len(layer_choices(cell)) / len(prepared.clips())


def _tried(cell: Cell, origin: Source[Any], settings: Settings, items: Sequence[Item]) -> float:
    """Seconds of work per second of audio, measured on the middle batch of `items`."""
    batches = packs_of(items, cell.grain, settings)
    middle = batches[len(batches) // 2]
    cell.upstream.to(cell.device)
    started = time.perf_counter()
    origin.make([origin.fetch(item.clip) for item in middle])
    return (time.perf_counter() - started) / sum(item.seconds for item in middle)


def opened(request: Request, settings: Settings, progress: Progress) -> tuple[Cell, Prepared]:
    """Encoder and task, the task as its corpus states it and lets it be judged, and that corpus; with features where
    these were supplied.
    """
    cell = resolve(request, settings)
    task, card = cell.task, cell.upstream.card
    place = locate(task, cell.request.data, settings, progress)
    place = unpacked(task, card, place, settings, progress)
    task = at(task, card, place)
    if problem := contradiction(task):
        raise BenchError(f"task '{task.card.name}' contradicts itself: {problem}", "this is for its author to settle")
    prepared = prepare(task, card, place, settings.effort, cell.request.partial, settings, progress)
    effort: Effort = settings.effort  # type: ignore[assignment]
    task, notes = judgeable(task, prepared.folds, effort)
    if notes:
        named = (*prepared.deviations, "valid-loss")
        prepared = replace(prepared, deviations=named, notes=(*prepared.notes, *notes))
    prepared = replace(prepared, notes=(*prepared.notes, *_one_class(task, prepared.folds)))
    cell = replace(cell, task=task)
    return cell, supplied.gather(cell, prepared, settings, progress)


def _one_class(task: Task, folds: Sequence[Fold]) -> list[str]:
    """A warning if there is nothing to tell apart in some train split."""
    if isinstance(task, Match) or not (names := simple.one_class(task, folds)):
        return []
    where = f"fold{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
    return [f"all train clips of {where} are of one class: nothing to learn there, and no logistic regression"]


@contextmanager
def _workspace(request: Request, settings: Settings) -> Iterator[Path]:
    """Where features and fits are kept: the cache, or with --no-cache a folder that goes away."""
    if request.use_cache:
        yield settings.cache
        return
    for left in settings.cache.glob("no-cache-*"):  # of a run that was killed
        if time.time() - left.stat().st_mtime > STALE:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="no-cache-") as folder:
        yield Path(folder)


def _work(
    cell: Cell, prepared: Prepared, plan: Plan, settings: Settings, workspace: Path, progress: Progress
) -> Record:
    shelf = extract(cell, prepared, settings, workspace, progress)
    started = time.perf_counter()
    notes: list[str] = []
    if isinstance(cell.task, Match):
        found, measured = match(cell, cell.task, prepared.folds, shelf, progress)
    else:
        found, measured, notes = _fitted(cell, plan, prepared, shelf, workspace, progress)
    spent = time.perf_counter() - started
    heads = _save_heads(found, workspace)
    notes = [*cell.upstream.notes, *prepared.notes, *notes]
    facts = describe.facts(cell, prepared, plan, settings, found, measured, shelf, spent, heads, notes)
    resampled = {name: intervals.replicates(samples) for name, samples in measured.samples.items()}
    return records.write(settings.results, facts, describe.rows(measured), resampled)


def _fitted(
    cell: Cell, plan: Plan, prepared: Prepared, shelf: Shelf, workspace: Path, progress: Progress
) -> tuple[Found, Measured, list[str]]:
    """Heads trained, chosen and measured; and what is odd about their features."""
    folder = workspace / "fits" / plan.id

    odd: dict[str, None] = {}

    @lru_cache(maxsize=1)
    def opener(name: str) -> Bench:
        bench = open_fold(cell, plan, next(fold for fold in prepared.folds if fold.name == name), shelf, folder)
        odd.update(dict.fromkeys(_batching_notes(bench)))
        return bench

    def open_(fold: Fold) -> Bench:
        return opener(fold.name)

    notes = _constant(cell, open_(prepared.folds[0]), progress)
    found = search(cell, plan, prepared.folds, open_, progress)
    return found, measure(cell, found, prepared.folds, open_, shelf, progress), [*notes, *odd]


def _batching_notes(bench: Bench) -> list[str]:
    """What a task says of how it cuts a fold into batches, for whatever recipes the plan has."""
    notes = (bench.task.batching_note(bench.train.units, recipe) for recipe in bench.plan.recipes)
    return [f"fold '{bench.fold.name}': {note}" for note in notes if note]


def _constant(cell: Cell, bench: Bench, progress: Progress) -> list[str]:
    """A warning if pooled features do not differ between clips (mean normalisation over time does that)."""
    if not isinstance(bench.train, Pooled) or len(bench.train.rows) < 2:
        return []
    rows = bench.train.rows
    flat = sum(int((rows.matrix(layer).std(0) < CONSTANT).sum()) for layer in range(rows.shape[1]))
    total = rows.shape[1] * rows.shape[2]
    if not flat:
        return []
    note = f"{flat} of {total} pooled features of '{cell.name}' are the same for every clip: no head learns from them"
    progress.warn(note)
    return [note]


def _save_heads(found: Found, workspace: Path) -> list[str]:
    """The chosen heads in the cache, one file per fold and seed, named by what is in them."""
    digests = []
    for head in (head for heads in found.heads[found.best_layer] for head in heads):
        digests.append(digest(head.state))
        path = workspace / "heads" / f"{digests[-1]}.safetensors"
        files.write(path, partial(save_file, dict(head.state)))
    return digests
