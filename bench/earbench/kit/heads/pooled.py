"""The linear head over a clip's mean that SUPERB puts on keyword, speaker, intent and emotion tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head


class PooledLinear(Head):
    """Logits over `labels`: Linear, mean over true frames, Linear, with no activation between (SUPERB sheet 1.5).

    Everything up to the logits is linear, so features [clip, width] that were averaged beforehand give the same
    logits and gradients as frames [clip, time, width] (sheet 3). The two matrices stay apart all the same: merged
    into one they would be the same function, but Adam and gradient clipping would take another path.
    """

    stackable: ClassVar[bool] = True

    def __init__(self, width: int, hidden: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        self.project = nn.Linear(width, hidden)
        self.classify = nn.Linear(hidden, len(self.labels))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        hidden = self.project(x)
        logits: Tensor = self.classify(hidden if lengths is None else mean_over_time(hidden, lengths))
        return logits

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Cross-entropy, mean over clips; `targets` hold one class index per clip."""
        return functional.cross_entropy(output, targets.reshape(-1))

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[str]:
        """The label of the highest logit; the first of equals."""
        return [self.labels[index] for index in output.argmax(1).tolist()]


def mean_over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean of `x` [clip, time, width] over the first `lengths` frames of each clip; zeros where there are none.

    >>> mean_over_time(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[2.]])
    """
    true = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    total = torch.where(true[:, :, None], x, 0.0).sum(1)
    return total / lengths.clamp_min(1)[:, None]
