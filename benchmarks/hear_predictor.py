"""HEAR's predictor search here and in HEAR's own kit, on the same embeddings: wall time, and every score.

usage: python benchmarks/hear_predictor.py PYTHON FOLDER [--upstream NAME] [--seeds N]

PYTHON is an interpreter in whose environment heareval 2021.1.3 imports (pytorch-lightning 1.9.5, more-itertools,
intervaltree, sed_eval, torchinfo, click, tqdm, "setuptools<81"). FOLDER is a prepared task folder. The embeddings are
those of our store (frames in half precision) and are written for the kit as it lays out its own, in single precision.
Both train the kit's eight points, retrain the best one for every other fold, test each, in effort `reference` and on
one thread; seed by seed in turn, so that what else the machine does meets both. Seconds are those of the search, ours
with the nearest neighbours and the logistic regression beside the first score; those of our processor are of the whole
run, from the stored features to the record.

Every seed is a search of its own, as it is in the kit; `--seeds 5` of `bench run` would choose one point for all five.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest.mock import patch

import torch
from scipy import stats
from tabulate import tabulate

from earbench import config, fit, line
from earbench.config import Settings
from earbench.contract import Clip
from earbench.examples import centres
from earbench.extract import Shelf, extract
from earbench.fit import Bench, Fitted
from earbench.kit.hear_task import HearTask
from earbench.plan import Request
from earbench.progress import Progress

PEER = Path(__file__).parent / "peers" / "heareval_predictor.py"
QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Tried:
    """One seed: the seconds of the search by the clock and of the processor, and the scores by the names that task
    folders use.
    """

    seconds: float
    worked: float
    scores: Mapping[str, float]


def main() -> None:
    asked = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        settings = config.load().with_(cache=Path(place) / "cache", effort="reference", device="cpu", seeds=1)
        settings.cache.mkdir()
        embeddings = handed_over(asked, settings, Path(place))
        pairs = []
        for seed in range(asked.seeds):
            pairs.append((ours(asked, settings, seed), peer(asked.peer, embeddings, seed)))
            print(f"seed {seed}: {pairs[-1]}", file=sys.stderr)
    print(table([one for one, _ in pairs], [one for _, one in pairs]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--upstream", default="hear_naive")
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


def request(asked: argparse.Namespace) -> Request:
    return Request(asked.upstream, f"hear:{asked.folder.resolve()}")


# ---- ours ------------------------------------------------------------------------------------------------------------


def ours(asked: argparse.Namespace, settings: Settings, seed: int) -> Tried:
    """A run whose only seed is that one."""

    def grid(bench: Bench, recipes: Sequence[int], _: int, layer: int | None, progress: Progress) -> list[Fitted]:
        return fit.grid(bench, recipes, seed, layer, progress)

    with patch("earbench.search.grid", grid):
        worked = time.process_time()
        record = line.run(request(asked), settings.with_(results=settings.cache.parent / f"results-{seed}"), QUIET)
        worked = time.process_time() - worked
    scores = {name: mean(score["per_seed"][0]) for name, score in record.scores.items()}
    return Tried(record.facts["cost"]["fit_seconds"], worked, scores)


def mean(folds: Sequence[float | None]) -> float:
    """Of all folds; NaN, which a record keeps as null, where one has no value."""
    return fmean(float("nan") if one is None else one for one in folds)


# ---- the kit ---------------------------------------------------------------------------------------------------------


def peer(interpreter: str, embeddings: Path, seed: int) -> Tried:
    """The same from the kit."""
    out = embeddings.parent / f"peer-{seed}.json"
    wish = {"embeddings": str(embeddings), "seeds": [seed], "out": str(out)}
    words = [interpreter, str(PEER), json.dumps(wish)]
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=embeddings.parent
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    told = json.loads(out.read_text())
    return Tried(told["seconds"], told["worked"], reported(told["report"]))


def reported(report: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a report of the kit: the mean over folds where there are several."""
    if "aggregated_scores" in report:
        folds = report["aggregated_scores"]
        named = {key.removesuffix("_mean"): value for key, value in folds.items() if key.endswith("_mean")}
    else:
        named = report["test"]
    return {key.removeprefix("test_"): value for key, value in named.items() if key.startswith("test_")}


