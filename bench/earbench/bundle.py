"""A bundle: what somebody submits of one encoder, as one zip with a manifest. Same content, same bytes. No torch.

    manifest.json                  schema, encoder, declaration, environment, and of every file size and sha256
    records/UPSTREAM-DIGEST8/TASK-vN/PLAN-N.json, .rows.jsonl.gz, .replicates.npz
    heads/DIGEST.safetensors

A bundle is read without trust: it is unpacked below a folder that goes away, and refused as a whole where anything does
not fit.
"""

import gzip
import hashlib
import json
import platform
import re
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema

from earbench import declared as declarations
from earbench import files, unpack
from earbench import record as records
from earbench.declared import Declared
from earbench.errors import BenchError
from earbench.record import Record
from earbench.versions import versions

SCHEMA = 1
MANIFEST = "manifest.json"
PACKAGES = ("earbench", "torch", "transformers", "numpy", "safetensors")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip can name: when a bundle was packed is no part of it."""
LEVELS = {".json": zipfile.ZIP_DEFLATED}
"""How files are stored, by ending; all others are compressed already."""
RECORD = re.compile(r"records/[^/]+/[^/]+/[0-9a-f]{16}-[1-9][0-9]{0,5}(\.json|\.rows\.jsonl\.gz|\.replicates\.npz)")
HEAD = re.compile(r"heads/[0-9a-f]{16}\.safetensors")
LARGEST = {".json": 1 << 26, ".gz": 1 << 28, ".npz": 1 << 26}
"""Bytes of a file once it is unpacked itself, by ending: rows and replicates are compressed inside the bundle too."""


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, whose files are those of its manifest. `folder` goes away when it is closed."""

    folder: Path
    upstream: Mapping[str, str]
    said: Declared
    environment: Mapping[str, str]
    files: tuple[str, ...]

    def records(self) -> list[Path]:
        return [self.folder / name for name in self.files if RECORD.fullmatch(name) and name.endswith(".json")]

    def head(self, digest: str) -> Path:
        return self.folder / "heads" / f"{digest}.safetensors"


def pack(out: Path, chosen: Sequence[Record], heads: Sequence[Path], said: Declared) -> dict[str, Any]:
    """Write the bundle of some records of one encoder; its manifest."""
    members = {_place(record, ending): record.beside(ending) for record in chosen for ending in records.ENDINGS}
    members |= {f"heads/{path.name}": path for path in heads}
    upstream = chosen[0].facts["upstream"]
    manifest = {
        "schema": SCHEMA,
        "upstream": {"name": upstream["name"], "digest": upstream["digest"]},
        "declared": said.plain(),
        "environment": {"python": platform.python_version()} | versions(PACKAGES),
        "files": {name: _facts(path) for name, path in sorted(members.items())},
    }
    files.write(out, lambda path: _zip(path, manifest, members))
    return manifest


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """The bundle at `path`; an error says why it is refused."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        folder = Path(temporary) / "bundle"
        try:
            sizes = unpack.unpack(path, folder, f"{path.stem}.zip", lambda _: None)
        except BenchError as error:
            raise _refused(path, str(error.args[0])) from None
        if problem := _problem(folder, sizes):
            raise _refused(path, problem)
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        try:
            said = declarations.declared(manifest["declared"], MANIFEST)
        except BenchError as error:
            raise _refused(path, str(error)) from None
        yield Bundle(folder, manifest["upstream"], said, manifest["environment"], tuple(manifest["files"]))


def _place(record: Record, ending: str) -> str:
    """Where a file of a record lies in a bundle."""
    folder = records.folder(Path(), record.facts)
    return (folder / record.beside(ending).name).as_posix()


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _zip(path: Path, manifest: Mapping[str, Any], members: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        archive.writestr(_member(MANIFEST), text.encode())
        for name, source in sorted(members.items()):
            with source.open("rb") as file, archive.open(_member(name, source.stat().st_size), "w") as target:
                shutil.copyfileobj(file, target)


def _member(name: str, size: int = 0) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name, EPOCH)
    found.compress_type = LEVELS.get(Path(name).suffix, zipfile.ZIP_STORED)
    found.create_system, found.external_attr, found.file_size = 3, 0o100644 << 16, size
    return found


# ---- without trust ---------------------------------------------------------------------------------------------------


def _problem(folder: Path, sizes: Mapping[str, int]) -> str | None:
    """Why unpacked files are no bundle, if they are none."""
    if sizes.get(MANIFEST, 0) not in range(1, LARGEST[".json"]):
        return f"there is no {MANIFEST} in it, or a huge one"
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        jsonschema.Draft202012Validator(records.schema("bundle")).validate(manifest)
    except (ValueError, RecursionError) as error:
        return f"{MANIFEST} cannot be read: {error}"
    except jsonschema.ValidationError as error:
        return f"{MANIFEST}: {'/'.join(map(str, error.path))}: {error.message[:200]}"
    if problem := next(iter(declarations.unprintable(manifest, "manifest")), None):
        return problem
    listed = manifest["files"]
    if other := sorted({*listed} ^ ({*sizes} - {MANIFEST})):
        return f"{other[0]} is {'listed but not there' if other[0] in listed else 'not listed in its manifest'}"
    if incomplete := _incomplete(listed):
        return incomplete
    return next((problem for name in listed if (problem := _file_problem(folder / name, name, listed[name]))), None)


def _incomplete(names: Collection[str]) -> str | None:
    """Why the files of records are not whole records."""
    stems = {name.removesuffix(found[1]) for name in names if (found := RECORD.fullmatch(name))}
    missing = [f"{stem}{ending}" for stem in sorted(stems) for ending in records.ENDINGS if stem + ending not in names]
    return f"{missing[0]} is not in it" if missing else None if stems else "no record is in it"


def _file_problem(path: Path, name: str, facts: Mapping[str, Any]) -> str | None:
    if not RECORD.fullmatch(name) and not HEAD.fullmatch(name):
        return f"{name} is neither a file of a record nor a head"
    if _facts(path) != facts:
        return f"{name} is not the file that the manifest lists: other bytes"
    if path.suffix in LARGEST and _too_large(path, LARGEST[path.suffix]):
        return f"{name} would fill more than {LARGEST[path.suffix]:,} bytes, and memory several times over"
    return None


def _too_large(path: Path, limit: int) -> bool:
    """Whether a file, unpacked, is larger than that; one that cannot be unpacked is told of where it is read."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist()) > limit
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return any(file.tell() > limit for _ in iter(lambda: file.read(1 << 20), b""))
    except unpack.BROKEN:
        return False
    return path.stat().st_size > limit


def _refused(path: Path, why: str) -> BenchError:
    return BenchError(f"{path.name} is refused: {why}")
