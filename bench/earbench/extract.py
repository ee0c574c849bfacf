"""Every distinct clip through the frozen encoder once, into the store.

Clips are sorted by length and packed by total samples. The packs are computed from the whole list, stored or not, so
that a resumed run forwards the same packs as an undisturbed one. Decoding runs ahead in threads.
"""

import itertools
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from earbench import audio
from earbench.config import Settings
from earbench.contract import Clip, Features, Grain, Upstream
from earbench.data import Prepared
from earbench.errors import BenchError
from earbench.files import digest_of
from earbench.plan import ENGINE, Cell
from earbench.progress import Progress
from earbench.store import Damaged, Store, prune

SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 20.0
SHORTEST = 0.1
AHEAD = 4


@dataclass(frozen=True)
class Item:
    """One distinct stretch of audio and the key its features are stored under."""

    key: str
    clip: Clip
    seconds: float


@dataclass(frozen=True)
class Shelf:
    """The features of a run: a store that holds all of them, and the key of every clip id."""

    store: Store
    keys: dict[str, str]

    def read(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """Rows of `clips` in order, [sum of rows, layer, width] in float32, and the number of rows of each clip."""
        rows, lengths = self.store.read([self.keys[clip.id] for clip in clips])
        return rows.float(), lengths


def extract(cell: Cell, prepared: Prepared, settings: Settings, workspace: Path, progress: Progress) -> Shelf:
    """Features of every clip of the run: from the store in `workspace` where they are there, else computed."""
    items = distinct(prepared)
    keys = {clip.id: digest_of(prepared.content(clip)) for clip in prepared.clips()}
    store = store_of(cell, settings, workspace)
    _make_room(cell, items, store, settings, workspace)
    while True:
        with store.extracting(progress):
            _fill(cell, items, store, settings, progress)
        try:
            store.verify(keys.values())
        except Damaged as damage:
            progress.warn(f"{damage}; extracting them again")
            continue
        return Shelf(store, keys)


def store_of(cell: Cell, settings: Settings, workspace: Path) -> Store:
    """The shelf for this encoder's features at this grain and precision, as this version of the engine makes them."""
    return Store(workspace, cell.digest, cell.grain, f"{settings.dtype}-e{ENGINE}")


def distinct(prepared: Prepared) -> tuple[Item, ...]:
    """Each distinct (file content, stretch, effects) once, shortest first, ties by key."""
    seconds = prepared.seconds()
    found: dict[str, Item] = {}
    for clip in prepared.clips():
        key = digest_of(prepared.content(clip))
        found.setdefault(key, Item(key, clip, seconds[clip.id]))
    return tuple(sorted(found.values(), key=lambda item: (item.seconds, item.key)))


def packs(items: Sequence[Item], pack_seconds: float) -> list[list[Item]]:
    """Items cut into runs whose padded length (count times the longest) is at most `pack_seconds`, none empty."""
    found: list[list[Item]] = []
    for item in items:
        longest = max(item.seconds, SHORTEST)
        if found and (len(found[-1]) + 1) * longest <= pack_seconds:
            found[-1].append(item)
        else:
            found.append([item])
    return found


def estimate_bytes(upstream: Upstream, grain: Grain, items: Sequence[Item]) -> int:
    """How much the features of `items` take in the store."""
    if grain != "frame":
        return len(items) * upstream.layers * upstream.width * 4
    frames = sum(item.seconds / upstream.hop + 1 for item in items)
    return int(frames * upstream.layers * upstream.width * 2)


def encode(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> "Encoded":
    """Rows per wave at `grain`, on the CPU. Waves are padded together, or only with equals where the encoder needs it.

    Running out of memory halves the batch, down to single waves; a single one that does not fit is an error.
    """
    if upstream.batching == "equal" and len({len(wave) for wave in waves}) > 1:
        runs = [list(run) for _, run in itertools.groupby(waves, key=len)]
        return Encoded.joined([encode(upstream, run, grain, dtype, device) for run in runs])
    try:
        return _forward(upstream, waves, grain, dtype, device)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
    if len(waves) == 1:
        raise BenchError(
            f"one clip of {len(waves[0]) / upstream.sample_rate:.1f} s does not fit in the memory of '{device}'",
            "try --device cpu, --dtype bf16 or a machine with more memory",
        )
    half = len(waves) // 2
    return Encoded.joined([encode(upstream, part, grain, dtype, device) for part in (waves[:half], waves[half:])])


@dataclass(frozen=True)
class Encoded:
    """What came out of the encoder: one tensor [row, layer, width] per wave, and the frame times."""

    rows: list[Tensor]
    hop: float
    first: float

    @classmethod
    def joined(cls, parts: Sequence["Encoded"]) -> "Encoded":
        return cls([row for part in parts for row in part.rows], parts[0].hop, parts[0].first)


def _forward(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> Encoded:
    batch, lengths = _padded(waves, upstream.sample_rate)
    batch, lengths = batch.to(device), lengths.to(device)
    autocast = torch.autocast(device.type, torch.bfloat16) if dtype == "bf16" else nullcontext()
    with torch.inference_mode(), autocast:
        if grain == "clip":
            return Encoded(list(upstream.embed(batch, lengths).float().cpu()[:, None]), 0.0, 0.0)
        features = upstream.encode(batch, lengths)
    if features.times is not None and grain == "frame":
        raise BenchError("frames at irregular times cannot be stored yet")
    if grain == "mean":
        return Encoded(list(features.pooled().cpu()[:, None]), features.hop, features.first)
    return Encoded(_frames(features), features.hop, features.first)


def _frames(features: Features) -> list[Tensor]:
    """True frames of each clip, [time, layer, width] in float16; what does not fit half precision is infinite."""
    half = features.frames.transpose(1, 2).to(torch.float16).cpu()
    return [clip[:length] for clip, length in zip(half, features.lengths.tolist(), strict=True)]


def _padded(waves: Sequence[audio.Samples], sample_rate: int) -> tuple[Tensor, Tensor]:
    """Zero-padded waves and their true lengths; nothing is shorter than 0.1 s."""
    shortest = round(SHORTEST * sample_rate)
    lengths = [max(len(wave), shortest) for wave in waves]
    batch = torch.zeros(len(waves), max(lengths))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return batch, torch.tensor(lengths)


def _is_memory(error: BaseException) -> bool:
    """Devices say it in words of their own: mps "out of memory", the CPU "can't allocate memory"."""
    said = str(error).lower()
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in said or "can't allocate memory" in said


def _make_room(cell: Cell, items: Sequence[Item], store: Store, settings: Settings, workspace: Path) -> None:
    need, budget = estimate_bytes(cell.upstream, cell.grain, items), settings.budget_gb * 1e9
    if need > budget:
        raise BenchError(
            f"features of {len(items):,} clips need {need / 1e9:.2f} GB, the store may hold {settings.budget_gb:g} GB",
            "raise budget_gb in [cache] of bench.toml",
        )
    new = need * len(store.missing(item.key for item in items)) / max(1, len(items))
    prune(workspace, budget - new, keep=store.files_of(item.key for item in items))


def _fill(cell: Cell, items: Sequence[Item], store: Store, settings: Settings, progress: Progress) -> None:
    missing = store.missing(item.key for item in items)
    todo = [pack for pack in packs(items, settings.pack_seconds) if any(item.key in missing for item in pack)]
    if not todo:
        return
    cell.upstream.to(cell.device)
    total = sum(item.seconds for pack in todo for item in pack)
    writer = _Writer(store, str(cell.device))
    with (
        progress.bar(f"{cell.name}: extracting", round(total), "s of audio") as bar,
        closing(_decoded(todo, cell)) as decoded,
    ):
        try:
            for pack, waves in decoded:
                encoded = encode(cell.upstream, waves, cell.grain, settings.dtype, cell.device)
                _check_finite(cell, pack, encoded)
                fresh = [(item, rows) for item, rows in zip(pack, encoded.rows, strict=True) if item.key in missing]
                writer.add(fresh, encoded)
                bar.advance(sum(item.seconds for item in pack))
        except KeyboardInterrupt:
            writer.flush()
            raise
    writer.flush()
    cell.upstream.cpu()


def _decoded(todo: Sequence[list[Item]], cell: Cell) -> Generator[tuple[list[Item], list[audio.Samples]]]:
    """Packs with their samples; up to `AHEAD` packs are read before they are needed."""
    rate = cell.upstream.sample_rate
    with ThreadPoolExecutor(2) as pool:
        waiting = deque(pool.submit(_read, pack, rate) for pack in todo[:AHEAD])
        try:
            for number, pack in enumerate(todo):
                waves = waiting.popleft().result()
                if number + AHEAD < len(todo):
                    waiting.append(pool.submit(_read, todo[number + AHEAD], rate))
                yield pack, waves
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _read(pack: Sequence[Item], rate: int) -> list[audio.Samples]:
    return [audio.read(item.clip, rate) for item in pack]


def _check_finite(cell: Cell, pack: Sequence[Item], encoded: Encoded) -> None:
    bad = [item.clip.id for item, rows in zip(pack, encoded.rows, strict=True) if not torch.isfinite(rows).all()]
    if bad:
        what = "NaN or infinite features"
        if cell.grain == "frame":
            what += " (or larger than 65,504, the most that the half precision of stored frames holds)"
        raise BenchError(
            f"upstream '{cell.name}' gives {what} for {len(bad)} clips, the first: {bad[0]}",
            f"`bench check --upstream {cell.request.upstream}` looks for the reason; nothing of this batch was stored",
        )


@dataclass
class _Writer:
    """Gathers rows and writes a shard when it is large or old enough."""

    store: Store
    device: str
    entries: list[tuple[str, Tensor]] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    bytes: int = 0
    hop: float = 0.0
    first: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    def add(self, fresh: Sequence[tuple[Item, Tensor]], encoded: Encoded) -> None:
        self.entries += [(item.key, rows) for item, rows in fresh]
        self.durations += [item.seconds for item, _ in fresh]
        self.bytes += sum(rows.nbytes for _, rows in fresh)
        self.hop, self.first = encoded.hop, encoded.first
        if self.bytes >= SHARD_BYTES or time.perf_counter() - self.since >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        if not self.entries:
            return
        spent = time.perf_counter() - self.since
        self.store.write(self.entries, self.durations, self.hop, self.first, spent, self.device)
        self.entries, self.durations, self.bytes, self.since = [], [], 0, time.perf_counter()
