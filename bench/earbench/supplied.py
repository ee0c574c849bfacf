"""Features that were computed elsewhere: is there one file for every clip, does it fit, and are they still the same?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from earbench import files, memory
from earbench import record as records
from earbench.config import Settings
from earbench.contract import Clip, Grain, Supplied
from earbench.data import Prepared
from earbench.errors import BadFeatures, RequestError
from earbench.forward import SHORTEST
from earbench.plan import Cell, Plan
from earbench.progress import Progress

SHOWN = 5
SLACK = 0.05
"""Of a clip's duration: by how much frames may end earlier than those of an encoder that looks at all of it."""


@dataclass(frozen=True)
class Array:
    """One file: the digest of its bytes, and its size, 0 frames where it holds vectors; or the `problem` with it."""

    digest: str
    layers: int = 0
    frames: int = 0
    width: int = 0
    problem: str | None = None


def gather(cell: Cell, prepared: Prepared, settings: Settings, progress: Progress) -> Prepared:
    """`prepared` with the digest of the file of every clip, for features that were supplied; else as it is.

    Everything that is missing or cannot be used is told at once.
    """
    upstream = cell.upstream
    if not isinstance(upstream, Supplied):
        return prepared
    clips = {prepared.key(clip): clip for clip in prepared.clips()}
    paths = {key: upstream.path(key, cell.grain) for key in clips}
    with progress.bar("checking features", len(paths), "files") as bar:
        keys = {path: key for key, path in paths.items()}
        kind = memory.Kind(
            probe=lambda path: probe(upstream, keys[path], cell.grain),
            write=lambda array: f"{array.digest} {array.layers} {array.frames} {array.width}",
            read=_noted,
            unusable=lambda problem: Array("", problem=problem),
            depends=cell.digest,
        )
        found = memory.facts_of(kind, paths.values(), settings.cache, lambda: bar.advance(1))
    arrays = {key: found[path] for key, path in paths.items()}
    seconds = prepared.seconds()
    durations = {key: seconds[clip.id] for key, clip in clips.items()}
    _refuse(cell, clips, paths, dict(_bad(upstream, arrays, durations)))
    return replace(prepared, arrays={key: array.digest for key, array in arrays.items()})


def probe(upstream: Supplied, key: str, grain: Grain) -> Array:
    """What the file of a clip holds, read whole."""
    try:
        features = upstream.read(key, grain)
    except BadFeatures as error:
        return Array("", problem=str(error))
    _, layers, frames, width = features.frames.shape
    if not torch.isfinite(features.frames).all():
        return Array("", problem="holds NaN or infinite numbers")
    return Array(files.checksum(upstream.path(key, grain)), layers, frames if features.hop else 0, width)


def _noted(text: str) -> Array:
    digest, layers, frames, width = text.split()
    return Array(digest, int(layers), int(frames), int(width))


def _bad(upstream: Supplied, arrays: Mapping[str, Array], durations: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Keys of arrays that cannot be used, each with the reason."""
    usable = {key: array for key, array in arrays.items() if array.problem is None}
    yield from ((key, array.problem) for key, array in arrays.items() if array.problem)
    first = next(iter(usable.values()), None)
    for key, array in usable.items():
        if first and (array.layers, array.width) != (first.layers, first.width):
            yield key, f"has {array.layers} x {array.width} numbers, others {first.layers} x {first.width}"
        elif array.frames and (problem := misfit(upstream, array.frames, durations[key])):
            yield key, problem


def misfit(upstream: Supplied, frames: int, seconds: float) -> str | None:
    """Why this many frames cannot be those of a clip: they go on behind its end, or stop long before it.

    At its end an encoder may leave out as much as before the centre of its first frame, and a frame or two.
    """
    last = upstream.first + (frames - 1) * upstream.hop
    missing = upstream.first + 2 * upstream.hop + SLACK * seconds
    beyond = max(upstream.first, upstream.hop)
    if seconds - missing <= last <= max(seconds, SHORTEST) + beyond:
        return None
    spacing = f"a hop of {upstream.hop:g} s from {upstream.first:g} s on"
    return f"has {frames} frames; with {spacing} the last is at {last:.3f} s of {seconds:.3f} s"


def _refuse(cell: Cell, clips: Mapping[str, Clip], paths: Mapping[str, Path], bad: Mapping[str, str]) -> None:
    if not bad:
        return
    absent = [key for key in bad if not paths[key].is_file()]
    broken = {key: bad[key] for key in bad if key not in set(absent)}
    task = cell.task.card.name
    lines = [
        *_listed([f"missing: {_file(paths[key])}, of {clips[key].id}" for key in absent]),
        *_listed([f"{_file(paths[key])} {problem}, of {clips[key].id}" for key, problem in broken.items()]),
    ]
    raise BadFeatures(
        f"'{cell.name}' lacks {len(absent):,} of the {len(clips):,} clips of task '{task}', "
        f"and {len(broken):,} of its files cannot be used; nothing was trained",
        *lines,
        f"`bench clips --task {task} --out DIR` writes the list; its clips depend on --sample-rate and --hop, "
        f"here {cell.upstream.sample_rate} and {cell.upstream.hop:g}",
    )


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [*lines[:SHOWN], *more]


def _file(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def check_unchanged(cell: Cell, plan: Plan, results: Path) -> None:
    """Refuse other features than those a stored record was made from, under the same name and weights.

    A row of a board is one encoder: two generations of arrays must not share it.
    """
    if not isinstance(cell.upstream, Supplied):
        return
    for record in records.every(results):
        facts = record.facts["plan"]["facts"]
        same = all(facts[part] == plan.facts[part] for part in ("upstream", "task", "folds"))
        if same and facts.get("arrays") != plan.facts["arrays"]:
            raise RequestError(
                f"the arrays of '{cell.name}' are not those that its record of task '{record.task}' was made from",
                "if the encoder changed, change `weights` in features.json: it is then a row of its own",
                f"if the old arrays were wrong, remove that record: {record.path}",
            )
