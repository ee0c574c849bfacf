"""What others found out about a record lies beside it, speaks of it alone, and shows as the weakest on a board."""

import gzip
import json

import numpy as np
import pytest
from fitting import record_facts
from scored import hits, store
from typer.testing import CliRunner

from earbench import record as records
from earbench import reproduce, state
from earbench.boards import board
from earbench.cli import app
from earbench.config import BoardPlan
from earbench.errors import BenchError
from earbench.record import Record

KS = BoardPlan("words", "Words", ("ks", "asr"))


@pytest.fixture
def record(tmp_path):
    return store(tmp_path, "one", folds=[hits([0.5] * 25)])


def shown(results, plan=KS):
    (row,) = board(plan, records.briefly(results)).rows
    return row.facts["state"]


def test_a_record_that_nobody_looked_into_is_self_reported(record, tmp_path):
    assert state.of(record, ["accuracy"]) == "self-reported"
    assert shown(tmp_path) == "self-reported"


def test_a_state_is_written_beside_the_record_and_is_no_record(record, tmp_path):
    before = record.path.read_bytes()
    path = state.write(record, "re-scored", ["accuracy"], "the tests")
    assert path.name == f"{record.path.stem}.state.json"
    assert record.path.read_bytes() == before
    assert [one.path for one in records.every(tmp_path)] == [record.path]
    assert records.find(tmp_path, record.facts["plan"]["id"])[0].path == record.path
    assert shown(tmp_path) == "re-scored"
    assert json.loads(path.read_text())["states"]["re-scored"]["by"] == "the tests"


def test_a_newer_record_that_nobody_looked_into_does_not_displace_a_reproduced_one(record, tmp_path):
    state.write(record, "reproduced", ["accuracy"], None)
    store(tmp_path, "one", folds=[hits([0.5] * 25)], when="2027-01-01T00:00:00+00:00")
    assert shown(tmp_path) == "reproduced"


def test_states_of_a_record_add_up_and_the_strongest_of_a_score_counts(record):
    state.write(record, "reproduced", ["accuracy"], None)
    state.write(record, "re-scored", ["accuracy", "other"], None)
    assert state.of(record, ["accuracy"]) == "reproduced"
    assert state.of(record, ["accuracy", "other"]) == "re-scored"
    assert state.of(record, ["accuracy", "third"]) == "self-reported"


def test_a_row_has_the_weakest_state_of_its_scores(record, tmp_path):
    state.write(record, "reproduced", ["accuracy"], None)
    assert shown(tmp_path) == "reproduced"
    store(tmp_path, "one", "asr", folds=[hits([0.5] * 25)])
    assert shown(tmp_path) == "self-reported"
    assert shown(tmp_path, BoardPlan("ks", "KS", ("ks",), columns=("ks accuracy",))) == "reproduced"


def change_rows(record):
    path = record.beside(".rows.jsonl.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"hit": 0.0', b'"hit": 1.0')))


def change_replicates(record):
    np.savez(record.beside(".replicates.npz"), accuracy=np.ones((1, 1000)))


def change_facts(record):
    record.path.write_text(record.path.read_text() + "\n")


@pytest.mark.parametrize("change", [change_rows, change_replicates, change_facts])
def test_a_state_of_a_record_that_was_changed_afterwards_is_an_error(change, record, tmp_path):
    state.write(record, "reproduced", ["accuracy"], None)
    change(record)
    with pytest.raises(BenchError, match="speaks of another record"):
        shown(tmp_path)


def test_the_state_of_one_record_is_none_of_another(record, tmp_path):
    other = store(tmp_path, "two", folds=[hits([0.6] * 25)])
    path = state.write(record, "reproduced", ["accuracy"], None)
    path.rename(other.beside(state.ENDING))
    with pytest.raises(BenchError, match="speaks of another record"):
        state.of(other, ["accuracy"])


@pytest.mark.parametrize(
    "said", ["{", "[]", '{"schema": 1, "record": "0123456789abcdef", "states": {"verified by me": {}}}']
)
def test_a_state_that_is_none_is_an_error(said, record):
    record.beside(state.ENDING).write_text(said)
    with pytest.raises(BenchError, match="is no state of a record"):
        state.of(record, ["accuracy"])


@pytest.mark.parametrize(("value", "expected"), [(80.0, "reproduced"), (70.0, "self-reported")])
def test_reproduce_marks_a_record_whose_scores_all_hold(value, expected, tmp_path, monkeypatch):
    record = records.write(tmp_path, record_facts(), [], {})
    again = Record(tmp_path / "again-1.json", record_facts(accuracy=value))
    monkeypatch.setattr(reproduce, "reproduce", lambda *_: again)
    CliRunner().invoke(app, ["reproduce", str(record.path)])
    assert state.of(record, ["accuracy"]) == "self-reported"
    CliRunner().invoke(app, ["reproduce", str(record.path), "--mark", "--by", "the tests"])
    assert state.of(record, ["accuracy"]) == expected


def test_what_is_stored_reproduces_nothing(tmp_path):
    record = records.write(tmp_path, record_facts(), [], {})
    said = CliRunner().invoke(app, ["reproduce", str(record.path), "--mark", "--use-cache"])
    assert said.exit_code == 2
    assert "--use-cache" in said.stderr
