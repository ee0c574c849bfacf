"""The linear head over a clip's mean for clips with any number of labels."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional

from earbench.kit.heads.pooled import PooledLinear


class PooledTags(PooledLinear):
    """`PooledLinear` that asks of each label by itself whether the clip has it."""

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Binary cross-entropy, mean over clips and labels; `targets` [clip, label] are 0 or 1."""
        return functional.binary_cross_entropy_with_logits(output, targets)

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """For each clip the probability of every label, in the order of `labels`.

        In double precision: in single, all logits above 17 would become one probability, and their order be lost.
        """
        found: list[Any] = output.cpu().double().sigmoid().tolist()
        return found
