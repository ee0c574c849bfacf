"""Settings: packaged defaults, one bench.toml over them, the command line over both; each mistake names its file."""

import re
from importlib import resources
from pathlib import Path

import platformdirs
import pytest

from earbench import config
from earbench.console import settings_for
from earbench.errors import RequestError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without a bench.toml, and a user without one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(platformdirs, "user_config_path", lambda _: tmp_path / "user")


@pytest.fixture
def toml(tmp_path):
    """Write a bench.toml; its path."""

    def toml(text, folder="project"):
        path = tmp_path / folder / "bench.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return toml


# ---- which file ------------------------------------------------------------------------------------------------------


def test_the_flag_goes_before_the_folder_and_the_folder_before_the_user(toml, tmp_path):
    assert config.load().source is None
    users = toml("", "user")
    assert config.load().source == users
    here = toml("", "work")
    assert config.load().source == here
    assert config.load(toml("", "flag")).source == tmp_path / "flag" / "bench.toml"


def test_a_configuration_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RequestError, match=f"no configuration file at {tmp_path / 'no.toml'}"):
        config.load(tmp_path / "no.toml")


def test_a_file_goes_before_the_defaults_and_the_command_line_before_the_file(toml):
    path = toml('[run]\neffort = "quick"\nseeds = 3')
    found = config.load(path)
    assert (found.effort, found.seeds, found.dtype) == ("quick", 3, "fp32")
    found = settings_for(path, effort="reference", seeds=None, dtype="bf16")
    assert (found.effort, found.seeds, found.dtype) == ("reference", 3, "bf16")


def test_suites_and_boards_of_a_file_join_the_packaged_ones(toml):
    found = config.load(toml('[suites]\nmine = ["ks"]\n[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]'))
    assert {"demo", "superb", "mine"} <= set(found.suites)
    assert found.boards["mine"] == config.BoardPlan("mine", "Mine", ("ks",), "published")
    assert "superb" in found.boards


def test_every_documented_key_is_accepted(toml):
    """The packaged defaults with the commented keys switched on, as a reader would."""
    text = resources.files("earbench").joinpath("defaults.toml").read_text("utf-8")
    switched_on = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    assert switched_on.count("\n# ") == 0
    found = config.load(toml(switched_on))
    names = ("librispeech", "speech_commands_v1", "speech_commands_v2", "quesst14", "voxceleb1", "libri2mix")
    assert set(found.data) == {*names, "fluent", "snips", "iemocap", "tau2019", "hear"}


def test_every_key_is_documented():
    text = resources.files("earbench").joinpath("defaults.toml").read_text("utf-8")
    for section, keys in config.KEYS.items():
        assert f"[{section}]" in text
        for key in keys:
            assert re.search(rf"^(# )?{key} = ", text, flags=re.MULTILINE), key


# ---- where things go -------------------------------------------------------------------------------------------------


def test_results_go_beside_the_file_in_use(toml, tmp_path):
    assert config.load(toml("")).results == tmp_path / "project" / "results"


def test_results_and_cache_without_a_file_go_to_the_users_folders():
    found = config.load()
    assert found.results == platformdirs.user_data_path("earbench") / "results"
    assert found.cache == platformdirs.user_cache_path("earbench")


def test_folders_in_a_file_are_relative_to_it(toml, tmp_path):
    found = config.load(toml('[cache]\ndir = "c"\n[results]\ndir = "r"\n[data]\na = "corpora/a"\nb = "/corpora/b"'))
    home = tmp_path / "project"
    assert (found.cache, found.results) == (home / "c", home / "r")
    assert found.data == {"a": str(home / "corpora" / "a"), "b": "/corpora/b"}


def test_a_users_own_folder_is_written_out_and_the_demo_is_no_folder(toml):
    found = config.load(toml('[data]\na = "~/corpora"\nb = "demo"'))
    assert found.data == {"a": str(Path.home() / "corpora"), "b": "demo"}


def test_folders_on_the_command_line_are_relative_to_the_current_one(toml, tmp_path):
    found = settings_for(toml(""), results=Path("r"), cache=Path("c"))
    assert (found.results, found.cache) == (tmp_path / "work" / "r", tmp_path / "work" / "c")


# ---- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = {
    '[runs]\neffort = "quick"': r"unknown section \[runs\](?s:.*)known: run, cache",
    'effort = "quick"': r"unknown section \[effort\]",
    "run = 3": r"'run' must be a section, \[run\]",
    '[run]\nefort = "quick"': r"unknown key 'efort' in \[run\](?s:.*)known: effort, device",
    "[run]\neffort = 1": r"'effort' in \[run\] has the wrong type: 1",
    "[run]\nseeds = 1.5": r"'seeds' in \[run\] has the wrong type: 1.5",
    "[run]\nseeds = true": r"'seeds' in \[run\] has the wrong type: True",
    '[cache]\nbudget_gb = "50"': r"'budget_gb' in \[cache\] has the wrong type",
    "[data]\nlibrispeech = 3": r"'librispeech' in \[data\] has the wrong type: 3",
    '[suites]\nmine = "ks"': r"'mine' in \[suites\] has the wrong type: 'ks'",
    "[suites]\nmine = [1]": r"'mine' in \[suites\] has the wrong type",
    '[boards]\nmine = "ks"': r"'mine' in \[boards\] has the wrong type",
    '[boards.mine]\ntitle = "Mine"': r"\[boards.mine\] needs a title and a list of tasks",
    '[boards.mine]\ntitle = "Mine"\ntasks = "ks"': r"\[boards.mine\] needs a title and a list of tasks",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\ncorpora = "demo"': r"\[boards.mine\]: unknown key 'corpora'",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\ncolumns = ["asr wer"]': r"columns are a list of 'TASK METRIC'",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\naggregates = ["mean"]': r"aggregates \['mean'\]: known are",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\npublished = "mine"': r"no published table 'mine'\n  known: hear",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\nlayers = 3': r"layers are what --layers takes, got 3",
    '[boards.mine]\ntitle = "Mine"\ntasks = ["ks"]\ncorpus = "all"': r"\[boards.mine\]: corpus 'all' is not one of",
    '[run]\neffort = "slow"': r"effort 'slow' is not one of quick, standard, reference",
    '[run]\ndtype = "fp16"': r"dtype 'fp16' is not one of fp32, bf16",
    "[run]\nseeds = 0": r"seeds must be positive, got 0",
    "[cache]\npack_seconds = -1": r"pack_seconds must be positive, got -1",
    "[run\n": r"is not valid TOML: .*line 1",
}


def test_the_tasks_of_a_board_are_those_of_its_columns_unless_said(toml):
    text = '[boards.mine]\ntitle = "Mine"\ncolumns = ["sf f1", "ks accuracy", "sf cer"]'
    assert config.load(toml(text)).boards["mine"].tasks == ("sf", "ks")


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_the_file_it_is_in(toml, text):
    path = toml(text)
    with pytest.raises(RequestError, match=f"{re.escape(str(path))}.*{MISTAKES[text]}"):
        config.load(path)


def test_a_mistake_on_the_command_line_does_not_blame_the_file(toml):
    with pytest.raises(RequestError, match=r"^effort 'slow'"):
        settings_for(toml(""), effort="slow")
