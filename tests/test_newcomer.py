"""A newcomer does what the README of a new package says, word for word, in an environment that has nothing of it yet.

The environment is made without a network: earbench is installed into it as the wheel that its checkout makes, and the
packages that both need are those of the tests. Instead of the demo corpus, which takes minutes, commands get a toy one.
"""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
SHIM = '#!/bin/sh\nexec "$(dirname "$0")/python" -m {} "$@"\n'


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a line in a folder as in a terminal where the environment is active; gives what was printed."""
    home = tmp_path_factory.mktemp("newcomer")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "env"], check=True)
    base = {"base": str(home / "env"), "platbase": str(home / "env")}
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (Path(sysconfig.get_path("purelib", "venv", base)) / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    for name in ("pip", "pytest"):
        (home / "env/bin" / name).write_text(SHIM.format(name))
        (home / "env/bin" / name).chmod(0o755)
    places = {"HOME": str(home), "PATH": f"{home / 'env/bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON", "PYTEST_", "COLUMNS"))
    }

    def shell(line, folder=home):
        done = subprocess.run(
            line, shell=True, cwd=folder, env=kept | OFFLINE | QUIET | places, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    shell(f"pip install {REPOSITORY}")
    return shell


@pytest.fixture(scope="module")
def follow(shell, toy):
    """Makes a package and follows its README; what each command printed, by the command as it stands there."""

    def follow(kind, name, folder):
        shell(f"bench new {kind} {name} --out {folder}")
        blocks = re.findall(r"^```sh\n(.*?)^```", (folder / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        return {line: shell(on_toy(line, toy), folder) for line in lines}

    return follow


def on_toy(line, toy):
    """The command on a toy corpus instead of the demo; a smoke run, as which a bundle takes it with --all."""
    line = line.replace("--data demo", f"--data {toy} --partial --effort quick")
    line = line.replace("bench submit", "bench submit --all")
    return line.replace("bench verify pebble.zip", f"bench verify pebble.zip --data {toy}")


def test_a_new_encoder_gets_from_nothing_to_a_bundle_that_holds_by_its_readme(follow, tmp_path):
    said = follow("upstream", "pebble", tmp_path / "pebble")
    assert re.search(r"^pebble .* MIT ", said["bench list upstreams"], re.MULTILINE)
    assert "of pebble~random" in said["bench check --upstream pebble"]
    run = said["bench run --upstream pebble~random --task ks --data demo"]
    assert re.search(r"^pebble~random +ks +accuracy", run, re.MULTILINE)
    (packed,) = [text for line, text in said.items() if line.startswith("bench submit pebble~random --out pebble.zip")]
    assert "pebble.zip: 1 records, 1 heads" in packed
    assert re.search(r"^verified +accuracy, .* made again$", said["bench verify pebble.zip"], re.MULTILINE)
    assert said["bench verify pebble.zip"].splitlines()[-1].startswith("holds")
    assert "passed" in said["pytest"]


def test_a_new_task_gets_from_nothing_to_a_score_by_its_readme(follow, tmp_path):
    said = follow("task", "birds", tmp_path / "birds")
    assert "birds_corpus" in said["bench list tasks"]
    run = said["bench run --upstream fbank_no_cmvn --task birds --data toy --effort quick"]
    assert float(re.search(r"^fbank_no_cmvn +birds +accuracy +([\d.]+)", run, re.MULTILINE)[1]) > 90
    assert "passed" in said["pytest"]
