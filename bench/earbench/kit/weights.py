"""Weight files as dictionaries, without running anything that is in them (design §6; protocol sheet §2.5, §2.6).

There is one reader of pickles, our own, and no way of asking for more: nothing is ever unpickled in full, and there is
no flag for it. `torch.load(weights_only=True)` is not asked first. What it reads, ours reads the same; what ours
refuses, it lets through: a key of nested tuples ends the process, storages without values come back as whatever memory
held, a tensor of stride zero claims any size, and every library may add its own functions to those a file may call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from earbench.errors import BadCheckpoint
from earbench.kit.torch_files import read_legacy, read_tar, read_zip


def read_state(path: Path) -> dict[str, Any]:
    """What a weight file holds: safetensors, or anything `torch.save` ever wrote, with its tensors on the CPU.

    What the file is, its first bytes say, not its name. Objects of unknown classes become `earbench.kit.unpickle.Bag`.
    Code in the file never runs. The dictionary is the file's own: a fairseq file has the weights under "model".
    """
    if not path.is_file():
        raise BadCheckpoint(f"no weight file at {path}")
    with path.open("rb") as file:
        head = file.read(512)
    try:
        found = _reader(path, head)(path)
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged or hostile file can make a parser fail in any way
        raise BadCheckpoint(
            f"{path} cannot be read as weights: {type(error).__name__}: {error}",
            "the file is cut off, damaged, or claims more than it holds; fetch it again",
        ) from error
    if not isinstance(found, dict):
        raise BadCheckpoint(f"{path} holds a {type(found).__name__}, where a dictionary of weights was expected")
    return dict(found)


def _reader(path: Path, head: bytes) -> Callable[[Path], Any]:
    if head[8:9] == b"{":
        return _read_safetensors
    if head.startswith(b"PK\x03\x04"):
        return read_zip
    if head.startswith(b"\x80"):
        return read_legacy
    if head[257:262] == b"ustar":
        return read_tar
    raise BadCheckpoint(
        f"{path} is no weight file: it starts with {head[:16]!r}",
        "expected safetensors or a file written by torch.save; a download may have saved an error page or a pointer",
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def strip_prefix(state: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """`state` with each of `prefixes`, in this order, taken off the keys that start with it; other keys stay.

    >>> strip_prefix({"module.model.a": 1, "head": 2}, ["module.", "model."])
    {'a': 1, 'head': 2}
    """
    found = dict(state)
    for prefix in prefixes:
        short = {key.removeprefix(prefix): value for key, value in found.items()}
        if len(short) < len(found):
            clash = next(key for key in found if key.startswith(prefix) and key.removeprefix(prefix) in found)
            raise BadCheckpoint(f"the weights hold both '{clash}' and '{clash.removeprefix(prefix)}'")
        found = short
    return found


def modern_weight_norm(state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with weight norm spelled as torch's parametrisation does: `weight_g` and `weight_v` become originals.

    >>> list(modern_weight_norm({"conv.weight_g": 0, "conv.weight_v": 0}))
    ['conv.parametrizations.weight.original0', 'conv.parametrizations.weight.original1']
    """
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    renamed = {}
    for key, value in state.items():
        head, dot, last = key.rpartition(".")
        renamed[head + dot + names.get(last, last)] = value
    return renamed


def load_strict(module: nn.Module, state: Mapping[str, Any], ignore: Iterable[str] = ()) -> None:
    """Fill `module` with `state`, or raise `BadCheckpoint` with what is missing, left over, of another shape or kind.

    Keys that match a pattern of `ignore` (as in `fnmatch`) are left out of the comparison: those of the file are
    dropped, those of the module keep their values. Tensors take the module's precision, but integers never become
    floats, as those of a quantised file would; a module on the meta device ends up on the CPU.
    """
    patterns = tuple(ignore)
    wanted = {key: value for key, value in module.state_dict().items() if not _matches(key, patterns)}
    given = {key: value for key, value in state.items() if not _matches(key, patterns)}
    problems = [
        *_problem("missing", sorted(wanted.keys() - given.keys())),
        *_problem("left over", sorted(given.keys() - wanted.keys())),
        *_problem("not as expected", _misfits(wanted, given)),
    ]
    if problems:
        raise BadCheckpoint(f"the weights do not fit a {type(module).__name__}", *problems)
    fitted = {key: given[key].detach().to(value.dtype).contiguous() for key, value in wanted.items()}
    module.load_state_dict(fitted, strict=False, assign=True)


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> list[str]:
    found = []
    for key in sorted(wanted.keys() & given.keys()):
        if not isinstance(given[key], Tensor):
            found.append(f"{key} is a {type(given[key]).__name__}")
        elif given[key].shape != wanted[key].shape:
            found.append(f"{key} is {tuple(given[key].shape)}, expected {tuple(wanted[key].shape)}")
        elif _number(given[key]) != _number(wanted[key]):
            found.append(f"{key} is of {given[key].dtype}, expected {wanted[key].dtype}")
    return found


def _number(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _problem(name: str, keys: Sequence[str]) -> list[str]:
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return [f"{name} ({len(keys)}): {', '.join(keys[:5])}{more}"] if keys else []
