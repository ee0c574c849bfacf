"""The three kinds of file that `torch.save` has written, read by the stub unpickler of `unpickle` (sheet §2.5).

Sizes that a file claims are compared with the size of the file before anything is allocated.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from earbench.errors import BadCheckpoint
from earbench.kit.unpickle import StubUnpickler, hashable, rebuild_tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_zip(path: Path) -> Any:
    """The object in a zip file that `torch.save` has written since torch 1.6."""
    _check_zip(path)
    storages: dict[str, Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError(f"a zip file with {len(pickles)} members called data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if root + "constants.pkl" in names:
            raise BadCheckpoint(
                f"{path} is a TorchScript archive: a program, which is never run",
                "torch.save the state_dict() of what torch.jit.load makes of it, where it may run",
            )
        if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
            raise pickle.UnpicklingError("tensors in big-endian order")

        def resolve(pid: Any) -> Tensor:
            dtype, key, count, _ = storage_id(pid)
            if key not in storages:
                storages[key] = _values(archive.read(f"{root}data/{key}"), dtype, count)
            if storages[key].dtype != dtype:
                raise pickle.UnpicklingError(f"storage {key} is of two types")
            return storages[key]

        return StubUnpickler(io.BytesIO(archive.read(pickles[0])), path.stat().st_size, resolve).load()


def read_legacy(path: Path) -> Any:
    """The object in a file that `torch.save` wrote before torch 1.6: pickles first, then the raw storages."""
    limit = path.stat().st_size
    storages: dict[str, Tensor] = {}
    claimed = 0

    def resolve(pid: Any) -> Any:
        nonlocal claimed
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module":
            return pid[1]
        dtype, key, count, view = storage_id(pid)
        if key not in storages:
            claimed += count * dtype.itemsize
            if claimed > limit:
                raise pickle.UnpicklingError(f"storages of {claimed:,} bytes in a file of {limit:,}")
            storages[key] = torch.zeros(count, dtype=dtype)
        return storages[key] if view is None else part_of(storages[key], *view[1:])

    with path.open("rb") as file:
        magic, _version, system = (StubUnpickler(file, limit).load() for _ in range(3))
        if magic != LEGACY_MAGIC or not isinstance(system, dict):
            raise pickle.UnpicklingError("a pickle, but not one of torch")
        if not system.get("little_endian", True):
            raise pickle.UnpicklingError("tensors in big-endian order")
        found = StubUnpickler(file, limit, resolve).load()
        filled = StubUnpickler(file, limit).load()
        for key in filled:
            (count,) = struct.unpack("<q", file.read(8))
            if count != storages[hashable(key)].numel():
                raise pickle.UnpicklingError(f"a storage of {count:,} values where {storages[key].numel():,} belong")
            storages[key].copy_(_values(file.read(count * storages[key].itemsize), storages[key].dtype, count))
    if missing := storages.keys() - set(filled):
        raise pickle.UnpicklingError(f"no values for {len(missing)} storages")
    return found


def read_tar(path: Path) -> Any:
    """The object in a tar file, which torch wrote before version 0.1.10. Nothing is unpacked to disk."""
    size = path.stat().st_size
    with tarfile.open(path, mode="r:") as archive:
        parts = {name: _tar_member(archive, name, size) for name in ("storages", "tensors", "pickle")}
    found = _tar_tensors(parts["tensors"], _tar_storages(parts["storages"], size), size)

    def resolve(pid: Any) -> Any:
        return pid[0] if isinstance(pid, tuple) else found[int(pid)]  # a tuple is a class with its source code

    return StubUnpickler(parts["pickle"], size, resolve).load()


def _tar_storages(file: io.BytesIO, size: int) -> dict[int, Tensor]:
    storages, reader = {}, StubUnpickler(file, size)
    for _ in range(reader.load()):
        key, _location, dtype = reader.load()
        if not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a storage without a type")
        (count,) = struct.unpack("<q", file.read(8))
        storages[hashable(key)] = _values(file.read(max(count, 0) * dtype.itemsize), dtype, count)
    for key, root, offset, count in reader.load():
        storages[hashable(key)] = part_of(storages[hashable(root)], offset, count)
    return storages


def _tar_tensors(file: io.BytesIO, storages: dict[int, Tensor], size: int) -> dict[int, Tensor]:
    tensors, reader = {}, StubUnpickler(file, size)
    for _ in range(reader.load()):
        key, storage, _kind = reader.load()
        (axes, _pad) = struct.unpack("<ii", file.read(8))
        if not 0 <= axes <= 64:
            raise pickle.UnpicklingError(f"a tensor of {axes} axes")
        numbers = struct.unpack(f"<{2 * axes + 1}q", file.read(8 * (2 * axes + 1)))
        stored = storages[hashable(storage)]
        tensors[hashable(key)] = rebuild_tensor(stored, numbers[-1], numbers[:axes], numbers[axes:-1])
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


def _check_zip(path: Path) -> None:
    """Refuse a zip file whose members are compressed, share a name or claim more than the file holds.

    torch only stores. Of two members of one name, every program may read another.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    claimed, limit = sum(member.file_size for member in members), path.stat().st_size
    if claimed > limit or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise pickle.UnpicklingError(f"its members are compressed, or claim {claimed:,} bytes in a file of {limit:,}")
    if len({member.filename for member in members}) < len(members):
        raise pickle.UnpicklingError("two of its members have the same name")


class StorageId(NamedTuple):
    """What a file says of a storage where a tensor refers to it; `view` is (name, offset, count) in old files."""

    dtype: torch.dtype
    key: str
    size: int
    view: Any


def storage_id(pid: Any) -> StorageId:
    """The persistent id `pid`, if it is that of a storage."""
    if not (isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"):
        raise pickle.UnpicklingError("a reference to something that is no storage")
    _, dtype, key, _location, count, view = (*pid, None)[:6]
    if not (isinstance(dtype, torch.dtype) and isinstance(key, str) and type(count) is int and count >= 0):
        raise pickle.UnpicklingError("a reference to a storage without type, name and size")
    return StorageId(dtype, key, count, view)


def part_of(storage: Tensor, offset: Any, count: Any) -> Tensor:
    """The view of `count` values from `offset` that old files take of a storage."""
    if not (type(offset) is int and type(count) is int and 0 <= offset <= offset + count <= storage.numel()):
        raise pickle.UnpicklingError("a view claims more than is stored for it")
    return storage[offset : offset + count]
