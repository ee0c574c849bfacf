"""What commands have in common: settings from files and options, rows as tables or JSON, errors as people read them."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from tabulate import tabulate

from earbench import config
from earbench.config import Settings
from earbench.errors import BenchError


def require(upstreams: list[str], tasks: list[str]) -> None:
    """Refuse unknown names before torch is imported, which takes seconds."""
    from earbench import registry

    for text in upstreams:
        registry.find("upstream", registry.split_spec(text)["name"])
    for name in tasks:
        if not name.startswith("@") and name != "all":
            registry.find("task", registry.split_task(name)[0])


def settings_for(path: Path | None, results: Path | None = None, cache: Path | None = None, **changes: Any) -> Settings:
    """Settings from files, with what the command line says over them."""
    folders = {"results": results and results.resolve(), "cache": cache and cache.resolve()}
    return config.validate(config.load(path).with_(**folders, **changes))


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as one JSON list or one table."""
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False, default=str))
    elif rows:
        print(
            tabulate(
                [{key: shown(value) for key, value in row.items()} for row in rows],
                headers="keys",
                disable_numparse=True,
            )
        )
    else:
        print("nothing yet")


def shown(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@contextmanager
def told(debug: bool) -> Iterator[None]:
    """Errors as people read them: a line and its hints on stderr, and an exit code. --debug shows the traceback."""
    try:
        yield
    except BenchError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        print("interrupted; what was saved is kept: the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
