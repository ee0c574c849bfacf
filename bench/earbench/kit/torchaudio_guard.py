"""Keeping a torchaudio that is installed but does not import away from transformers (protocol sheet §2.4)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys


@functools.cache
def shield() -> str | None:
    """Why torchaudio is hidden from this process, or None if it works or is not installed.

    transformers asks `find_spec` whether torchaudio is there and imports it together with its audio code, so that one
    built for another torch takes every speech model down. A None in `sys.modules` makes it look absent. To be called
    before any model class is imported. A torchaudio that works is imported here, as transformers would do anyway.
    """
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return None
    try:
        importlib.import_module("torchaudio")
    except Exception as error:  # OSError for a missing CUDA library, RuntimeError or AttributeError for another torch
        sys.modules["torchaudio"] = None  # type: ignore[assignment]
        if (asked := sys.modules.get("transformers.utils.import_utils")) is not None:
            asked.is_torchaudio_available.cache_clear()  # it was imported first and remembers a yes
        return f"{type(error).__name__}: {error}"
    return None
