"""Stand-ins for the parts of a run that a test is not about."""

import time
from dataclasses import replace

import numpy as np
import soundfile
import torch

from earbench.contract import Clip, Features, Fold, Split, Task, Upstream, UpstreamCard
from earbench.data import Place, prepare
from earbench.plan import Cell, Request
from earbench_tasks.keyword_spotting import KeywordSpotting

CARD = UpstreamCard("counting", "fake", "none", "none", sample_rate=16_000, hop=0.01)


class CountingUpstream(Upstream):
    """Two layers of per-frame statistics, which padding cannot touch. Remembers what it was given.

    `clips` holds the samples of every clip it saw, `shapes` the size and true lengths of every batch. A batch of more
    than `room` clips gives `error`; `pause` seconds pass in every batch.
    """

    card = CARD
    sample_rate, hop, layers, width = 16_000, 0.01, 2, 3

    def __init__(self, batching="any", room=10_000, error=None, pause=0.0):
        super().__init__()
        self.batching, self.room, self.error, self.pause = batching, room, error, pause
        self.clips, self.shapes = [], []

    def encode(self, waves, lengths):
        time.sleep(self.pause)
        if len(waves) > self.room:
            raise self.error
        self.clips += [wave[:length].numpy().tobytes() for wave, length in zip(waves, lengths, strict=True)]
        self.shapes.append((waves.shape, lengths.tolist()))
        frames = waves.unfold(1, 160, 160)
        statistics = torch.stack([frames.mean(2), frames.abs().mean(2), frames.square().mean(2)], 2)
        return Features(torch.stack([statistics, 2 * statistics], 1), lengths // 160, hop=self.hop, first=0.005)

    def embed(self, waves, lengths):
        """Something the mean is not: the loudest frame."""
        return self.encode(waves, lengths).frames.amax(2)


class ListedTask(KeywordSpotting):
    """Keyword spotting on folds that are given, at any grain, with the contract's own census."""

    census = Task.census

    def __init__(self, *folds, grain="mean", counts=None):
        corpus = replace(KeywordSpotting.card.corpus, counts=counts or {})
        self.card = replace(KeywordSpotting.card, grain=grain, corpus=corpus)
        self.listed = folds

    def folds(self, root, upstream):
        return self.listed


def cut(path, part=0.5):
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])


def holding_nan(path):
    soundfile.write(path, np.array([0.0, np.nan, 0.0]), 16_000, subtype="FLOAT")


SPOILED = {
    "the file is empty": lambda path: path.write_bytes(b""),
    "holds no samples": lambda path: soundfile.write(path, np.zeros(0), 16_000),
    "holds NaN or infinite samples": holding_nan,
    "is cut off": cut,
    "cannot be decoded: Format not recognised": lambda path: path.write_bytes(b"not audio at all" * 99),
    "No such file": lambda path: path.unlink(),
    "Is a directory": lambda path: (path.unlink(), path.mkdir()),
}
"""Ways to spoil an audio file, by what is then said of it."""


def write_noise(path, seconds, seed=0, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)), rate)
    return path


def noise_clips(folder, seconds):
    """One clip of noise, all different, for each of these durations."""
    return tuple(
        Clip(f"clip-{number}", write_noise(folder / f"{number}.wav", duration, seed=number), "yes", "anna")
        for number, duration in enumerate(seconds)
    )


def thirds(clips, name="main"):
    """A fold: every third clip to train, valid and test."""
    return Fold(Split(clips[0::3]), Split(clips[1::3]), Split(clips[2::3]), name)


def prepared(task, root, settings, progress, effort="standard", partial=True):
    return prepare(task, CARD, Place(root, False), effort, partial, settings, progress)


def cell(upstream, task, digest="0123456789abcdef"):
    return Cell(Request("counting", "ks"), upstream.eval(), task, digest, "mix", torch.device("cpu"))
