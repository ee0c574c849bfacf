"""Heads that transcribe: connectionist temporal classification (Graves et al. 2006) over frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Head
from earbench.errors import BenchError
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import BLANK, Spelling, collapsed

DROPOUT = 0.2

Beam = Callable[[Tensor], str | None]
"""Reads log probabilities [time, symbol] with more than the letters themselves to go by; None if nothing fits."""


class CTCHead(Head):
    """Loss and greedy reading of every head whose output is [clip, time, symbol] over a space of symbols."""

    def __init__(self, space: Spelling) -> None:
        super().__init__()
        self.space = space

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """The mean over clips of the loss per target symbol (SUPERB sheet 2.1 and 2.2).

        A clip with more symbols than frames has no path. It counts as a loss of zero, as in s3prl (`zero_infinity`):
        nothing is learned from it, and in valid and test its errors count like any other's.
        """
        logs = output.log_softmax(-1).transpose(0, 1)
        return functional.ctc_loss(logs, targets, _framed(lengths), target_lengths, BLANK, zero_infinity=True)

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[str]:
        """The best symbol of each true frame, collapsed and read by the space."""
        paths = zip(output.argmax(-1).tolist(), _framed(lengths).tolist(), strict=True)
        return [self.space.decode(collapsed(path[:length])) for path, length in paths]


class FramewiseCTC(CTCHead):
    """Two linear maps of each frame with nothing between them (SUPERB sheet 2.1).

    Not stackable: torch has no batching rule for CTC, so stacked recipes would take turns in it all the same.
    """

    def __init__(self, width: int, hidden: int, space: Spelling) -> None:
        super().__init__(space)
        self.project = nn.Linear(width, hidden)
        self.spell = nn.Linear(hidden, len(space))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        _framed(lengths)
        logits: Tensor = self.spell(self.project(x))
        return logits


class RecurrentCTC(CTCHead):
    """Linear, two bidirectional LSTMs with dropout behind each, linear; no down-sampling (SUPERB sheet 2.2).

    In training the features pass through `augment` first. All random draws of a step come from one generator on the
    device, seeded by the next draw of `self.generator`: the same recipe draws the same, whatever trains beside it.
    """

    def __init__(
        self, width: int, hidden: int, space: Spelling, augment: SpecAugment, beam: Beam | None = None
    ) -> None:
        super().__init__(space)
        self.augment, self.beam = augment, beam
        self.project = nn.Linear(width, hidden)
        self.recurrent = nn.ModuleList([BothWays(hidden, hidden), BothWays(2 * hidden, hidden)])
        self.spell = nn.Linear(2 * hidden, len(space))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        lengths = _framed(lengths)
        draw = _on_device(self.generator, x.device) if self.training else None
        hidden = self.project(x if draw is None else self.augment(x, lengths, draw))
        for layer in self.recurrent:
            hidden = layer(hidden, lengths)
            if draw is not None:
                kept = torch.empty_like(hidden).bernoulli_(1 - DROPOUT, generator=draw)
                hidden = hidden * kept / (1 - DROPOUT)
        logits: Tensor = self.spell(hidden)
        return logits

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[str]:
        """The greedy reading, or with `lm` what `beam` finds; greedy again where that is nothing, as in s3prl."""
        greedy = super().predict(output, lengths, times)
        if not decoding.get("lm"):
            return greedy
        if self.beam is None:
            raise BenchError("this head has no language model to decode with", "give it a `beam`")
        found = [self.beam(one[:length].log_softmax(-1)) for one, length in zip(output, _framed(lengths), strict=True)]
        return [plain if said is None else said for plain, said in zip(greedy, found, strict=True)]


class BothWays(nn.Module):
    """One LSTM from the first true frame on and one back from the last; their outputs side by side.

    On true frames it equals torch's bidirectional LSTM on a packed sequence. Two reasons to turn the clips round
    instead: packing needs the lengths on the host, and on a CPU its backward pass is six times slower.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        ahead, _ = self.ahead(x)
        back, _ = self.back(turned(x, lengths))
        return torch.cat([ahead, turned(back, lengths)], -1)


def turned(x: Tensor, lengths: Tensor) -> Tensor:
    """`x` [clip, time, width] with the true frames of each clip in reverse order, the others where they were.

    >>> turned(torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([2])).flatten().tolist()
    [2.0, 1.0, 9.0]
    """
    steps = torch.arange(x.shape[1], device=x.device)
    order = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, order[..., None].expand_as(x))


def _framed(lengths: Tensor | None) -> Tensor:
    if lengths is None:
        raise BenchError("a recogniser needs every frame, and was given one vector per clip", 'use the grain "frame"')
    return lengths


def _on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator on `device` that the next draw of `generator` seeds."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
