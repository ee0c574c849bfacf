"""One split as a head sees it: batches of features and answers, on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from earbench.contract import Space, Split, Task
from earbench.errors import BenchError
from earbench.extract import Shelf, packs
from earbench.frames import Frames, frames_of
from earbench.rows import Rows, rows_of
from earbench.stack import Batch

EVALUATE_CLIPS = 2048
EVALUATE_FRAMES = 8192


@dataclass(frozen=True)
class Gathered:
    """Examples that lie ready: `rows` of features, and on the device what each means. A batch is a gather by number."""

    split: Split
    rows: Rows
    targets: Tensor
    target_lengths: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and width."""
        return self.rows.shape[1:]

    def layer(self, number: int) -> Self:
        """The same examples seen through one layer."""
        return replace(self, rows=self.rows.layer(number))

    def batches(self, order: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Features [example, layer, width], no lengths, targets and their lengths, for each list of numbers.

        All numbers are moved to the device at once: a step then waits for nothing.
        """
        numbers = torch.as_tensor(np.concatenate([np.asarray(one) for one in order]), device=self.targets.device)
        for indices in torch.split(numbers, [len(one) for one in order]):
            yield self.rows.take(indices).float(), None, self.targets[indices], self.target_lengths[indices]


@dataclass(frozen=True)
class Pooled(Gathered):
    """One split at grain `mean` or `clip`, an example per clip."""

    @property
    def units(self) -> int:
        """How many examples an epoch visits: a pool of clips is one."""
        return len(self.split.units())

    def order(self) -> list[Sequence[int]]:
        """All clip numbers, as many at a time as are judged together."""
        count = len(self.split.clips)
        return [range(start, min(start + EVALUATE_CLIPS, count)) for start in range(0, count, EVALUATE_CLIPS)]

    def times(self, numbers: Sequence[int], lengths: Tensor | None) -> None:
        """Pooled features have no frames, so no times."""


@dataclass(frozen=True)
class SingleFrames(Gathered):
    """All frames of a split at grain `frame`, an example each, clip after clip in the order of time."""

    @property
    def units(self) -> int:
        """How many examples an epoch visits."""
        return len(self.rows)


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

    @property
    def units(self) -> int:
        """How many examples an epoch visits: a pool of clips is one."""
        return len(self.split.units())

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

    def times(self, numbers: Sequence[int], lengths: Tensor | None) -> Tensor | None:
        """Centres in seconds of the frames of the batch of these clips, [clip, time], in double precision on the CPU.

        Behind a clip's last frame they go on at the hop.
        """
        if lengths is None:
            return None
        longest = int(lengths.max())
        return torch.stack([self._centres(number, longest) for number in numbers])

    def _answer(self, number: int, frames: int) -> Tensor:
        if self.space is None:
            return torch.tensor(0)
        return self.task.target(self.split.clips[number], self._centres(number, frames), self.space)

    def _centres(self, number: int, frames: int) -> Tensor:
        return centres(self.frames.irregular.get(self.split.clips[number].id), self.hop, self.first, frames)


Examples = Pooled | Framed
"""What can be predicted from: one example, or padded row of frames, per clip."""


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


def train_examples(
    task: Task, split: Split, space: Space, shelf: Shelf, device: torch.device
) -> Examples | SingleFrames:
    """What heads are trained on: the clips of a split, or where the task says so, each of their frames."""
    if task.example == "clip":
        return examples(task, split, space, shelf, device)
    (hop, first), irregular = shelf.times(), shelf.irregular(split.clips)
    targets = []
    for clip, frames in zip(split.clips, shelf.lengths(split.clips), strict=True):
        targets.append(task.target(clip, centres(irregular.get(clip.id), hop, first, frames), space))
        if targets[-1].shape[:1] != (frames,):
            raise BenchError(
                f"task '{task.card.name}' trains on single frames, and its target of clip '{clip.id}' is "
                f"{list(targets[-1].shape)} for {frames} frames",
                "`target` has to answer once for each of `times`",
            )
    joined = torch.cat(targets).to(device)
    lengths = torch.tensor(joined.shape[1] if joined.dim() > 1 else 1, device=device).expand(len(joined))
    return SingleFrames(split, rows_of(shelf, split.clips, device), joined, lengths)


def single_frames(batch: Batch) -> Batch:
    """The true frames of a padded batch, an example each: [frame, layer, width], no lengths, targets, their lengths."""
    x, lengths, targets, target_lengths = batch
    if lengths is None:
        return batch
    true = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
    answers = targets[true]
    each = target_lengths.new_tensor(answers.shape[1] if answers.dim() > 1 else 1)
    return x.transpose(1, 2)[true], None, answers, each.expand(len(answers))


def centres(irregular: Tensor | None, hop: float, first: float, frames: int) -> Tensor:
    """The centres of that many frames in seconds, [time], in double precision: at the hop, or at their own times first.

    >>> centres(torch.tensor([0.0, 0.25]), 0.5, 0.0, 3).tolist()
    [0.0, 0.25, 0.75]
    """
    if irregular is None:
        return first + hop * torch.arange(frames, dtype=torch.float64)
    beyond = irregular[-1] + hop * torch.arange(1, frames - len(irregular) + 1, dtype=torch.float64)
    return torch.cat((irregular, beyond))


def padded_targets(targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Scalars stacked to [clip], anything else padded with zeros, and how long each was."""
    lengths = torch.tensor([target.shape[0] if target.dim() else 1 for target in targets])
    if targets[0].dim() == 0:
        return torch.stack(list(targets)), lengths
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True), lengths