def handed_over(asked: argparse.Namespace, settings: Settings, place: Path) -> Path:
    """Our embeddings of the folder's clips as the kit stores its own (HEAR sheet 3), split by split."""
    cell, prepared = line.opened(request(asked), settings, QUIET)
    task = cell.task
    if not isinstance(task, HearTask):
        raise TypeError(f"{asked.folder} is not run as a task folder of HEAR")
    shelf, out = extract(cell, prepared, settings, settings.cache, QUIET), place / "embeddings"
    out.mkdir()
    folds = prepared.folds
    parts = {fold.name: fold.test for fold in folds} if len(folds) > 1 else folds[0].splits()
    for name in ("task_metadata.json", "labelvocabulary.csv", *(f"{split}.json" for split in parts)):
        shutil.copy(task.first.path / name, out)
    for split, part in parts.items():
        rows, lengths = shelf.read(part.clips)
        write_split(out / split, rows[:, -1].float(), answers(task, part.clips, lengths.tolist(), shelf))
        if task.card.grain == "frame":
            pairs = timed(part.clips, lengths.tolist(), shelf)
            (out / f"{split}.filename-timestamps.json").write_text(json.dumps(pairs))
    return out


def write_split(path: Path, rows: torch.Tensor, labels: Sequence[Sequence[str]]) -> None:
    rows.numpy().tofile(path.with_name(f"{path.name}.embeddings.npy"))
    path.with_name(f"{path.name}.embedding-dimensions.json").write_text(json.dumps(list(rows.shape)))
    path.with_name(f"{path.name}.target-labels.pkl").write_bytes(pickle.dumps(labels))


def answers(task: HearTask, clips: Sequence[Clip], lengths: Sequence[int], shelf: Shelf) -> list[list[str]]:
    """The labels of every row."""
    labels = task.first.labels
    if task.card.grain != "frame":
        return [[clip.label] if isinstance(clip.label, str) else list(clip.label) for clip in clips]
    active = []
    for clip, count in zip(clips, lengths, strict=True):
        active += task.target(clip, times(clip, count, shelf), labels).tolist()
    return [[label for label, on in zip(labels, row, strict=True) if on] for row in active]


def timed(clips: Sequence[Clip], lengths: Sequence[int], shelf: Shelf) -> list[tuple[str, float]]:
    """The file of every row, and its time in milliseconds without what the way there from seconds did to it."""
    pairs = zip(clips, lengths, strict=True)
    return [
        (clip.audio.name, round(1000 * at, 6)) for clip, count in pairs for at in times(clip, count, shelf).tolist()
    ]


def times(clip: Clip, count: int, shelf: Shelf) -> torch.Tensor:
    return centres(shelf.irregular([clip]).get(clip.id), *shelf.times(), count)


# ---- side by side ----------------------------------------------------------------------------------------------------


def table(own: Sequence[Tried], other: Sequence[Tried]) -> str:
    """Seconds, then every score that both have, with a Welch test."""
    rows = [timed_row("seconds of a search", [one.seconds for one in other], [one.seconds for one in own])]
    rows.append(timed_row("of them the processor's", [one.worked for one in other], [one.worked for one in own]))
    for name in own[0].scores:
        if name in other[0].scores:
            sides = [[one.scores[name] for one in side] for side in (other, own)]
            rows.append([name, *map(spread, sides), f"p {p_value(*sides)}"])
    return tabulate(rows, headers=["", "heareval", "earbench", ""], tablefmt="github", disable_numparse=True)


def timed_row(title: str, other: Sequence[float], own: Sequence[float]) -> list[str]:
    return [title, f"{fmean(other):.1f}", f"{fmean(own):.1f}", f"ratio {fmean(other) / fmean(own):.1f}"]


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and every value.

    >>> spread([0.1, 0.2])
    '0.1500 ± 0.0707 (0.100, 0.200)'
    """
    listed = ", ".join(f"{value:.3f}" for value in values)
    return f"{fmean(values):.4f} ± {stdev(values) if len(values) > 1 else 0:.4f} ({listed})"


def p_value(one: Sequence[float], other: Sequence[float]) -> str:
    """Of Welch's t test that both have one mean; 1 where all values are the same."""
    if len({*one, *other}) == 1:
        return "1"
    return f"{stats.ttest_ind(one, other, equal_var=False).pvalue:.3f}"


if __name__ == "__main__":
    main()
