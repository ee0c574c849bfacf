"""HEAR's own predictor on stored embeddings: what `benchmarks/hear_predictor.py` runs with the interpreter of that kit.

usage: heareval_predictor.py JSON     with embeddings (a folder in the kit's layout), seeds (a list), out (a file)

heareval 2021.1.3 on pytorch-lightning 1.9.5. Two things are put right, nothing that it computes is changed:

* The epoch that a test is decoded with is handed over in an attribute that lightning has ignored since 1.6.
* The kit seeds everything with 42, and the seed also decides which of the sixteen points of its grid are tried, and in
  what order. Here that stays as it is, and torch, which draws weights and dropout, gets a seed of its own after it.

Writes a JSON line per seed, as soon as it is there: what the kit reports, and the seconds from its call to its return,
by the clock and of the processor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # its checkpoints hold classes
warnings.filterwarnings("ignore")


def main(wish: dict[str, Any]) -> None:
    import torch
    from heareval.predictions import task_predictions as kit

    torch.set_num_threads(1)
    put_right()
    folder = Path(wish["embeddings"])
    sizes = json.loads(next(folder.glob("*.embedding-dimensions.json")).read_text())
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for seed in wish["seeds"]:
        seeded(kit, seed)
        started, worked = time.perf_counter(), time.process_time()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            kit.task_predictions(
                folder, sizes[1], wish.get("grid_points", 8), None, True, True, "default", logging.getLogger("kit")
            )
        found = {"seed": seed, "seconds": time.perf_counter() - started, "worked": time.process_time() - worked}
        found["report"] = json.loads((folder / "test.predicted-scores.json").read_text())
        with open(wish["out"], "a") as file:
            file.write(json.dumps(found) + "\n")


def put_right() -> None:
    from pytorch_lightning.loops import FitLoop

    FitLoop.current_epoch = property(
        lambda loop: loop.epoch_progress.current.completed,
        lambda loop, epoch: setattr(loop.epoch_progress.current, "completed", epoch),
    )


def seeded(kit: Any, seed: int) -> None:
    import pytorch_lightning
    import torch

    def seed_everything(fixed: int, workers: bool) -> None:
        pytorch_lightning.seed_everything(fixed, workers=workers)
        torch.manual_seed(seed)

    kit.seed_everything = seed_everything


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
