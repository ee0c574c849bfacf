"""One split as a head sees it: features and answers, resident on the device, batches by index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from earbench.contract import Space, Split, Task
from earbench.extract import Shelf
from earbench.stack import Batch

EVALUATE_CLIPS = 2048


@dataclass(frozen=True)
class Examples:
    """One split on the device: rows [sum of rows, layer, width], and what each clip should be answered with."""

    split: Split
    rows: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    framewise: bool
    hop: float = 0.0
    first: float = 0.0

    def times(self, lengths: Tensor | None) -> Tensor | None:
        """Centres of the frames of a batch in seconds, [clip, time]; None for pooled features."""
        if lengths is None:
            return None
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        return (self.first + self.hop * steps).expand(len(lengths), -1)

    def batch(self, indices: Tensor) -> Batch:
        """Features [clip, layer, width] (or [clip, layer, time, width] and true lengths), targets and their lengths."""
        targets, target_lengths = self.targets[indices], self.target_lengths[indices]
        if not self.framewise:
            return self.rows[indices], None, targets, target_lengths
        lengths = self.lengths[indices]
        starts = (self.lengths.cumsum(0) - self.lengths)[indices]
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        inside = steps < lengths[:, None]
        rows = self.rows[torch.where(inside, starts[:, None] + steps, 0)] * inside[..., None, None]
        return rows.transpose(1, 2), lengths, targets, target_lengths

    def layer(self, number: int) -> "Examples":
        """The same split seen through one layer."""
        return replace(self, rows=self.rows[:, number : number + 1].contiguous())

    def slices(self) -> Iterator[Tensor]:
        """All clip numbers in order, as many at a time as are judged together."""
        yield from torch.split(torch.arange(len(self.split.clips), device=self.rows.device), EVALUATE_CLIPS)


def examples(task: Task, split: Split, space: Space, shelf: Shelf, device: torch.device) -> Examples:
    """The features and targets of one split, moved to `device` once."""
    rows, lengths = shelf.read(split.clips)
    framewise = task.card.grain == "frame"
    hop, first = shelf.store.times()
    times = [first + hop * torch.arange(int(length)) if framewise else None for length in lengths]
    targets = [task.target(clip, at, space) for clip, at in zip(split.clips, times, strict=True)]
    padded, target_lengths = _pad(targets)
    rows, lengths = rows.to(device), lengths.to(device)
    return Examples(split, rows, lengths, padded.to(device), target_lengths.to(device), framewise, hop, first)


def _pad(targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([target.shape[0] if target.dim() else 1 for target in targets])
    if targets[0].dim() == 0:
        return torch.stack(list(targets)), lengths
    return torch.nn.utils.rnn.pad_sequence(list(targets), batch_first=True), lengths
