"""What a way of pretraining is: an encoder with the loss it learns by, over stretches of unlabelled audio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn


class Outcome(NamedTuple):
    """The scalar that training minimises, and how often the right answer scored highest."""

    loss: Tensor
    accuracy: Tensor


class Objective(nn.Module, ABC):
    """An encoder and whatever its pretext task needs beside it; named by an entry point of `earbench.objectives`.

    `forward` sees stretches of `window` samples at `sample_rate`, all of one speaker. Its random draws come from
    torch's global generator, which is seeded by the number of the step. `rate` and `batch` are the published ones.
    `upstream` is the encoder that loads what `weights` gives, as `UPSTREAM@FILE`.
    """

    upstream: ClassVar[str]
    sample_rate: ClassVar[int]
    window: ClassVar[int]
    batch: ClassVar[int]
    rate: ClassVar[float]

    @abstractmethod
    def forward(self, waves: Tensor) -> Outcome:
        """The loss of `waves` [stretch, sample]."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The encoder's weights, by the names of its published checkpoints."""

    def published(self) -> dict[str, Any]:
        """What a checkpoint in the published layout holds, for other people's loaders."""
        return self.weights()
