"""Pickled checkpoints read as data: a stub unpickler and the three containers torch has used (protocol sheet §2.5).

Nothing a file names is ever imported. Classes outside a short list become `Bag` subclasses, which keep arguments and
attributes and do nothing. The functions a file may call are the ones below that rebuild tensors, and no others.
Sizes that a file claims are compared with the size of the file before anything is allocated.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
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
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Bag:
    """What is left of an object of an unknown class: its arguments, attributes and items, as data."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments
        self.__dict__.update(named)

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__.setdefault("items", {})[key] = value

    def append(self, value: Any) -> None:
        self.__dict__.setdefault("values", []).append(value)


class Table(dict[Any, Any]):
    """An ordered dictionary from a file, without the attributes (such as `_metadata`) that may hang on it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


# The Python unpickler, not the C one: its memo is a dictionary, so a huge memo index costs nothing.
class StubUnpickler(pickle._Unpickler):
    """Loads one pickle; `resolve` turns persistent ids (tensor storages) into tensors."""

    # Opcodes of protocol 5 that allocate what the file claims; torch writes none of them.
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: step
        for code, step in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0], pickle.READONLY_BUFFER[0])
    }

    def __init__(self, file: Any, resolve: Callable[[Any], Any] | None = None) -> None:
        super().__init__(file, encoding="latin1")  # files of Python 2 hold byte strings
        self.resolve = resolve

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        return ALLOWED.get((module, name)) or type(name, (Bag,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:
        if self.resolve is None:
            raise pickle.UnpicklingError(f"a reference to {pid!r}, where none belongs")
        return self.resolve(pid)


def rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Tensor:
    if not isinstance(storage, Tensor) or math.prod(size) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor claims the shape {size}, more than is stored for it")
    return torch.as_strided(storage, size, stride, offset)  # refuses to leave the storage


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
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("_codecs", "encode"): encode_text,
}


def check_zip(path: Path) -> None:
    """Refuse a zip file whose members are compressed or claim more than the file holds; torch only stores them."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    claimed, limit = sum(member.file_size for member in members), path.stat().st_size
    if claimed > limit or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise pickle.UnpicklingError(f"its members are compressed, or claim {claimed:,} bytes in a file of {limit:,}")


def read_zip(path: Path) -> Any:
    """The object in a zip file that `torch.save` has written since torch 1.6."""
    check_zip(path)
    storages: dict[tuple[str, torch.dtype], Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError(f"a zip file with {len(pickles)} members called data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
            raise pickle.UnpicklingError("tensors in big-endian order")

        def resolve(pid: Any) -> Tensor:
            _kind, dtype, key, _location, count = pid
            if (key, dtype) not in storages:
                storages[key, dtype] = _values(archive.read(f"{root}data/{key}"), dtype, count)
            return storages[key, dtype]

        return StubUnpickler(io.BytesIO(archive.read(pickles[0])), resolve).load()


def read_legacy(path: Path) -> Any:
    """The object in a file that `torch.save` wrote before torch 1.6: pickles first, then the raw storages."""
    limit = path.stat().st_size
    storages: dict[str, Tensor] = {}
    claimed = 0

    def resolve(pid: Any) -> Any:
        nonlocal claimed
        if pid[0] == "module":
            return pid[1]
        _kind, dtype, key, _location, count, view = pid
        if key not in storages:
            claimed += count * dtype.itemsize
            if count < 0 or claimed > limit:
                raise pickle.UnpicklingError(f"storages of {claimed:,} bytes in a file of {limit:,}")
            storages[key] = torch.zeros(count, dtype=dtype)
        return storages[key] if view is None else storages[key][view[1] : view[1] + view[2]]

    with path.open("rb") as file:
        if StubUnpickler(file).load() != LEGACY_MAGIC:
            raise pickle.UnpicklingError("a pickle, but not one of torch")
        _version, system = StubUnpickler(file).load(), StubUnpickler(file).load()
        if not system.get("little_endian", True):
            raise pickle.UnpicklingError("tensors in big-endian order")
        found = StubUnpickler(file, resolve).load()
        filled = StubUnpickler(file).load()
        for key in filled:
            (count,) = struct.unpack("<q", file.read(8))
            if count != storages[key].numel():
                raise pickle.UnpicklingError(f"a storage of {count:,} values where {storages[key].numel():,} belong")
            storages[key].copy_(_values(file.read(count * storages[key].itemsize), storages[key].dtype, count))
    if missing := storages.keys() - set(filled):
        raise pickle.UnpicklingError(f"no values for {len(missing)} storages")
    return found


def read_tar(path: Path) -> Any:
    """The object in a tar file, which torch wrote before version 0.1.10. Nothing is unpacked to disk."""
    with tarfile.open(path, mode="r:") as archive:
        parts = {name: _tar_member(archive, name, path.stat().st_size) for name in ("storages", "tensors", "pickle")}
    found = _tar_tensors(parts["tensors"], _tar_storages(parts["storages"]))

    def resolve(pid: Any) -> Any:
        return pid[0] if isinstance(pid, tuple) else found[int(pid)]  # a tuple is a class with its source code

    return StubUnpickler(parts["pickle"], resolve).load()


def _tar_storages(file: io.BytesIO) -> dict[int, Tensor]:
    storages = {}
    for _ in range(StubUnpickler(file).load()):
        key, _location, dtype = StubUnpickler(file).load()
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = _values(file.read(max(count, 0) * dtype.itemsize), dtype, count)
    for key, root, offset, count in StubUnpickler(file).load():
        storages[key] = storages[root][offset : offset + count]
    return storages


def _tar_tensors(file: io.BytesIO, storages: dict[int, Tensor]) -> dict[int, Tensor]:
    tensors = {}
    for _ in range(StubUnpickler(file).load()):
        key, storage, _kind = StubUnpickler(file).load()
        (axes, _pad) = struct.unpack("<ii", file.read(8))
        if not 0 <= axes <= 64:
            raise pickle.UnpicklingError(f"a tensor of {axes} axes")
        numbers = struct.unpack(f"<{2 * axes + 1}q", file.read(8 * (2 * axes + 1)))
        tensors[key] = rebuild_tensor(storages[storage], numbers[-1], numbers[:axes], numbers[axes:-1])
    return tensors


def _tar_member(archive: tarfile.TarFile, name: str, limit: int) -> io.BytesIO:
    member = archive.getmember(name)
    file = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if file is None or member.size > limit:
        raise pickle.UnpicklingError(f"'{name}' is not a plain file of {limit:,} bytes or less")
    return io.BytesIO(file.read())


def _values(raw: bytes, dtype: torch.dtype, count: int) -> Tensor:
    if count < 0 or len(raw) < count * dtype.itemsize:
        raise pickle.UnpicklingError(f"a storage claims {count:,} values, the file holds {len(raw):,} bytes of it")
    return torch.frombuffer(bytearray(raw), dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
