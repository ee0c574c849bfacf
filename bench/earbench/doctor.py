"""`bench doctor`: versions, devices, data folders and broken packages, with the line that repairs each."""

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

from earbench import files, registry
from earbench.config import Settings
from earbench.errors import BenchError

PACKAGES = ("torch", "transformers", "numpy", "scipy", "sklearn", "pandas", "soundfile", "soxr", "safetensors")


def diagnose(settings: Settings) -> list[dict[str, Any]]:
    """One row per thing looked at: what it is, whether it works, what was found, how to repair it."""
    rows = [_row("python", True, sys.version.split()[0])]
    rows += [_package(name) for name in PACKAGES]
    rows += [_torchaudio(), _device()]
    rows += [_folder("cache", settings.cache), _folder("results", settings.results)]
    rows += [_corpus(key, where) for key, where in settings.data.items()]
    kinds: tuple[registry.Kind, ...] = ("upstream", "task", "objective")
    return rows + [row for kind in kinds for row in _broken_plugins(kind)]


def _row(name: str, ok: bool, found: str, repair: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "repair": repair}


def _package(name: str) -> dict[str, Any]:
    try:
        return _row(name, True, str(importlib.import_module(name).__version__))
    except Exception as error:
        return _row(name, False, f"does not import: {_first_line(error)}", "pip install --force-reinstall earbench")


def _torchaudio() -> dict[str, Any]:
    """torchaudio is off the main path: broken or absent, everything of earbench's own still runs."""
    try:
        return _row("torchaudio", True, str(importlib.import_module("torchaudio").__version__))
    except ImportError:
        return _row("torchaudio", True, "absent; not needed", "pip install torchaudio, for torchaudio: upstreams")
    except Exception as error:
        return _row(
            "torchaudio",
            True,
            f"broken, and shielded from transformers: {_first_line(error)}",
            "install the torchaudio that matches this torch, or pip uninstall torchaudio",
        )


def _device() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return _row("device", True, f"cuda: {torch.cuda.get_device_name()}")
    return _row(
        "device", True, "mps" if torch.backends.mps.is_available() else f"cpu, {torch.get_num_threads()} threads"
    )


def _folder(name: str, path: Path) -> dict[str, Any]:
    try:
        files.check_writable(path, name)
    except BenchError as error:
        return _row(name, False, str(error).splitlines()[0], f"--{name} DIR, or [{name}] dir in bench.toml")
    return _row(name, True, f"{path} ({shutil.disk_usage(path).free / 1e9:.0f} GB free)")


def _corpus(key: str, where: str) -> dict[str, Any]:
    if where == "demo" or Path(where).is_dir():
        return _row(f"data {key}", True, where)
    return _row(f"data {key}", False, f"{where} is not a folder", f"set {key} under [data] in bench.toml")


def _broken_plugins(kind: registry.Kind) -> list[dict[str, Any]]:
    """Only what is broken: sound plugins are what `bench list` is for."""
    found = []
    for name in registry.names(kind):
        try:
            registry.load(kind, name)
        except BenchError as error:
            message, *hints = str(error).splitlines()
            found.append(_row(f"{kind} {name}", False, message, hints[0].strip() if hints else ""))
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
