"""How long `bench report` takes over many records, and how much memory: `python benchmarks/boards.py [ENCODERS TASKS]`.

Writes made-up records of 100 encoders on 40 tasks, as large as real ones (a search table over eight recipes and five
folds, 88 labels, 1,000 replicates of three scores), into a temporary folder with a board of all of them, then runs the
command in a process of its own, also with a site, and prints seconds and peak memory, and seconds of reading the
records alone. The index of the installed plugins' cards, which a site asks for, is made before by `bench list`: that
imports torch, once per installation, and has a line of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from earbench import record as records
from earbench.config import load
from earbench.kit.seeds import derive

GROUPS = 200
REPORTS = ("", " --check", " --html site")
SCORES = ("accuracy", "accuracy_knn", "accuracy_logistic")


def main(encoders: int = 100, tasks: int = 40) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        write_records(results, encoders, tasks)
        names = [f"task{number:02}" for number in range(tasks)]
        board = f"[boards.all]\ntitle = 'All'\ntasks = {names}\ncolumns = {[f'{name} accuracy' for name in names]}\n"
        board += "[cache]\ndir = 'cache'\n"
        (Path(folder) / "bench.toml").write_text(board)
        size = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
        print(f"records: {encoders * tasks:,}, {size / 1e6:.0f} MB on disk")
        started = time.perf_counter()
        for _ in records.briefly(load(Path(folder) / "bench.toml").results):
            pass
        print(f"reading every record once: {time.perf_counter() - started:.1f} s")
        for command in ("list tasks", "list upstreams", *(f"report --board all{more}" for more in REPORTS)):
            print(f"bench {command}: {spent(command.split(), folder)}")
        pages, copies = sizes(Path(folder), "site/**/*.html"), sizes(Path(folder), "site/records/*/*/*")
        print(f"pages of the site: {len(pages)}, {max(pages) / 1e6:.1f} MB the largest, {sum(pages) / 1e6:.0f} MB all")
        print(f"records to download: {len(copies):,} files, {sum(copies) / 1e6:.0f} MB")


def spent(command: list[str], folder: str) -> str:
    """What a command of ours takes, in a process of its own."""
    started = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "earbench.cli", *command], cwd=folder, **quiet)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"bench {' '.join(command)} failed")
    seconds, processor = time.perf_counter() - started, used.ru_utime + used.ru_stime
    return f"{seconds:.1f} s by the clock, {processor:.1f} s of CPU, peak memory {used.ru_maxrss / 1024:.0f} MB"


def sizes(folder: Path, pattern: str) -> list[int]:
    """Bytes of the files that fit a pattern."""
    return [path.stat().st_size for path in folder.glob(pattern)]


def write_records(results: Path, encoders: int, tasks: int) -> None:
    """Encoder n is right in a share that grows with n; resample k is the same for all."""
    random = np.random.default_rng(0)
    for task in range(tasks):
        draws = random.multinomial(GROUPS, np.full(GROUPS, 1 / GROUPS), 1000) / GROUPS
        for number in range(encoders):
            shares = 100 * random.binomial(20, 0.3 + 0.5 * number / encoders, (len(SCORES), GROUPS)) / 20
            write_record(results, f"encoder{number:03}", f"task{task:02}", shares, draws)


def write_record(results: Path, upstream: str, task: str, shares: np.ndarray, draws: np.ndarray) -> None:
    scores = {name: score(each.mean(), each @ draws.T) for name, each in zip(SCORES, shares, strict=True)}
    folder = results / "records" / f"{upstream}-0" / f"{task}-v1"
    folder.mkdir(parents=True)
    facts = made_up(upstream, task, {name: facts for name, (facts, _) in scores.items()})
    stem = facts["plan"]["id"] + "-1"
    (folder / f"{stem}.json").write_text(json.dumps(facts, indent=1))
    np.savez_compressed(folder / f"{stem}.replicates.npz", **{name: one[None] for name, (_, one) in scores.items()})


def score(value: float, replicates: np.ndarray) -> tuple[dict, np.ndarray]:
    low, high = np.quantile(replicates, [0.025, 0.975])
    facts = {"value": value, "low": low, "high": high, "interval": "bootstrap", "groups": GROUPS, "unit": "%"}
    return facts | {"better": "higher", "bounds": [0, 100], "per_seed": [[value]]}, replicates


def made_up(upstream: str, task: str, scores: dict) -> dict:
    recipe = {"lr": 1e-3, "batch": 1024, "steps": 500, "every": 3, "optimiser": "adam", "patience": 20, "unit": "epoch"}
    recipe |= {"options": {"hidden_layers": 1, "hidden_dim": 1024, "dropout": 0.1, "initialisation": "normal"}}
    tried = [
        {"fold": f"fold{fold}", "seed": 0, "layer": None, "recipe": number, **recipe, "valid": 0.5, "step": 100}
        for fold in range(5)
        for number in range(8)
    ]
    digest = f"{derive(upstream, task):016x}"
    return {
        "schema": records.SCHEMA,
        "plan": {"id": digest, "facts": {"recipes": [recipe] * 8}},
        "upstream": {"name": upstream, "spec": upstream, "digest": f"{derive(upstream):016x}", "family": "made up",
                     "licence": "MIT", "pretraining": "none", "parameters": 1, "sample_rate": 16000, "hop": 0.02,
                     "layers": 13, "width": 768, "source": {}},
        "task": {"name": task, "version": 1, "corpus": task, "demo": False, "tested": "0" * 16},
        "effort": "standard",
        "seeds": 1,
        "deviations": ["early-stop: training ends after 10 judgements without a better one"],
        "scores": scores,
        "recipe": [recipe] * 5,
        "search": tried,
        "layers": {"choice": "mix", "best": None, "weights": [[[1 / 13] * 13]] * 5, "each": [], "heads": []},
        "labels": [f"label {number}" for number in range(88)],
        "decoding": {},
        "columns": {},
        "cost": {"extract_seconds": 1.0, "audio_seconds": 1.0, "real_time_factor": 0.1, "fit_seconds": 1.0,
                 "parameters": 1, "feature_bytes": 1},
        "provenance": {"earbench": "0.1.0", "when": "2026-01-01T00:00:00+00:00", "versions": {"torch": "2.14.1"},
                       "device": "cpu", "device_name": "none", "threads": 1, "data": "0" * 16},
        "notes": [],
    }  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
