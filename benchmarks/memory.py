"""Memory that one clip takes, by its length: what `Upstream.longest` of the encoders is set by.

usage: python benchmarks/memory.py [--whole] [--limit GB] [--seconds N,N…] [NAME …]

Each figure is the peak of a process of its own, in GB, on one thread: random weights, one clip of noise, every layer
averaged over time as tasks at grain `mean` ask for it; weights and libraries are in it. With `--whole` the clip goes
through at once, whatever the encoder declares. ">" stands before what a process was refused at; "–" says that one took
more than half an hour.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import torch
from tabulate import tabulate

from earbench.checks.full import twin
from earbench.forward import encode
from earbench.plan import load_upstream

NAMES = ("hubert", "hubert_large", "wavlm", "wavlm_large", "w2v_bert_2", "whisper_small", "decoar2", "wav2vec", "cpc")
SECONDS = "30,60,120,300,600"
PATIENCE = 1800


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--limit", type=float, default=12.0)
    parser.add_argument("--seconds", default=SECONDS)
    parser.add_argument("--one", action="store_true")
    asked = parser.parse_args(words)
    durations = [float(seconds) for seconds in asked.seconds.split(",")]
    if asked.one:
        print(peak(asked.names[0], durations[0], asked.whole, asked.limit))
        return
    rows = [row(name, durations, asked) for name in asked.names]
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


def row(name: str, durations: Sequence[float], asked: argparse.Namespace) -> dict[str, str]:
    """The peaks of one encoder; nothing longer is tried once a length did not fit."""
    found: list[str] = []
    for seconds in durations:
        beyond = bool(found) and found[-1] in ("", "–", f"> {asked.limit:g}")
        found.append("" if beyond else apart(name, seconds, asked))
        print(f"{name} {seconds:g} s: {found[-1]}", file=sys.stderr, flush=True)
    return {"name": f"`{name}`"} | {f"{seconds:g} s": said for seconds, said in zip(durations, found, strict=True)}


def apart(name: str, seconds: float, asked: argparse.Namespace) -> str:
    """The peak in GB, by a process that ends with it. Any other end than for want of memory is an error here."""
    options = ["--whole"] if asked.whole else []
    words = [sys.executable, __file__, "--one", f"--seconds={seconds}", f"--limit={asked.limit}", *options, name]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "–"
    if done.returncode == 0:
        return f"{float(done.stdout):.1f}"
    if "memory" in done.stderr:
        return f"> {asked.limit:g}"
    raise SystemExit(f"{name}, {seconds:g} s: {done.stderr[-400:]}")


def peak(name: str, seconds: float, whole: bool, limit: float) -> float:
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9), int(limit * 1e9)))
    torch.set_num_threads(1)
    upstream = load_upstream(twin(name))
    if whole:
        upstream.longest = math.inf
    wave = np.random.default_rng(0).normal(0, 0.1, round(seconds * upstream.sample_rate)).astype(np.float32)
    encode(upstream, [wave], "mean", "fp32", torch.device("cpu"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main(sys.argv[1:])
