"""Entry points: the names of plugins, and one plugin at a time. A broken plugin hurts nobody until it is asked for."""

import difflib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from earbench import files
from earbench.errors import BenchError, MissingExtra, RequestError, UnknownName

Kind = Literal["upstream", "task", "objective"]
SPEC = re.compile(r"(?P<name>[A-Za-z0-9_.-]+?)(?::(?P<argument>.+?)|@(?P<checkpoint>.+?))?(?P<random>~random)?")


def names(kind: Kind) -> list[str]:
    """All installed names, sorted; nothing is imported."""
    return sorted(_points(kind))


def load(kind: Kind, name: str) -> Any:
    """The plugin called `name`; a broken one gets its own error."""
    return _import(kind, find(kind, name))


def find(kind: Kind, name: str) -> EntryPoint:
    """The one entry point called `name`, not yet imported. Unknown names get suggestions."""
    points = _points(kind)
    if name not in points:
        raise UnknownName(f"no {kind} called '{name}'", *_suggestions(kind, name, list(points)))
    found = points[name]
    if len(found) > 1:
        raise UnknownName(
            f"two packages claim the {kind} '{name}': {' and '.join(_origin(point) for point in found)}",
            "uninstall one of them",
        )
    return found[0]


def owners(kind: Kind, name: str) -> list[str]:
    """The packages that claim a name, with their versions; none where it is free."""
    return [_origin(point) for point in _points(kind).get(name, [])]


def split_spec(text: str) -> dict[str, Any]:
    """`name`, `argument`, `checkpoint` and `random` of what the user wrote for an upstream.

    >>> split_spec("hf:org/model@main~random")
    {'name': 'hf', 'argument': 'org/model@main', 'checkpoint': None, 'random': True}
    >>> split_spec("hubert@/weights/mine")["checkpoint"]
    '/weights/mine'
    """
    match = SPEC.fullmatch(text.strip())
    if match is None:
        raise RequestError(
            f"'{text}' is not an upstream: write NAME, NAME@PATH, SCHEME:WHAT, each with or without ~random"
        )
    return {**match.groupdict(), "random": match["random"] is not None}


def split_task(text: str) -> tuple[str, str | None]:
    """Name and argument of what the user wrote for a task.

    >>> split_task("ks"), split_task("folder:my recordings/birds")
    (('ks', None), ('folder', 'my recordings/birds'))
    """
    name, colon, argument = text.strip().partition(":")
    if not name or (colon and not argument):
        raise RequestError(f"'{text}' is not a task: write NAME, or NAME:WHAT", "`bench list tasks` shows them")
    return name, argument or None


def cards(kind: Kind, cache: Path) -> list[dict[str, Any]]:
    """The facts of every plugin as plain data, from an index kept per set of installed plugin files.

    A plugin that cannot be read has an `error` instead of facts. `alias_of` is the name in the card, where a further
    entry point gives the same plugin another.
    """
    points = _points(kind)
    stamps = [[name, [_stamp(point) for point in found]] for name, found in sorted(points.items())]
    stamp = files.digest_of([_kit_changed(), stamps])
    path = cache / "cards" / f"{kind}-{stamp}.json"
    if path.is_file():
        return list(json.loads(path.read_text("utf-8")))
    text = json.dumps([_facts(kind, name) for name in sorted(points)])
    facts: list[dict[str, Any]] = json.loads(text)
    if not any("error" in fact for fact in facts):
        files.write_text(path, text)
    return facts


def _points(kind: Kind) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"earbench.{kind}s"):
        known = found.setdefault(point.name, [])
        if all((point.value, _origin(point)) != (other.value, _origin(other)) for other in known):
            known.append(point)
    return found


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _import(kind: Kind, point: EntryPoint) -> Any:
    try:
        return point.load()
    except MissingExtra:
        raise
    except Exception as error:
        raise BenchError(
            f"the {kind} '{point.name}' could not be read (from {_origin(point)}): {error}",
            f"reinstall {point.dist.name if point.dist else 'its package'}, or ask its author",
        ) from error


def _suggestions(kind: Kind, name: str, known: list[str]) -> list[str]:
    spelled = {one.lower(): one for one in known}
    close = [spelled[one] for one in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.6)]
    hint = f"did you mean: {', '.join(close)}?      " if close else ""
    return [f"{hint}`bench list {kind}s` shows all {len(known)}"]


def _stamp(point: EntryPoint) -> list[object]:
    """What changes when the plugin's code does: its package version, and its file's time (an editable install)."""
    try:
        spec = importlib.util.find_spec(point.module)
        changed = Path(spec.origin).stat().st_mtime_ns if spec and spec.origin else 0
    except Exception:  # finding a module imports its package, and that may fail in any way
        changed = 0
    return [_origin(point), point.value, changed]


def _kit_changed() -> int:
    """When what cards are made of last changed: their own fields, and the kit, where the facts of corpora lie."""
    home = Path(__file__).parent
    return max(path.stat().st_mtime_ns for path in (home / "contract.py", *home.glob("kit/**/*.py")))


def _facts(kind: Kind, name: str) -> dict[str, Any]:
    try:
        facts = _plain(load(kind, name).card)
        own = facts.pop("name")
        return {"name": name, **facts, "alias_of": own if own != name else None}
    except Exception as error:
        return {"name": name, "error": str(error)}


def _plain(card: Any) -> dict[str, Any]:
    facts = asdict(card) if is_dataclass(card) and not isinstance(card, type) else dict(card)
    if "metrics" in facts:
        facts["metrics"] = [_metric(metric) for metric in facts["metrics"]]
    return facts


def _metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {key: metric[key] for key in ("name", "unit", "better")}
