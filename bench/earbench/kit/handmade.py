"""What all encoders without learned weights share: their card, float32 throughout, frames and lengths made Features."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from earbench.contract import Features, Upstream, UpstreamCard
from earbench.kit.frontends import zeroed


def computed_card(name: str, sample_rate: int, hop: float, width: int, licence: str = "Apache-2.0") -> UpstreamCard:
    """The card of an encoder of one layer that is computed, not learned, and was compared with its reference."""
    return UpstreamCard(
        name=name,
        family="hand-made",
        licence=licence,
        weights="none (computed)",
        pretraining="none",
        parameters=0,
        sample_rate=sample_rate,
        hop=hop,
        layers=1,
        widths=(width,),
        normalise=False,
        parity="run",
    )


class HandMade(Upstream):
    """One layer of features by formula. A subclass says its sizes and `compute`.

    `first` is the centre of frame 0 in seconds. Logarithms of small energies do not survive half precision, so
    autocasting is off inside.
    """

    layers = 1
    first = 0.0

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        with torch.autocast(waves.device.type, enabled=False):
            frames, counts = self.compute(waves.float(), lengths)
        return Features(zeroed(frames, counts)[:, None], counts, hop=self.hop, first=self.first)

    @abstractmethod
    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [clip, time, width], finite throughout, and how many of each clip's are true."""

    def constant(self, name: str, value: Tensor) -> None:
        """Keep a table that follows the module to its device; it is computed, so it is no part of the weights."""
        self.register_buffer(name, value, persistent=False)
