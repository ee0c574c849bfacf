"""From a request to a plan: names become plugins, and everything that can change a score becomes one digest."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earbench import registry, stretches
from earbench.config import Settings
from earbench.contract import Clip, Effort, Fold, Grain, Labels, Match, Recipe, Spec, Split, Supplied, Task, Upstream
from earbench.data import Prepared
from earbench.errors import BenchError, RequestError
from earbench.files import digest_of
from earbench.layers import GroupView, LayerView, check_layers, split_layers
from earbench.tensors import digest

ENGINE = 3
"""Raised when the engine's own arithmetic changes a score: extraction, pooling, fitting, selection."""

STANDARD_PATIENCE = 10
SHORTEST_INTERVAL = 50
QUICK_STEPS = 300

LOCAL = re.compile(r"[/.~]|[A-Za-z]:[/\\]|.*\\")
"""How a local path begins; anything with a backslash is one."""
OWN_FILE = re.compile(r"(?P<file>.+?\.py)(?P<kind>:[A-Za-z_]\w*)(?:@(?P<path>.+))?")
"""The user's own file behind `py:`, its class and perhaps a checkpoint."""


@dataclass(frozen=True)
class Request:
    """What the user asked for, one upstream and one task. None means: as the settings say."""

    upstream: str
    task: str
    data: str | None = None
    partial: bool = False
    layers: str | None = None
    again: bool = False
    use_cache: bool = True


@dataclass(frozen=True)
class Cell:
    """One upstream and one task, loaded and checked, before any audio is read.

    `layers` is what the user or the task chose. Where it names a group of the encoder, `upstream` is the view of that
    group; `digest` is of the whole encoder all the same.
    """

    request: Request
    upstream: Upstream
    task: Task
    digest: str
    layers: str
    device: torch.device

    @property
    def grain(self) -> Grain:
        return self.task.card.grain

    @property
    def group(self) -> str | None:
        """The named group whose layers are used; None for the encoder's own."""
        return split_layers(self.layers)[0]

    @property
    def choice(self) -> str:
        """mix, last, each or a number, among the layers that are used: of a group, as the task has it unless said."""
        return split_layers(self.layers)[1] or self.task.layers

    @property
    def layer(self) -> int | None:
        """The number of the one layer that is used, of those of the group; None where several are."""
        if self.choice in ("mix", "each"):
            return None
        return self.upstream.layers - 1 if self.choice == "last" else int(self.choice)

    @property
    def kept(self) -> int | None:
        """The number of the only layer whose features are made and stored: of a mean or a vector, all of them are."""
        return self.layer if self.grain == "frame" else None

    @property
    def heard(self) -> Upstream:
        """The encoder as the store sees it: where only one layer is kept, a view of that."""
        return self.upstream if self.kept is None else LayerView(self.upstream, self.kept)

    def with_all_layers(self) -> "Cell":
        """The same, of all layers of the encoder or group, none of them alone."""
        return replace(self, layers=f"{self.group}.mix" if self.group else "mix")

    @property
    def name(self) -> str:
        """The upstream's name without local paths: the scheme or plain name, and its last path component.

        Supplied features have the name that their folder states.
        """
        if isinstance(self.upstream, Supplied):
            return f"{registry.split_spec(self.request.upstream)['name']}:{self.upstream.card.name}"
        return public_name(self.request.upstream)


@dataclass(frozen=True)
class Plan:
    """A run before it happens: `facts` is everything that can change a score, and nothing else."""

    facts: dict[str, Any]
    recipes: tuple[Recipe, ...]
    seeds: int
    effort: Effort

    @cached_property
    def id(self) -> str:
        return digest_of(self.facts)


def load_upstream(text: str, seed: int = 0) -> Upstream:
    """The encoder that a spec such as `hubert@DIR~random` names: frozen, in eval mode, on the CPU."""
    parts = registry.split_spec(text)
    plugin = registry.load("upstream", parts["name"])
    upstream: Upstream = plugin.load(Spec(text=text, seed=seed, **parts))
    return upstream.eval().requires_grad_(False)


def load_task(text: str) -> Task:
    """The task that `ks` or `folder:DIR` names, ready to be asked."""
    name, argument = registry.split_task(text)
    task: Task = registry.load("task", name).load(argument)
    return task


def resolve(request: Request, settings: Settings) -> Cell:
    """Plugins for the names in `request`; every impossible option fails here, before any audio is touched."""
    task = load_task(request.task)
    device = pick_device(settings.device)
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = False  # fp32 means fp32, and the same each time
    upstream = load_upstream(request.upstream)
    if isinstance(upstream, Supplied) and settings.dtype != "fp32":
        raise RequestError(f"--dtype {settings.dtype}: the features of '{request.upstream}' are computed already")
    layers = request.layers or task.layers
    check_layers(layers, upstream)
    group, choice = split_layers(layers)
    if isinstance(task, Match) and choice == "mix":
        raise RequestError(
            f"--layers {layers}: task '{task.card.name}' trains nothing that could weight layers",
            "each, last or a number",
        )
    digest_ = upstream_digest(upstream)
    if group is None:
        return Cell(request, upstream, task, digest_, layers, device)
    layers = group if choice == task.layers else layers  # one run, one plan
    return Cell(request, GroupView(upstream, group), task, digest_, layers, device)


