"""The recurrent head that says of every frame who talks, whatever the speakers are called (SUPERB sheet 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import SWAY, Head
from earbench.errors import BenchError

RATE = 16_000


@dataclass(frozen=True)
class Activity:
    """How likely each speaker is to talk in each stretch of `hop` seconds of a clip, [time, speaker].

    `threshold` and `median` (in stretches) say how turns are to be read off it. The hop of a single frame may be
    unknown: None.
    """

    likely: np.ndarray[Any, np.dtype[np.float32]]
    hop: float | None
    threshold: float = 0.5
    median: int = 11


class WhoTalks(Head):
    """Logits [clip, time, speaker]: one LSTM from the first frame on, linear.

    What lies behind a clip's true frames changes nothing before it, so padding does no harm.
    """

    def __init__(self, width: int, hidden: int, speakers: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(width, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, speakers)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        _framed(lengths)
        hidden, _ = self.recurrent(x)
        logits: Tensor = self.classify(hidden)
        return logits

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Binary cross-entropy in the order of speakers that suits each clip best, summed over clips, per true frame.

        Mean over speakers, sum over the true frames of a clip, least over the orders; a long clip counts more.
        """
        lengths = _framed(lengths)
        true = torch.arange(output.shape[1], device=output.device) < lengths[:, None]
        costs = [
            functional.binary_cross_entropy_with_logits(output, targets[..., list(order)], reduction="none").mean(2)
            for order in permutations(range(output.shape[2]))
        ]
        each = torch.where(true, torch.stack(costs), 0.0).sum(2)
        return each.min(0).values.sum() / lengths.sum()

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Activity]:
        """The probabilities of each clip's true frames, with the `threshold` and `median` to decode them by."""
        likely = output.sigmoid().float().cpu().numpy()
        hops = [None] * len(likely) if times is None else [hop_of(clip.tolist()) for clip in times]
        counts = _framed(lengths).tolist()
        return [
            Activity(clip[:count].copy(), hop, **decoding)
            for clip, count, hop in zip(likely, counts, hops, strict=True)
        ]


def hop_of(times: Sequence[float]) -> float | None:
    """The spacing of regular frame times in seconds, None for a single one.

    Times are rounded; a spacing of whole samples (at 16 kHz) is given exactly, since half of all boundaries of speech
    lie half-way between two frames and would be rounded either way.

    >>> hop_of([0.012500000186, 0.022500000894, 0.032499998807])
    0.01
    """
    if len(times) < 2:
        return None
    even = np.linspace(times[0], times[-1], len(times))
    if np.abs(even - times).max() > SWAY:
        raise BenchError(
            "who talks when needs frames at regular times, and this encoder's are not",
            "tasks that look at whole clips (ks, for one) can use it",
        )
    samples = (times[-1] - times[0]) / (len(times) - 1) * RATE
    whole = round(samples)
    return (whole if abs(samples - whole) < 0.01 else samples) / RATE


def _framed(lengths: Tensor | None) -> Tensor:
    if lengths is None:
        raise BenchError("who talks when needs every frame, and was given one vector per clip", 'use the grain "frame"')
    return lengths
