"""A run is one straight line: resolve, prepare, freeze, extract, search, measure, write."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import filelock
from safetensors.torch import save_file

from earbench import audio, describe, files, intervals
from earbench import record as records
from earbench.config import Settings
from earbench.contract import Fold
from earbench.data import Prepared, locate, prepare
from earbench.extract import distinct, encode, estimate_bytes, extract, packs
from earbench.fit import Bench
from earbench.measure import measure
from earbench.plan import Cell, Plan, Request, freeze, resolve
from earbench.progress import Progress
from earbench.record import Record
from earbench.search import Found, open_fold, search
from earbench.tensors import digest

CONSTANT = 1e-5


def run(request: Request, settings: Settings, progress: Progress) -> Record:
    """The record of one upstream on one task: the stored one if the plan was run before, else a new one."""
    with files_ready(settings):
        cell = resolve(request, settings)
        prepared = _prepare(cell, settings, progress)
        plan = freeze(cell, prepared, settings)
        for note in cell.upstream.notes:
            progress.warn(note)
        with _alone(plan, settings, progress):
            known = records.find(settings.results, plan.id)
            if known and not request.again:
                return known[-1]
            with _workspace(request, settings) as workspace:
                return _work(cell, prepared, plan, settings, workspace, progress)


@dataclass(frozen=True)
class Forecast:
    """What a run would take, before it starts. `seconds` is None where everything is already stored."""

    upstream: str
    task: str
    plan: str
    clips: int
    hours: float
    disk_bytes: int
    extract_seconds: float
    recipes: int
    stored: bool


def forecast(request: Request, settings: Settings, progress: Progress) -> Forecast:
    """Clips, hours of audio, disk and time of a run; the time is measured on one small batch of its own clips."""
    cell = resolve(request, settings)
    prepared = _prepare(cell, settings, progress)
    plan = freeze(cell, prepared, settings)
    items = distinct(prepared)
    seconds = sum(item.seconds for item in items)
    middle = packs(items, settings.pack_seconds)[len(packs(items, settings.pack_seconds)) // 2]
    cell.upstream.to(cell.device)
    started = time.perf_counter()
    waves = [audio.read(item.clip, cell.upstream.sample_rate) for item in middle]
    encode(cell.upstream, waves, cell.grain, settings.dtype, cell.device)
    per_second = (time.perf_counter() - started) / sum(item.seconds for item in middle)
    return Forecast(
        cell.name,
        cell.task.card.name,
        plan.id,
        len(items),
        seconds / 3600,
        estimate_bytes(cell.upstream, cell.grain, items),
        per_second * seconds,
        len(plan.recipes) * plan.seeds,
        bool(records.find(settings.results, plan.id)),
    )


@contextmanager
def files_ready(settings: Settings) -> Iterator[None]:
    """Results and cache can be written, or the run ends here."""
    files.check_writable(settings.results, "results")
    files.check_writable(settings.cache, "the cache")
    yield


def _prepare(cell: Cell, settings: Settings, progress: Progress) -> Prepared:
    place = locate(cell.task.card.corpus, cell.task.card.name, cell.request.data, settings, progress)
    card = cell.upstream.card
    return prepare(cell.task, card, place, settings.effort, cell.request.partial, settings, progress)


@contextmanager
def _alone(plan: Plan, settings: Settings, progress: Progress) -> Iterator[None]:
    """One process at a time works on a plan; a second one waits, then finds the record."""
    (settings.cache / "plans").mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(settings.cache / "plans" / f"{plan.id}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress.warn("another process is running this very plan; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _workspace(request: Request, settings: Settings) -> Iterator[Path]:
    """Where features and fits are kept: the cache, or with --no-cache a folder that goes away."""
    if request.use_cache:
        yield settings.cache
        return
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
