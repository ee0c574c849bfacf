"""Pickles read as data: a stub unpickler (protocol sheet §2.5). `torch_files` has the files that they come in.

Nothing a file names is ever imported. Classes outside a short list become `Bag` subclasses, which keep arguments and
attributes and do nothing. The functions a file may call are the ones below that rebuild tensors, and no others.
Sizes that a file claims are compared with what is there before anything is allocated, and so is the work that it asks
for: a few bytes of a pickle can copy what is already there, again and again.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
TYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}

KINDS = 10_000
"""Classes that one pickle may name; each takes a kilobyte. Real files name a few dozen."""
WORK, SPARE = 16, 1 << 16
"""What calls may be handed in all: this much per byte of the file, and this much besides."""
WIDEST = 1 << 64
"""Beyond the integers that are keys."""


class Bag:
    """What is left of an object of an unknown class: its arguments, attributes and items, as data."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if arguments:
            self.arguments = arguments
        self.__dict__.update(named)

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__.setdefault("items", {})[key] = value

    def extend(self, values: Iterable[Any]) -> None:
        self.__dict__.setdefault("values", []).extend(values)


class Table(dict[Any, Any]):
    """An ordered dictionary from a file, without the attributes (such as `_metadata`) that may hang on it."""

    __slots__ = ()

    def __init__(self, pairs: Any = ()) -> None:
        found = list(pairs.items()) if isinstance(pairs, dict) else pairs
        if not isinstance(found, list | tuple) or not all(isinstance(pair, list | tuple) for pair in found):
            raise pickle.UnpicklingError("a dictionary made of no pairs")
        super().__init__((hashable(key), value) for key, value in found)


