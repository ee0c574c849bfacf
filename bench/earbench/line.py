"""A run is one straight line: resolve, prepare, freeze, extract, search, measure, write."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from safetensors.torch import save_file

from earbench import audio, describe, files, intervals
from earbench import record as records
from earbench.config import Settings
from earbench.contract import Fold
from earbench.data import Prepared, locate, prepare
from earbench.extract import Item, distinct, encode, estimate_bytes, extract, packs, store_of
from earbench.fit import Bench
from earbench.measure import measure
from earbench.plan import Cell, Plan, Request, freeze, resolve
from earbench.progress import Progress
from earbench.record import Record
from earbench.search import Found, open_fold, search
from earbench.store import locked
from earbench.tensors import digest

CONSTANT = 1e-5
STALE = 7 * 24 * 3600


def run(request: Request, settings: Settings, progress: Progress) -> Record:
    """The record of one upstream on one task: the stored one if the plan was run before, else a new one."""
    files.check_writable(settings.results, "results")
    files.check_writable(settings.cache, "the cache")
    cell = resolve(request, settings)
    prepared = _prepare(cell, settings, progress)
    plan = freeze(cell, prepared, settings)
    for note in cell.upstream.notes:
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
    """What a run would take, before it starts: `disk_bytes` and `extract_seconds` are for what is not stored yet."""

    upstream: str
    task: str
    plan: str
    clips: int
    hours: float
    disk_bytes: int
    extract_seconds: float
    heads: int
    steps: int
    recorded: bool


def forecast(request: Request, settings: Settings, progress: Progress) -> Forecast:
    """Clips, hours of audio, disk and extraction time of a run; the time is measured on one batch of its own clips."""
    cell = resolve(request, settings)
    prepared = _prepare(cell, settings, progress)
    plan = freeze(cell, prepared, settings)
    items = distinct(prepared)
    missing = store_of(cell, settings, settings.cache).missing(item.key for item in items)
    todo = [item for item in items if item.key in missing]
    return Forecast(
        upstream=cell.name,
        task=cell.task.card.name,
        plan=plan.id,
        clips=len(items),
        hours=sum(item.seconds for item in items) / 3600,
        disk_bytes=estimate_bytes(cell.upstream, cell.grain, todo),
        extract_seconds=_tried(cell, settings, todo) * sum(item.seconds for item in todo) if todo else 0.0,
        heads=len(plan.recipes) * plan.seeds * len(prepared.folds),
        steps=sum(recipe.steps for recipe in plan.recipes) * plan.seeds * len(prepared.folds),
        recorded=bool(records.find(settings.results, plan.id)),
    )


def _tried(cell: Cell, settings: Settings, items: Sequence[Item]) -> float:
    """Seconds of work per second of audio, measured on the middle batch of `items`."""
    batches = packs(items, settings.pack_seconds)
    middle = batches[len(batches) // 2]
    cell.upstream.to(cell.device)
    started = time.perf_counter()
    waves = [audio.read(item.clip, cell.upstream.sample_rate) for item in middle]
    encode(cell.upstream, waves, cell.grain, settings.dtype, cell.device)
    return (time.perf_counter() - started) / sum(item.seconds for item in middle)


def _prepare(cell: Cell, settings: Settings, progress: Progress) -> Prepared:
    place = locate(cell.task.card.corpus, cell.task.card.name, cell.request.data, settings, progress)
    card = cell.upstream.card
    return prepare(cell.task, card, place, settings.effort, cell.request.partial, settings, progress)


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
    folder = workspace / "fits" / plan.id
    started = time.perf_counter()

    @lru_cache(maxsize=1)
    def opener(name: str) -> Bench:
        return open_fold(cell, plan, next(fold for fold in prepared.folds if fold.name == name), shelf, folder)

    def open_(fold: Fold) -> Bench:
        return opener(fold.name)

    notes = [*cell.upstream.notes, *_constant(cell, open_(prepared.folds[0]), progress)]
    found = search(cell, plan, prepared.folds, open_, progress)
    measured = measure(cell, found, prepared.folds, open_, shelf, progress)
    spent = time.perf_counter() - started
    heads = _save_heads(found, workspace)
    facts = describe.facts(cell, prepared, plan, settings, found, measured, shelf, spent, heads, notes)
    resampled = {name: intervals.replicates(samples) for name, samples in measured.samples.items()}
    return records.write(settings.results, facts, describe.rows(measured), resampled)


def _constant(cell: Cell, bench: Bench, progress: Progress) -> list[str]:
    """A warning if pooled features do not differ between clips (mean normalisation over time does that)."""
    if bench.train.framewise or len(bench.train.rows) < 2:
        return []
    flat = int((bench.train.rows.std(0) < CONSTANT).sum())
    total = bench.train.rows[0].numel()
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
