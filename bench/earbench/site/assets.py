"""What pages share: our style sheet and script, and the libraries that sort tables and draw charts, copied once."""

import importlib.util
from base64 import b64encode
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from earbench.errors import MissingExtra

PURPOSE = "bench report --html"
OURS = resources.files("earbench.site").joinpath("assets")


def libraries() -> Mapping[str, Path]:
    """The folders of the packages that the site takes files from; an error if one is not installed."""
    return {name: _folder(name) for name in ("jinja2", "itables", "plotly")}


def write(found: Mapping[str, Path], folder: Path) -> None:
    """Put all that pages share into `folder`."""
    folder.mkdir()
    for file in OURS.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "charts.js").write_bytes((found["plotly"] / "package_data" / "plotly.min.js").read_bytes())
    (folder / "tables.js").write_text(_classic((found["itables"] / "html" / "dt_bundle.js").read_bytes()), "utf-8")


def _classic(module: bytes) -> str:
    """A script that leaves a promise of `module` in `window.tables`: browsers refuse to load modules from a disk."""
    return f'window.tables = import("data:text/javascript;base64,{b64encode(module).decode()}");\n'


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra(package, "report", PURPOSE)
    return Path(spec.origin).parent
