"""Audio files: what is in them, and samples ready for an encoder (soundfile decodes, soxr resamples)."""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from earbench import files
from earbench.contract import Clip
from earbench.errors import BadAudio, BenchError
from earbench.kit import effects

Samples = np.ndarray[Any, np.dtype[np.float32]]
CUT_OFF = re.compile(r"^(?!RIFF : ).*: (?!4294967295 )\d+ \(should be", re.MULTILINE)
"""What libsndfile notes of a body shorter than its header says. The outer size of a WAV is often wrong where its data
is whole, and 2**32 - 1 stands for a length that was not known."""
REMEMBERED_TOGETHER = 1_000


@dataclass(frozen=True)
class Facts:
    """What a file holds: the digest of its bytes, its length and rate; or the `problem` that makes it unusable."""

    digest: str
    frames: int
    sample_rate: int
    problem: str | None = None

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate if self.sample_rate else 0.0


def read(clip: Clip, sample_rate: int) -> Samples:
    """The clip's samples, mono float32 in [-1, 1] at `sample_rate`, with its effects applied."""
    try:
        with soundfile.SoundFile(clip.audio) as file:
            start = round((clip.start or 0.0) * file.samplerate)
            stop = file.frames if clip.stop is None else round(clip.stop * file.samplerate)
            file.seek(start)
            samples = file.read(stop - start, dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadAudio(f"{clip.id} could not be read: {error}", "it was readable before; has it changed?") from None
    mono = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return effects.apply(np.ascontiguousarray(mono, dtype=np.float32), sample_rate, clip.effects)


def probe(path: Path) -> Facts:
    """Decode the whole file once: its digest, length and rate, or what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Facts("", 0, 0, error.strerror or str(error))
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    if not data:
        return Facts(digest, 0, 0, "the file is empty")
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            samples = file.read(dtype="float32")
            facts = Facts(digest, len(samples), file.samplerate, _problem(file, samples))
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        return Facts(digest, 0, 0, f"cannot be decoded: {str(error).rpartition(': ')[2]}")
    return facts


def _problem(file: Any, samples: Samples) -> str | None:
    if len(samples) == 0:
        return "holds no samples"
    if len(samples) < file.frames or CUT_OFF.search(file.extra_info):
        return "is cut off: shorter than its header says"
    if not np.isfinite(samples).all():
        return "holds NaN or infinite samples"
    return None


def fingerprints(paths: Iterable[Path], cache: Path, tick: Callable[[], None]) -> dict[Path, Facts]:
    """Facts of every file. What was read before is remembered by path, size and time."""
    with _memory(cache) as memory:
        known = {path: (stamp, facts) for path, stamp, facts in memory.execute("SELECT path, stamp, facts FROM facts")}
        with ThreadPoolExecutor() as pool:
            return _gather(list(paths), known, memory, pool, tick)


def durations(
    clips: Iterable[Clip], facts: Mapping[Path, Facts], cache: Path, tick: Callable[[], None]
) -> dict[str, float]:
    """Seconds of clips once their effects are applied, by id.

    Where only the samples tell (effects that cut out what is quiet), the clip is read; that is remembered by content.
    """
    keys: dict[str, str] = {}
    todo: dict[str, Clip] = {}
    for clip in (clips := list(clips)):
        heard, _ = effects.split_at_unknown(clip.effects)
        if heard:
            content = [facts[clip.audio].digest, clip.start, clip.stop, [list(effect) for effect in heard]]
            keys[clip.id] = files.digest_of(content)
            todo.setdefault(keys[clip.id], replace(clip, effects=heard))
    found = _listened(todo, facts, cache, tick)

    def seconds(clip: Clip) -> float:
        _, rest = effects.split_at_unknown(clip.effects)
        stop = facts[clip.audio].seconds if clip.stop is None else clip.stop
        return effects.seconds_after(found[keys[clip.id]] if clip.id in keys else stop - (clip.start or 0.0), rest)

    return {clip.id: seconds(clip) for clip in clips}


def _listened(
    clips: Mapping[str, Clip], facts: Mapping[Path, Facts], cache: Path, tick: Callable[[], None]
) -> dict[str, float]:
    """Seconds that clips have when read, by their keys; from memory where they were read before."""

    def measured(key: str) -> float:
        rate = facts[clips[key].audio].sample_rate
        return len(read(clips[key], rate)) / rate

    if not clips:
        return {}
    with _memory(cache) as memory, ThreadPoolExecutor() as pool:
        known = dict(memory.execute("SELECT key, seconds FROM durations"))
        missing = [key for key in clips if key not in known]
        for _ in range(len(clips) - len(missing)):
            tick()
        for start in range(0, len(missing), REMEMBERED_TOGETHER):
            keys = missing[start : start + REMEMBERED_TOGETHER]
            fresh = []
            for key, seconds in zip(keys, pool.map(measured, keys), strict=True):
                fresh.append((key, seconds))
                tick()
            with memory:
                memory.executemany("INSERT OR REPLACE INTO durations VALUES (?, ?)", fresh)
            known |= dict(fresh)
    return {key: known[key] for key in clips}


@contextmanager
def _memory(cache: Path) -> Iterator[sqlite3.Connection]:
    """The table of what was read before; any number of processes may use it."""
    with files.explained(cache):
        cache.mkdir(parents=True, exist_ok=True)
    path = cache / "fingerprints.sqlite"
    try:
        with closing(sqlite3.connect(path, timeout=60)) as memory:
            memory.execute("CREATE TABLE IF NOT EXISTS facts (path TEXT PRIMARY KEY, stamp TEXT, facts TEXT)")
            memory.execute("CREATE TABLE IF NOT EXISTS durations (key TEXT PRIMARY KEY, seconds REAL)")
            yield memory
    except sqlite3.Error as error:
        hint = "free some space" if "full" in str(error) else "delete it; the audio is then checked once more"
        raise BenchError(f"cannot use {path}: {error}", hint) from None


def _gather(
    paths: list[Path],
    known: dict[str, tuple[str, str]],
    memory: sqlite3.Connection,
    pool: ThreadPoolExecutor,
    tick: Callable[[], None],
) -> dict[Path, Facts]:
    """Facts by path. They are written now and then: a lock held throughout would shut other processes out."""
    found: dict[Path, Facts] = {}
    fresh: list[tuple[str, str, str]] = []
    for path, (stamp, facts) in zip(paths, pool.map(lambda path: _remembered(path, known), paths), strict=True):
        found[path] = facts
        tick()
        if facts.problem is None and known.get(str(path), ("",))[0] != stamp:
            fresh.append((str(path), stamp, f"{facts.digest} {facts.frames} {facts.sample_rate}"))
        if len(fresh) == REMEMBERED_TOGETHER:
            _remember(fresh, memory)
            fresh = []
    _remember(fresh, memory)
    return found


def _remember(fresh: list[tuple[str, str, str]], memory: sqlite3.Connection) -> None:
    with memory:
        memory.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", fresh)


def _remembered(path: Path, known: dict[str, tuple[str, str]]) -> tuple[str, Facts]:
    """The file's stamp and facts: from memory if the stamp still holds, else read. Problems are never remembered."""
    try:
        state = path.stat()
    except OSError as error:
        return "", Facts("", 0, 0, error.strerror or str(error))
    stamp = f"{state.st_size} {state.st_mtime_ns}"
    old_stamp, old = known.get(str(path), ("", ""))
    if old_stamp == stamp:
        digest, frames, rate = old.split()
        return stamp, Facts(digest, int(frames), int(rate))
    return stamp, probe(path)
