"""The x-vector that SUPERB verifies speakers with, and the margin softmax it is trained by (SUPERB sheet 2.6)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head
from earbench.errors import BenchError

CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
"""Frames that a layer looks at, and how far they lie apart."""
LOST = sum((frames - 1) * apart for frames, apart in CONTEXTS)
"""Frames by which the output is shorter than the input: 14."""


class XVector(Head):
    """Speaker embeddings: Linear, five time-delay layers with ReLU, mean and deviation over time, Linear and ReLU.

    Only frames whose whole context is true are averaged, so a clip does not depend on how far it is padded; one of at
    most 14 frames has none, and counts as silence. In training a second Linear and ReLU and the class matrix follow,
    both part of the loss: AM-softmax over `classes` with scale 30 and margin 0.4.
    """

    def __init__(self, width: int, hidden: int, pooled: int, classes: int, scale: float = 30.0, margin: float = 0.4):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.project = nn.Linear(width, hidden)
        widths = (*(hidden for _ in CONTEXTS), pooled)
        self.delays = nn.ModuleList(
            nn.Conv1d(one, two, frames, dilation=apart)
            for (one, two), (frames, apart) in zip(pairwise(widths), CONTEXTS, strict=True)
        )
        self.embed = nn.Linear(2 * pooled, hidden)
        self.refine = nn.Linear(hidden, hidden)
        self.classes = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden, classes)))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Embeddings [clip, hidden], not yet normalised."""
        if lengths is None:
            raise BenchError("an x-vector needs every frame and was given one vector per clip", 'use the grain "frame"')
        missing = max(0, LOST + 1 - x.shape[1])
        hidden = functional.pad(self.project(x).transpose(1, 2), (0, missing))
        for layer in self.delays:
            hidden = functional.relu(layer(hidden))
        return functional.relu(self.embed(mean_and_deviation(hidden, (lengths - LOST).clamp_min(0))))

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Cross-entropy of scaled cosines, the true class's less the margin, mean over clips (Wang et al. 2018)."""
        refined = functional.normalize(functional.relu(self.refine(output)), dim=1)
        cosines = refined @ functional.normalize(self.classes, dim=0)
        numbers = torch.arange(cosines.shape[1], device=targets.device)
        margins = self.margin * (numbers == targets.reshape(-1, 1))
        return functional.cross_entropy(self.scale * (cosines - margins), targets.reshape(-1))

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """One embedding of length one per clip."""
        return list(functional.normalize(output, dim=1).cpu().numpy())


def mean_and_deviation(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean and standard deviation of `x` [clip, width, time] over the first `lengths` frames, [clip, 2 * width].

    The deviation divides by one less than the number of frames, and is 0 for a single one. Where it is 0 it passes no
    gradient on, as torch's own.

    >>> mean_and_deviation(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([2]))
    tensor([[2.0000, 1.4142]])
    """
    true = (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]
    mean = torch.where(true, x, 0.0).sum(2) / lengths.clamp_min(1)[:, None]
    squares = torch.where(true, x - mean[:, :, None], 0.0).square().sum(2)
    variance = squares / (lengths - 1).clamp_min(1)[:, None]
    still = variance == 0
    deviation = torch.where(still, 0.0, torch.where(still, 1.0, variance).sqrt())
    return torch.cat([mean, deviation], dim=1)
