"""Every distinct clip through the frozen encoder once, into the store; frames that have no room there, when needed.

Clips are sorted by length and packed by total samples. The packs are computed from the whole list, stored or not, so
that a resumed run forwards the same packs as an undisturbed one. At grain `frame` every clip is a pack of its own: its
frames are then the same bits whenever and beside whatever it is forwarded, so storing or streaming cannot change a
score. Decoding runs ahead in threads.
"""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from earbench.config import Settings
from earbench.contract import Clip, Grain, Upstream
from earbench.data import Prepared
from earbench.errors import BenchError
from earbench.forward import SHORTEST, Encoded, Source, source
from earbench.plan import ENGINE, Cell
from earbench.progress import Progress
from earbench.store import Damaged, Store, prune

T = TypeVar("T")
R = TypeVar("R")

SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 20.0
AHEAD = 4
MEMORY_SHARE = 0.25
"""Of a device's free memory (of all memory, on a CPU): what the features of a run may take there."""


@dataclass(frozen=True)
class Item:
    """One distinct stretch of audio and the key its features are stored under."""

    key: str
    clip: Clip
    seconds: float


@dataclass
class Encoder:
    """The encoder of a run whose frames are not stored: one clip after another, and an account of the work.

    `irregular` holds the frame times, by id, of the clips that it has heard whose frames are at irregular ones.
    """

    cell: Cell
    source: Source[Any]
    hop: float = 0.0
    first: float = 0.0
    seconds: float = 0.0
    audio_seconds: float = 0.0
    irregular: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, clip: Clip, fetched: Any) -> Tensor:
        """The clip's frames [time, layer, width], the same bits as the store would hold."""
        started = time.perf_counter()
        encoded = self.source.make([fetched])
        _check_sound(self.cell, [clip], encoded)
        self.hop, self.first = encoded.hop, encoded.first
        if (own := encoded.times[0]) is not None:
            self.irregular[clip.id] = own
        self.seconds += time.perf_counter() - started
        if self.source.audible:
            self.audio_seconds += len(fetched) / self.cell.upstream.sample_rate
        return encoded.rows[0]


