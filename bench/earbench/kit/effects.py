"""Named changes to a clip's samples. The names and values of a clip's effects are part of its key in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from earbench.contract import Effect
from earbench.errors import RequestError

Samples = NDArray[np.float32]


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


EFFECTS: Mapping[str, Callable[[Samples, int, float], Samples]] = {"gain_db": gain_db}
