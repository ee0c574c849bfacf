"""A package of somebody else, installed for real: its plugins are as good as ours, and its broken one hurts nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the stranger's package."""
    target = tmp_path_factory.mktemp("site")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "install", *quiet, *offline, "--target", str(target), "./stranger"]
    subprocess.run(command, check=True, cwd=HERE)
    return target


@pytest.fixture(scope="module")
def bench(site, tmp_path_factory):
    """The command as the stranger's users run it; what it gave back."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "bench.toml").write_text('[cache]\ndir = "cache"\n')

    def bench(*words, code=0, also=()):
        paths = os.pathsep.join([str(site), *map(str, also), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "earbench.cli", *words]
        places = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=places, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return bench


@pytest.fixture
def rival(tmp_path):
    """Another installed package that claims the stranger's name: the metadata that an installer leaves."""
    facts = tmp_path / "rival_earbench-0.3.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: rival-earbench\nVersion: 0.3\n")
    (facts / "entry_points.txt").write_text("[earbench.upstreams]\nstranger_energy = rival_earbench:Energy\n")
    return tmp_path


def test_a_strangers_plugins_are_listed_and_the_broken_one_with_its_error(bench):
    rows = {row["name"]: row for row in json.loads(bench("list", "upstreams", "--json").stdout)}
    assert (rows["stranger_energy"]["licence"], rows["stranger_energy"]["layers"]) == ("MIT", 1)
    assert "No module named 'stranger_ops'" in rows["stranger_broken"]["missing"]
    assert "stranger-earbench 0.2" in rows["stranger_broken"]["missing"]
    assert [name for name in rows if "could not be read" in rows[name]["missing"]] == ["stranger_broken"]
    assert {"mfcc", "hubert"} < set(rows)


def test_a_strangers_encoder_and_task_run_while_another_plugin_is_broken(bench, toy):
    words = ("--data", str(toy), "--partial", "--effort", "quick", "--json")
    done = bench("run", "--upstream", "stranger_energy", "--task", "stranger_word,ks", *words)
    word, spotting = json.loads(done.stdout)["records"]
    assert word["upstream"]["family"] == spotting["upstream"]["family"] == "stranger"
    assert word["labels"] == ["yes", "another"]
    assert spotting["scores"]["accuracy"]["value"] > 100 / 12


def test_asking_for_the_broken_plugin_says_whose_it_is_and_what_is_wrong(bench):
    done = bench("run", "--upstream", "stranger_broken", "--task", "ks", code=1)
    assert done.stderr.splitlines() == [
        "error: the upstream 'stranger_broken' could not be read (from stranger-earbench 0.2): "
        "No module named 'stranger_ops'",
        "  reinstall stranger-earbench, or ask its author",
    ]
    assert done.stdout == ""


def test_two_packages_that_claim_one_name_are_both_named(bench, rival):
    done = bench("run", "--upstream", "stranger_energy", "--task", "ks", code=2, also=[rival])
    assert "two packages claim the upstream 'stranger_energy'" in done.stderr
    for package in ("stranger-earbench 0.2", "rival-earbench 0.3"):
        assert package in done.stderr
