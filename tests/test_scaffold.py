"""`bench new` writes a whole package or nothing, and refuses a name that could not be used. Installing one:
tests/test_newcomer.py.
"""

import ast
import json
import tomllib

import pytest
from typer.testing import CliRunner

from earbench.cli import app
from earbench.errors import RequestError
from earbench.scaffold import new

KINDS = ("upstream", "task")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that is installed: the metadata that an installer leaves, without the package."""
    facts = tmp_path / "site" / "pebble_earbench-0.3.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: pebble-earbench\nVersion: 0.3\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_placeholder_is_filled_in(kind, tmp_path):
    folder = new(kind, "deep_pebble", tmp_path / "package")
    written = [path for path in folder.rglob("*") if path.is_file()]
    for path in written:
        assert "$" not in path.read_text("utf-8").replace("$$", "")
        assert "NAME" not in path.name
        assert not path.name.endswith(".template")
        if path.suffix == ".py":
            ast.parse(path.read_text("utf-8"))
    facts = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    (point,) = facts["project"]["entry-points"][f"earbench.{kind}s"].items()
    module, _, name = point[1].partition(":")
    assert point[0] == "deep_pebble"
    assert f"class {name}(" in (folder / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    assert (facts["project"]["name"], facts["project"]["license"]) == ("deep-pebble-earbench", "MIT")


def test_the_command_says_what_it_wrote(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = json.loads(CliRunner().invoke(app, ["new", "task", "birds", "--json"]).stdout)
    assert told["folder"] == str(tmp_path / "birds-earbench")
    assert told["files"] == sorted(
        path.relative_to(tmp_path / "birds-earbench").as_posix() for path in tmp_path.rglob("*") if path.is_file()
    )


def test_what_there_is_no_package_of_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["new", "metric", "birds"])
    assert (said.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "'metric' is not one of 'upstream', 'task'" in said.stderr


@pytest.mark.parametrize("name", ["", "Pebble", "2fast", "deep-pebble", "_pebble", "a__b", "../up", "a" * 41, "vögel"])
def test_a_name_that_could_not_be_typed_or_imported_is_refused(name, tmp_path):
    with pytest.raises(RequestError, match="cannot be the name of an upstream"):
        new("upstream", name, tmp_path / "package")


@pytest.mark.parametrize(("kind", "name"), [("upstream", "hubert"), ("task", "ks")])
def test_a_taken_name_is_refused_with_its_owner(kind, name, tmp_path):
    with pytest.raises(RequestError, match=f"{kind} '{name}' already: of earbench 0"):
        new(kind, name, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_a_word_that_means_every_task_is_refused(tmp_path):
    with pytest.raises(RequestError, match="--task all means something else"):
        new("task", "all", tmp_path / "package")
    assert new("upstream", "all", tmp_path / "package").is_dir()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_that_name_which_is_installed_is_named(kind, tmp_path):
    """Whichever kind it holds: a second one of the name would overwrite it."""
    with pytest.raises(RequestError, match=r"a package pebble-earbench 0\.3 is installed already"):
        new(kind, "pebble", tmp_path / "package")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="is there already"):
        new("upstream", "pebble", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("earbench.scaffold.Template.substitute", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new("upstream", "pebble", tmp_path / "package")
    assert list(tmp_path.iterdir()) == []
