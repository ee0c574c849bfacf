"""Linear heads over a clip's mean: SUPERB's, on keyword, speaker, intent and emotion tasks, and the plain probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head
from earbench.errors import BadCheckpoint


class PooledHead(Head):
    """What heads have in common that say one of `labels` of each clip by logits [clip, label]."""

    stackable: ClassVar[bool] = True

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = tuple(labels)

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Cross-entropy, mean over clips; `targets` hold one class index per clip."""
        return functional.cross_entropy(output, targets.reshape(-1))

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[str]:
        """The label of the highest logit; the first of equals."""
        return [self.labels[index] for index in output.argmax(1).tolist()]


class PooledLinear(PooledHead):
    """Linear, mean over true frames, Linear, with no activation between (SUPERB sheet 1.5).

    Everything up to the logits is linear, so features [clip, width] that were averaged beforehand give the same
    logits and gradients as frames [clip, time, width] (sheet 3). The two matrices stay apart all the same: merged
    into one they would be the same function, but Adam and gradient clipping would take another path.
    """

    def __init__(self, width: int, hidden: int, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self.project = nn.Linear(width, hidden)
        self.classify = nn.Linear(hidden, len(self.labels))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        hidden = self.project(x)
        logits: Tensor = self.classify(hidden if lengths is None else mean_over_time(hidden, lengths))
        return logits


class LinearProbe(PooledHead):
    """One Linear on the standardised mean over true frames: what a straight cut through the features can tell apart.

    Each dimension is standardised with the running statistics of batch norm, without weights of its own: rates then
    suit features of any scale. A batch of a single clip is standardised with what was seen before.
    """

    stackable: ClassVar[bool] = False

    def __init__(self, width: int, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.classify = nn.Linear(width, len(self.labels))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        means = x if lengths is None else mean_over_time(x, lengths)
        seen = self.get_buffer("mean"), self.get_buffer("variance")
        logits: Tensor = self.classify(functional.batch_norm(means, *seen, training=self.training and len(means) > 1))
        return logits


def mean_over_time(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean of `x` [clip, time, width] over the first `lengths` frames of each clip; zeros where there are none.

    >>> mean_over_time(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2]))
    tensor([[2.]])
    """
    true = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    total = torch.where(true[:, :, None], x, 0.0).sum(1)
    return total / lengths.clamp_min(1)[:, None]


# ---- heads published in transformers' layout -------------------------------------------------------------------------

PUBLISHED = {
    "mix": "layer_weights",
    "head.project.weight": "projector.weight",
    "head.project.bias": "projector.bias",
    "head.classify.weight": "classifier.weight",
    "head.classify.bias": "classifier.bias",
}
"""Tensors of layer weights and a `PooledLinear` behind them, and what transformers' sequence classifiers call them."""


def published_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The head in the weights of a transformers audio classifier, such as superb/hubert-base-superb-ks, as ours.

    Layer weights under "mix" (there are none without `use_weighted_layer_sum`), a `PooledLinear` under "head.". The
    encoder's own tensors are passed over.
    """
    missing = [theirs for ours, theirs in PUBLISHED.items() if ours != "mix" and theirs not in state]
    if missing:
        raise BadCheckpoint(
            f"no classifier on projected means in these weights: they have no {', '.join(missing)}",
            "give the checkpoint of a transformers ...ForSequenceClassification for audio",
        )
    return {ours: state[theirs] for ours, theirs in PUBLISHED.items() if theirs in state}