@dataclass(frozen=True)
class Shelf:
    """The features of a run: a store that holds all of them, and the key of every clip id.

    `features` says how batches come about: held on the device, read from the store ("mapped"), or, of frames, made by
    the `encoder` each time. It never changes a bit of them.
    """

    store: Store
    keys: dict[str, str]
    features: Literal["resident", "mapped", "streamed"] = "resident"
    encoder: Encoder | None = None

    def read(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Rows of `clips` in order, [sum of rows, layer, width] as stored, and the number of rows of each clip."""
        return self.store.read([self.keys[clip.id] for clip in clips])

    def rows(self, clip: Clip) -> Tensor:
        """Rows of one clip, [row, layer, width] as stored or as they would be."""
        if self.encoder:
            return self.encoder.rows(clip, self.encoder.source.fetch(clip))
        return self.store.clip(self.keys[clip.id], slice(None))

    def times(self) -> tuple[float, float]:
        """Frame spacing and centre of the first frame, in seconds."""
        return (self.encoder.hop, self.encoder.first) if self.encoder else self.store.times()

    def irregular(self, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """The frame times [row] in seconds, by id, of those `clips` whose frames are at irregular ones.

        While the encoder streams, that is all clips which it has heard so far.
        """
        if self.encoder:
            return self.encoder.irregular
        found = self.store.irregular([self.keys[clip.id] for clip in clips])
        return {clip.id: found[key] for clip in clips if (key := self.keys[clip.id]) in found}

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """The number of rows of each of these stored clips."""
        return self.store.lengths([self.keys[clip.id] for clip in clips])

    def cost(self) -> dict[str, Any]:
        """What the encoder's work took: when the shards were made, or in all passes of this run."""
        if not self.encoder:
            return self.store.cost(set(self.keys.values())) | {"features": self.features}
        spent = {"extract_seconds": self.encoder.seconds, "audio_seconds": self.encoder.audio_seconds}
        return spent | {"extracted_on": [str(self.encoder.cell.device)], "features": self.features}


def extract(cell: Cell, prepared: Prepared, settings: Settings, workspace: Path, progress: Progress) -> Shelf:
    """Features of every clip of the run: from the store in `workspace` where they are there, else computed.

    Frames that do not fit the store's budget are left to be made batch by batch.
    """
    items = distinct(prepared)
    keys = {clip.id: prepared.stored(clip) for clip in prepared.clips()}
    store, origin = store_of(cell, settings, workspace), source(cell, prepared, settings.dtype)
    if streams(cell, items, store, settings):
        need = estimate_bytes(cell.heard, "frame", items) / 1e9
        again = "the encoder runs" if origin.audible else "their files are read"
        progress.warn(f"frames need {need:,.2f} GB, over budget_gb = {settings.budget_gb:g}: {again} in every epoch")
        return Shelf(store, keys, "streamed", _encoder(cell, items[0].clip, origin))
    _make_room(cell, items, store, settings, workspace)
    while True:
        with store.extracting(progress):
            _fill(cell, items, origin, store, settings, progress)
        try:
            store.verify(keys.values())
        except Damaged as damage:
            progress.warn(f"{damage}; extracting them again")
            continue
        fits = estimate_bytes(cell.heard, cell.grain, items) <= memory(cell.device)
        return Shelf(store, keys, "resident" if fits else "mapped")


def streams(cell: Cell, items: Sequence[Item], store: Store, settings: Settings) -> bool:
    """Whether the frames of `items` have to be made anew for every batch: they are not all there, and have no room.

    A task whose examples are single frames, out of all clips, is refused then: they have to be stored.
    """
    need, budget = estimate_bytes(cell.heard, cell.grain, items), settings.budget_gb * 1e9
    if cell.grain != "frame" or need <= budget or not store.missing(item.key for item in items):
        return False
    if cell.task.example == "frame":
        raise BenchError(
            f"task '{cell.task.card.name}' trains on single frames, which have to be stored: those of {len(items):,} "
            f"clips need {need / 1e9:,.2f} GB, the store may hold {settings.budget_gb:g} GB",
            "raise budget_gb in [cache] of bench.toml",
        )
    return True


def memory(device: torch.device) -> float:
    """Bytes of `device` that the features of a run may take."""
    if device.type == "cuda":
        return MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]
    return MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def store_of(cell: Cell, settings: Settings, workspace: Path) -> Store:
    """The shelf for this encoder's features at this grain and precision, as this version of the engine makes them.

    Layers of a named group have a shelf of their own, and so have the frames of a single layer, and features of an
    encoder that hears long clips in stretches.
    """
    group = f"-{cell.group}" if cell.group else ""
    layer = "" if cell.kept is None else f".{cell.kept}"
    longest = f"-{cell.upstream.longest:g}s" if math.isfinite(cell.upstream.longest) else ""
    return Store(workspace, cell.digest, cell.grain, f"{settings.dtype}-e{ENGINE}{group}{layer}{longest}")


def distinct(prepared: Prepared) -> tuple[Item, ...]:
    """Each distinct (file content, stretch, effects) once, shortest first, ties by key."""
    seconds = prepared.seconds()
    found: dict[str, Item] = {}
    for clip in prepared.clips():
        key = prepared.stored(clip)
        found.setdefault(key, Item(key, clip, seconds[clip.id]))
    return tuple(sorted(found.values(), key=lambda item: (item.seconds, item.key)))


def packs(items: Iterable[T], room: float, size: Callable[[T], float]) -> list[list[T]]:
    """Items, smallest first, cut into runs whose padded size (count times the largest) is at most `room`, none empty.

    >>> packs([1, 1, 2, 5, 9], 6, float)
    [[1, 1, 2], [5], [9]]
    """
    found: list[list[T]] = []
    for item in items:
        if found and (len(found[-1]) + 1) * size(item) <= room:
            found[-1].append(item)
        else:
            found.append([item])
    return found


def packs_of(items: Sequence[Item], grain: Grain, settings: Settings) -> list[list[Item]]:
    """What is forwarded together: as much as `pack_seconds` hold, or at grain `frame` every clip by itself."""
    room = 0.0 if grain == "frame" else settings.pack_seconds
    return packs(items, room, lambda item: max(item.seconds, SHORTEST))


def estimate_bytes(upstream: Upstream, grain: Grain, items: Sequence[Item]) -> int:
    """How much the features of `items` take in the store."""
    if grain != "frame":
        return len(items) * upstream.layers * upstream.width * 4
    frames = sum(item.seconds / upstream.hop + 1 for item in items)
    return int(frames * upstream.layers * upstream.width * 2)


