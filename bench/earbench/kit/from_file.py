"""Encoders of one file that the user fetches by hand: `NAME@FILE`, and the untrained twin `NAME~random`.

The way is the same for all of them: file, then what it says of its network (its shape), then the network, filled
strictly. A subclass of `FromFile` knows the two ends: `read` and `build`.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from earbench.contract import Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, MissingWeights
from earbench.kit.weights import file_digest, load_strict, read_state

FILE = re.compile(r"([^/\s()]+\.\w+)\)?$")
"""The name of a file at the end of an address, perhaps in brackets behind that of its repository."""
T = TypeVar("T", bool, int, float, str)


class Shape(Protocol):
    """What a file says of its network, as a frozen dataclass of plain data; the sizes of the features follow."""

    @property
    def layers(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def hop(self) -> float:
        """Seconds."""
        ...


class FromFile(Upstream):
    """An encoder at 16 kHz that brings no weights; `card.weights` is the address of the published file.

    `public_shape` is that of that file: what `NAME~random` has. `FILE~random` has the shape of its file.
    """

    sample_rate = 16_000
    public_shape: ClassVar[Any]

    def __init__(self, net: nn.Module, shape: Any, source: Mapping[str, str]) -> None:
        super().__init__()
        self.net, self.shape, self.source = net, shape, source
        self.options = asdict(shape)
        self.layers, self.width, self.hop = shape.layers, shape.width, shape.hop
        self.card = replace(
            type(self).card,
            licence=type(self).card.licence if shape == self.public_shape else "that of the file",
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            hop=self.hop,
            layers=self.layers,
            widths=(self.width,),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        path = given_file(spec, cls.card)
        if path is None:
            return cls.twin(cls.public_shape, spec.seed)
        try:
            shape, state = cls.read(read_state(path))
            if spec.random:
                return cls.twin(shape, spec.seed)
            net = fresh(lambda: cls.build(shape), 0)
            load_strict(net, state)
        except BadCheckpoint as error:
            raise BadCheckpoint(f"{path.name}: {error.args[0]}", *error.hints) from error
        return cls(net, shape, {"weights": path.name, "sha256": file_digest(path)})

    @classmethod
    def twin(cls, shape: Any, seed: int) -> Upstream:
        """The encoder of this shape with weights drawn from `seed`."""
        return cls(fresh(lambda: cls.build(shape), seed), shape, {"weights": "random", "seed": str(seed)})

    @classmethod
    @abstractmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[Shape, dict[str, Tensor]]:
        """The shape and the weights in what a file holds; `BadCheckpoint` if it is no such network."""

    @classmethod
    @abstractmethod
    def build(cls, shape: Any) -> nn.Module:
        """The network of this shape, its weights drawn from torch's global generator."""


def given_file(spec: Spec, card: UpstreamCard) -> Path | None:
    """The file that `spec` names; None where only the untrained twin is asked for. Else says where the file is."""
    spec.refuse_argument()
    if spec.checkpoint:
        return Path(spec.checkpoint).expanduser()
    if spec.random:
        return None
    named = FILE.search(card.weights)
    raise MissingWeights(
        f"'{spec.name}' brings no weights; once they are here, write",
        f"--upstream {spec.name}@{named[1] if named else 'FILE'}, or {spec.name}~random for the untrained twin",
        f"they are at {card.weights}",
    )


def fresh(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What `build` makes with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build()


# ---- what a stranger's file says -------------------------------------------------------------------------------------


def section(found: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The dictionary below `keys`, one in the other; an error names the first that is not there."""
    for depth, key in enumerate(keys, 1):
        inner = found.get(key)
        if not isinstance(inner, Mapping):
            held = ", ".join(map(str, list(found)[:6])) or "nothing"
            raise BadCheckpoint(f"there is no '{'.'.join(keys[:depth])}' in it, but {held}")
        found = inner
    return {str(key): value for key, value in found.items()}


def setting(found: Mapping[str, Any], key: str, kind: type[T], default: T | None = None) -> T:
    """`found[key]`, which must be a `kind`. Truth values are no numbers; a float may be whole, or text like "1e-12"."""
    value = found.get(key, default)
    if kind is float and type(value) in (int, str):
        with suppress(ValueError, OverflowError):
            value = float(value)
    if type(value) is not kind or (type(value) is float and not math.isfinite(value)):
        raise BadCheckpoint(f"its settings say {key}={value!r}, where {kind.__name__} is expected")
    return value


def only(found: Mapping[str, Any], **known: Any) -> None:
    """Refuse settings that the networks here know in one value only; what is not stated is that value."""
    if other := [f"{key}={found[key]!r}" for key, value in known.items() if found.get(key, value) != value]:
        raise BadCheckpoint(f"another network than those known here: its settings say {', '.join(other)}")


def size(state: Mapping[str, Any], key: str, axes: int = 2) -> tuple[int, ...]:
    """The shape of the tensor `key`, which must be there and have that many axes."""
    value = state.get(key)
    if not isinstance(value, Tensor) or value.dim() != axes:
        found = (
            "missing" if value is None else tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        )
        raise BadCheckpoint(f"expected weights called {key} with {axes} axes, which is {found}")
    return tuple(value.shape)


def depth(state: Mapping[str, Any], before: str, after: str) -> int:
    """How many of the keys `before`0`after`, `before`1`after`, … there are, without a gap.

    >>> depth({"layer.0.weight": 0, "layer.1.weight": 0, "layer.3.weight": 0}, "layer.", ".weight")
    2
    """
    count = 0
    while f"{before}{count}{after}" in state:
        count += 1
    return count


def without(state: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """The weights that features depend on: those below `prefixes` are for training."""
    return {key: value for key, value in state.items() if not key.startswith(tuple(prefixes))}
