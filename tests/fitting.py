"""A small task on made-up features: what fitting, searching and measuring are tried on, without any audio."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from earbench.contract import Clip, Corpus, Fold, Head, Labels, Recipe, Split, Task, TaskCard
from earbench.extract import Shelf
from earbench.kit.classification import hits
from earbench.kit.heads.ctc import BothWays
from earbench.kit.heads.pooled import PooledLinear, mean_over_time
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import derive
from earbench.plan import Cell, Plan, Request
from earbench.search import open_fold

CPU = torch.device("cpu")
COLOURS = Labels(("red", "green", "blue"))
CARD = TaskCard("colours", 1, "Colours", Corpus("paint", "Paint", "", "", ""), "mean", (ACCURACY,), "fake", "none")
RECIPE = Recipe(lr=1e-2, batch=8, steps=40, every=10, clip=1.0)


class Dropping(Head):
    """A linear layer behind dropout that is drawn from the head's generator; frames are averaged first."""

    def __init__(self, width, labels):
        super().__init__()
        self.labels, self.classify = labels, nn.Linear(width, len(labels))

    def forward(self, x, lengths):
        x = x if lengths is None else mean_over_time(x, lengths)
        if self.training:
            x = x * 2 * torch.bernoulli(torch.full(x.shape, 0.5), generator=self.generator)
        return self.classify(x)

    def loss(self, output, lengths, targets, target_lengths):
        return functional.cross_entropy(output, targets)

    def predict(self, output, lengths, times, **decoding):
        return [self.labels[number] for number in output.argmax(1)]


class Normed(Dropping):
    """A linear layer behind batch normalisation, which has buffers."""

    def __init__(self, width, labels):
        super().__init__(width, labels)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x, lengths):
        return self.classify(self.norm(x if lengths is None else mean_over_time(x, lengths)))


class TorchDropping(Dropping):
    """A linear layer behind torch's own dropout, which draws from the global generator."""

    def __init__(self, width, labels):
        super().__init__(width, labels)
        self.drop = nn.Dropout(0.5)

    def forward(self, x, lengths):
        return self.classify(self.drop(x if lengths is None else mean_over_time(x, lengths)))


class Recurrent(Dropping):
    """A linear layer behind a bidirectional LSTM, torch's own dropout and the mean over time."""

    def __init__(self, width, labels):
        super().__init__(width, labels)
        self.recurrent, self.drop = BothWays(width, 4), nn.Dropout(0.2)
        self.classify = nn.Linear(8, len(labels))

    def forward(self, x, lengths):
        return self.classify(mean_over_time(self.over_time(x, lengths), lengths))

    def over_time(self, x, lengths):
        return self.drop(self.recurrent(x, lengths))


class Clock(Dropping):
    """Says when the last frame of a clip was, in seconds."""

    def forward(self, x, lengths):
        return self.classify(x.mean(1))

    def predict(self, output, lengths, times, **decoding):
        return [f"{row[length - 1]:.2f}" for row, length in zip(times, lengths.tolist(), strict=True)]


class Pooled(PooledLinear):
    """The head of the keyword task, smaller; `rotate` as a decoding renames every answer."""

    def __init__(self, width, labels):
        super().__init__(width, 6, labels)

    def predict(self, output, lengths, times, rotate=0, **decoding):
        return [self.labels[(number + rotate) % len(self.labels)] for number in output.argmax(1).tolist()]


class Colours(Task):
    """Which of three colours? Every choice that a task has is given by the test."""

    select = "accuracy"

    def __init__(self, head=Pooled, **choices):
        self.make, self.card = head, replace(CARD, grain=choices.pop("grain", "mean"))
        vars(self).update(choices)

    def folds(self, root, upstream):
        return [fold()]

    def space(self, fold):
        return COLOURS

    def recipes(self, effort, demo):
        return [RECIPE]

    def target(self, clip, times, space):
        return torch.tensor(space.index(clip.label))

    def head(self, width, space, recipe):
        return self.make(width, space)

    def rows(self, split, predictions):
        return hits(split, predictions)

    def ideal(self, split):
        return {clip.id: clip.label for clip in split.clips}

    def toy(self, root, seed):
        raise NotImplementedError


