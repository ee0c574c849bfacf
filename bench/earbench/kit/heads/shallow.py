"""HEAR's shallow predictor: any of some labels, for one vector per clip or per frame (HEAR sheet 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head
from earbench.kit.events import found


class Shallow(Head):
    """Logits over `labels`: `hidden_layers` times Linear, batch norm, dropout, ReLU (in this order), then Linear.

    `single` is whether a clip has one of the labels (softmax), or any of them (sigmoid). Weights are Xavier
    (`initialisation` "uniform" or "normal"), with gain 1 in the first Linear and sqrt(2) behind a ReLU, the output
    included; biases as torch draws them. The input is not normalised.
    """

    def __init__(
        self,
        width: int,
        labels: Sequence[str],
        single: bool,
        hidden_layers: int,
        hidden_dim: int,
        dropout: float,
        initialisation: str,
    ) -> None:
        super().__init__()
        self.labels, self.single, self.dropout = tuple(labels), single, dropout
        sizes = [width, *(hidden_dim for _ in range(hidden_layers))]
        self.hidden = nn.ModuleList(nn.Linear(one, two) for one, two in pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden_dim) for _ in range(hidden_layers))
        self.output = nn.Linear(sizes[-1], len(self.labels))
        draw = {"uniform": nn.init.xavier_uniform_, "normal": nn.init.xavier_normal_}[initialisation]
        for number, linear in enumerate((*self.hidden, self.output)):
            draw(linear.weight, gain=nn.init.calculate_gain("relu") if number else 1.0)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            rows = functional.relu(self._dropped(norm(linear(rows))))
        logits: Tensor = self.output(rows)
        return logits.reshape(*x.shape[:-1], -1)

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Cross-entropy with the label number of each row, mean over rows; or binary cross-entropy with `targets`
        [row, label] of 0 and 1, mean over rows and labels.
        """
        if self.single:
            return functional.cross_entropy(output, targets.reshape(-1))
        return functional.binary_cross_entropy_with_logits(output, targets)

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """For each clip the probability of every label as an array, in single precision as HEAR's own tool has it."""
        return list(self.probabilities(output).cpu().numpy())

    def probabilities(self, output: Tensor) -> Tensor:
        return output.float().softmax(-1) if self.single else output.float().sigmoid()

    def _dropped(self, x: Tensor) -> Tensor:
        """In training a share of `dropout` is zero and the rest grows by as much, drawn from the head's generator."""
        if not self.training or not self.dropout:
            return x
        kept = torch.empty(x.shape).bernoulli_(1 - self.dropout, generator=self.generator)
        return x * kept.to(x.device) / (1 - self.dropout)


class EventShallow(Shallow):
    """The same for the frames of a clip, of which it says what is heard when."""

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """For each clip its events: the decoding is the length of the median filter and of the shortest event kept."""
        if lengths is None or times is None:
            raise ValueError("events need frames and their times")
        likely = self.probabilities(output).cpu()
        return [
            found(one[:count], at[:count], self.labels, **decoding)
            for one, at, count in zip(likely, times.cpu(), lengths.tolist(), strict=True)
        ]
