"""The layout of a folder of features: what `features:DIR` reads, whatever filled it, and `bench extract` writes.

    DIR/features.json          what encoder they are of: `Stated`
    DIR/frames/KEY.npy         all frames, [layer, time, width] or, of one layer, [time, width]
    DIR/means/KEY.npy          [layer, width]: their mean over time, where a task needs no more than that
    DIR/embeddings/KEY.npy     [layer, width], of any width: the encoder's own vector for a whole clip, if it has one

KEY is the key of a clip in the list that `bench clips` writes. Arrays are of float32, float16 or float64.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from numpy.typing import NDArray

from earbench.contract import Grain
from earbench.errors import BadFeatures, RequestError

FACTS = "features.json"
FOLDERS: Mapping[Grain, str] = {"frame": "frames", "mean": "means", "clip": "embeddings"}
PRETRAINING = ("self-supervised", "supervised", "none", "unknown")
DTYPES = ("float16", "float32", "float64")
POSITIVE = {"type": "integer", "minimum": 1}
TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "weights", "licence", "sample_rate", "hop", "first", "layers", "width"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,150}$"},
        "weights": TEXT,
        "licence": TEXT,
        "sample_rate": POSITIVE,
        "hop": {"type": "number", "exclusiveMinimum": 0},
        "first": {"type": "number", "minimum": 0},
        "layers": POSITIVE,
        "width": POSITIVE,
        "family": TEXT,
        "pretraining": {"enum": list(PRETRAINING)},
        "parameters": {"type": ["integer", "null"], "minimum": 0},
    },
}


@dataclass(frozen=True)
class Stated:
    """What features.json says of the encoder.

    `name` is what boards call it. `weights` tells these weights from all others: a checksum, a commit, a date; when the
    encoder changes, so does this. `sample_rate` in hertz is that of the audio it was given; frame i is centred at
    `first + i * hop` seconds.
    """

    name: str
    weights: str
    licence: str
    sample_rate: int
    hop: float
    first: float
    layers: int
    width: int
    family: str = "features"
    pretraining: str = "unknown"
    parameters: int | None = None


def stated(folder: Path) -> Stated:
    """The facts in `folder`; an error names everything that is wrong with them."""
    path = folder / FACTS
    if not path.is_file():
        found = "is a folder without it" if folder.is_dir() else "is no folder"
        raise RequestError(
            f"features are described in {FACTS}, and {folder} {found}",
            f'write {{"name": "mine", "weights": "v1", …}} into {path}: {", ".join(SCHEMA["required"])} are needed',
        )
    try:
        facts = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadFeatures(f"{path} is not JSON: {error}") from None
    problems = sorted(
        f"{error.json_path.removeprefix('$').lstrip('.') or FACTS}: {error.message}"
        for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(facts)
    )
    if problems:
        known = f"it may hold {', '.join(field.name for field in fields(Stated))}"
        raise BadFeatures(f"{path} does not describe an encoder", *problems, known)
    whole = {name: int(facts[name]) for name in ("sample_rate", "layers", "width")}  # 768.0 is a whole number in JSON
    return Stated(**{**facts, **whole})


def described(facts: Stated) -> str:
    """The text of features.json."""
    return json.dumps(asdict(facts), indent=1) + "\n"


def read_array(path: Path) -> NDArray[np.float32]:
    """The array in a .npy file in single precision; nothing in it is run, and no size is believed."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadFeatures(f"is no array that numpy can read: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise BadFeatures("is an archive of arrays, not the .npy file of one")
    if array.dtype.name not in DTYPES:
        raise BadFeatures(f"is of type {array.dtype}, not one of {', '.join(DTYPES)}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is looked for
        return np.array(array, dtype=np.float32)


def frames_in(path: Path, layers: int, width: int) -> NDArray[np.float32]:
    """Frames [layer, time, width]; an array [time, width] is the one layer."""
    array = read_array(path)
    if array.ndim == 2 and layers == 1:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != layers or array.shape[2] != width or not array.shape[1]:
        wanted = f"[{layers}, time, {width}]" + (f" or [time, {width}]" if layers == 1 else "")
        raise BadFeatures(f"has shape {list(array.shape)}, not {wanted} as {FACTS} says")
    return array


def vectors_in(path: Path, layers: int, width: int | None) -> NDArray[np.float32]:
    """One vector per layer, [layer, width], of any width if that is None; an array [width] is the one layer."""
    array = read_array(path)
    if array.ndim == 1 and layers == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[0] != layers or array.shape[1] != (width or array.shape[1]):
        raise BadFeatures(f"has shape {list(array.shape)}, not [{layers}, {width or 'any width'}] as {FACTS} says")
    return array
