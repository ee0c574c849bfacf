"""What tests of every area share."""

import hypothesis
import pytest
import torch

from earbench import config
from earbench.progress import Progress
from earbench_tasks.keyword_spotting import KeywordSpotting

collect_ignore = ["stranger"]
torch.set_num_threads(1)
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("house")


@pytest.fixture
def settings(tmp_path):
    """Packaged defaults on the CPU, with cache and results in a folder of the test's own."""
    (tmp_path / "bench.toml").write_text("")
    found = config.load(tmp_path / "bench.toml")
    return found.with_(cache=tmp_path / "cache", results=tmp_path / "results", device="cpu")


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The toy corpus of keyword spotting. Shared: copy it before spoiling anything."""
    root = tmp_path_factory.mktemp("toy")
    KeywordSpotting().toy(root, 0)
    return root


@pytest.fixture
def quiet():
    return Progress(quiet=True)
