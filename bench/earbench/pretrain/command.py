"""What `bench pretrain` does: everything is looked for before the first step, and the log is told at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from earbench import files, registry
from earbench.config import Settings
from earbench.errors import RequestError, UnknownName
from earbench.kit.pretraining import Objective
from earbench.kit.seeds import derive
from earbench.plan import load_task, pick_device
from earbench.pretrain.loop import Probe, Run, Schedule, train
from earbench.pretrain.perturb import longest
from earbench.pretrain.probe import probe
from earbench.pretrain.speech import found_below, gather
from earbench.progress import Progress

SHOWN = 12


@dataclass(frozen=True)
class Wish:
    """What was asked for; None is the objective's own. The same `data` without `out` is the same folder again."""

    method: str
    data: Path
    out: Path | None
    steps: int
    batch: int | None
    rate: float | None
    every: int
    probe: str | None
    probe_every: int
    perturb: bool
    seed: int


def pretrain(wish: Wish, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Train as wished, from the beginning or from where an earlier run stopped; where the outcome lies, and the log."""
    objective = _objective(wish)
    found_below(wish.data)  # said before the corpus of the probe is built
    folder = wish.out or settings.cache / "pretrained" / f"{wish.method}-{files.digest_of(str(wish.data.resolve()))}"
    files.check_writable(folder, "a pretraining run")
    judge = _probe(wish, objective, settings, progress)
    speech = gather(wish.data, folder, objective.sample_rate, longest(objective.window), progress)
    schedule = Schedule(
        wish.steps,
        wish.batch or objective.batch,
        wish.rate or objective.rate,
        wish.every,
        wish.probe_every,
        wish.perturb,
        wish.seed,
    )
    run = Run(folder.resolve(), objective, schedule, speech, pick_device(settings.device))
    train(run, judge, progress)
    public = folder / "published.pt"
    files.write(public, lambda path: torch.save(objective.cpu().published(), path))
    return {
        "upstream": f"{objective.upstream}@{run.weights}",
        "published": str(public.resolve()),
        "speech": speech.facts,
        "seconds": round(run.seconds),
        "log": run.log,
    }


def told(outcome: dict[str, Any]) -> str:
    """The log in short, and how to use what came out of it."""
    log, speech = outcome["log"], outcome["speech"]
    stride = -(-len(log) // SHOWN)
    rows = [line for number, line in enumerate(log) if number % stride == 0 or number == len(log) - 1]
    return "\n".join(
        [
            tabulate(rows, headers="keys", floatfmt=".4g"),
            "",
            f"trained on: {speech['minutes']} min of {speech['speakers']} speakers",
            f"use it: bench run --upstream {outcome['upstream']} --task ks",
            f"in the published layout: {outcome['published']}",
        ]
    )


def _objective(wish: Wish) -> Objective:
    """The objective with fresh weights, drawn from the seed."""
    known = registry.names("objective")
    if wish.method not in known:
        raise UnknownName(f"no way of pretraining called '{wish.method}'", f"there is: {', '.join(known)}")
    for option in ("steps", "batch", "rate", "every", "probe_every"):
        number = getattr(wish, option)
        if number is not None and not 0 < number < math.inf:
            raise RequestError(f"--{option.replace('_', '-')} must be positive, got {number}")
    found = registry.load("objective", wish.method)
    torch.manual_seed(derive("pretrain", wish.seed, "start"))
    objective: Objective = found()
    return objective


def _probe(wish: Wish, objective: Objective, settings: Settings, progress: Progress) -> Probe | None:
    if wish.probe is None:
        return None
    corpus = load_task(wish.probe).card.corpus.id
    return probe(objective.upstream, wish.probe, settings.data.get(corpus, "demo"), settings, progress)
