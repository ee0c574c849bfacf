"""`bench list`: cards from the index, suites and records; torch is not needed once the index exists."""

import os
from pathlib import Path
from typing import Any

from earbench import record as records
from earbench import registry
from earbench.config import Settings
from earbench.errors import RequestError


def listing(what: str, settings: Settings) -> list[dict[str, Any]]:
    """Rows about `what`: upstreams, tasks, suites or records."""
    kinds = {"upstreams": _upstreams, "tasks": _tasks, "suites": _suites, "records": _records}
    if what not in kinds:
        raise RequestError(f"cannot list '{what}'", f"known: {', '.join(kinds)}")
    return kinds[what](settings)


def _upstreams(settings: Settings) -> list[dict[str, Any]]:
    return [_upstream(card) for card in registry.cards("upstream", settings.cache)]


def _upstream(card: dict[str, Any]) -> dict[str, Any]:
    if "error" in card:
        return {"name": card["name"], "missing": card["error"]}
    shown = ("family", "parameters", "sample_rate", "hop", "layers", "licence", "weights", "parity")
    return {"name": card["name"]} | {key: card[key] for key in shown} | {"missing": _missing_weights(card["weights"])}


def _missing_weights(weights: str) -> str:
    """What has to be fetched first; hub models are looked for in the hub's own cache folder."""
    hub, _, model = weights.partition(": ")
    if hub != "hub":
        return ""
    folder = _hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots"
    return "" if folder.is_dir() else "weights (fetched on first use)"


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))


def _tasks(settings: Settings) -> list[dict[str, Any]]:
    return [_task(card, settings) for card in registry.cards("task", settings.cache)]


def _task(card: dict[str, Any], settings: Settings) -> dict[str, Any]:
    if "error" in card:
        return {"name": card["name"], "missing": card["error"]}
    corpus = card["corpus"]
    where = settings.data.get(corpus["id"])
    missing = "" if where == "demo" or (where and Path(where).is_dir()) else f"[data] {corpus['id']}, or --data demo"
    return {
        "name": card["name"],
        "title": card["title"],
        "suite": card["suite"],
        "corpus": corpus["id"],
        "licence": corpus["licence"],
        "grain": card["grain"],
        "metric": card["metrics"][0]["name"],
        "verified": card["verified"],
        "missing": missing,
        "alias_of": card["alias_of"],
    }


def _suites(settings: Settings) -> list[dict[str, Any]]:
    return [{"name": f"@{name}", "tasks": list(tasks)} for name, tasks in settings.suites.items()]


def _records(settings: Settings) -> list[dict[str, Any]]:
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
