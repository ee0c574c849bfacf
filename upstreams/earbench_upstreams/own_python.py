"""`py:MODULE:CLASS[@CHECKPOINT]`: an encoder in the user's own module, or in a file `FILE.py`.

The code is the user's own, so running it is what was asked for; the record says that it was, and holds the digest of
the file. A path is loaded as Python would run it: with its folder first among those that imports are looked for in.
What the file imports from that folder counts as part of it and is read anew with it. What it imports only after it was
loaded does not count, and is looked for as usual.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from earbench.contract import Spec, Upstream, UpstreamCard
from earbench.errors import BenchError, RequestError
from earbench.kit.code_digest import package_digest
from earbench.kit.weights import file_digest

ARGUMENT = re.compile(r"(?P<module>.+?):(?P<kind>[A-Za-z_]\w*)(?:@(?P<checkpoint>.+))?")
FORMS = "use `py:FILE.py:CLASS` or `py:MODULE:CLASS`, each with or without `@CHECKPOINT` and `~random`"
WHOLE = "upstreams/earbench_upstreams/README.md shows one whole"
Code = Callable[[Any], tuple[list[Path], object]]
"""Of a plugin, once it is loaded: the files that define it, and a digest of all the code that counts."""
DECLARED = ("card", "sample_rate", "hop", "layers", "width")

_folders: set[Path] = set()
"""Of the files loaded so far: each may have its own `layers.py`."""


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
        with (_from_file if written.endswith(".py") else _installed)(written) as (module, code):
            plugin = _plugin(module, kind, written)
            own = replace(spec, name=plugin.card.name, argument=None, checkpoint=match["checkpoint"])
            upstream = _explained(lambda: plugin.load(own), f"{kind}.load of {_short(written)} failed")
            files, digest = code(plugin)
        _check(upstream, kind)
        upstream.options = {**upstream.options, "code": digest}  # edited code is another encoder
        ran = {"code": f"run from {', '.join(file.name for file in files)}, class {kind}"}
        upstream.source = {**upstream.source, **ran, "code_sha256": " ".join(map(file_digest, files))}
        return upstream


@contextmanager
def _from_file(written: str) -> Iterator[tuple[ModuleType, Code]]:
    """The module in a file; its code is that file, then what it has imported from its folder.

    While this lasts, its folder is where imports are looked for first.
    """
    path = Path(written).expanduser().resolve()
    if not path.is_file():
        raise RequestError(f"no file '{written}'", FORMS)
    _folders.add(path.parent)
    for name in [name for folder in _folders for name in _beside(folder).values()]:
        del sys.modules[name]
    folder, kept = str(path.parent), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # compiled code is told apart by the second it was written in

    def code(_plugin: Any) -> tuple[list[Path], object]:
        files = [path, *_beside(path.parent)]
        return files, [file_digest(file) for file in files]

    try:
        yield _explained(lambda: _executed(path), f"{path.name} could not be imported"), code
    finally:
        sys.dont_write_bytecode = kept
        with suppress(ValueError):
            sys.path.remove(folder)


@contextmanager
def _installed(written: str) -> Iterator[tuple[ModuleType, Code]]:
    """A module that Python finds by its name; its code is that of its package."""
    module = _explained(lambda: importlib.import_module(written), f"{written} could not be imported", written)
    if getattr(module, "__file__", None) is None:
        raise RequestError(f"{written} is a folder without code, or a part of Python itself", FORMS)

    def code(plugin: Any) -> tuple[list[Path], object]:
        defined = inspect.getfile(plugin) if isinstance(plugin, type) else str(module.__file__)
        return [Path(defined)], package_digest(written)

    yield module, code


def _executed(path: Path) -> ModuleType:
    """The module in `path`, read anew; its name cannot hide an installed one."""
    found = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if found is None or found.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up there
    found.loader.exec_module(module)
    return module


def _beside(folder: Path) -> dict[Path, str]:
    """The imported modules that lie in `folder` where Python finds them by these names; none among installed ones."""
    if folder in map(Path, sysconfig.get_paths().values()):
        return {}
    found = {}
    for name, module in sorted(sys.modules.items()):
        file, place = getattr(module, "__file__", None), folder.joinpath(*name.split("."))
        ours = name.partition(".")[0].startswith("earbench")
        if file and not ours and Path(file) in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            found[Path(file)] = name
    return found


def _explained(step: Callable[[], Any], failed: str, module: str = "") -> Any:
    """What `step`, the user's own code, gives; an error of it with the line where it happened."""
    try:
        return step()
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # a script without a guard may even end the program
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (last.filename, last.lineno)
        place = f"{Path(at[0] or last.filename).name}, line {at[1]}"
        beside = [f"a file {module}.py is here: `py:{module}.py:CLASS`"] if Path(f"{module}.py").is_file() else []
        raise RequestError(f"{failed} ({place}): {type(error).__name__}: {error}", *beside or [FORMS]) from error


def _plugin(module: ModuleType, kind: str, written: str) -> Any:
    plugin = getattr(module, kind, None)
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Upstream) and value.__module__ == module.__name__
    ]
    if plugin is None:
        raise RequestError(f"no '{kind}' in {_short(written)}", f"its encoders: {', '.join(own) or 'none'}")
    if not isinstance(getattr(plugin, "card", None), UpstreamCard) or not callable(getattr(plugin, "load", None)):
        raise RequestError(
            f"'{kind}' in {_short(written)} is no encoder: it needs a `card` and a `load`",
            f"derive it from earbench.contract.Upstream; {WHOLE}",
        )
    return plugin


def _check(upstream: Any, kind: str) -> None:
    if not isinstance(upstream, Upstream):
        raise RequestError(f"{kind}.load returned a {type(upstream).__name__}, not an earbench.contract.Upstream")
    if missing := [name for name in DECLARED if getattr(upstream, name, None) is None]:
        raise RequestError(f"a loaded {kind} does not say its {', '.join(missing)}", WHOLE)


def _short(written: str) -> str:
    return Path(written).name
