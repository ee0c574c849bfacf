"""`py:MODULE:CLASS[@CHECKPOINT]`: an encoder in the user's own module, or in a file `MODULE.py`.

The code is the user's own, so running it is what was asked for; the record says that it was, and holds the digest of
the file. A path is loaded as Python would run it: with its folder first among those that imports are looked for in.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from earbench.contract import Spec, Upstream, UpstreamCard
from earbench.errors import BenchError, RequestError
from earbench.kit.weights import file_digest

ARGUMENT = re.compile(r"(?P<module>.+?):(?P<kind>[A-Za-z_]\w*)(?:@(?P<checkpoint>.+))?")
FORMS = "use `py:FILE.py:CLASS` or `py:MODULE:CLASS`, each with or without `@CHECKPOINT` and `~random`"


class OwnPython:
    """The scheme `py:`. Everything but the name of the scheme comes from the user's class."""

    card = UpstreamCard(
        "py",
        family="your own code",
        licence="that of the code",
        weights="py:FILE.py:CLASS[@CHECKPOINT] or py:MODULE:CLASS[@CHECKPOINT]",
        pretraining="unknown",
    )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        match = ARGUMENT.fullmatch(spec.argument or "")
        if match is None:
            raise RequestError(f"'{spec.text}' names no class", FORMS)
        written, kind = match["module"], match["kind"]
        with _importing(written) as (module, file):
            plugin = _plugin(module, kind, written)
            file = Path(inspect.getfile(plugin)) if isinstance(plugin, type) else file
            own = replace(spec, name=plugin.card.name, argument=None, checkpoint=match["checkpoint"])
            upstream = plugin.load(own)
        if not isinstance(upstream, Upstream):
            raise RequestError(f"{kind}.load returned a {type(upstream).__name__}, not an earbench.contract.Upstream")
        digest = file_digest(file)
        upstream.options = {**upstream.options, "code": digest}  # an edited file is another encoder
        upstream.source = {**upstream.source, "code": f"run from {file.name}, class {kind}", "code_sha256": digest}
        beside = sorted(path.name for path in _imported_from(file.parent) - {file}) if written.endswith(".py") else []
        if beside:
            upstream.notes = [*upstream.notes, f"{file.name} alone is in its digest, not {', '.join(beside)} beside it"]
        return upstream


@contextmanager
def _importing(written: str) -> Iterator[tuple[ModuleType, Path]]:
    """The module that was written, and its file; what it imports from its own folder is found while this lasts."""
    path = Path(written).expanduser().resolve()
    if not written.endswith(".py"):
        module = _run(lambda: importlib.import_module(written), written)
        yield module, Path(str(module.__file__))
        return
    if not path.is_file():
        raise RequestError(f"no file '{written}'", FORMS)
    sys.path.insert(0, str(path.parent))
    try:
        yield _run(lambda: _from_file(path), path.name), path
    finally:
        sys.path.remove(str(path.parent))


def _from_file(path: Path) -> ModuleType:
    """The module in `path`, read anew; its name cannot hide an installed one."""
    found = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if found is None or found.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up there
    found.loader.exec_module(module)
    return module


def _run(load: Any, name: str) -> ModuleType:
    try:
        module: ModuleType = load()
    except BenchError:
        raise
    except Exception as error:  # the user's own code can fail in any way
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {getattr(error, 'lineno', None) or last.lineno}"
        raise RequestError(f"{name} could not be imported ({place}): {type(error).__name__}: {error}", FORMS) from error
    if module.__file__ is None:
        raise RequestError(f"{name} is a folder without code", FORMS)
    return module


def _plugin(module: ModuleType, kind: str, written: str) -> Any:
    plugin = getattr(module, kind, None)
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Upstream) and value.__module__ == module.__name__
    ]
    if plugin is None:
        raise RequestError(f"no '{kind}' in {Path(written).name}", f"its encoders: {', '.join(own) or 'none'}")
    if not isinstance(getattr(plugin, "card", None), UpstreamCard) or not callable(getattr(plugin, "load", None)):
        raise RequestError(
            f"'{kind}' in {Path(written).name} is no encoder: it needs a `card` and a `load`",
            "derive it from earbench.contract.Upstream; upstreams/earbench_upstreams/README.md shows one whole",
        )
    return plugin


def _imported_from(folder: Path) -> set[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {path for path in (Path(file) for file in files if file) if path.parent == folder}
