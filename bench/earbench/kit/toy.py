"""What toy corpora are written with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write(path: Path, samples: np.ndarray[Any, Any], sample_rate: int = 16_000) -> None:
    """`samples` in [-1, 1] as 16-bit audio in the format that the name's ending says, folders made on the way."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sample_rate, subtype="PCM_16")
