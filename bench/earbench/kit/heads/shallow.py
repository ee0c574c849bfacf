"""HEAR's shallow predictor on one vector per clip, and the eight points of its grid (HEAR sheet 4.2, 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head, Recipe

GRID = (
    (1, "normal", 1e-4),
    (2, "uniform", 1e-3),
    (1, "normal", 1e-3),
    (1, "normal", 3.2e-4),
    (2, "normal", 3.2e-4),
    (2, "uniform", 3.2e-4),
    (2, "normal", 3.2e-3),
    (2, "uniform", 3.2e-3),
)
"""Hidden layers, Xavier initialisation, rate: the first eight of sixteen as the reference's shuffle always orders them.
Ties on valid go to the earlier point, so the order counts.
"""


def grid() -> list[Recipe]:
    """The published recipes: Adam, batches of 1024, at most 500 epochs, judged every 3, patience 20."""
    shape = {"hidden_dim": 1024, "dropout": 0.1}
    return [
        Recipe(
            lr=lr,
            batch=1024,
            steps=500,
            every=3,
            patience=20,
            unit="epoch",
            options={"hidden_layers": layers, "initialisation": initialisation, **shape},
        )
        for layers, initialisation, lr in GRID
    ]


class Shallow(Head):
    """Logits over `labels`: `hidden_layers` times Linear, batch norm, dropout, ReLU (in this order), then Linear.

    Weights are Xavier (`initialisation` "uniform" or "normal"), with gain 1 in the first Linear and sqrt(2) behind a
    ReLU, the output included; biases as torch draws them. The input is not normalised.
    """

    def __init__(
        self,
        width: int,
        labels: Sequence[str],
        hidden_layers: int,
        hidden_dim: int,
        dropout: float,
        initialisation: str,
    ) -> None:
        super().__init__()
        self.labels, self.dropout = tuple(labels), dropout
        sizes = [width, *(hidden_dim for _ in range(hidden_layers))]
        self.hidden = nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden_dim) for _ in range(hidden_layers))
        self.output = nn.Linear(sizes[-1], len(self.labels))
        draw = {"uniform": nn.init.xavier_uniform_, "normal": nn.init.xavier_normal_}[initialisation]
        for number, linear in enumerate((*self.hidden, self.output)):
            draw(linear.weight, gain=nn.init.calculate_gain("relu") if number else 1.0)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            x = functional.relu(self._dropped(norm(linear(x))))
        logits: Tensor = self.output(x)
        return logits

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Cross-entropy, mean over clips; `targets` hold one class index per clip."""
        return functional.cross_entropy(output, targets.reshape(-1))

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[str]:
        """The label of the highest logit; the first of equals."""
        return [self.labels[index] for index in output.argmax(1).tolist()]

    def _dropped(self, x: Tensor) -> Tensor:
        """In training a share of `dropout` is zero and the rest grows by as much, drawn from the head's generator."""
        if not self.training or not self.dropout:
            return x
        kept = torch.empty(x.shape).bernoulli_(1 - self.dropout, generator=self.generator)
        return x * kept.to(x.device) / (1 - self.dropout)
