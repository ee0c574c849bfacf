"""Random numbers: every stage draws from a generator of its own, named after what it is for."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(*names: object) -> int:
    """A seed below 2**63: the same for the same names, in every process and on every machine.

    Names are told apart by their `repr`: 1 and "1" differ, and so do ("a", "b") and ("ab",). Use plain strings and
    Python numbers; an object whose `repr` holds an address would give a new seed in every process.

    >>> derive("silence", "train", 3)
    8669653367982220588
    """
    text = "\x1f".join(repr(name) for name in names)  # a control character never stands bare in a repr of plain values
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*names: object) -> np.random.Generator:
    """A fresh generator for the stage with these names; what other stages draw does not move it."""
    return np.random.default_rng(derive(*names))
