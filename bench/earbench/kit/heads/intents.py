"""The linear head over a clip's mean that answers several questions at once: SUPERB's intents (sheet 1.5 and 2.8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head
from earbench.kit.heads.pooled import mean_over_time

UNSEEN = -100
"""The target of a value that training never saw: torch's cross-entropy passes over it, and no answer is right."""

Intent = tuple[str, ...]


@dataclass(frozen=True)
class Intents:
    """A space of answers with one value per slot; `len` counts the values of all slots, one logit each.

    >>> space = Intents.seen([("start", "music"), ("stop", "music")])
    >>> space.values, len(space), space.encode(("stop", "heat"))
    ((('start', 'stop'), ('music',)), 3, [1, -100])
    """

    values: tuple[tuple[str, ...], ...]

    @classmethod
    def seen(cls, intents: Iterable[Intent]) -> Intents:
        """The values of each slot in the order of their first appearance."""
        return cls(tuple(tuple(dict.fromkeys(slot)) for slot in zip(*intents, strict=True)))

    def __len__(self) -> int:
        return sum(map(len, self.values))

    def encode(self, intent: Intent) -> list[int]:
        """The number of each value among those of its slot."""
        pairs = zip(self.values, intent, strict=True)
        return [values.index(value) if value in values else UNSEEN for values, value in pairs]

    def decode(self, numbers: Sequence[int]) -> Intent:
        return tuple(values[number] for values, number in zip(self.values, numbers, strict=True))


class IntentLinear(Head):
    """Linear, mean over true frames, one Linear; its logits are the values of the slots, slot after slot.

    As `PooledLinear`, it may be given means instead of frames.
    """

    stackable: ClassVar[bool] = True

    def __init__(self, width: int, hidden: int, space: Intents) -> None:
        super().__init__()
        self.space = space
        self.project = nn.Linear(width, hidden)
        self.classify = nn.Linear(hidden, len(space))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        hidden = self.project(x)
        logits: Tensor = self.classify(hidden if lengths is None else mean_over_time(hidden, lengths))
        return logits

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """The sum over slots of the cross-entropy, mean over clips; `targets` [clip, slot] are numbers of values."""
        pairs = zip(self._slots(output), targets.unbind(1), strict=True)
        return torch.stack([functional.cross_entropy(logits, truth) for logits, truth in pairs]).sum()

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Intent]:
        """For every slot the value of its highest logit; the first of equals."""
        best = torch.stack([logits.argmax(1) for logits in self._slots(output)], 1)
        return [self.space.decode(numbers) for numbers in best.tolist()]

    def _slots(self, output: Tensor) -> tuple[Tensor, ...]:
        return torch.split(output, [len(values) for values in self.space.values], dim=1)
