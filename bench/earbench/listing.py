"""`bench list`: cards from the index, suites and records; torch is not needed once the index exists."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from earbench import registry
from earbench.config import Settings
from earbench.demo import build as demo
from earbench.errors import RequestError
from earbench.kit import hear_find

FIRST: Mapping[str, Sequence[str]] = {
    "tasks": ("name", "suite", "corpus", "metric", "verified", "missing", "grain", "demo", "title", "licence"),
    "upstreams": ("name", "family", "parameters", "missing", "layers", "hop", "licence", "parity", "weights"),
}
"""The columns of a table, most wanted first, where a terminal has no room for all; the others go before these."""
PADDING = 2
"""What tabulate adds to headers."""
LONGEST = 32
"""Letters of a cell in a table that has to fit a terminal."""
Folders = Callable[[Path], set[str]]


def listing(what: str, settings: Settings) -> list[dict[str, Any]]:
    """Rows about `what`: upstreams, tasks, suites or records."""
    kinds = {"upstreams": _upstreams, "tasks": _tasks, "suites": _suites, "records": _records}
    if what not in kinds:
        raise RequestError(f"cannot list '{what}'", f"known: {', '.join(kinds)}")
    return kinds[what](settings)


def fitted(what: str, cells: Sequence[Mapping[str, str]], width: int) -> list[dict[str, str]]:
    """The table with as many of its columns as `width` letters have room for, in their own order.

    >>> fitted("tasks", [{"name": "ks", "aliases": "", "title": "Keyword spotting", "demo": "yes"}], 14)
    [{'name': 'ks', 'demo': 'yes'}]
    """
    columns = list(dict.fromkeys(key for row in cells for key in row))
    lengths = {key: max(len(key) + PADDING, *(len(row.get(key, "")) for row in cells)) for key in columns}
    if sum(lengths.values()) + 2 * (len(columns) - 1) <= width:
        return [dict(row) for row in cells]
    order, kept, room = FIRST.get(what, columns), list[str](), width + 2
    for key in order:
        if key in lengths and min(lengths[key], LONGEST) + 2 <= room:
            kept.append(key)
            room -= min(lengths[key], LONGEST) + 2
    return [{key: _cut(row[key]) for key in columns if key in kept and key in row} for row in cells]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _upstreams(settings: Settings) -> list[dict[str, Any]]:
    return [_upstream(card) for card in registry.cards("upstream", settings.cache)]


def _upstream(card: dict[str, Any]) -> dict[str, Any]:
    if "error" in card:
        return {"name": card["name"], "missing": card["error"]}
    shown = ("family", "parameters", "sample_rate", "hop", "layers", "groups", "licence", "weights", "parity")
    return {"name": card["name"]} | {key: card[key] for key in shown} | {"missing": _missing_weights(card)}


def _missing_weights(card: Mapping[str, Any]) -> str:
    """What has to be fetched first, by us or by hand; hub models are looked for in the hub's own cache folder."""
    kind, _, where = card["weights"].partition(": ")
    if kind == "package":
        name = where.split()[0]
        return "" if any(metadata.distributions(name=name)) else f"weights (pip install {name})"
    if kind != "hub":
        return f"weights ({card['name']}@FILE)" if kind.startswith("https://") else ""
    folder = _hub_cache() / f"models--{where.replace('/', '--')}" / "snapshots"
    return "" if folder.is_dir() else "weights (fetched on first use)"


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))


def _tasks(settings: Settings) -> list[dict[str, Any]]:
    """A row per task; further entry points of the same plugin are its aliases."""
    cards = registry.cards("task", settings.cache)
    names = {card["name"] for card in cards}
    aliases = {card["name"]: card.get("alias_of") for card in cards}
    folders = lru_cache(_hear_folders)  # nineteen tasks lie under one root
    return [
        _task(card, [name for name, own in aliases.items() if own == card["name"]], settings, folders)
        for card in cards
        if card.get("alias_of") not in names
    ]


def _task(card: dict[str, Any], aliases: list[str], settings: Settings, folders: Folders) -> dict[str, Any]:
    if "error" in card:
        return {"name": card["name"], "missing": card["error"]}
    corpus = card["corpus"]
    return {
        "name": card["name"],
        "aliases": aliases,
        "title": card["title"],
        "suite": card["suite"],
        "corpus": corpus["id"],
        "licence": corpus["licence"],
        "grain": card["grain"],
        "metric": card["metrics"][0]["name"],
        "metrics": [metric["name"] for metric in card["metrics"]],
        "verified": card["verified"],
        "demo": demo.holds(corpus["id"], card["name"]),
        "missing": _missing_corpus(corpus, settings, folders),
    }


def _missing_corpus(corpus: Mapping[str, Any], settings: Settings, folders: Folders) -> str:
    """What `bench run` would ask for; a corpus without a page is the user's own.

    Where HEAR's tasks lie under one root, each wants folders of its own. What is in them is not looked at.
    """
    where = settings.data.get(corpus["id"])
    if where is None or (where == "demo" and corpus["id"] not in demo.CORPORA):
        return "corpus" if corpus["page"] else "your audio"
    if where == "demo":
        return ""
    if not Path(where).is_dir():
        return f"folder {where}"
    names = [Path(archive["url"]).name for archive in corpus["archives"]]
    wanted = [match["folder"] for match in map(hear_find.ARCHIVE.fullmatch, names) if match]
    gone = [name for name in wanted if name not in folders(Path(where))]
    return f"folder {' and '.join(gone)}" if gone else ""


def _hear_folders(root: Path) -> set[str]:
    """The names of the task folders under `root`, unpacked or not."""
    tree = hear_find.Tree.of(root)
    return {*tree.archives, *(folder.name for folder in tree.folders)}


def _suites(settings: Settings) -> list[dict[str, Any]]:
    return [{"name": f"@{name}", "tasks": list(tasks)} for name, tasks in settings.suites.items()]


def _records(settings: Settings) -> list[dict[str, Any]]:
    from earbench import record as records  # takes its time, and no other listing needs it

    return [
        {
            "name": record.path.stem,
            "upstream": record.upstream,
            "task": record.task,
            "effort": record.facts["effort"],
            "demo": record.facts["task"]["demo"],
            "layers": record.facts["layers"]["choice"],
            "seeds": record.facts["seeds"],
            "dtype": record.facts["plan"]["facts"]["dtype"],
            "when": record.facts["provenance"]["when"],
            **{
                name: round(score["value"], 4) if score["value"] is not None else None
                for name, score in record.scores.items()
            },
        }
        for record in records.every(settings.results)
    ]