class MadeUp:
    """A store whose features come from the clip's id, at most `frames` rows each; the colour is in layer `at` only."""

    def __init__(self, layers=2, width=5, at=0, noise=0.5, frames=1):
        self.layers, self.width, self.at, self.noise, self.frames = layers, width, at, noise, frames

    def times(self):
        return 0.02, 0.01

    def read(self, keys):
        rows = [self._rows(key) for key in keys]
        return torch.cat(rows), torch.tensor([len(one) for one in rows])

    def clip(self, key, layers):
        return self._rows(key)[:, layers]

    def lengths(self, keys):
        return [len(self._rows(key)) for key in keys]

    def irregular(self, keys):
        return {}

    def _rows(self, key):
        colour, _, number = key.split("-")
        random = np.random.default_rng([int(number), COLOURS.index(colour)])
        count = self.frames if self.frames == 1 else int(random.integers(1, self.frames + 1))
        rows = self.noise * random.normal(size=(count, self.layers, self.width))
        rows[:, self.at, COLOURS.index(colour)] += 1
        return torch.tensor(rows, dtype=torch.float32)


def split(name, count, groups=25):
    """`count` clips of the three colours in turn, spoken by `groups` people in turn."""
    start = {"train": 0, "valid": 10_000, "test": 20_000}[name.split("/")[0]]
    start += 100_000 * (int(name.split("/")[1]) if "/" in name else 0)
    ids = [f"{COLOURS[number % 3]}-{name}-{start + number}" for number in range(count)]
    clips = tuple(Clip(one, Path("x.wav"), one.split("-")[0], f"p{n % groups}") for n, one in enumerate(ids))
    return Split(clips, seconds=(1.0,) * count)


def fold(number=0, test=60):
    return Fold(
        split(f"train/{number}", 48), split(f"valid/{number}", 30), split(f"test/{number}", test), f"fold{number}"
    )


def shelf(store, *folds):
    ids = [clip.id for one in folds for part in one.splits().values() for clip in part.clips]
    return Shelf(store, {one: one for one in ids})


def rates(*values, **changes):
    return [replace(RECIPE, lr=value, **changes) for value in values]


def plan(recipes, seeds=1, effort="standard"):
    return Plan({}, tuple(recipes), seeds, effort)


def bench(folder, recipes, task=None, store=None, one=None):
    """A fold ready to be fitted."""
    task, one, store = task or Colours(), one or fold(), store or MadeUp()
    return open_fold(cell(task, store), plan(recipes), one, shelf(store, one), folder)


def cell(task, store, layers="mix"):
    upstream = SimpleNamespace(layers=store.layers, width=store.width)
    return Cell(Request("made_up", "colours"), upstream, task, "0" * 16, layers, CPU)


def opener(folder, task, recipes, store, folds, seeds=1, layers="mix"):
    """The arguments of `search`, and the shelf behind them."""
    one, of = cell(task, store, layers), plan(recipes, seeds)
    held = shelf(store, *folds)
    return one, of, folds, lambda fold: open_fold(one, of, fold, held, folder), held


def score(value, low=None, high=None, better="higher", unit="%"):
    facts = {"value": value, "low": low, "high": high, "unit": unit, "better": better}
    return facts | {"groups": 30, "interval": "bootstrap" if low is not None else "none: 3 groups", "bounds": [0, 100]}


def record_facts(upstream="fbank", task="ks", accuracy=80.0, **changes):
    """A valid record as plain data. `changes` go to the part that has such a key, else to the top."""
    facts = {
        "schema": 1,
        "plan": {"id": f"{derive(upstream, task):016x}"[-16:], "facts": {}},
        "upstream": {
            "name": upstream,
            "digest": f"{derive(upstream):016x}"[-16:],
            "family": "spectral",
            "licence": "MIT",
            "parameters": 1234,
            "sample_rate": 16_000,
            "hop": 0.01,
            "layers": 1,
            "width": 240,
        },
        "task": {"name": task, "version": 1, "corpus": "speech_commands_v1", "demo": False, "tested": "0" * 16},
        "effort": "standard",
        "seeds": 1,
        "deviations": ["early-stop: training ends early"],
        "scores": {"accuracy": score(accuracy, accuracy - 1, accuracy + 1)},
        "recipe": [{"lr": 0.1}],
        "search": [],
        "layers": {},
        "labels": None,
        "decoding": {},
        "columns": {},
        "cost": {
            "extract_seconds": 1.0,
            "audio_seconds": 100.0,
            "real_time_factor": 0.01,
            "fit_seconds": 2.0,
            "parameters": 1234,
            "feature_bytes": 5,
        },
        "provenance": {
            "earbench": "0.1.0",
            "when": "2026-11-22T12:00:00+00:00",
            "versions": {"torch": "2.14.1"},
            "device": "cpu",
            "device_name": "x86_64",
            "threads": 1,
            "data": "0" * 16,
        },
        "notes": [],
    }
    for key, value in changes.items():
        part = next((facts[name] for name in ("plan", "task", "provenance", "cost") if key in facts[name]), facts)
        part[key] = value
    return facts
