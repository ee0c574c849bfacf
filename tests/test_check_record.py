"""What `bench check --record` finds in a record whose files do not fit together."""

import gzip
import json

import numpy as np
import pytest
from scored import hits, store
from typer.testing import CliRunner

from earbench import record as records
from earbench.checks.record import run
from earbench.cli import app
from earbench.record import Record

COUNTS = {"labels": 88, "train": 4000, "valid": 500, "test": 500}


@pytest.fixture
def record(tmp_path):
    return store(tmp_path, "one", "pitch", folds=[hits([0.7] * 25), hits([0.8] * 25)], census=COUNTS, version=2)


def failed(record):
    """Name and detail of the checks that failed, of the record as it lies on the disk."""
    return {one.name: one.detail for one in run(records.read(record.path)) if not one.ok}


def rewrite(record, change):
    facts = json.loads(record.path.read_text())
    change(facts)
    record.path.write_text(json.dumps(facts))


def rewrite_rows(record, change):
    path = record.path.with_name(f"{record.path.stem}.rows.jsonl.gz")
    found = change(record.rows())
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in found).encode()))


def test_a_record_as_it_was_written_passes(record, tmp_path):
    assert failed(record) == {}
    assert failed(store(tmp_path, "seeds", seeds=[hits([0.7] * 10), hits([0.6] * 10)])) == {}


def test_a_record_that_does_not_fit_the_schema_is_not_looked_at_further(record):
    rewrite(record, lambda facts: facts.pop("cost"))
    assert [one.name for one in run(Record(record.path, json.loads(record.path.read_text())))] == ["valid record"]
    assert "'cost' is a required property" in failed(record)["valid record"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "not those that the record says"),
        (lambda rows: [*rows, rows[0]], "one of them twice"),
        (lambda rows: [rows[0] | {"groups": ["somebody else"]}, *rows[1:]], "not those that the record says"),
        (lambda rows: [*rows, *(row | {"seed": 1} for row in rows)], "rows of 2 seeds, the record says 1"),
        (lambda rows: [*rows, *(row | {"seed": 1} for row in rows[1:])], "has other units than the first seed"),
    ],
    ids=["one missing", "one twice", "another speaker", "another seed", "half a seed"],
)
def test_rows_of_other_units_than_the_record_says_are_found(change, said, record):
    rewrite_rows(record, change)
    assert said in failed(record)["rows are of the stated test list"]


def test_scores_of_more_groups_than_the_rows_have_are_found(record):
    rewrite(record, lambda facts: facts["scores"]["accuracy"].update(groups=60))
    assert "rows of 50 groups, the scores say 60" in failed(record)["rows are of the stated test list"]


def test_missing_files_are_found(record):
    for ending in (".rows.jsonl.gz", ".replicates.npz"):
        record.path.with_name(record.path.stem + ending).unlink()
    assert set(failed(record)) == {
        "rows are of the stated test list",
        "replicates give the intervals",
        "scores follow from rows",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.update(hit=1.0), "accuracy: the record says"),
        (lambda row: row.update(prediction="no"), "hit is 0.0 in the rows, 1.0 made again"),
    ],
    ids=["hit", "prediction"],
)
def test_rows_that_do_not_bear_out_the_score_or_themselves_are_found(change, said, tmp_path):
    record = store(tmp_path, "one", folds=[hits([0.7] * 25)])
    answered = [row | {"label": "no", "prediction": ["yes", "no"][int(row["hit"])]} for row in record.rows()]
    rewrite_rows(record, lambda _: answered)
    assert failed(record) == {}
    change(next(row for row in answered if not row["hit"]))
    rewrite_rows(record, lambda _: answered)
    assert said in failed(record)["scores follow from rows"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda score: score.update(low=score["low"] + 1), "is not what its replicates say"),
        (lambda score: score.update(value=score["value"] + 0.5), "is not"),
        (lambda score: score.update(per_seed=[[1.0, 2.0]]), "is not the mean of its seeds and folds"),
        (lambda score: score.update(per_seed=score["per_seed"] * 2), "2 x 1000 replicates expected, found 1 x 1000"),
    ],
    ids=["limit", "value", "folds", "seeds"],
)
def test_a_score_that_its_replicates_do_not_bear_out_is_found(change, said, record):
    rewrite(record, lambda facts: change(facts["scores"]["accuracy"]))
    assert said in failed(record)["replicates give the intervals"]


def test_too_few_replicates_are_found(record):
    few = record.replicates()["accuracy"][:, :10]
    np.savez(record.path.with_name(f"{record.path.stem}.replicates.npz"), accuracy=few)
    assert "1 x 1000 replicates expected, found 1 x 10" in failed(record)["replicates give the intervals"]


def test_counts_that_are_published_of_two_splits_together_are_held_together(tmp_path):
    counts = {"labels": 200, "train": 36_796, "valid": 4158, "test": 10_231}
    record = store(tmp_path, "tags", "hear_fsd50k", folds=[hits([0.7] * 25)], census=counts)
    assert "counts are the published ones" not in failed(record)
    rewrite(record, lambda facts: facts["task"]["census"].update(valid=4157))
    said = "train + valid: published 40,954, the record says 40,953"
    assert failed(record)["counts are the published ones"] == said


def test_counts_that_are_not_the_published_ones_are_found_unless_declared(record):
    rewrite(record, lambda facts: facts["task"]["census"].update(test=480))
    assert failed(record) == {"counts are the published ones": "test: published 500, the record says 480"}
    rewrite(record, lambda facts: facts["deviations"].append("partial: the corpus differs from its published counts"))
    assert failed(record) == {}


def test_the_command_says_what_failed_and_ends_with_1(record):
    rewrite(record, lambda facts: facts["task"]["census"].update(test=480))
    said = CliRunner().invoke(app, ["check", "--record", str(record.path)])
    assert said.exit_code == 1
    assert "test: published 500, the record says 480" in said.stdout


def test_the_schema_is_printed():
    said = CliRunner().invoke(app, ["schema", "record"])
    assert json.loads(said.stdout) == records.schema()
