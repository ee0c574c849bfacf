"""What tests of pretraining share: a small CPC, a toy objective, and folders and rows of sound."""

from functools import partial

import numpy as np
import torch
from fakes import write_noise
from torch import nn

from earbench.kit.cpc import Shape
from earbench.kit.pretraining import Objective, Outcome
from earbench.pretrain.loop import Run, Schedule
from earbench.pretrain.speech import Speech
from earbench_upstreams import cpc_objective
from earbench_upstreams.cpc_objective import CpcObjective


def shrink(monkeypatch, width=16):
    """Let `CpcObjective` build a network of this width."""
    monkeypatch.setattr(cpc_objective, "Shape", partial(Shape, width=width))


def small_cpc(monkeypatch, width=16, seed=0):
    shrink(monkeypatch, width)
    torch.manual_seed(seed)
    return CpcObjective()


class Toy(Objective):
    """Tells a stretch's loudness from its first samples, with dropout; remembers what it was given, and how.

    `fate` is asked before every training step, by its number, what the loss is to be multiplied with.
    """

    upstream, sample_rate, window, batch, rate = "toy", 16_000, 160, 4, 0.05

    def __init__(self, fate=lambda _: 1.0):
        super().__init__()
        torch.manual_seed(1)
        self.fate = fate
        self.layer = nn.Linear(8, 1)
        self.seen = []

    def forward(self, waves):
        self.seen.append(("train" if self.training else "valid", waves.numpy().copy()))
        said = self.layer(nn.functional.dropout(waves[:, :8], 0.5, self.training))[:, 0]
        loss = (said - waves.abs().mean(1)).square().mean()
        factor = self.fate(len(self.of("train"))) if self.training else 1.0
        return Outcome(factor * loss, (said > 0).float().mean())

    def weights(self):
        return {"layer": self.layer.weight}

    def of(self, split):
        return [waves for name, waves in self.seen if name == split]


def rows_of_sound(digest="abc"):
    """Two speakers in one row; a sample's value is its place, so that stretches tell where they come from."""
    places = np.arange(12_000, dtype=np.int16)
    facts = {"files": 2, "speakers": 2, "left_out": 0, "minutes": 0.1, "digest": digest}
    train = {"anna": (0, 5_000), "bert": (6_000, 11_000)}
    return Speech(places, train, {"anna": (5_000, 6_000), "bert": (11_000, 12_000)}, facts)


def toy_run(folder, digest="abc", objective=None, **schedule):
    asked = {"steps": 6, "batch": 4, "rate": 0.05, "every": 2} | schedule
    folder.mkdir(exist_ok=True)
    return Run(folder, objective or Toy(), Schedule(**asked), rows_of_sound(digest), torch.device("cpu"))


def noisy_speakers(root, seconds=8.0, names=("anna", "bert")):
    """Two files of noise for each speaker."""
    for number, name in enumerate(names):
        write_noise(root / name / "monday" / "1.wav", seconds / 2, seed=2 * number)
        write_noise(root / name / "2.flac", seconds / 2, seed=2 * number + 1)
    return root
