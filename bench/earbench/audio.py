"""Audio files: what is in them, and samples ready for an encoder (soundfile decodes, soxr resamples)."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from earbench import files, memory, mpeg
from earbench.contract import Clip
from earbench.errors import BadAudio
from earbench.kit import effects

Samples = np.ndarray[Any, np.dtype[np.float32]]
CUT_OFF = re.compile(r"^(?!RIFF : ).*: (?!4294967295 )\d+ \(should be", re.MULTILINE)
"""What libsndfile notes of a body shorter than its header says. The outer size of a WAV is often wrong where its data
is whole, and 2**32 - 1 stands for a length that was not known."""
LEAD = 1.0
"""Seconds of MPEG audio decoded before a stretch: a frame takes bits and sound from those before it, and a decoder that
starts at the stretch itself gets its first 50 ms wrong."""
READING = "read 2"
"""Raised when files are understood in another way than was remembered."""


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
        with _opened(clip.audio) as (file, frames):
            rate = file.samplerate
            start = round((clip.start or 0.0) * rate)
            stop = frames if clip.stop is None else min(frames, round(clip.stop * rate))
            samples = _stretch(file, start, stop)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadAudio(f"{clip.id} could not be read: {error}", "it was readable before; has it changed?") from None
    if len(samples) < stop - start:
        found = f"{len(samples):,} of {stop - start:,} samples could be read"
        raise BadAudio(f"{clip.id}: {found}", "they were there before; has the file changed?")
    mono = samples.mean(1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return effects.apply(np.ascontiguousarray(mono, dtype=np.float32), sample_rate, clip.effects)


@contextmanager
def _opened(source: Path | BytesIO) -> Iterator[tuple[Any, int]]:
    """The open file, and how many samples it holds: of MPEG audio that does not state it, what its frames add up to."""
    with soundfile.SoundFile(source) as file:
        if file.format != "MP3" or mpeg.stated(data := _bytes(source)):
            yield file, file.frames
            return
    found = mpeg.walk(data)
    with soundfile.SoundFile(mpeg.Unstated(data, found)) as file:
        yield file, found.samples


def _bytes(source: Path | BytesIO) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source.getvalue()


def _stretch(file: Any, start: int, stop: int) -> Samples:
    """Samples [time, channel], the same whether or not what is before them is read too."""
    lead = min(start, round(LEAD * file.samplerate)) if file.format == "MP3" else 0
    file.seek(start - lead)
    samples: Samples = file.read(stop - start + lead, dtype="float32", always_2d=True)[lead:]
    return samples


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
        with _opened(BytesIO(data)) as (file, frames):
            samples = file.read(frames, dtype="float32")
            facts = Facts(digest, len(samples), file.samplerate, _problem(file, frames, samples, data))
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        return Facts(digest, 0, 0, f"cannot be decoded: {str(error).rpartition(': ')[2]}")
    return facts


def _problem(file: Any, frames: int, samples: Samples, data: bytes) -> str | None:
    if file.format == "MP3" and (problem := _frames_problem(file, samples, data)):
        return problem
    if len(samples) == 0:
        return "holds no samples"
    if len(samples) < frames or CUT_OFF.search(file.extra_info):
        return "is cut off: shorter than its header says"
    if not np.isfinite(samples).all():
        return "holds NaN or infinite samples"
    return None


def _frames_problem(file: Any, samples: Samples, data: bytes) -> str | None:
    """What is wrong with MPEG audio if its frames are walked through, whatever its header says or does not say."""
    found = mpeg.walk(data)
    if not found.samples:
        return "has frames of a kind whose length is not known here: convert it to FLAC"
    if not found.whole:
        return "is cut off: its last frame is not whole"
    there, read = (count / file.samplerate for count in (found.samples, len(samples)))
    if found.samples - len(samples) > (mpeg.TRIMMED if mpeg.stated(data) else 0):
        return f"holds {there:.3f} s, of which {read:.3f} s can be read: its header is wrong or a part is damaged"
    return None


def fingerprints(paths: Iterable[Path], cache: Path, tick: Callable[[], None]) -> dict[Path, Facts]:
    """Facts of every file. What was read before is remembered by path, size and time."""
    kind = memory.Kind(
        probe=probe,
        write=lambda facts: f"{facts.digest} {facts.frames} {facts.sample_rate}",
        read=_noted,
        unusable=lambda problem: Facts("", 0, 0, problem),
        depends=READING,
    )
    return memory.facts_of(kind, paths, cache, tick)


def headers(paths: Iterable[Path]) -> dict[Path, Facts]:
    """Length and rate of every file as its header has them, without a digest; nothing is decoded or remembered."""
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(_header, paths), strict=True))


def _header(path: Path) -> Facts:
    try:
        with soundfile.SoundFile(path) as file:
            return Facts("", file.frames, file.samplerate)
    except (soundfile.LibsndfileError, OSError) as error:
        return Facts("", 0, 0, f"cannot be decoded: {str(error).rpartition(': ')[2]}")


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
    with memory.opened(cache) as table, ThreadPoolExecutor() as pool:
        known = dict(table.execute("SELECT key, seconds FROM durations"))
        missing = [key for key in clips if key not in known]
        for _ in range(len(clips) - len(missing)):
            tick()
        for start in range(0, len(missing), memory.REMEMBERED_TOGETHER):
            keys = missing[start : start + memory.REMEMBERED_TOGETHER]
            fresh = []
            for key, seconds in zip(keys, pool.map(measured, keys), strict=True):
                fresh.append((key, seconds))
                tick()
            with table:
                table.executemany("INSERT OR REPLACE INTO durations VALUES (?, ?)", fresh)
            known |= dict(fresh)
    return {key: known[key] for key in clips}


def _noted(text: str) -> Facts:
    digest, frames, rate = text.split()
    return Facts(digest, int(frames), int(rate))
