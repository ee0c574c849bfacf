"""One table of what the engine costs: every figure is a ratio within this run, or says what it was measured on.

usage: python benchmarks/speed.py [UPSTREAM]     (default cpc~random; the demo corpus is built on first use)

* extraction: the demo's keyword clips from disk to a fresh store, over the bare forward pass of the same packs that lie
  decoded in memory; the two take turns, three times, and the fastest of each counts
* pooled: a step of the `ks` head on stored means, against the same step on the frames they are the means of
* together: the five rates of `ks` as one stack, against one after another
* memory: by how much a process grows that extracts the frames of 1, 4 and 16 times as many clips and reads them in
  batches from the store
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tabulate import tabulate

from earbench import audio, config, data
from earbench import extract as extraction_module
from earbench.contract import Labels, Recipe
from earbench.extract import distinct, extract, packs_of
from earbench.frames import frames_of
from earbench.kit.heads.pooled import PooledLinear
from earbench.plan import Cell, Request, resolve
from earbench.progress import Progress
from earbench.stack import Batch, Probe, Stack

QUIET = Progress(quiet=True)
LABELS = Labels(str(number) for number in range(12))
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
LAYERS, WIDTH, FRAMES = 2, 256, 100
CLIPS, SECONDS = 60, 4.0


def main(upstream: str) -> None:
    torch.set_num_threads(1)
    rows = [*extraction(upstream), *steps(), *memory(upstream)]
    print(tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True))


# ---- extraction ------------------------------------------------------------------------------------------------------


def extraction(upstream: str) -> list[dict[str, str]]:
    settings = config.load()
    cell = resolve(Request(upstream, "ks", data="demo"), settings)
    place = data.locate(cell.task, "demo", settings, QUIET)
    prepared = data.prepare(cell.task, cell.upstream.card, place, "quick", False, settings, QUIET)
    items = distinct(prepared)
    waves = [
        [audio.read(item.clip, cell.upstream.sample_rate) for item in pack]
        for pack in packs_of(items, cell.grain, settings)
    ]
    batches = [padded(pack) for pack in waves]

    def bare() -> None:
        with torch.inference_mode():
            for batch, lengths in batches:
                cell.upstream.encode(batch, lengths)

    def stored() -> None:
        with tempfile.TemporaryDirectory() as folder:
            extract(cell, prepared, settings, Path(folder), QUIET)

    forward, whole = in_turns(bare, stored, times=3)
    seconds = sum(item.seconds for item in items)
    return [
        row(f"extraction over the bare forward pass, {upstream}, {len(items):,} clips", whole / forward),
        row("  seconds of audio per second", seconds / whole),
    ]


def padded(waves: list[audio.Samples]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(wave) for wave in waves])
    batch = torch.zeros(len(waves), int(lengths.max()))
    for line, wave in zip(batch, waves, strict=True):
        line[: len(wave)] = torch.from_numpy(wave)
    return batch, lengths


# ---- steps -----------------------------------------------------------------------------------------------------------


def steps() -> list[dict[str, str]]:
    frames = torch.randn(32, LAYERS, FRAMES, WIDTH)
    targets, ones = torch.randint(len(LABELS), (32,)), torch.ones(32, dtype=torch.long)
    pooled: Batch = (frames.mean(2), None, targets, ones)
    framewise: Batch = (frames, torch.full((32,), FRAMES), targets, ones)
    together, alone, slow = (stack(RATES), stack(RATES[:1]), stack(RATES[:1]))
    one, many, whole = in_turns(
        lambda: alone.step([pooled]), lambda: together.step([pooled]), lambda: slow.step([framewise]), times=100
    )
    return [
        row(f"ks step on frames over the same on means ({LAYERS} x {WIDTH}, {FRAMES} frames)", whole / one),
        row("  steps per second on means", 1 / one),
        row("five rates one after another over together", 5 * one / many),
        row("  steps per second of all five together", 1 / many),
    ]


def stack(rates: tuple[float, ...]) -> Stack:
    torch.manual_seed(0)
    head = PooledLinear(WIDTH, 256, LABELS)
    head.generator = torch.Generator()
    recipes = [Recipe(lr=rate, batch=32, steps=1, every=1, clip=1.0) for rate in rates]
    return Stack(Probe(head, LAYERS), recipes, torch.device("cpu"))


def in_turns(*work: Callable[[], Any], times: int) -> list[float]:
    """The fastest of `times` runs of each, taking turns: a slow moment of the machine hits all alike."""
    spent: list[list[float]] = [[] for _ in work]
    for _ in range(times):
        for one, found in zip(work, spent, strict=True):
            started = time.perf_counter()
            one()
            found.append(time.perf_counter() - started)
    return [min(found) for found in spent]


# ---- memory ----------------------------------------------------------------------------------------------------------


def memory(upstream: str) -> list[dict[str, str]]:
    grown = [measured_apart(upstream, CLIPS * times) for times in (1, 4, 16)]
    return [
        row(f"memory of frames read from the store, MB, {times} x {CLIPS} clips of {SECONDS:g} s", megabytes)
        for times, megabytes in zip((1, 4, 16), grown, strict=True)
    ]


def measured_apart(upstream: str, clips: int) -> float:
    """In a process of its own: how far its private memory rises above what it was before the first clip."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", upstream, str(clips)], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def peak(upstream: str, clips: int) -> None:
    """Extract all frames, then read them twice in batches of 16, as a head would."""
    torch.set_num_threads(1)
    extraction_module.MEMORY_SHARE = 0.0  # nothing is held: every batch is read from the store
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        librispeech(root, clips)
        settings = config.load().with_(cache=root / "cache")
        cell, prepared = open_asr(upstream, root, settings)
        private = [private_megabytes()]
        shelf = extract(cell, prepared, settings, settings.cache, QUIET)
        private.append(private_megabytes())
        known = prepared.folds[0].train.clips
        frames = frames_of(shelf, known, cell.device)
        order = [range(start, min(start + 16, len(known))) for start in range(0, len(known), 16)]
        for _ in frames.batches([*order, *order], cell.device):
            private.append(private_megabytes())
    print(json.dumps(max(private) - private[0]))


def open_asr(upstream: str, root: Path, settings: config.Settings) -> tuple[Cell, data.Prepared]:
    cell = resolve(Request(upstream, "asr", data=str(root), partial=True), settings)
    place = data.locate(cell.task, str(root), settings, QUIET)
    return cell, data.prepare(cell.task, cell.upstream.card, place, "standard", True, settings, QUIET)


def librispeech(root: Path, clips: int) -> None:
    """Noise in the layout of LibriSpeech: `clips` to train on, four each to validate and test."""
    rng = np.random.default_rng(0)
    for speaker, (subset, count) in enumerate({"train-clean-100": clips, "dev-clean": 4, "test-clean": 4}.items(), 1):
        folder = root / subset / str(speaker) / "1"
        folder.mkdir(parents=True)
        names = [f"{speaker}-1-{number:04}" for number in range(count)]
        for name in names:
            soundfile.write(folder / f"{name}.flac", 0.1 * rng.standard_normal(int(SECONDS * 16_000)), 16_000)
        (folder / f"{speaker}-1.trans.txt").write_text("".join(f"{name} NOISE\n" for name in names))


def private_megabytes() -> float:
    """Memory of this process that no file stands behind (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1e3


def row(what: str, value: float) -> dict[str, str]:
    return {"what": what, "value": f"{value:,.2f}" if value < 100 else f"{value:,.0f}"}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2], int(sys.argv[3]))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else "cpc~random")
