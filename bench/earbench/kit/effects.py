"""Named changes to a clip's samples. The names and values of a clip's effects are part of its key in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Effect
from earbench.errors import RequestError

Samples = NDArray[np.float32]

CROP = 8.0
"""Seconds: SUPERB's longest training clip of a speaker."""


def apply(samples: Samples, sample_rate: int, effects: Iterable[Effect]) -> Samples:
    """`samples` after all `effects`, in their order; a new array unless there are none.

    >>> apply(np.ones(1, np.float32), 16_000, [("gain_db", -20.0)])
    array([0.1], dtype=float32)
    """
    for name, value in effects:
        if name not in EFFECTS:
            raise RequestError(f"no audio effect called '{name}'", f"there are: {', '.join(sorted(EFFECTS))}")
        samples = EFFECTS[name](samples, sample_rate, value)
    return samples


def gain_db(samples: Samples, _sample_rate: int, decibels: float) -> Samples:
    """Louder by `decibels`, without clipping: SoX's `gain` as a plain multiplication (SUPERB sheet, section 2)."""
    return samples * np.float32(10.0 ** (decibels / 20.0))


def trim_quiet(samples: Samples, sample_rate: int, threshold: float) -> Samples:
    """What SoX's `silence 1 0.1 T% -1 0.1 T%` leaves, T being 100 times `threshold` (SUPERB sheet 2.6).

    A sample is loud where the root mean square of the 20 ms that end with it exceeds `threshold` of full scale. Nothing
    is kept until 0.1 s were loud, then everything from there on until 0.1 s were quiet; those are dropped, the level
    starts again from an empty window, and so on. What was loud for less than 0.1 s in between, or at the end, is lost.

    The level is a running sum in double precision over 32-bit samples, as SoX has it, so the cuts are the same samples.
    (Only `gain_db` rounds otherwise: a level within 1e-7 of the threshold may fall on the other side.)
    """
    squares = np.square(np.round(samples.astype(np.float64) * 2.0**31))
    start, kept = 0, [samples[:0]]
    while start < len(samples):
        first, end = _stretch(squares[start:], sample_rate, threshold * (2.0**31 - 1))
        kept.append(samples[start + first : start + end])
        start += end + round(0.1 * sample_rate)
    return np.concatenate(kept)


def crop_8s(samples: Samples, sample_rate: int, fraction: float) -> Samples:
    """Eight seconds of what is longer; `fraction`, from 0 up to but not 1, says which of all possible ones.

    >>> crop_8s(np.arange(10, dtype=np.float32), 1, 0.4)
    array([1., 2., 3., 4., 5., 6., 7., 8.], dtype=float32)
    """
    length = round(CROP * sample_rate)
    offset = int(fraction * max(1, len(samples) - length + 1))
    return samples[offset : offset + length] if len(samples) > length else samples


def split_at_unknown(effects: Sequence[Effect]) -> tuple[tuple[Effect, ...], tuple[Effect, ...]]:
    """`effects` up to the last one whose result has a length that only the samples can tell, and those behind it.

    >>> split_at_unknown([("gain_db", -3.0), ("trim_quiet", 0.001), ("crop_8s", 0.5)])
    ((('gain_db', -3.0), ('trim_quiet', 0.001)), (('crop_8s', 0.5),))
    """
    known = max((place for place, (name, _) in enumerate(effects, 1) if name == "trim_quiet"), default=0)
    return tuple(effects[:known]), tuple(effects[known:])


def seconds_after(seconds: float, effects: Iterable[Effect]) -> float:
    """How long a clip of `seconds` is after effects whose result's length does not depend on its samples."""
    return min(seconds, CROP) if any(name == "crop_8s" for name, _ in effects) else seconds


def _stretch(squares: NDArray[np.float64], sample_rate: int, threshold: float) -> tuple[int, int]:
    """Where the first stretch to keep begins and ends; both are the number of samples where there is none.

    It looks a few seconds ahead, then further: a pause usually comes soon, and behind it everything starts anew.
    """
    least, reach = round(0.1 * sample_rate), 4 * sample_rate
    while True:
        loud = _levels(squares[:reach], sample_rate // 50) > threshold
        first = _run(loud, least)
        quiet = None if first is None else _run(~loud[first:], least)
        if first is not None and quiet is not None:
            return first, first + quiet
        if reach >= len(squares):
            return len(squares) if first is None else first, len(squares)
        reach *= 4


def _levels(squares: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The root mean square of each sample and the `window` - 1 before it, zeros before the first, in whole numbers.

    Summed in SoX's order, the oldest out and the newest in, so that roundings are the same.
    """
    oldest = np.concatenate([np.zeros(window), squares])[: len(squares)]
    sums = np.stack([-oldest, squares], axis=1).ravel().cumsum()[1::2]
    return np.asarray(np.floor(np.sqrt(np.maximum(sums, 0.0) / window)))


def _run(flags: NDArray[np.bool_], length: int) -> int | None:
    """Where the first `length` flags in a row begin, or None."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    long = starts[ends - starts >= length]
    return int(long[0]) if len(long) else None


EFFECTS: Mapping[str, Callable[[Samples, int, float], Samples]] = {
    "gain_db": gain_db,
    "trim_quiet": trim_quiet,
    "crop_8s": crop_8s,
}
