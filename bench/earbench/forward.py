"""What an encoder makes of clips: rows [row, layer, width] at the grain of a task.

Rows come from samples, which the encoder is given, or from features that were supplied; a `Source` hides which.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from earbench import audio, stretches
from earbench.contract import Clip, Features, Grain, Supplied, Upstream
from earbench.data import Prepared
from earbench.errors import BenchError
from earbench.layers import layer_of
from earbench.plan import Cell

T = TypeVar("T")

SHORTEST = 0.1


@dataclass(frozen=True)
class Encoded:
    """What came out of the encoder: one tensor [row, layer, width] per clip, and when its frames are.

    Row i is centred at `first + i * hop` seconds; where that is not so, at the clip's own `times` [row], which are in
    double precision and on the CPU.
    """

    rows: list[Tensor]
    hop: float
    first: float
    times: list[Tensor | None]

    @classmethod
    def joined(cls, parts: Sequence["Encoded"]) -> "Encoded":
        rows, times = [row for part in parts for row in part.rows], [one for part in parts for one in part.times]
        return cls(rows, parts[0].hop, parts[0].first, times)


@dataclass(frozen=True)
class Source(Generic[T]):
    """Where the rows of a run come from: `fetch` may run in a thread, `make` turns what it fetched into rows.

    `audible` says whether an encoder hears the clips; if not, there is no cost to account for.
    """

    fetch: Callable[[Clip], T]
    make: Callable[[Sequence[T]], Encoded]
    audible: bool = True


def source(cell: Cell, prepared: Prepared, dtype: str) -> Source[Any]:
    """Samples through the encoder of `cell`; or its features, where they were computed elsewhere."""
    supplied, upstream = cell.upstream, cell.heard
    if isinstance(supplied, Supplied):
        return Source(
            lambda clip: _read(supplied, prepared.key(clip), cell),
            lambda found: Encoded.joined([rows_of(features, cell.grain) for features in found]),
            audible=False,
        )
    return Source(
        partial(audio.read, sample_rate=upstream.sample_rate),
        lambda waves: encode(upstream, waves, cell.grain, dtype, cell.device),
    )


def _read(upstream: Supplied, key: str, cell: Cell) -> Features:
    features = upstream.read(key, cell.grain)
    return features if cell.kept is None else layer_of(features, cell.kept)


def encode(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> Encoded:
    """Rows per wave at `grain`, on `device`. Waves are padded together; or only with equals, or each is heard alone,
    where the encoder needs it.

    Running out of memory halves the batch, down to single waves; a single one that does not fit is an error.
    """
    if len(runs := _together(upstream, waves)) > 1:
        return Encoded.joined([encode(upstream, run, grain, dtype, device) for run in runs])
    try:
        return _heard(upstream, waves, grain, dtype, device)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError, BenchError) as error:
        if not _is_memory(error):
            raise
    if len(waves) == 1:
        raise BenchError(
            f"one clip of {len(waves[0]) / upstream.sample_rate:.1f} s does not fit in the memory of '{device}'",
            "try --device cpu, --dtype bf16 or a machine with more memory",
        )
    half = len(waves) // 2
    return Encoded.joined([encode(upstream, part, grain, dtype, device) for part in (waves[:half], waves[half:])])


def _together(upstream: Upstream, waves: Sequence[audio.Samples]) -> list[Sequence[audio.Samples]]:
    """The waves, cut into runs that the encoder may hear in one batch."""
    if upstream.batching == "any":
        return [waves]
    if upstream.batching == "alone":
        return [[wave] for wave in waves]
    return [list(run) for _, run in itertools.groupby(waves, key=len)]


def _heard(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> Encoded:
    """All waves together; or one after another, where any is longer than the encoder takes at once."""
    long = [stretches.needed(upstream, grain, len(wave)) for wave in waves]
    if not any(long):
        return _forward(upstream, waves, grain, dtype, device)
    hear = {True: _in_stretches, False: _forward}
    one_by_one = zip(waves, long, strict=True)
    return Encoded.joined([hear[cut](upstream, [wave], grain, dtype, device) for wave, cut in one_by_one])


def _in_stretches(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> Encoded:
    """Of a single wave, the frames that its stretches give together; or their mean, while no more than one is held."""
    (wave,) = waves
    parts, counts = [], []
    for stretch in stretches.cut(upstream, len(wave)):
        features = stretch.inside(_asked(upstream.encode, upstream, [wave[stretch.samples]], dtype, device))
        parts.append(rows_of(features, "frame" if grain == "frame" else "mean"))
        counts.append(int(features.lengths[0]))
    rows = [part.rows[0] for part in parts]
    if grain == "frame":
        return replace(parts[0], rows=[torch.cat(rows)])
    shares = torch.tensor(counts, device=device) / sum(counts)
    return replace(parts[0], rows=[(torch.stack(rows) * shares[:, None, None, None]).sum(0)])


def _forward(
    upstream: Upstream, waves: Sequence[audio.Samples], grain: Grain, dtype: str, device: torch.device
) -> Encoded:
    if grain == "clip":
        vectors = _asked(upstream.embed, upstream, waves, dtype, device)
        return Encoded(list(vectors.float()[:, None]), 0.0, 0.0, [None] * len(waves))
    features = _asked(upstream.encode, upstream, waves, dtype, device)
    if features.times is not None:
        features = replace(features, hop=features.hop or upstream.hop)  # what estimates of length go by
    return rows_of(features, grain)


def _asked(
    method: Callable[[Tensor, Tensor], T],
    upstream: Upstream,
    waves: Sequence[audio.Samples],
    dtype: str,
    device: torch.device,
) -> T:
    """What a method of the encoder says of the waves, padded to one batch."""
    batch, lengths = padded(waves, upstream.sample_rate)
    batch, lengths = batch.to(device), lengths.to(device)
    autocast = torch.autocast(device.type, torch.bfloat16) if dtype == "bf16" else nullcontext()
    with torch.inference_mode(), autocast:
        return method(batch, lengths)


def rows_of(features: Features, grain: Grain) -> Encoded:
    """Rows per clip: at grain `frame` the true frames in half precision, else their mean in single precision."""
    if grain == "frame":
        return Encoded(_frames(features), features.hop, features.first, _irregular(features))
    return Encoded(list(features.pooled()[:, None]), features.hop, features.first, [None] * len(features.frames))


def _irregular(features: Features) -> list[Tensor | None]:
    """The times of each clip's true frames, None where hop and first say when they are."""
    if features.times is None:
        return [None] * len(features.frames)
    counted = zip(features.times.cpu().double(), features.lengths.tolist(), strict=True)
    return [own[:length].clone() for own, length in counted]


def _frames(features: Features) -> list[Tensor]:
    """True frames of each clip, [time, layer, width] in float16; what does not fit half precision is infinite."""
    half = features.frames.transpose(1, 2).to(torch.float16)
    return [clip[:length] for clip, length in zip(half, features.lengths.tolist(), strict=True)]


def padded(waves: Sequence[audio.Samples], sample_rate: int) -> tuple[Tensor, Tensor]:
    """Zero-padded waves and their true lengths; nothing is shorter than 0.1 s."""
    shortest = round(SHORTEST * sample_rate)
    lengths = [max(len(wave), shortest) for wave in waves]
    batch = torch.zeros(len(waves), max(lengths))
    for row, wave in zip(batch, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return batch, torch.tensor(lengths)


def _is_memory(error: BaseException) -> bool:
    """Devices say it in words of their own: mps "out of memory", the CPU "can't allocate memory".

    An encoder may have wrapped the error in one of ours.
    """
    said = str(error).lower()
    known = isinstance(error.__cause__ or error, torch.OutOfMemoryError | MemoryError)
    return known or "out of memory" in said or "can't allocate memory" in said
