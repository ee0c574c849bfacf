"""Rows of features, one per clip or one per frame: on the device, or in the store's files if it has no room for them.

Both give the same bits, so which of them a machine has room for never changes a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from earbench.contract import Clip
from earbench.extract import Shelf


class Rows(Protocol):
    """Features [row, layer, width] of which some are asked for at a time."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def __len__(self) -> int: ...

    def take(self, numbers: Tensor) -> Tensor:
        """The rows with these numbers, on the device, as they are stored."""

    def layer(self, number: int) -> "Rows":
        """The same rows seen through one layer; where only one was kept, that is it, whatever its number."""

    def matrix(self, layer: int) -> Tensor:
        """One layer of all rows, [row, width], on the CPU."""


@dataclass(frozen=True)
class HeldRows:
    """All rows lie on the device."""

    held: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        rows, layers, width = self.held.shape
        return rows, layers, width

    def __len__(self) -> int:
        return len(self.held)

    def take(self, numbers: Tensor) -> Tensor:
        return self.held[numbers.to(self.held.device)]

    def layer(self, number: int) -> "HeldRows":
        return self if self.shape[1] == 1 else HeldRows(self.held[:, number : number + 1].contiguous())

    def matrix(self, layer: int) -> Tensor:
        return self.held[:, layer].cpu()


@dataclass(frozen=True)
class MappedRows:
    """The store's files, memory-mapped, each [row, layer, width]; row `n` of all is `row[n]` of file `file[n]`."""

    files: Sequence[Tensor]
    file: Tensor
    row: Tensor
    device: torch.device
    layers: slice = field(default_factory=lambda: slice(None))

    @property
    def shape(self) -> tuple[int, int, int]:
        _, layers, width = self.files[0][:, self.layers].shape
        return len(self.row), layers, width

    def __len__(self) -> int:
        return len(self.row)

    def take(self, numbers: Tensor) -> Tensor:
        return self._read(numbers.cpu(), self.layers).to(self.device)

    def layer(self, number: int) -> "MappedRows":
        return self if self.shape[1] == 1 else replace(self, layers=slice(number, number + 1))

    def matrix(self, layer: int) -> Tensor:
        number = range(self.files[0].shape[1])[self.layers][layer]
        return self._read(torch.arange(len(self)), slice(number, number + 1))[:, 0]

    def _read(self, numbers: Tensor, layers: slice) -> Tensor:
        """File by file: of each, nothing but the pages of these rows is read."""
        file, row = self.file[numbers], self.row[numbers]
        out = self.files[0].new_empty(len(numbers), *self.files[0][:0, layers].shape[1:])
        for one in set(file.tolist()):
            here = file == one
            out[here] = self.files[one][row[here], layers]
        return out


def rows_of(shelf: Shelf, clips: Sequence[Clip], device: torch.device) -> Rows:
    """The rows of `clips`, one clip after another, the way the shelf says."""
    if shelf.features == "mapped":
        return MappedRows(*shelf.store.mapped([shelf.keys[clip.id] for clip in clips]), device)
    return HeldRows(shelf.read(clips)[0].to(device))
