"""Arrays with one entry per unit: of numbers, of strings, or of whatever else JSON knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def column(values: Sequence[Any]) -> Array:
    """Entries that were read from JSON as the array that they were: null among numbers is NaN.

    >>> column([1.0, None]), column([["a", 0.5]]).shape, column([[1], [2]]).shape
    (array([ 1., nan]), (1,), (2, 1))
    """
    kinds = {type(leaf) for leaf in _leaves(values)}
    if not kinds <= {int, float, type(None)} and kinds not in ({str}, {bool}):
        return objects(values)
    try:
        return np.array(values, np.float64 if type(None) in kinds else None)
    except ValueError:  # entries of different lengths
        return objects(values)


def objects(values: Sequence[Any]) -> Array:
    """An array of just these objects, whatever is in them."""
    found = np.empty(len(values), object)
    for number, value in enumerate(values):
        found[number] = value
    return found


def _leaves(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from _leaves(value)
        else:
            yield value