# The Python unpickler, not the C one: its memo is a dictionary, so a huge memo index costs nothing.
class StubUnpickler(pickle._Unpickler):
    """Loads one pickle; `resolve` turns persistent ids (tensor storages) into tensors, `size` is that of the file.

    Whatever changes, calls or hashes an object is done here and not by the objects: attributes and items go into
    `Bag`s and plain containers only, and hashing stays as cheap as the file is small (a tuple of tuples of tuples takes
    few bytes to write and years to hash, and one nested deep enough ends the process).
    """

    # Of its base, which has no types.
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, size: int, resolve: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file, encoding="latin1")  # files of Python 2 hold byte strings
        self.resolve = resolve
        self.kinds: dict[tuple[str, str], Any] = {}
        self.left = WORK * size + SPARE

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name in TYPES:
            return TYPES[name]
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if (module, name) not in self.kinds:
            if len(self.kinds) == KINDS:
                raise pickle.UnpicklingError(f"it names more than {KINDS:,} classes")
            self.kinds[module, name] = type(name, (Bag,), {"__module__": module})
        return self.kinds[module, name]

    def persistent_load(self, pid: Any) -> Any:
        if self.resolve is None:
            raise pickle.UnpicklingError("a reference to a tensor, where none belongs")
        return self.resolve(pid)

    def spend(self, *handed: Any) -> None:
        self.left -= sum(1 + (len(one) if isinstance(one, SIZED) else 0) for one in handed)
        if self.left < 0:
            raise pickle.UnpicklingError("it claims more work than a file of its size can need")

    def made(self, kind: Any, arguments: Any, named: Any = None) -> Any:
        """What `kind`, a class or function that the file names, gives for `arguments`."""
        if not isinstance(arguments, list | tuple) or (named is not None and not isinstance(named, dict)):
            raise pickle.UnpicklingError("a call without arguments")
        self.spend(*arguments, named)
        if isinstance(kind, type) and issubclass(kind, Bag):
            return kind(*arguments, **(named or {}))
        if not named and any(kind is allowed for allowed in ALLOWED.values()):
            return kind(*arguments)
        raise pickle.UnpicklingError("it calls what is neither a class nor a function")

    def load_reduce(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        self.append(self.made(kind, arguments))

    def load_newobj_ex(self) -> None:
        named, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(self.made(kind, arguments, named))

    def _instantiate(self, kind: Any, arguments: list[Any]) -> None:  # what INST and OBJ come down to
        self.append(self.made(kind, arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Bag):
            self.spend(state)
            Bag.__setstate__(target, state)
        elif not isinstance(target, Table):
            raise pickle.UnpicklingError(f"it gives attributes to a {type(target).__name__}")

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Bag):
            Bag.extend(target, values)
        elif type(target) is list:
            target.extend(values)
        else:
            raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        pairs = self.pop_mark()
        self._fill(self.stack[-1], pairs)

    def load_dict(self) -> None:
        self.append(self._fill({}, self.pop_mark()))

    def _fill(self, target: Any, pairs: list[Any]) -> Any:
        if not isinstance(target, dict | Bag) or len(pairs) % 2:
            raise pickle.UnpicklingError(f"it sets items of a {type(target).__name__}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.spend(key)
            target[hashable(key)] = value
        return target

    def load_additems(self) -> None:
        values, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise pickle.UnpicklingError(f"it adds to a {type(target).__name__}")
        self.spend(*values)
        target.update(map(hashable, values))

    def load_frozenset(self) -> None:
        values = self.pop_mark()
        self.spend(*values)
        self.append(frozenset(map(hashable, values)))

    CHANGED: ClassVar[dict[bytes, Callable[[Any], None]]] = {
        pickle.REDUCE: load_reduce,
        pickle.NEWOBJ: load_reduce,
        pickle.NEWOBJ_EX: load_newobj_ex,
        pickle.BUILD: load_build,
        pickle.APPEND: load_append,
        pickle.APPENDS: load_appends,
        pickle.SETITEM: load_setitem,
        pickle.SETITEMS: load_setitems,
        pickle.DICT: load_dict,
        pickle.ADDITEMS: load_additems,
        pickle.FROZENSET: load_frozenset,
    }
    # What torch never writes: three that allocate what is claimed, three that reach into a registry of the process.
    LEFT_OUT: ClassVar[tuple[bytes, ...]] = (
        pickle.BYTEARRAY8,
        pickle.NEXT_BUFFER,
        pickle.READONLY_BUFFER,
        pickle.EXT1,
        pickle.EXT2,
        pickle.EXT4,
    )
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = pickle._Unpickler.dispatch | {
        code[0]: step for code, step in CHANGED.items()
    }
    for code in LEFT_OUT:
        del dispatch[code[0]]


SIZED = (str, bytes, list, tuple, dict)


def hashable(key: Any) -> Any:
    """`key`, if hashing it takes no more than looking at it once."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if isinstance(part, tuple | frozenset | Tensor) or (isinstance(part, int) and abs(part) >= WIDEST):
            raise pickle.UnpicklingError(f"a {type(part).__name__} as a key")
    return key


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Tensor:
    """The part of `storage` that begins at its own `offset`; it holds no more numbers than are stored."""
    if not isinstance(storage, Tensor) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise pickle.UnpicklingError("a tensor without a storage")
    if any(type(number) is not int or number < 0 for number in (offset, *size, *stride)) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor whose size is no whole numbers")
    last = offset + sum((steps - 1) * step for steps, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.numel() or (0 not in size and last >= storage.numel()):
        raise pickle.UnpicklingError("a tensor claims more than is stored for it")
    return storage.as_strided(size, stride, storage.storage_offset() + offset if 0 not in size else 0)


def rebuild_typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _gradient: Any, _hooks: Any, kind: Any, *_rest: Any
) -> Tensor:
    """The same from a storage of bytes, as newer types than the classes of storages are written."""
    if not isinstance(storage, Tensor) or not isinstance(kind, torch.dtype):
        raise pickle.UnpicklingError("a tensor without a storage or a type")
    return rebuild_tensor(storage.view(kind), offset, size, stride)


def rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


def encode_text(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "utf-8", "ascii"):
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode(encoding)


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): Table,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_typed_tensor,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("_codecs", "encode"): encode_text,
}
