"""Features on disk, keyed by content: written once, whole or not at all, and never trusted without a checksum.

A shard is one safetensors file of rows from all its clips (frames, or a single pooled row each), with the times of
frames where these are irregular, and a small index beside it that is written last. A shard without an index does not
exist. Shards are never changed, so any number of processes may read and write one store.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from earbench import files
from earbench.errors import BenchError
from earbench.progress import Progress

GONE = ("stored features went away while they were in use", "give the same command again")


@dataclass(frozen=True)
class Shard:
    """What the index says of one shard: for each clip key its number of rows, in order, and what the work cost."""

    file: str
    checksum: str
    keys: tuple[str, ...]
    rows: tuple[int, ...]
    durations: tuple[float, ...]
    hop: float
    first: float
    seconds: float
    device: str


class Store:
    """The features of one (upstream, grain, dtype)."""

    def __init__(self, cache: Path, upstream: str, grain: str, dtype: str) -> None:
        self.folder = cache / "features" / upstream / f"{grain}-{dtype}"
        self._shards: dict[str, Shard] = {}
        self._at: dict[str, tuple[str, int, int]] = {}
        self._sound: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that other processes have finished since."""
        for path in sorted(self.folder.glob("*.json")):
            if path.stem not in self._shards:
                self._add(path.stem, _read_index(path))

    def missing(self, keys: Iterable[str]) -> set[str]:
        return {key for key in keys if key not in self._at}

    def held_at_first(self, keys: Sequence[str]) -> set[str]:
        """Which of `keys` other runs had stored when features of exactly these were first asked for.

        It is written down: the rest is packed without them, and a run that was cut off goes on with the same packs.
        """
        note = self.folder / "asked" / f"{files.digest_of(list(keys))}.json"
        if not note.is_file():
            files.write_text(note, json.dumps(sorted(set(keys) - self.missing(keys))))
        return set(json.loads(note.read_text("utf-8")))

    def write(
        self,
        entries: Sequence[tuple[str, Tensor]],
        durations: Sequence[float],
        hop: float,
        first: float,
        seconds: float,
        device: str,
        times: Mapping[str, Tensor],
    ) -> None:
        """Add one shard: `entries` are (key, rows [row, layer, width]), `durations` the seconds of audio of each.

        Synced, renamed, index last. `seconds` is what the work took; `times` holds those [row] of keys whose frames are
        at irregular ones.
        """
        keys, tensors = zip(*entries, strict=True)
        name = hashlib.blake2b(
            "".join((*keys, str(os.getpid()), str(time.time_ns()))).encode(), digest_size=10
        ).hexdigest()
        path = self.folder / f"{name}.safetensors"
        rows = tuple(len(tensor) for tensor in tensors)
        starts = dict(zip(keys, accumulate(rows, initial=0), strict=False))
        held = {"rows": torch.cat(tensors).contiguous()} | {_times(starts[key]): own for key, own in times.items()}
        files.write(path, lambda temporary: save_file(held, temporary))
        shard = Shard(path.name, files.checksum(path), keys, rows, tuple(durations), hop, first, seconds, device)
        try:
            files.write_text(self.folder / f"{name}.json", json.dumps(asdict(shard)))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._add(name, shard)

    def read(self, keys: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Rows of all `keys` in their order, [sum of rows, layer, width], and the number of rows of each."""
        self.verify(keys)
        lengths = torch.tensor(self.lengths(keys))
        out: Tensor | None = None
        starts = torch.cat((torch.zeros(1, dtype=torch.long), lengths.cumsum(0)))
        for name, wanted in self._by_shard(keys).items():
            data = self._load(name)
            if out is None:
                out = data.new_empty((int(starts[-1]), *data.shape[1:]))
            source, target = _row_numbers([self._at[keys[index]][1:] for index in wanted], starts[wanted])
            out[target] = data[source]
        if out is None:
            raise BenchError("no features were asked for")
        return out, lengths

    def lengths(self, keys: Sequence[str]) -> list[int]:
        """The number of rows of each of `keys`."""
        return [self._at[key][2] for key in keys]

    def mapped(self, keys: Sequence[str]) -> tuple[list[Tensor], Tensor, Tensor]:
        """The shards that hold `keys`, memory-mapped; of each row of all keys its shard's number and its own there."""
        self.verify(keys)
        shards = {name: number for number, name in enumerate(self._by_shard(keys))}
        at, counts = [self._at[key] for key in keys], torch.tensor(self.lengths(keys))
        files = torch.repeat_interleave(torch.tensor([shards[name] for name, *_ in at]), counts)
        rows, _ = _row_numbers([span for _, *span in at], torch.zeros_like(counts))
        return [self._load(name) for name in shards], files, rows

    def irregular(self, keys: Sequence[str]) -> dict[str, Tensor]:
        """The centres of the frames in seconds, [row], of those `keys` whose frames are at irregular times."""
        found: dict[str, Tensor] = {}
        for name, wanted in self._by_shard(keys).items():
            with self._opened(name) as file:
                stored = {*file.keys()}
                own = {keys[index]: _times(self._at[keys[index]][1]) for index in wanted}
                found |= {key: file.get_tensor(part) for key, part in own.items() if part in stored}
        return found

    def clip(self, key: str, layers: slice) -> Tensor:
        """The rows of one clip, [row, layer, width]; of the shard, which is memory-mapped, nothing else is read."""
        name, start, rows = self._at[key]
        with self._opened(name) as file:
            found: Tensor = file.get_slice("rows")[start : start + rows, layers]
        return found

    def cost(self, keys: Iterable[str]) -> dict[str, Any]:
        """What extracting `keys` took when their shards were made, by duration, and their seconds of audio."""
        work = audio = 0.0
        listed = list(keys)
        wanted = self._by_shard(listed)
        for name, indices in wanted.items():
            shard = self._shards[name]
            durations = dict(zip(shard.keys, shard.durations, strict=True))
            part = sum(durations[listed[index]] for index in indices)
            work, audio = work + shard.seconds * part / (sum(shard.durations) or 1.0), audio + part
        devices = sorted({self._shards[name].device for name in wanted})
        return {"extract_seconds": work, "audio_seconds": audio, "extracted_on": devices}

    def files_of(self, keys: Iterable[str]) -> set[Path]:
        """The indices of the shards that hold any of `keys`."""
        return {self.folder / f"{self._at[key][0]}.json" for key in keys if key in self._at}

    def times(self) -> tuple[float, float]:
        """Frame spacing and centre of the first frame, in seconds."""
        shard = next(iter(self._shards.values()))
        return shard.hop, shard.first

    @contextmanager
    def extracting(self, progress: Progress) -> Iterator[None]:
        """Only one process at a time extracts for this store; the others say so and wait, then find its work."""
        with files.explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "extract.lock", progress, "another process is extracting with this encoder"):
            _sweep(self.folder)
            self.refresh()
            yield

    def _by_shard(self, keys: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            found.setdefault(self._at[key][0], []).append(index)
        return found

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        try:
            with safe_open(self.folder / self._shards[name].file, framework="pt") as file:
                yield file
        except (OSError, SafetensorError):
            raise Damaged(*GONE) from None

    def _load(self, name: str) -> Tensor:
        try:
            return load_file(self.folder / self._shards[name].file)["rows"]
        except (OSError, SafetensorError):
            raise Damaged(*GONE) from None

    def _add(self, name: str, shard: Shard | None) -> None:
        if shard is None or not (self.folder / shard.file).is_file():
            return
        self._shards[name] = shard
        start = 0
        for key, rows in zip(shard.keys, shard.rows, strict=True):
            self._at.setdefault(key, (name, start, rows))
            start += rows

    def verify(self, keys: Iterable[str]) -> None:
        """Check the shards that hold `keys`, once per process. `Damaged` says that some did not match and are gone."""
        names = {self._at[key][0] for key in keys}
        damaged = [name for name in sorted(names - self._sound) if not _is_sound(self.folder, self._shards[name])]
        if damaged:
            for name in damaged:
                _remove(self.folder, name)
                del self._shards[name]
            self._at = {key: at for key, at in self._at.items() if at[0] in self._shards}
            raise Damaged(f"{len(damaged)} shards of features are damaged and were removed")
        self._sound |= names
        for name in names:
            _touch(self.folder / f"{name}.json")


@contextmanager
def locked(path: Path, progress: Progress, busy: str) -> Iterator[None]:
    """Hold the lock at `path`; while another process has it, say that it is `busy` and wait."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress.warn(f"{busy}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Damaged(BenchError):
    """Some stored features did not match their checksum; they are gone now and must be extracted again."""


def _times(start: int) -> str:
    """What the times of the clip whose rows begin at `start` are called in a shard."""
    return f"times/{start}"


def _row_numbers(spans: Sequence[Sequence[int]], starts: Tensor) -> tuple[Tensor, Tensor]:
    """Row numbers in a shard, and where they go, for clips at (start, rows) in it and `starts` in the output."""
    begin, count = torch.tensor([span[0] for span in spans]), torch.tensor([span[1] for span in spans])
    offset = torch.arange(int(count.sum())) - torch.repeat_interleave(count.cumsum(0) - count, count)
    return torch.repeat_interleave(begin, count) + offset, torch.repeat_interleave(starts, count) + offset


def _read_index(path: Path) -> Shard | None:
    """The index at `path`, or None if another process has just pruned it."""
    try:
        facts = json.loads(path.read_text("utf-8"))
        return Shard(
            **{
                **facts,
                "keys": tuple(facts["keys"]),
                "rows": tuple(facts["rows"]),
                "durations": tuple(facts["durations"]),
            }
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_sound(folder: Path, shard: Shard) -> bool:
    try:
        return files.checksum(folder / shard.file) == shard.checksum
    except OSError:
        return False


def _touch(path: Path) -> None:
    """Note that a shard was used, for the budget; another process may just have pruned it."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove(folder: Path, name: str) -> None:
    """Index first: a shard without an index does not exist."""
    (folder / f"{name}.json").unlink(missing_ok=True)
    (folder / f"{name}.safetensors").unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed runs left half-written. Only for whoever holds the lock: no one else writes here."""
    orphans = (path for path in folder.glob("*.safetensors") if not path.with_suffix(".json").exists())
    for path in (*folder.glob(".*.part"), *orphans):
        path.unlink(missing_ok=True)


# ---- the whole cache, for `bench cache` and the budget ---------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One shard as `bench cache ls` sees it."""

    folder: Path
    name: str
    bytes: int
    used: float
    clips: int


def entries(cache: Path) -> list[Entry]:
    """Every shard under `cache`, least recently used first; one with an index of another version counts no clips."""
    found = []
    for index in (cache / "features").glob("*/*/*.json"):
        shard, path = _read_index(index), index.with_suffix(".safetensors")
        if path.is_file():
            clips = len(shard.keys) if shard else 0
            found.append(Entry(index.parent, index.stem, path.stat().st_size, index.stat().st_mtime, clips))
    return sorted(found, key=lambda entry: entry.used)


def prune(cache: Path, budget: float, keep: Set[Path] = frozenset()) -> int:
    """Remove the least recently used shards until `budget` bytes are left; the bytes freed. `keep` holds indices."""
    found = entries(cache)
    total, freed = sum(entry.bytes for entry in found), 0
    for entry in found:
        if total - freed <= budget:
            break
        if entry.folder / f"{entry.name}.json" not in keep:
            _remove(entry.folder, entry.name)
            freed += entry.bytes
    return freed


def remove_fits(cache: Path) -> int:
    """Remove the saved states of all fits; the bytes freed. A run that was killed then trains from the start."""
    freed = size_of(cache / "fits")
    shutil.rmtree(cache / "fits", ignore_errors=True)
    return freed


def size_of(folder: Path) -> int:
    """Bytes of all files under `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def verify(cache: Path) -> list[Entry]:
    """The damaged shards, now removed; their features will be extracted again when they are needed."""
    damaged = []
    for entry in entries(cache):
        shard = _read_index(entry.folder / f"{entry.name}.json")
        if shard and not _is_sound(entry.folder, shard):
            _remove(entry.folder, entry.name)
            damaged.append(entry)
    return damaged
