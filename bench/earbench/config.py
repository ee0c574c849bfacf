"""Settings: the packaged defaults, one `bench.toml` over them, the command line over both."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeGuard

import platformdirs

from earbench import published
from earbench.aggregates import AGGREGATES
from earbench.errors import RequestError

EFFORTS = ("quick", "standard", "reference")
DTYPES = ("fp32", "bf16")
CORPORA = ("published", "demo")


@dataclass(frozen=True)
class BoardPlan:
    """A board to draw: its tasks, and whose audio they are from ("published" corpora, or the "demo" corpus).

    `columns` are the scores shown, "task metric" (none: all there are), and `aggregates` what is made of a whole row.
    `published` is a packaged table that stands beside it. `layers` asks for runs with that `--layers`; without it those
    with the task's own count.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    corpus: str = "published"
    columns: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    published: str = ""
    layers: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything a run needs to know besides the request. `source` is the bench.toml in use, if any."""

    source: Path | None
    cache: Path
    results: Path
    data: Mapping[str, str]
    effort: str
    device: str
    dtype: str
    seeds: int
    budget_gb: float
    pack_seconds: float
    suites: Mapping[str, tuple[str, ...]]
    boards: Mapping[str, BoardPlan]

    def with_(self, **changes: Any) -> "Settings":
        """These settings with every change that is not None."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


def load(config: Path | None = None, folder: Path | None = None) -> Settings:
    """The settings that hold in `folder` (the current one): `config`, else ./bench.toml, else the user's, else ours."""
    source = _find(config, folder or Path.cwd())
    merged = _merge(_packaged(), _parse(source) if source else {}, source)
    return _settings(merged, source)


def _find(config: Path | None, folder: Path) -> Path | None:
    if config is not None:
        if not config.is_file():
            raise RequestError(f"no configuration file at {config}")
        return config.resolve()
    candidates = (folder / "bench.toml", platformdirs.user_config_path("earbench") / "bench.toml")
    return next((path.resolve() for path in candidates if path.is_file()), None)


def _packaged() -> dict[str, Any]:
    return tomllib.loads(resources.files("earbench").joinpath("defaults.toml").read_text("utf-8"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from None


KEYS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "run": {"effort": str, "device": str, "dtype": str, "seeds": int},
    "cache": {"dir": str, "budget_gb": (int, float), "pack_seconds": (int, float)},
    "results": {"dir": str},
}
VALUES: dict[str, type] = {"data": str, "suites": list, "boards": dict}
"""What a value must be in the sections whose keys are free."""


def _merge(base: dict[str, Any], own: dict[str, Any], source: Path | None) -> dict[str, Any]:
    for section, values in own.items():
        if section not in base:
            raise RequestError(f"{source}: unknown section [{section}]", f"known: {', '.join(base)}")
        if not isinstance(values, dict):
            raise RequestError(f"{source}: '{section}' must be a section, [{section}]")
        for key, value in values.items():
            _check(section, key, value, source)
    return {section: {**base[section], **own.get(section, {})} for section in base}


def _check(section: str, key: str, value: object, source: Path | None) -> None:
    known = KEYS.get(section, {key: VALUES.get(section, object)})
    if key not in known:
        raise RequestError(f"{source}: unknown key '{key}' in [{section}]", f"known: {', '.join(known)}")
    fits = _are_names(value) if known[key] is list else isinstance(value, known[key])
    if not fits or isinstance(value, bool):
        raise RequestError(f"{source}: '{key}' in [{section}] has the wrong type: {value!r}")


def _settings(merged: dict[str, Any], source: Path | None) -> Settings:
    run, cache = merged["run"], merged["cache"]
    home = source.parent if source else None
    settings = Settings(
        source=source,
        cache=_folder(cache.get("dir"), home) or platformdirs.user_cache_path("earbench"),
        results=_folder(merged["results"].get("dir"), home)
        or (home / "results" if home else platformdirs.user_data_path("earbench") / "results"),
        data={key: _data_folder(value, home) for key, value in merged["data"].items()},
        effort=run["effort"],
        device=run["device"],
        dtype=run["dtype"],
        seeds=run["seeds"],
        budget_gb=float(cache["budget_gb"]),
        pack_seconds=float(cache["pack_seconds"]),
        suites={name: tuple(tasks) for name, tasks in merged["suites"].items()},
        boards={name: _board(name, facts, source) for name, facts in merged["boards"].items()},
    )
    return validate(settings, f"{source}: " if source else "")


def validate(settings: Settings, where: str = "") -> Settings:
    """The same settings, or an error that names the first impossible one, and `where` it was written."""
    choices = {"effort": EFFORTS, "dtype": DTYPES}
    for key, allowed in choices.items():
        if getattr(settings, key) not in allowed:
            raise RequestError(f"{where}{key} '{getattr(settings, key)}' is not one of {', '.join(allowed)}")
    for key in ("seeds", "budget_gb", "pack_seconds"):
        if getattr(settings, key) <= 0:
            raise RequestError(f"{where}{key} must be positive, got {getattr(settings, key)}")
    return settings


def _folder(text: str | None, home: Path | None) -> Path | None:
    return None if text is None else ((home or Path.cwd()) / Path(text).expanduser()).resolve()


def _data_folder(text: str, home: Path | None) -> str:
    return text if text == "demo" else str(_folder(text, home))


def _board(name: str, facts: dict[str, Any], source: Path | None) -> BoardPlan:
    where, known = f"{source}: [boards.{name}]", [field.name for field in fields(BoardPlan) if field.name != "name"]
    for key in facts:
        if key not in known:
            raise RequestError(f"{where}: unknown key '{key}'", f"known: {', '.join(known)}")
    columns, title = facts.get("columns", []), facts.get("title")
    if not _are_names(columns):
        raise RequestError(f"{where}: columns are a list of 'TASK METRIC', got {columns!r}")
    tasks = facts.get("tasks", list(dict.fromkeys(column.partition(" ")[0] for column in columns)))
    if not isinstance(title, str) or not _are_names(tasks) or not tasks:
        raise RequestError(f"{where} needs a title and a list of tasks or columns")
    if not all(column.partition(" ")[0] in tasks for column in columns):
        raise RequestError(f"{where}: columns are a list of 'TASK METRIC', of its tasks, got {columns!r}")
    _check_names(facts, where)
    rest: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in facts.items()}
    return BoardPlan(name, **rest | {"tasks": tuple(tasks)})


def _check_names(facts: dict[str, Any], where: str) -> None:
    """An error for a name in a board that nobody knows."""
    corpus, aggregates = facts.get("corpus", "published"), facts.get("aggregates", [])
    table, layers = facts.get("published", ""), facts.get("layers", "")
    if corpus not in CORPORA:
        raise RequestError(f"{where}: corpus {corpus!r} is not one of {', '.join(CORPORA)}")
    if not _are_names(aggregates) or not set(aggregates) <= set(AGGREGATES):
        raise RequestError(f"{where}: aggregates {aggregates!r}: known are {', '.join(AGGREGATES)}")
    if table and table not in published.names():
        raise RequestError(f"{where}: no published table {table!r}", f"known: {', '.join(published.names())}")
    if not isinstance(layers, str):
        raise RequestError(f"{where}: layers are what --layers takes, got {layers!r}")


def _are_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
