"""Which tasks a suite stands for, and which of them run on the demo corpus."""

from importlib import import_module

import pytest

from earbench.data import locate
from earbench.demo import build as demo
from earbench.errors import MissingCorpus, UnknownName
from earbench.plan import load_task
from earbench.suites import asked, expand


def test_what_the_demo_holds_is_what_it_counts():
    for corpus, tasks in demo.PARTS.items():
        counted = import_module(f"earbench.demo.{demo.CORPORA[corpus]}").CENSUS
        assert set(tasks) == set(counted)


def test_suites_are_written_out_once_and_in_order():
    suites = {"demo": ("ks", "asr"), "superb": ("asr", "sid")}
    assert expand(["sid", "@demo", "@superb", "sid"], suites) == ["sid", "ks", "asr"]
    everything = expand(["all"], {})
    assert {"ks", "asr", "hear_esc50"} <= set(everything)
    assert not {"folder", "csv", "hear"} & set(everything)
    with pytest.raises(UnknownName, match="no suite called '@hear'") as caught:
        expand(["@hear"], suites)
    assert "@demo, @superb" in str(caught.value)


@pytest.fixture
def small(settings):
    """A suite of which the demo has one task, and one task whose corpus lies elsewhere."""
    return settings.with_(suites={"some": ("pitch", "hear_esc50", "ks")}, data={"speech_commands_v1": "/corpora"})


def test_a_suite_on_the_demo_is_without_the_tasks_that_it_has_nothing_for_and_names_them(small, quiet, capsys):
    assert asked(["@some"], "demo", small, quiet) == ["pitch", "ks"]
    assert "nothing for 1 tasks, which are left out: hear_esc50" in capsys.readouterr().err
    assert asked(["@some"], None, small.with_(data={"hear": "demo"}), quiet) == ["pitch", "ks"]
    assert "hear_esc50" in capsys.readouterr().err


def test_elsewhere_nothing_is_left_out(small, quiet, capsys):
    assert asked(["@some"], "/corpora/hear", small, quiet) == ["pitch", "hear_esc50", "ks"]
    assert asked(["@some"], None, small, quiet) == ["pitch", "hear_esc50", "ks"]
    assert capsys.readouterr().err == ""


def test_a_task_that_was_named_is_asked_and_then_refused(small, quiet):
    assert asked(["hear_esc50", "@some"], "demo", small, quiet) == ["hear_esc50", "pitch", "ks"]
    with pytest.raises(MissingCorpus, match="the demo corpus has nothing for task 'hear_esc50'"):
        locate(load_task("hear_esc50"), "demo", small, quiet)
