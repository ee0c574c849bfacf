"""What only looks things up answers at once: torch, which takes seconds to import, stays out."""

import subprocess
import sys

import pytest

from earbench import registry

WATCH = """
import sys
try:
    from earbench.cli import main
    sys.argv = ["bench", *sys.argv[1:]]
    main()
except SystemExit as end:
    print("slow:", [name for name in ("torch", "transformers", "sklearn", "scipy") if name in sys.modules], end.code)
"""


@pytest.fixture
def home(tmp_path):
    """A folder with a bench.toml, and a cache that holds the card index."""
    (tmp_path / "bench.toml").write_text('[cache]\ndir = "cache"')
    for kind in ("upstream", "task"):
        assert not [card for card in registry.cards(kind, tmp_path / "cache") if "error" in card]
    return tmp_path


LISTS = [["list", "upstreams"], ["list", "tasks"], ["list", "suites"], ["list", "records"]]
REPORTS = [["report"], ["report", "--html", "site"], ["report", "--diff", "."]]
COMMANDS = [["--help"], *LISTS, *REPORTS, ["new", "upstream", "pebble"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_looking_things_up_does_not_import_torch(home, words):
    done = subprocess.run([sys.executable, "-c", WATCH, *words], cwd=home, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "slow: [] 0", done.stdout + done.stderr


def test_a_wrong_command_does_not_import_torch(home):
    done = subprocess.run([sys.executable, "-c", WATCH, "run"], cwd=home, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "slow: [] 2"
