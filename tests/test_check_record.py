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
from earbench_tasks.keyword_spotting import KeywordSpotting

COUNTS = dict(KeywordSpotting.card.corpus.counts)


@pytest.fixture
def record(tmp_path):
    return store(tmp_path, "one", folds=[hits([0.7] * 25), hits([0.8] * 25)], census=COUNTS)


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
        "scores are those of the task",
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda score: score.update(interval="exact"),
            "interval is exact in the record, bootstrap",
        ),
        (lambda score: score.update(interval="jackknife, arcsine t"), "interval is jackknife, arcsine t in the record"),
        (lambda score: score.update(interval="none: x", low=None, high=None), "interval is none: x in the record"),
        (lambda score: score.update(value=None, low=None, high=None), "None is not what its folds say"),
        (lambda score: score.pop("bounds"), "accuracy: bounds are not those of the metric"),
    ],
    ids=["kind", "another kind", "none", "no value", "no bounds"],
)
def test_an_interval_that_the_rows_do_not_make_is_found_whatever_it_calls_itself(change, said, record):
    rewrite(record, lambda facts: change(facts["scores"]["accuracy"]))
    assert any(said in one for one in failed(record).values())


@pytest.mark.parametrize("fill", [70.0, np.nan, np.inf, "shifted"])
def test_replicates_that_the_rows_do_not_make_are_found(fill, record):
    found = record.replicates()
    found["accuracy"] = np.roll(found["accuracy"], 1) if fill == "shifted" else np.full((1, 1000), fill)
    np.savez(record.beside(".replicates.npz"), **found)
    assert "its replicates are not those of its rows" in failed(record)["scores follow from rows"]


def test_of_rows_that_are_trials_the_widths_of_intervals_are_made_again(record, monkeypatch):
    """Their resamples are drawn from the clips, which rows do not name."""
    monkeypatch.setattr(KeywordSpotting, "trials", True)
    monkeypatch.setattr("earbench.rescore.digest_of", lambda _: "other draws")
    assert failed(record) == {}
    found = record.replicates()["accuracy"]
    np.savez(record.beside(".replicates.npz"), accuracy=found.mean() + 0.5 * (found - found.mean()))
    assert "wider or narrower" in failed(record)["scores follow from rows"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scores: scores.update(wonder=scores["accuracy"]), "'ks' has no score called wonder"),
        (lambda scores: scores.update(accuracy_knn=scores["accuracy"]), "there are no rows of accuracy_knn"),
        (lambda scores: scores.update(accuracy_knn=scores.pop("accuracy")), "accuracy is missing"),
        (
            lambda scores: scores.update(accuracy_knn=scores["accuracy"], accuracy=scores.pop("accuracy")),
            "in another order than those of the task: accuracy, accuracy_knn",
        ),
    ],
    ids=["invented", "without rows", "main score gone", "another first"],
)
def test_scores_that_are_not_those_of_the_task_are_found(change, said, record):
    rewrite(record, lambda facts: change(facts["scores"]))
    assert said in failed(record)["scores are those of the task"]


def test_a_later_version_of_a_task_is_refused_and_an_earlier_one_left_open(record):
    rewrite(record, lambda facts: facts["task"].update(version=999))
    assert failed(record)["the task is known"].endswith("version 1 is installed here: raise your earbench")
    rewrite(record, lambda facts: facts["task"].update(name="pitch", version=1))
    assert failed(record) == {}


def test_too_few_replicates_are_found(record):
    few = record.replicates()["accuracy"][:, :10]
    np.savez(record.path.with_name(f"{record.path.stem}.replicates.npz"), accuracy=few)
    assert "1 x 1000 replicates expected, found 1 x 10" in failed(record)["replicates give the intervals"]


def test_counts_that_are_published_of_two_splits_together_are_held_together(tmp_path):
    counts = {"labels": 200, "train": 36_796, "valid": 4158, "test": 10_231}
    record = store(tmp_path, "tags", "hear_fsd50k", folds=[hits([0.7] * 25)], census=counts, version=2)
    assert "counts are the published ones" not in failed(record)
    rewrite(record, lambda facts: facts["task"]["census"].update(valid=4157))
    said = "train + valid: published 40,954, the record says 40,953"
    assert failed(record)["counts are the published ones"] == said


def test_counts_that_are_not_the_published_ones_are_found_unless_declared(record):
    rewrite(record, lambda facts: facts["task"]["census"].update({"test/yes": 480}))
    assert failed(record) == {"counts are the published ones": "test/yes: published 256, the record says 480"}
    rewrite(record, lambda facts: facts["deviations"].append("partial: the corpus differs from its published counts"))
    assert failed(record) == {}


def test_the_command_says_what_failed_and_ends_with_1(record):
    rewrite(record, lambda facts: facts["task"]["census"].update({"test/yes": 480}))
    said = CliRunner().invoke(app, ["check", "--record", str(record.path)])
    assert said.exit_code == 1
    assert "test/yes: published 256, the record says 480" in said.stdout


def test_the_schema_is_printed():
    said = CliRunner().invoke(app, ["schema", "record"])
    assert json.loads(said.stdout) == records.schema()
