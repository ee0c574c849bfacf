"""Keyword spotting end to end, here and in s3prl: same clips, encoder, steps and rate; wall time and accuracy.

usage: python benchmarks/beside_s3prl.py PYTHON [--data DIR] [--upstream NAME] [--steps N] [--every N] [--rate R]
       [--seeds N]

PYTHON is an interpreter in whose environment s3prl 0.4.18 imports (extra `s3prl`, and omegaconf, tensorboard,
editdistance, sed_eval, validators, "setuptools<80"). NAME is `cpc` (default: our weights, written in the public layout
for s3prl) or `fbank_no_cmvn`. Both start from the files with nothing stored and end with the score on test; one thread
each. Ours also runs all seeds at once, as `--seeds` does. Every N steps the valid split is judged, and the best state
is tested; by default only the last one is judged, so that what training does is compared and not which state a small
valid split happens to like.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest.mock import patch

import torch
from scipy import stats
from tabulate import tabulate

from earbench import config, data, line
from earbench.contract import Effort, Recipe
from earbench.plan import Request, load_task, load_upstream
from earbench.progress import Progress
from earbench_tasks.keyword_spotting import KeywordSpotting
from earbench_upstreams.cpc_objective import CpcObjective

PEER = Path(__file__).parent / "peers" / "s3prl_ks.py"
QUIET = Progress(quiet=True)


def main() -> None:
    asked = arguments()
    torch.set_num_threads(1)
    place = data.locate(load_task("ks"), asked.data, config.load(), QUIET)
    with tempfile.TemporaryDirectory() as folder:
        theirs = [peer(asked, place.root, Path(folder), seed) for seed in range(asked.seeds)]
        first = ours(asked, str(place.root), Path(folder), seeds=1)
        all_ = ours(asked, str(place.root), Path(folder), seeds=asked.seeds)
    if asked.seeds > 1 and len({one["loss"] for one in theirs}) == 1:
        sys.exit(
            "every seed gave s3prl the same loss on test, so its seeds change nothing and a spread would mean nothing"
        )
    rows = [
        {"": "s3prl, one seed", "seconds": f"{fmean(one['seconds'] for one in theirs):.1f}", "accuracy": ""},
        {"": "earbench, one seed", "seconds": f"{first['seconds']:.1f}", "accuracy": ""},
        {"": f"s3prl, {asked.seeds} seeds", "seconds": f"{sum(one['seconds'] for one in theirs):.1f}"}
        | {"accuracy": spread([one["accuracy"] for one in theirs])},
        {"": f"earbench, {asked.seeds} seeds", "seconds": f"{all_['seconds']:.1f}"}
        | {"accuracy": spread(all_["accuracy"])},
    ]
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))
    test = stats.ttest_ind([one["accuracy"] for one in theirs], all_["accuracy"], equal_var=False)
    print(f"\nWelch's t test of the two lists of accuracies: p = {test.pvalue:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("--data", default="demo")
    parser.add_argument("--upstream", default="cpc", choices=("cpc", "fbank_no_cmvn"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--every", type=int)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    asked.every = asked.every or asked.steps
    return asked


def spread(values: Sequence[float]) -> str:
    """Every value, and mean and standard deviation.

    >>> spread([10.0, 20.0])
    '15.00 ± 7.07 (10.0, 20.0)'
    """
    listed = ", ".join(f"{value:.1f}" for value in values)
    return f"{fmean(values):.2f} ± {stdev(values):.2f} ({listed})"


def ours(asked: argparse.Namespace, root: str, folder: Path, seeds: int) -> dict[str, Any]:
    """Seconds from the start to the record, and the accuracy of every seed."""

    class OneRecipe(KeywordSpotting):
        def recipes(self, effort: Effort, demo: bool) -> list[Recipe]:
            return [Recipe(lr=asked.rate, batch=32, steps=asked.steps, every=asked.every, clip=1.0)]

    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = config.load().with_(
            cache=Path(home) / "cache", results=Path(home) / "results", effort="reference", seeds=seeds, device="cpu"
        )
        with patch("earbench.plan.load_task", lambda _: OneRecipe()):
            started = time.perf_counter()
            record = line.run(Request(asked.upstream, "ks", data=root, partial=True), settings, QUIET)
            seconds = time.perf_counter() - started
    return {"seconds": seconds, "accuracy": [values[0] for values in record.scores["accuracy"]["per_seed"]]}


def peer(asked: argparse.Namespace, root: Path, folder: Path, seed: int) -> dict[str, Any]:
    """The same from s3prl, one seed after another."""
    (fold,) = KeywordSpotting().folds(root, load_upstream(asked.upstream).card)
    train, test = (split.clips[0].audio.parent.parent for split in (fold.train, fold.test))
    wish = {"train": str(train), "test": str(test), "out": str(folder / f"peer-{seed}"), "seed": seed}
    wish |= {"steps": asked.steps, "judge": asked.every, "rate": asked.rate}
    wish |= {"name": asked.upstream, "path": None}
    if asked.upstream == "cpc":
        wish |= {"name": "cpc_local", "path": str(public_cpc(folder))}
    words = [asked.peer, str(PEER), json.dumps(wish)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def public_cpc(folder: Path) -> Path:
    """Our weights as CPC_audio publishes its own."""
    path, objective = folder / "cpc.pt", CpcObjective()
    objective.net.load_state_dict(load_upstream("cpc").net.state_dict())
    torch.save(objective.published(), path)
    return path


if __name__ == "__main__":
    main()
