"""kill -9 at ten moments of extraction and fitting, then the same command: the digits of an undisturbed run."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import os, signal, sys
from earbench import extract, files, fit
from earbench.cli import main

extract.SHARD_BYTES, fit.SAVE_SECONDS = 20_000, 0.0
folder, number, moment = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1)
write, seen = files.write, 0

def deadly(path, fill):
    global seen
    seen += folder in path.parts
    if folder in path.parts and seen == number:
        def fill_and_die(temporary):
            fill(temporary)
            os.kill(os.getpid(), signal.SIGKILL)
        if moment == "before":
            write(path, fill_and_die)
        write(path, fill)
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, fill)

files.write = deadly
main()
"""

MOMENTS = [
    ("features", 1, "before"),
    ("features", 1, "after"),
    ("features", 2, "after"),
    ("features", 5, "before"),
    ("features", 6, "after"),
    ("fits", 1, "before"),
    ("fits", 2, "after"),
    ("fits", 3, "before"),
    ("heads", 1, "after"),
    ("records", 2, "after"),
]


@pytest.fixture(scope="module")
def undisturbed(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run([sys.executable, "-m", "earbench.cli", *_words(toy, folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return _outcome(folder)


def test_a_run_killed_at_ten_moments_ends_with_the_digits_of_an_undisturbed_one(
    toy: Path, tmp_path: Path, undisturbed: dict[str, object]
) -> None:
    for moment in MOMENTS:
        words = [sys.executable, "-c", DRIVER, *map(str, moment), *_words(toy, tmp_path)]
        killed = subprocess.run(words, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
        assert not list((tmp_path / "results").glob("records/*/*/*.json"))
    last = subprocess.run(
        [sys.executable, "-m", "earbench.cli", *_words(toy, tmp_path)], capture_output=True, text=True
    )
    assert last.returncode == 0, last.stderr
    assert _outcome(tmp_path) == undisturbed


def _words(toy: Path, folder: Path) -> list[str]:
    words = ["run", "--upstream", "fbank_no_cmvn", "--task", "ks", "--data", str(toy), "--partial", "--seeds", "2"]
    return [*words, "--cache", str(folder / "cache"), "--results", str(folder / "results"), "--json"]


def _outcome(folder: Path) -> dict[str, object]:
    """All that a kill must not change: scores, search table, layer weights and every single prediction."""
    (path,) = (folder / "results").glob("records/*/*/*.json")
    facts = json.loads(path.read_text())
    with gzip.open(path.with_suffix(".rows.jsonl.gz"), "rt") as file:
        rows = [json.loads(line) for line in file]
    kept = {key: facts[key] for key in ("plan", "scores", "search", "layers", "recipe", "columns")}
    return kept | {"rows": rows}
