"""`bench new`: a plugin package to start from, which installs, passes its own tests and `bench check` as it is.

The templates are plain files. In their text and their paths stand names that are filled in; `$$` is a dollar.
"""

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Literal

from earbench import files, registry
from earbench.errors import RequestError

Kind = Literal["upstream", "task"]
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 40
WORDS = {"task": ("all",), "upstream": ()}
"""What the command line already means something else by."""
ENDING = ".template"


def new(kind: Kind, name: str, out: Path | None) -> Path:
    """The folder of a new package, `out` or ./NAME-earbench, whole or not there; nothing is installed."""
    names = names_of(kind, name)
    folder = (out or Path(names["package"])).resolve()
    _check(kind, name, names)
    if folder.exists() or folder.is_symlink():
        raise RequestError(f"{folder} is there already", "name a folder that is not: --out DIR")
    with files.explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            _fill(partial, resources.files("earbench.scaffold") / "templates" / kind, names)
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def names_of(kind: Kind, name: str) -> dict[str, str]:
    """What the templates are filled with: how the package, its module and its class are called.

    >>> names_of("upstream", "deep_pebble")["kind"], names_of("task", "birds")["package"]
    ('DeepPebbleEncoder', 'birds-earbench')
    """
    title = "".join(part.capitalize() for part in name.split("_"))
    return {
        "name": name,
        "package": f"{name.replace('_', '-')}-earbench",
        "module": f"{name}_earbench",
        "kind": title + {"upstream": "Encoder", "task": "Task"}[kind],
    }


def _check(kind: Kind, name: str, names: Mapping[str, str]) -> None:
    """Refuse a name that nobody could type after --upstream or --task, and one that is taken: by whom."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise RequestError(
            f"'{name}' cannot be the name of {'an' if kind == 'upstream' else 'a'} {kind}",
            f"small letters and digits, with single _ between words, a letter first, at most {LONGEST} of them",
        )
    if name in WORDS[kind]:
        raise RequestError(f"--{kind} {name} means something else already", "choose another name")
    if owners := registry.owners(kind, name):
        raise RequestError(
            f"there is {'an' if kind == 'upstream' else 'a'} {kind} '{name}' already: of {' and '.join(owners)}",
            "choose another name, or uninstall that package",
        )
    if package := next((one for one in metadata.distributions(name=names["package"])), None):
        raise RequestError(f"a package {package.name} {package.version} is installed already", "choose another name")
    if importlib.util.find_spec(names["module"]):
        raise RequestError(f"a module {names['module']} can be imported already", "choose another name")


def _fill(folder: Path, template: Traversable, names: Mapping[str, str]) -> None:
    """Write `template`, a folder, as `folder`."""
    folder.mkdir(exist_ok=True)
    for item in template.iterdir():
        place = folder / item.name.replace("NAME", names["name"]).removesuffix(ENDING)
        if item.is_dir():
            _fill(place, item, names)
        elif item.name.endswith(ENDING):
            place.write_text(Template(item.read_text("utf-8")).substitute(names), "utf-8")
