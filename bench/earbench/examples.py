"""One split as a head sees it: batches of features and answers, on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Space, Split, Task
from earbench.extract import Shelf, packs
from earbench.frames import Frames, frames_of
from earbench.rows import Rows, rows_of
from earbench.stack import Batch

EVALUATE_CLIPS = 2048
EVALUATE_FRAMES = 8192


@dataclass(frozen=True)
class Pooled:
    """One split at grain `mean` or `clip`: its `rows` of features, and what each means, which is on the device."""

    split: Split
    rows: Rows
    targets: Tensor
    target_lengths: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and width."""
        return self.rows.shape[1:]

    def layer(self, number: int) -> "Pooled":
        """The same split seen through one layer."""
        return replace(self, rows=self.rows.layer(number))

    def batches(self, order: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Features [clip, layer, width], no lengths, targets and their lengths, for each list of clip numbers.

        All numbers are moved to the device at once: a step then waits for nothing.
        """
        numbers = torch.as_tensor(np.concatenate([np.asarray(one) for one in order]), device=self.targets.device)
        for indices in torch.split(numbers, [len(one) for one in order]):
            yield self.rows.take(indices), None, self.targets[indices], self.target_lengths[indices]

    def order(self) -> list[Sequence[int]]:
        """All clip numbers, as many at a time as are judged together."""
        count = len(self.split.clips)
        return [range(start, min(start + EVALUATE_CLIPS, count)) for start in range(0, count, EVALUATE_CLIPS)]

    def times(self, lengths: Tensor | None) -> None:
        """Pooled features have no frames, so no times."""


@dataclass(frozen=True)
class Framed:
    """One split at grain `frame`, padded batch by batch. Without a `space`, nothing is asked for and targets are 0.

    Targets are made with each batch: how many frames a clip has may be known only once the encoder has seen it, and
    keeping them would take more memory the larger the corpus.
    """

    split: Split
    frames: Frames
    task: Task
    space: Space | None
    hop: float
    first: float
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and width."""
        return self.frames.shape

    def layer(self, number: int) -> "Framed":
        """The same split seen through one layer."""
        return replace(self, frames=self.frames.layer(number))

    def batches(self, order: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Frames [clip, layer, time, width], true lengths, targets and their lengths, for each list of clip numbers."""
        plain = [[int(number) for number in one] for one in order]
        for numbers, (x, lengths) in zip(plain, self.frames.batches(plain, self.device), strict=True):
            targets = [self._answer(number, count) for number, count in zip(numbers, lengths.tolist(), strict=True)]
            padded, target_lengths = padded_targets(targets)
            yield x, lengths.to(self.device), padded.to(self.device), target_lengths.to(self.device)

    def order(self) -> list[Sequence[int]]:
        """All clip numbers, of like durations together, with at most `EVALUATE_FRAMES` padded frames at a time."""
        frames = [seconds / self.hop + 1 for seconds in self.split.seconds]
        shortest_first = sorted(range(len(frames)), key=frames.__getitem__)
        return list(packs(shortest_first, EVALUATE_FRAMES, frames.__getitem__))

    def times(self, lengths: Tensor | None) -> Tensor | None:
        """Centres of the frames of a batch in seconds, [clip, time]."""
        if lengths is None:
            return None
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        return (self.first + self.hop * steps).expand(len(lengths), -1)

    def _answer(self, number: int, frames: int) -> Tensor:
        if self.space is None:
            return torch.tensor(0)
        return self.task.target(self.split.clips[number], self.first + self.hop * torch.arange(frames), self.space)


Examples = Pooled | Framed


def examples(task: Task, split: Split, space: Space | None, shelf: Shelf, device: torch.device) -> Examples:
    """Features of one split and, where there is a `space` to answer in, its targets; without, these stay unread."""
    if task.card.grain == "frame":
        return Framed(split, frames_of(shelf, split.clips, device), task, space, *shelf.times(), device)
    rows = rows_of(shelf, split.clips, device)
    if space is None:
        nothing = torch.zeros(len(rows), dtype=torch.long, device=device)
        return Pooled(split, rows, nothing, nothing)
    targets, lengths = padded_targets([task.target(clip, None, space) for clip in split.clips])
    return Pooled(split, rows, targets.to(device), lengths.to(device))


def padded_targets(targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Scalars stacked to [clip], anything else padded with zeros, and how long each was."""
    lengths = torch.tensor([target.shape[0] if target.dim() else 1 for target in targets])
    if targets[0].dim() == 0:
        return torch.stack(list(targets)), lengths
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True), lengths
