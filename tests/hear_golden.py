"""What HEAR's own kit said (tests/golden/hear)."""

import gzip
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden" / "hear"


def cases(name):
    """The cases of a file."""
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))["cases"]


def every(name):
    """Each case of a file, by its name, as the parameter `case`."""
    found = cases(name)
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])
