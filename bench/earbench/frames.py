"""Batches of frames: from memory, from the store, or from the encoder.

All three give the same bits (see extract.py), so which of them a machine has room for never changes a score.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from earbench.contract import Clip
from earbench.extract import Encoder, Shelf, ahead
from earbench.store import Store

ALL = slice(None)


@dataclass(frozen=True)
class Frames(ABC):
    """The frames of a list of clips, in half precision, seen through all layers or one."""

    shape: tuple[int, int]
    """Layers and width."""
    layers: slice = field(default_factory=lambda: ALL, kw_only=True)
    irregular: Mapping[str, Tensor] = field(default_factory=dict, kw_only=True)
    """The frame times in seconds, by id, of clips whose frames are at irregular ones; where they are streamed, of those
    that were heard already."""
    lead: ClassVar[int] = 1
    """How many batches are fetched before they are needed."""

    def layer(self, number: int) -> Self:
        """The same clips seen through one layer; where only one was kept, that is it, whatever its number."""
        if self.shape[0] == 1:
            return self
        return replace(self, shape=(1, self.shape[1]), layers=slice(number, number + 1))

    def batches(self, order: Sequence[Sequence[int]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """For each list of clip numbers [clip, layer, time, width] in float32 on `device`, and true lengths.

        Padding is zero. The next batches are fetched in threads while one is used.
        """
        with closing(ahead(self.fetch, order, self.lead)) as fetched:
            yield from map(partial(self._padded, device=device), fetched)  # which keeps no batch that is used up

    @abstractmethod
    def fetch(self, numbers: Sequence[int]) -> Any:
        """What can be made ready in a thread."""

    def rows(self, fetched: Any) -> list[Tensor]:
        """Of every clip that was fetched, [time, layer, width]."""
        found: list[Tensor] = fetched
        return found

    def _padded(self, fetched: Any, device: torch.device) -> tuple[Tensor, Tensor]:
        rows = self.rows(fetched)
        lengths = torch.tensor([len(clip) for clip in rows])
        return pad_sequence(rows, batch_first=True).to(device).float().transpose(1, 2), lengths


@dataclass(frozen=True)
class Resident(Frames):
    """All frames lie on the device, [sum of lengths, layer, width]; clip `n` from `starts[n]` on."""

    held: Tensor
    starts: Sequence[int]

    def fetch(self, numbers: Sequence[int]) -> list[Tensor]:
        return [self.held[self.starts[number] : self.starts[number + 1], self.layers] for number in numbers]


@dataclass(frozen=True)
class Mapped(Frames):
    """Frames are read from the store when a batch needs them."""

    store: Store
    keys: Sequence[str]

    def fetch(self, numbers: Sequence[int]) -> list[Tensor]:
        """Copied here, in the thread: the map alone has read nothing yet."""
        return [self.store.clip(self.keys[number], self.layers).clone() for number in numbers]


@dataclass(frozen=True)
class Streamed(Frames):
    """Audio is read ahead, and the encoder makes the frames of every batch (or their own files are read)."""

    encoder: Encoder
    clips: Sequence[Clip]
    lead: ClassVar[int] = 4

    def fetch(self, numbers: Sequence[int]) -> list[tuple[Clip, Any]]:
        return [(self.clips[number], self.encoder.source.fetch(self.clips[number])) for number in numbers]

    def rows(self, fetched: list[tuple[Clip, Any]]) -> list[Tensor]:
        return [self.encoder.rows(clip, given)[:, self.layers] for clip, given in fetched]


def frames_of(shelf: Shelf, clips: Sequence[Clip], device: torch.device) -> Frames:
    """The frames of `clips`, the way the shelf says."""
    if shelf.encoder:
        upstream = shelf.encoder.cell.heard
        return Streamed((upstream.layers, upstream.width), shelf.encoder, clips, irregular=shelf.irregular(clips))
    if shelf.features == "mapped":
        keys = [shelf.keys[clip.id] for clip in clips]
        layers, width = shelf.store.clip(keys[0], ALL).shape[1:]
        return Mapped((layers, width), shelf.store, keys, irregular=shelf.irregular(clips))
    held, lengths = shelf.read(clips)
    layers, width = held.shape[1:]
    starts = list(accumulate(lengths.tolist(), initial=0))
    return Resident((layers, width), held.to(device), starts, irregular=shelf.irregular(clips))