def pick_device(wish: str) -> torch.device:
    """The device for `auto` (cuda, else mps, else cpu), or the one named if this machine has it."""
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wish)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device '{wish}' cannot be used here: {str(error).splitlines()[0][:80]}",
            "auto, cpu, cuda and mps are known",
        ) from None
    return device


def upstream_digest(upstream: Upstream) -> str:
    """Sixteen hex digits over tensors, options, class and declared version; names and paths do not enter."""
    card, kind = upstream.card, type(upstream)
    facts = (kind.__module__, kind.__qualname__, card.family, card.version, card.normalise)
    return digest(upstream.state_dict(), *facts, digest_of(plain(upstream.options)))


def public_name(spec: str) -> str:
    """A spec as records may show it: of a local path only the last component stays.

    >>> public_name("hubert@/home/anna/runs/best.pt~random")
    'hubert@best.pt~random'
    >>> public_name("hf:org/model@main")
    'hf:org/model@main'
    """
    parts = registry.split_spec(spec)
    twin = "~random" if parts["random"] else ""
    if parts["checkpoint"]:
        return f"{parts['name']}@{_leaf(parts['checkpoint'])}{twin}"
    if parts["argument"]:
        return f"{parts['name']}:{_public_argument(parts['argument'])}{twin}"
    return spec


def _public_argument(argument: str) -> str:
    """`FILE.py:CLASS@PATH`, `MODULE@PATH`, `ORG/MODEL@REV` or one path, which may hold an @ itself."""
    if own := OWN_FILE.fullmatch(argument):
        return f"{_leaf(own['file'])}{own['kind']}" + (f"@{_leaf(own['path'])}" if own["path"] else "")
    head, at, tail = argument.partition("@")
    if _is_local(head):
        return _leaf(argument)
    return head + at + (_leaf(tail) if _is_local(tail) else tail)


def _is_local(part: str) -> bool:
    return bool(LOCAL.match(part)) or part.count("/") > 1 or Path(part).exists()


