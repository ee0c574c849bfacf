"""What a record says of a run: facts, scores, cost and provenance, as plain data."""

import math
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from earbench import record as records
from earbench import registry, words
from earbench.config import Settings
from earbench.contract import Labels, Supplied, Upstream
from earbench.data import Prepared
from earbench.extract import Shelf, distinct, estimate_bytes
from earbench.files import digest_of
from earbench.fit import Fitted
from earbench.measure import Measured
from earbench.plan import Cell, Plan, deviations, plain_recipe
from earbench.search import Found
from earbench.versions import versions

PACKAGES = (
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "soundfile",
    "soxr",
    "safetensors",
    "jiwer",
    "mdeval",
)


def facts(
    cell: Cell,
    prepared: Prepared,
    plan: Plan,
    settings: Settings,
    found: Found,
    measured: Measured,
    shelf: Shelf,
    fit_seconds: float,
    head_digests: list[str],
    notes: list[str],
) -> dict[str, Any]:
    """The record's JSON. What has no value (NaN, an infinite loss) is null."""
    card = cell.task.card
    space = cell.task.space(prepared.folds[0])
    stated = deviations(cell, plan, prepared, settings)
    winners = found.heads[found.best_layer]
    said = {
        "schema": records.SCHEMA,
        "plan": {"id": plan.id, "facts": plan.facts},
        "upstream": _upstream(cell),
        "task": {
            "name": card.name,
            "version": card.version,
            "suite": card.suite,
            "corpus": card.corpus.id,
            "demo": prepared.place.demo,
            "verified": card.verified,
            "tested": _tested(measured),
            "census": dict(prepared.census),
        },
        "effort": plan.effort,
        "seeds": plan.seeds,
        "deviations": [words.line(f"{name}: {reason}") for name, reason in stated.items()],
        "scores": _scores(measured),
        "recipe": [plain_recipe(plan.recipes[heads[0].recipe]) for heads in winners if heads],
        "search": found.table,
        "layers": {
            "choice": cell.layers,
            "best": found.best_layer,
            "weights": [[_shares(head) for head in heads] for heads in winners if heads],
            "each": measured.layers,
            "heads": head_digests,
        },
        "labels": list(space) if isinstance(space, Labels) else None,
        "decoding": measured.decoding,
        "columns": measured.columns,
        "cost": _cost(cell, shelf, prepared, fit_seconds),
        "provenance": _provenance(cell, plan),
        "notes": [words.line(note) for note in notes],
    }
    plain: dict[str, Any] = records.finite(said)
    return plain


def _shares(head: Fitted) -> list[float] | None:
    """The learned share of each layer; None of one layer, or where nothing was learned that is a number."""
    found = head.weights()
    return found if found and all(map(math.isfinite, found)) else None


def _tested(measured: Measured) -> str:
    """What the scores are of, whatever the encoder: the units of each fold's test split and their groups."""
    return digest_of({fold: sorted(zip(one.ids, one.groups, strict=True)) for fold, _, one in measured.rows})


def rows(measured: Measured) -> Iterator[dict[str, Any]]:
    """What was said of every test unit, line by line; for further scores, which their lines name, once more."""
    for fold, seed, one in measured.rows:
        yield from records.plain_rows(fold, seed, one.ids, one.groups, one.arrays)
    for score, rows in measured.others.items():
        for fold, seed, one in rows:
            yield from records.plain_rows(fold, seed, one.ids, one.groups, one.arrays, score)


def _upstream(cell: Cell) -> dict[str, Any]:
    card = cell.upstream.card
    return {
        "name": words.name(cell.name),
        "spec": words.name(cell.name),
        "digest": cell.digest,
        "family": words.name(card.family),
        "licence": words.line(card.licence, 500),
        "pretraining": "none (random weights)" if cell.name.endswith("~random") else card.pretraining,
        "pretraining_corpora": _heard(cell),
        "parameters": _parameters(cell.upstream),
        "sample_rate": cell.upstream.sample_rate,
        "hop": cell.upstream.hop,
        "layers": cell.upstream.layers,
        "width": cell.upstream.width,
        "source": dict(cell.upstream.source),
    }


def _heard(cell: Cell) -> list[str] | None:
    """The corpora that the encoder was trained on; None where its card is not about the weights that were loaded."""
    spec, card = registry.split_spec(cell.request.upstream), cell.upstream.card
    if spec["random"] or card.pretraining == "none":
        return []
    known = card.corpora if spec["argument"] is None and spec["checkpoint"] is None else None
    return None if known is None else list(known)


def _parameters(upstream: Upstream) -> int | None:
    """How many there are; of an encoder that is not here, as many as its features come with."""
    if isinstance(upstream, Supplied):
        return upstream.card.parameters
    return sum(parameter.numel() for parameter in upstream.parameters())


def _scores(measured: Measured) -> dict[str, Any]:
    """Scores with their intervals and, seed by seed, the value on each fold."""
    scores = measured.scores()
    for name, samples in measured.samples.items():
        scores[name]["per_seed"] = [[fold.value for fold in folds] for folds in samples]
    return scores


def _cost(cell: Cell, shelf: Shelf, prepared: Prepared, fit_seconds: float) -> dict[str, Any]:
    cost = shelf.cost()
    audio_seconds = cost["audio_seconds"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return cost | {
        "real_time_factor": cost["extract_seconds"] / audio_seconds if audio_seconds else None,
        "fit_seconds": fit_seconds,
        "parameters": _parameters(cell.upstream),
        "feature_rate": 1 / cell.upstream.hop,
        "feature_bytes": estimate_bytes(cell.heard, cell.grain, distinct(prepared)),
        "clips": len(set(shelf.keys.values())),
        "process_peak_bytes": peak,
        "peak_device_bytes": torch.cuda.max_memory_allocated(cell.device) if cell.device.type == "cuda" else None,
    }


def _provenance(cell: Cell, plan: Plan) -> dict[str, Any]:
    return {
        "earbench": versions(["earbench"]).get("earbench"),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        **_commit(),
        "device": str(cell.device),
        "device_name": torch.cuda.get_device_name(cell.device) if cell.device.type == "cuda" else _processor(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "data": plan.facts["folds"],
    }


def _processor() -> str:
    """The processor's model where the system tells, else its architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return words.line(next(models, "") or platform.processor() or platform.machine() or "unknown", words.LONGEST_NAME)


def _commit() -> dict[str, Any]:
    """Commit and dirtiness of the checkout that earbench runs from; nothing for an installed wheel."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return {"commit": None, "dirty": None}

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
