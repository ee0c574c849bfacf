"""What `bench report --diff` says of two results folders."""

import json
import shutil

import pytest
from scored import hits, store
from typer.testing import CliRunner

from earbench import record as records
from earbench.boards import board
from earbench.changes import MOST, Change, changes, markdown
from earbench.cli import app
from earbench.config import BoardPlan

KS = BoardPlan("words", "Words", ("ks",))
GROUPS = 40


def told(before, after):
    """Encoder, rank before and rank after of each change, None where there was or is no score."""
    found = changes([board(KS, records.every(before))], [board(KS, records.every(after))])
    ranks = [(one.upstream, *(rank(text) for text in (one.before, one.after))) for one in found]
    return sorted(ranks)


def rank(text):
    return text.partition("#")[2] if "#" in text else None


@pytest.fixture
def before(tmp_path):
    """Two encoders, one clearly better."""
    folder = tmp_path / "before"
    store(folder, "good", folds=[hits([0.8] * GROUPS)])
    store(folder, "bad", folds=[hits([0.2] * GROUPS)])
    return folder


@pytest.fixture
def after(before, tmp_path):
    return shutil.copytree(before, tmp_path / "after")


def test_equal_records_change_nothing(before, after):
    assert told(before, after) == []
    assert markdown([]) == "No board changes.\n"


def test_a_new_encoder_between_two_moves_the_one_below_it_and_not_the_one_above(before, after):
    store(after, "between", folds=[hits([0.5] * GROUPS)])
    assert told(before, after) == [("bad", "2", "3"), ("between", None, "2")]


def test_an_encoder_that_is_gone_is_told(before, after):
    shutil.rmtree(next((after / "records").glob("good-*")))
    assert told(before, after) == [("bad", "2", None), ("good", "1", None)]
    found = changes([board(KS, records.every(before))], [board(KS, records.every(after))])
    assert {one.upstream: one.after for one in found}["good"] == "-"


def test_a_first_board_is_all_new_and_a_last_one_all_gone(before, tmp_path):
    (tmp_path / "empty").mkdir()
    assert [one[1] for one in told(tmp_path / "empty", before)] == [None, None]
    assert [one[2] for one in told(before, tmp_path / "empty")] == [None, None]


def test_other_weights_under_one_name_are_another_encoder(before, after):
    written = store(after, "good", folds=[hits([0.5] * GROUPS)])
    facts = json.loads(written.path.read_text("utf-8"))
    facts["upstream"]["digest"], facts["plan"]["id"] = "f" * 16, "f" * 16
    written.path.write_text(json.dumps(facts), "utf-8")
    found = changes([board(KS, records.every(before))], [board(KS, records.every(after))])
    assert [(one.weights, one.before) for one in found if one.upstream == "good"] == [("f" * 8, "-")]


def test_the_table_is_markdown_with_what_is_new_kept_where_there_is_no_room_for_all():
    old = [Change("words", f"known{number}", "0", "ks accuracy", "1 #1", "1 #2") for number in range(MOST)]
    new = Change("words", "new|<b>one", "1", "ks accuracy", "-", "2 #1")
    text = markdown([*old, new])
    assert text.splitlines()[:2] == ["### words", ""]
    assert [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")] == [
        *("upstream", "weights", "score", "before", "after"),
    ]
    assert r"| new\|\<b>one " in text
    assert text.endswith("and 1 more changes\n")


def test_no_name_is_markup_in_the_table():
    hostile = "x\n# Head\n![p](https://evil.example) [click](https://evil.example) &lt;"
    text = markdown([Change("words", hostile, "0", f"ks {hostile}", "-", "2 #1")])
    assert [line for line in text.splitlines() if line.startswith("#")] == ["### words"]
    assert len(text.splitlines()) == 5
    assert text.count(r"!\[p](https\://evil.example) \[click](https\://evil.example) \&lt;") == 2


def test_the_command_compares_the_boards_of_two_folders_and_writes_nothing(before, after):
    store(after, "between", folds=[hits([0.5] * GROUPS)])
    words = ["report", "--results", str(after), "--diff", str(before), "--board", "superb"]
    files = sorted(after.rglob("*"))
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "### superb" in shown.stdout
    assert "between" in shown.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["changes"]
    assert {one["upstream"] for one in found if one["score"] == "ks accuracy"} == {"bad", "between"}
    assert sorted(after.rglob("*")) == files


def test_a_folder_that_is_not_there_is_an_error_and_not_an_empty_board(before):
    done = CliRunner().invoke(app, ["report", "--results", str(before), "--diff", str(before / "nowhere")])
    assert done.exit_code == 2
    assert "there is no results folder" in done.stderr


def test_two_ways_of_reporting_at_once_are_refused(before):
    done = CliRunner().invoke(app, ["report", "--results", str(before), "--diff", str(before), "--check"])
    assert done.exit_code == 2
    assert "give one of them" in done.stderr