def _leaf(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def freeze(cell: Cell, prepared: Prepared, settings: Settings) -> Plan:
    """The plan: its digest is the run's id. Paths, devices, budgets and library versions stay out of it."""
    effort: Effort = settings.effort  # type: ignore[assignment]
    task = cell.task
    epoch = epoch_units(task, prepared.folds[0].train, cell.upstream)
    recipes = tuple(by_effort(recipe, effort, epoch) for recipe in task.recipes(effort, prepared.place.demo))
    facts = {
        "engine": ENGINE,
        "upstream": cell.digest,
        "layers": cell.layers,
        "dtype": settings.dtype,
        "storage": {"grain": cell.grain, "precision": "fp16" if cell.grain == "frame" else "fp32"},
        "task": {"name": task.card.name, "version": task.card.version, **_stated(task, prepared.folds)},
        "folds": digest_of([_table(fold, prepared) for fold in prepared.folds]),
        "effort": effort,
        "recipes": [plain_recipe(recipe) for recipe in recipes],
        "seeds": settings.seeds,
    }
    if prepared.arrays:
        facts["arrays"] = digest_of(dict(prepared.arrays))
    if stretches.cuts(cell.upstream, cell.grain, prepared.seconds().values()):
        facts["stretches"] = {"longest": cell.upstream.longest, "overlap": stretches.overlap(cell.upstream)}
    return Plan(facts, recipes, settings.seeds, effort)


def _stated(task: Task, folds: Sequence[Fold]) -> dict[str, Any]:
    """What a task may have read from its corpus: metrics, what valid is judged by, decodings, the order of labels."""
    spaces = [task.space(fold) for fold in folds]
    labels = [list(space) if isinstance(space, Labels) else len(space) for space in spaces]
    metrics = [metric.name for metric in task.card.metrics]
    decodings = plain(task.decodings)
    return {"metrics": metrics, "select": task.select, "decodings": decodings, "labels": digest_of(labels)}


def epoch_units(task: Task, split: Split, upstream: Upstream) -> int:
    """What an epoch of a train split counts: its units; or about as many frames as the encoder makes of its seconds."""
    if task.example == "clip":
        return len(split.units())
    return sum(int(seconds / upstream.hop) + 1 for seconds in split.seconds)


def contradiction(task: Task) -> str | None:
    """Why facts of a task cannot both hold, if there are such facts."""
    if task.example == "frame" and task.card.grain != "frame":
        return f"its examples are single frames, but its grain '{task.card.grain}' keeps none"
    if task.select == "loss" and len(task.decodings) > 1:
        return f"valid is judged by the loss, which cannot choose between its {len(task.decodings)} decodings"
    return None


def by_effort(recipe: Recipe, effort: Effort, epoch_units: int) -> Recipe:
    """The published recipe as `effort` runs it: `reference` unchanged, `standard` stopping early, `quick` cut short.

    `standard` judges every epoch, or every 50 steps where an epoch is shorter: ten epochs of a corpus of a hundred
    clips would be over before a small learning rate has moved. A protocol that stops early by itself is left alone.

    >>> by_effort(Recipe(lr=1e-3, batch=32, steps=200_000, every=5_000), "standard", 3200).every
    100
    """
    if effort == "reference" or (effort == "standard" and recipe.patience is not None):
        return recipe
    recipe = in_steps(recipe, epoch_units)
    if effort == "standard":
        epoch = max(SHORTEST_INTERVAL, epoch_units // (recipe.batch * recipe.accum))
        return recipe.with_(every=min(recipe.every, epoch), patience=STANDARD_PATIENCE)
    steps = min(recipe.steps, QUICK_STEPS)
    return recipe.with_(steps=steps, every=max(1, min(recipe.every, steps // 3)), accum=1)


def in_steps(recipe: Recipe, epoch_units: int) -> Recipe:
    """The recipe with epochs of `epoch_units` units written out as steps; one that counts steps stays as it is.

    >>> in_steps(Recipe(lr=1e-3, batch=1024, steps=500, every=3, unit="epoch"), 4000).steps
    2000
    """
    if recipe.unit == "step":
        return recipe
    epoch = math.ceil(epoch_units / (recipe.batch * recipe.accum))
    keep = recipe.keep and recipe.keep * epoch
    return recipe.with_(unit="step", steps=recipe.steps * epoch, every=recipe.every * epoch, keep=keep)


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain data."""
    facts = asdict(recipe)
    return {**facts, "options": dict(recipe.options)}


def deviations(cell: Cell, plan: Plan, prepared: Prepared, settings: Settings) -> dict[str, str]:
    """How this run differs from the protocol, by name, each with its reason."""
    found = dict(cell.task.deviations(plan.effort))
    if prepared.place.demo and plan.recipes:
        found["demo-recipe"] = "the demo corpus has small recipes of its own"
    if "partial" in prepared.deviations:
        found["partial"] = "the corpus differs from its published counts"
    if "valid-loss" in prepared.deviations:
        found["valid-loss"] = "the metric has no value on a valid split: recipes are chosen by the loss"
    if plan.effort == "quick":
        found["quick"] = "a smoke run: steps and data are cut"
    published = cell.task.recipes(plan.effort, prepared.place.demo)
    if plan.effort == "standard" and any(recipe.patience is None for recipe in published):
        found["early-stop"] = f"training ends after {STANDARD_PATIENCE} judgements without a better one"
    if isinstance(cell.upstream, Supplied):
        found["features-supplied"] = "computed elsewhere from the list of clips, not by this program"
    if cell.upstream.batching == "alone":
        found["heard-alone"] = "what this encoder says of a clip depends on its batch mates, so it hears each alone"
    if cell.grain == "frame":
        found["fp16-frames"] = "frames are rounded to half precision"
    if how := plan.facts.get("stretches"):
        found["long-clips-in-stretches"] = (
            f"clips of more than {how['longest']:g} s are heard in stretches of at most that, "
            f"neighbours sharing {how['overlap']:g} s"
        )
    if settings.dtype == "bf16":
        found["bf16"] = "the encoder ran in bfloat16"
    if cell.layers != cell.task.layers:
        found[f"layers-{cell.layers}"] = f"the protocol uses {cell.task.layers}"
    return found


def _table(fold: Fold, prepared: Prepared) -> list[object]:
    return [fold.name, *(_split_table(split, prepared) for split in (fold.train, fold.valid, fold.test))]


def _split_table(split: Split, prepared: Prepared) -> list[object]:
    truth = digest_of(plain(split.truth)) if split.truth else None
    return [truth, [_clip_line(clip, prepared) for clip in split.clips]]


def _clip_line(clip: Clip, prepared: Prepared) -> list[object]:
    return [clip.id, plain(clip.label), clip.group, clip.pool, clip.whole, *prepared.content(clip)]


def plain(answer: object) -> object:
    """A label or a split's truth as data that can be digested: all of it counts, how it prints does not.

    >>> plain({"trials": [("anna", np.int64(1))]})
    {'trials': [['anna', 1]]}
    """
    if isinstance(answer, float) and not math.isfinite(answer):
        return str(answer)
    if answer is None or isinstance(answer, str | bool | int | float):
        return answer
    if isinstance(answer, np.generic):
        return plain(answer.item())
    if isinstance(answer, Mapping):
        return {str(key): plain(value) for key, value in sorted(answer.items())}
    if isinstance(answer, list | tuple):
        return [plain(value) for value in answer]
    if isinstance(answer, np.ndarray) and not answer.dtype.hasobject:
        data = np.ascontiguousarray(answer)
        return [str(data.dtype), list(data.shape), hashlib.blake2b(data.tobytes(), digest_size=8).hexdigest()]
    if is_dataclass(answer):
        return [plain(getattr(answer, field.name)) for field in fields(answer)]
    raise BenchError(
        f"a label or the truth of a split holds a {type(answer).__name__}, which has no digest",
        "use strings, numbers, lists, mappings, numpy arrays and dataclasses",
    )
