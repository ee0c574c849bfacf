"""The state of a fit on disk, and the heads that a recipe keeps on its way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from earbench import files
from earbench.progress import Progress
from earbench.stack import Stack
from earbench.tensors import digest


@dataclass
class Lane:
    """The history of one recipe within a stack. `decoding` is the number of the one that its best state is read by."""

    recipe: int
    best: float = float("nan")
    decoding: int = 0
    step: int = 0
    stale: int = 0
    running: bool = True
    curve: list[tuple[int, float]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Team:
    """A stack, and the history of every recipe that it began with."""

    stack: Stack
    lanes: list[Lane]

    def running(self) -> list[Lane]:
        """The lanes that are still in the stack, in its order."""
        return [lane for lane in self.lanes if lane.running]


def save(path: Path, teams: Sequence[Team], done: int) -> None:
    """The whole state of a fit in one file, which is either the old one or the new one."""
    lanes = [lane for team in teams for lane in team.lanes]
    facts = [{key: value for key, value in vars(lane).items() if key != "state"} for lane in lanes]
    tensors = {f"best/{lane.recipe}/{name}": value for lane in lanes for name, value in lane.state.items()}
    for number, team in enumerate(teams):
        if team.running():
            tensors |= {f"{number}/{name}": value for name, value in team.stack.tensors().items()}
    said = {"done": str(done), "lanes": json.dumps(facts)}
    said["checksum"] = digest(tensors, *said.values())
    files.write(path, lambda temporary: save_file(tensors, temporary, metadata=said))


def keep(path: Path, teams: Sequence[Team], done: int) -> None:
    """Write what every running recipe has learned in `done` steps to a file of its own."""
    for team in teams:
        for index, lane in enumerate(team.running()):
            state = team.stack.member(index)
            files.write(kept(path, lane.recipe, done), partial(save_file, state))
            lane.kept.append(done)


def kept(path: Path, recipe: int, step: int) -> Path:
    """Where the head of `recipe` after `step` steps lies, for a fit whose state is at `path`."""
    return path.with_name(f"{path.stem}-{recipe}-{step}{path.suffix}")


def restore(path: Path, teams: Sequence[Team], progress: Progress) -> int:
    """Fill `teams` from a saved state, if there is a sound one; the number of steps already done."""
    if not path.is_file():
        return 0
    saved = _read(path)
    if saved is None:
        progress.warn(f"the saved state of a fit is damaged; training starts over ({path.name})")
        return 0
    tensors, said = saved
    facts = iter(json.loads(said["lanes"]))
    for number, team in enumerate(teams):
        for lane in team.lanes:
            fact = next(facts)
            vars(lane).update(fact | {"curve": [tuple(point) for point in fact["curve"]]})
            lane.state = _below(f"best/{lane.recipe}/", tensors)
        if team.running():
            team.stack.keep([index for index, lane in enumerate(team.lanes) if lane.running])
            team.stack.restore(_below(f"{number}/", tensors))
    return int(said["done"])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """What `_save` wrote, or None if it is not that any more."""
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    checksum = said.pop("checksum", None)
    return (tensors, said) if checksum == digest(tensors, *(said.get(key) for key in ("done", "lanes"))) else None