def _make_room(cell: Cell, items: Sequence[Item], store: Store, settings: Settings, workspace: Path) -> None:
    need, budget = estimate_bytes(cell.heard, cell.grain, items), settings.budget_gb * 1e9
    missing = store.missing(item.key for item in items)
    if need > budget and missing:
        raise BenchError(
            f"features of {len(items):,} clips need {need / 1e9:.2f} GB, the store may hold {settings.budget_gb:g} GB",
            "raise budget_gb in [cache] of bench.toml",
        )
    prune(workspace, budget - need * len(missing) / max(1, len(items)), keep=store.files_of(item.key for item in items))


def _fill(
    cell: Cell, items: Sequence[Item], origin: Source[Any], store: Store, settings: Settings, progress: Progress
) -> None:
    missing = store.missing(item.key for item in items)
    if not missing:
        return
    held = store.held_at_first([item.key for item in items])
    parts = [item for item in items if item.key not in held], [item for item in items if item.key in held]
    packed = (pack for part in parts for pack in packs_of(part, cell.grain, settings))
    todo = [pack for pack in packed if any(item.key in missing for item in pack)]
    cell.upstream.to(cell.device)
    total = sum(item.seconds for pack in todo for item in pack)
    writer = _Writer(store, str(cell.device), origin.audible)
    with (
        progress.bar(f"{cell.name}: extracting", round(total), "s of audio") as bar,
        closing(ahead(lambda pack: (pack, [origin.fetch(item.clip) for item in pack]), todo, AHEAD)) as fetched,
    ):
        try:
            for pack, given in fetched:
                encoded = origin.make(given)
                _check_sound(cell, [item.clip for item in pack], encoded)
                made = zip(pack, encoded.rows, encoded.times, strict=True)
                writer.add([one for one in made if one[0].key in missing], encoded)
                bar.advance(sum(item.seconds for item in pack))
        except KeyboardInterrupt:
            writer.flush()
            raise
    writer.flush()
    cell.upstream.cpu()


def ahead(work: Callable[[T], R], todo: Iterable[T], count: int) -> Generator[R]:
    """What `work` makes of every item, in order; threads are up to `count` items ahead of the caller."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in todo:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _encoder(cell: Cell, clip: Clip, origin: Source[Any]) -> Encoder:
    """The encoder on its device; one clip tells it the frame times."""
    cell.upstream.to(cell.device)
    encoder = Encoder(cell, origin)
    encoder.rows(clip, origin.fetch(clip))
    return encoder


def _check_sound(cell: Cell, clips: Sequence[Clip], encoded: Encoded) -> None:
    for clip, rows, own in zip(clips, encoded.rows, encoded.times, strict=True):
        if own is not None and not (len(own) == len(rows) and own.isfinite().all() and (own.diff() > 0).all()):
            raise BenchError(
                f"upstream '{cell.name}' gives clip '{clip.id}' frame times that do not rise, or not one per frame",
                f"`bench check --upstream {cell.request.upstream}` looks for the reason",
            )
    bad = [clip.id for clip, rows in zip(clips, encoded.rows, strict=True) if not torch.isfinite(rows).all()]
    if bad:
        what = "NaN or infinite features"
        if cell.grain == "frame":
            what += " (or larger than 65,504, the most that the half precision of stored frames holds)"
        raise BenchError(
            f"upstream '{cell.name}' gives {what} for {len(bad)} clips, the first: {bad[0]}",
            f"`bench check --upstream {cell.request.upstream}` looks for the reason; nothing of this batch was kept",
        )


@dataclass
class _Writer:
    """Gathers rows and writes a shard when it is large or old enough."""

    store: Store
    device: str
    audible: bool
    entries: list[tuple[str, Tensor]] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    times: dict[str, Tensor] = field(default_factory=dict)
    bytes: int = 0
    hop: float = 0.0
    first: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def add(self, fresh: Sequence[tuple[Item, Tensor, Tensor | None]], encoded: Encoded) -> None:
        self.entries += [(item.key, rows.cpu()) for item, rows, _ in fresh]
        self.durations += [item.seconds if self.audible else 0.0 for item, *_ in fresh]
        self.times |= {item.key: own for item, _, own in fresh if own is not None}
        self.bytes += sum(rows.nbytes for _, rows, _ in fresh)
        self.hop, self.first = encoded.hop, encoded.first
        if self.bytes >= SHARD_BYTES or time.perf_counter() - self.since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self.entries:
            return
        spent = time.perf_counter() - self.since
        self.store.write(self.entries, self.durations, self.hop, self.first, spent, self.device, self.times)
        self.entries, self.durations, self.times = [], [], {}
        self.bytes, self.since = 0, time.perf_counter()
