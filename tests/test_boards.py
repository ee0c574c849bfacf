"""Ranks, marks and footnotes of boards, the rows that others published, and what is made of whole rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fitting import record_facts, score
from scipy import stats
from scored import hits, store

from earbench import config
from earbench import record as records
from earbench.aggregates import AGGREGATES, HEAR_SCORES, SUPERB_POINTS
from earbench.boards import board
from earbench.compare import compare
from earbench.config import BoardPlan
from earbench.errors import RequestError
from earbench.published import names, table
from earbench.record import Record

KS = BoardPlan("words", "Words", ("ks",))
GROUPS = 40


def stood(plan, results, column="ks accuracy"):
    """Rank and worst rank by encoder."""
    rows = board(plan, records.every(results)).rows
    found = {row.upstream: row.cells[column].standing for row in rows}
    return {name: one and (one.rank, one.worst) for name, one in found.items()}


def test_a_clear_winner_stands_alone_and_encoders_that_differ_by_noise_share_a_rank(tmp_path):
    for name, share in (("good", 0.95), ("noise", 0.5), ("noise_too", 0.501), ("bad", 0.1)):
        store(tmp_path, name, folds=[hits([share] * GROUPS)])
    assert stood(KS, tmp_path) == {"good": (1, 1), "noise": (2, 3), "noise_too": (2, 3), "bad": (4, 4)}


def test_where_less_is_better_the_least_is_first(tmp_path):
    for name, share in (("good", 0.1), ("bad", 0.9)):
        written = store(tmp_path, name, folds=[hits([share] * GROUPS)])
        facts = json.loads(written.path.read_text())
        facts["scores"]["accuracy"]["better"] = "lower"
        written.path.write_text(json.dumps(facts))
    assert stood(KS, tmp_path) == {"good": (1, 1), "bad": (2, 2)}


def test_two_encoders_are_ranked_by_the_very_test_of_bench_compare(tmp_path):
    """Over ten pairs, near and far: a shared rank exactly where compare says that they are not separated."""
    told = set()
    for number in range(10):
        results = tmp_path / str(number)
        for name, share in (("one", 0.5), ("two", 0.5 + number / 25)):
            store(results, name, folds=[hits([share + number / 1e6] * GROUPS)])
        (found,) = compare("one", "two", records.every(results))
        ranks = {one[0] for one in stood(KS, results).values()}
        told.add(found.p <= 0.05)
        assert (found.p <= 0.05) == (ranks == {1, 2})
    assert told == {True, False}


def test_pairs_are_corrected_for_how_many_there_are(tmp_path):
    """A difference that is clear between two is not clear any more among many."""
    for number in range(30):
        store(tmp_path, f"other{number:02}", folds=[hits([0.5 + number / 1e6] * GROUPS)])
    store(tmp_path, "a", folds=[hits([0.3] * GROUPS)])
    store(tmp_path, "b", folds=[hits([0.44] * GROUPS)])
    (alone,) = compare("a", "b", records.every(tmp_path))
    assert alone.p < 0.05
    two = [record for record in records.every(tmp_path) if record.upstream in "ab"]
    assert [row.cells["ks accuracy"].standing.rank for row in board(KS, two).rows] == [1, 2]
    among = stood(KS, tmp_path)
    assert among["a"][1] == 32
    assert among["b"][1] == 32


def test_a_lone_encoder_and_one_without_replicates_have_no_rank(tmp_path):
    store(tmp_path, "one", folds=[hits([0.5] * GROUPS)])
    assert stood(KS, tmp_path) == {"one": None}
    records.write(tmp_path, record_facts("bare"), [], {})
    store(tmp_path, "two", folds=[hits([0.9] * GROUPS)])
    assert stood(KS, tmp_path) == {"two": (1, 1), "one": (2, 2), "bare": None}


def test_with_too_few_groups_nobody_has_a_rank_and_the_board_says_so(tmp_path):
    for name, share in (("one", 0.1), ("two", 0.9)):
        store(tmp_path, name, folds=[hits([share] * 4)])
    assert stood(KS, tmp_path) == {"one": None, "two": None}
    assert "ks: 4 groups are too few for ranks" in board(KS, records.every(tmp_path)).notes


@pytest.mark.parametrize("other", [{"tested": "1" * 16}, {"version": 1}], ids=str)
def test_a_record_of_another_test_list_stands_on_the_board_without_rank_and_is_refused_by_compare(other, tmp_path):
    for name, share in (("one", 0.1), ("two", 0.9)):
        store(tmp_path, name, folds=[hits([share] * GROUPS)], version=2)
    store(tmp_path, "elsewhere", folds=[hits([0.99] * GROUPS)], **{"version": 2} | other)
    assert stood(KS, tmp_path) == {"elsewhere": None, "two": (1, 1), "one": (2, 2)}
    found = board(KS, records.every(tmp_path))
    note = "elsewhere: ks was tested on another list than the others, without rank"
    assert [found.notes[place] for place in found.rows[0].cells["ks accuracy"].notes][-1] == note
    with pytest.raises(RequestError, match="different lists of 'ks'"):
        compare("one", "elsewhere", records.every(tmp_path))


def test_folds_of_one_group_are_compared_fold_by_fold(tmp_path):
    """Expected: scipy's paired t test over folds. Resampling one group says nothing, and would find any difference."""
    made = {name: [hits([share], 50) for share in shares] for name, shares in FOLDS.items()}
    for name, folds in made.items():
        store(tmp_path, name, folds=folds)
    (found,) = compare("one", "two", records.every(tmp_path))
    one, two = ([100 * fold.mean() for fold in folds] for folds in made.values())
    assert found.p == pytest.approx(stats.ttest_rel(one, two).pvalue)
    assert found.p > 0.05


FOLDS = {"one": [0.5, 0.7, 0.6, 0.8, 0.55, 0.65], "two": [0.6, 0.65, 0.7, 0.7, 0.6, 0.75]}


def test_few_groups_in_each_fold_are_put_right_fold_by_fold(tmp_path):
    """Expected: the variance of a mean of folds from the groups' own differences; five folds of two groups leave five
    degrees of freedom.
    """
    made = {name: [hits([0.3 + shift, 0.8 - fold / 20], 60) for fold in range(5)] for name, shift in TWO.items()}
    for name, folds in made.items():
        store(tmp_path, name, folds=folds)
    (found,) = compare("one", "two", records.every(tmp_path))
    gaps = [100 * (one - two).mean(axis=1) for one, two in zip(*made.values(), strict=True)]
    error = np.sqrt(sum(np.var(gap, ddof=1) / 2 for gap in gaps)) / 5
    half = (found.high - found.low) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 5) * error, rel=0.05)


TWO = {"one": 0.0, "two": 0.15}


# ---- marks, folds, layers --------------------------------------------------------------------------------------------


def test_the_best_and_the_second_best_value_of_every_column_are_marked(tmp_path):
    found = [Record(tmp_path / f"{name}-1.json", record_facts(name, accuracy=value)) for name, value in VALUES.items()]
    rows = board(KS, found).rows
    marks = {row.upstream: row.cells["ks accuracy"].mark for row in rows}
    assert marks == {"a": "best", "b": "best", "c": "second", "d": None}
    assert [row.cells["ks accuracy"].mark for row in board(KS, found[:2]).rows] == [None, None]


VALUES = {"a": 90.0, "b": 90.0, "c": 80.0, "d": 70.0}


def test_the_spread_over_folds_is_the_sample_standard_deviation_of_the_folds_means_over_seeds(tmp_path):
    """Expected: the published example of HEAR's notebook (sheet 9.1)."""
    folds = [0.8202, 0.8503, 0.8036, 0.8452, 0.8258]
    one = score(0.829, unit="", low=0.8, high=0.85) | {"per_seed": [folds]}
    (row,) = board(KS, [Record(tmp_path / "x-1.json", record_facts(scores={"accuracy": one}))]).rows
    assert row.cells["ks accuracy"].spread == pytest.approx(0.0190, abs=5e-5)
    assert np.mean(row.cells["ks accuracy"].folds) == pytest.approx(0.8290, abs=5e-5)
    two = one | {"per_seed": [folds, [value + 0.01 for value in folds]]}
    (row,) = board(KS, [Record(tmp_path / "x-1.json", record_facts(scores={"accuracy": two}))]).rows
    assert row.cells["ks accuracy"].folds[0] == pytest.approx(0.8252)


def test_runs_with_other_layers_stand_only_on_the_board_that_asks_for_them(tmp_path):
    mixed = record_facts("mixed", layers={"choice": "mix"}, deviations=["layers-mix: the protocol uses last"])
    plain = record_facts("plain", layers={"choice": "last"})
    cut = mixed | {"deviations": [*mixed["deviations"], "quick: a smoke run"]}
    found = [Record(tmp_path / f"{number}-1.json", facts) for number, facts in enumerate((mixed, plain, cut))]
    assert [row.upstream for row in board(KS, found).rows] == ["plain"]
    assert [row.upstream for row in board(replace(KS, layers="mix"), found).rows] == ["mixed"]
    assert board(replace(KS, layers="mix"), found[2:]).rows == ()


# ---- made of whole rows ----------------------------------------------------------------------------------------------


def hear_records(folder, name, value, **others):
    """Records of all of HEAR's tasks, or but those that are None, with every score at `value`."""
    for task, metric in HEAR_SCORES:
        given = others.get(task, value)
        if given is not None:
            facts = record_facts(name, task, scores={metric: score(given, unit="") | {"bounds": [0, 1]}})
            yield Record(folder / f"{facts['plan']['id']}-1.json", facts)


HEAR = config.load().boards["hear"]


def test_hears_mean_and_summary_are_of_whole_rows_only(tmp_path):
    found = [
        *hear_records(tmp_path, "low", 0.2),
        *hear_records(tmp_path, "high", 0.4, pitch=1.0),
        *hear_records(tmp_path, "gap", 0.9, pitch=None),
    ]
    rows = {row.upstream: row for row in board(HEAR, found).rows}
    assert list(rows) == ["high", "low", "gap"]
    assert rows["low"].cells["hear_mean"].value == pytest.approx(0.2)
    assert rows["high"].cells["hear_mean"].value == pytest.approx((18 * 0.4 + 1.0) / 19)
    assert [rows[name].cells["hear_summary"].value for name in ("low", "high")] == pytest.approx([-1, 1])
    assert not {"hear_mean", "hear_summary"} & rows["gap"].cells.keys()
    alone = board(HEAR, found[:19]).rows[0].cells
    assert "hear_summary" not in alone


def test_hears_summary_keeps_what_is_far_out_within_one():
    """Expected: worked by hand, scores 0, 0, 0, 1 standardise to -0.577 and 1.73."""
    rows = [dict.fromkeys(HEAR_SCORES, value) for value in (0.0, 0.0, 0.0, 1.0)]
    assert AGGREGATES["hear_summary"].values(rows) == pytest.approx([-0.57735] * 3 + [1.0], abs=1e-5)


def test_the_board_of_hear_has_the_nineteen_columns_and_their_mix_is_a_board_of_its_own():
    boards = config.load().boards
    assert HEAR.columns == tuple(f"{task} {metric}" for task, metric in HEAR_SCORES)
    assert len(set(HEAR.tasks)) == 19
    assert boards["hear-mix"].columns == HEAR.columns
    assert (boards["hear-mix"].layers, boards["hear-mix"].published) == ("mix", "")
    assert set(boards["hear-demo"].columns) < set(HEAR.columns)
    assert boards["hear-demo"].corpus == "demo"


@pytest.mark.parametrize("name", [name for name, one in AGGREGATES.items() if one.weights])
def test_the_weights_of_an_aggregate_are_what_it_moves_by(name):
    """Expected: differences of the aggregate itself, score by score."""
    one = AGGREGATES[name]
    base = dict.fromkeys(one.weights, 0.5)
    (start,) = one.values([base])
    moved = {score: one.values([base | {score: 1.5}])[0] - start for score in base}
    assert moved == pytest.approx(dict(one.weights))


def test_an_aggregate_is_ranked_by_what_its_tasks_say_together(tmp_path):
    """Expected: a t test with the tasks' variances added and Welch-Satterthwaite's degrees of freedom, by hand."""
    plan = BoardPlan("superb", "SUPERB", tuple(SUPERB_POINTS), aggregates=("superb_score",))
    made = {}
    for name, share in (("one", 0.5), ("two", 0.62), ("far", 0.95)):
        for task, points in SUPERB_POINTS.items():
            written = store(tmp_path, name, task, folds=[hits([share, *(share,) * 24])])
            facts = json.loads(written.path.read_text())
            facts["scores"] = dict.fromkeys(points, facts["scores"]["accuracy"])
            written.path.write_text(json.dumps(facts))
            one = written.replicates()["accuracy"]
            np.savez(written.path.with_name(f"{written.path.stem}.replicates.npz"), **dict.fromkeys(points, one))
            made[name, task] = one[0]
    found = board(plan, records.every(tmp_path))
    cells = {row.upstream: row.cells["superb_score"] for row in found.rows}
    weights = AGGREGATES["superb_score"].weights
    by_task = {task: sum(weights[task, metric] for metric in points) for task, points in SUPERB_POINTS.items()}
    own = [(by_task[task] * made["one", task]).var(ddof=1) * 25 / 24 for task in SUPERB_POINTS]
    freedom = sum(own) ** 2 / sum(one**2 / 24 for one in own)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(own))
    limits = [cells["one"].score[key] for key in ("low", "high")]
    assert limits == pytest.approx([cells["one"].value - half, cells["one"].value + half], rel=1e-4)
    assert all(cell.standing is not None for cell in cells.values())


# ---- what others published -------------------------------------------------------------------------------------------


def test_published_rows_stand_apart_without_rank(tmp_path):
    found = board(HEAR, [*hear_records(tmp_path, "low", 0.2), *hear_records(tmp_path, "high", 0.4)])
    assert [row.upstream for row in found.rows] == ["high", "low"]
    assert len(found.published.rows) == 17
    best = {cell.mark for cell in found.rows[0].cells.values()}
    assert best == {"best"}  # though most published scores are higher


@pytest.mark.parametrize("name", names())
def test_a_published_table_fits_its_board_and_says_where_it_is_from(name):
    (plan,) = [plan for plan in config.load().boards.values() if plan.published == name]
    found = table(name)
    assert found.source
    assert all(set(row.scores) <= set(plan.columns) for row in found.rows)
    assert len({row.name for row in found.rows}) == len(found.rows)


def test_published_digits_are_kept_and_gaps_are_gaps():
    """Expected: read off the sheet by eye."""
    rows = {row.name: row.scores for row in table("hear2021").rows}
    assert rows["CREPE"]["hear_beehive aucroc"] == "0.593"
    assert rows["OpenL3"]["hear_crema_d top1_acc"] == "0.550"
    assert rows["RedRice CED base (2023)"]["hear_vox_lingua_top10 top1_acc"] == "0.386"
    assert "hear_beehive aucroc" not in rows["wav2vec2"]
    assert sum("hear_beehive aucroc" in row for row in rows.values()) == 9
    assert {row.name: row.scores for row in table("superb").rows}["HuBERT Base"]["qbe mtwv"] == "0.0736"


def test_the_published_superb_rows_give_the_published_scores():
    rows = {row.name: row.scores for row in table("superb").rows}
    for name, printed in {"PASE+": 149, "APC": 392, "HuBERT Large": 919, "WavLM Base+ (Oct 2021)": 1078}.items():
        values = {tuple(column.split()): float(text) for column, text in rows[name].items()}
        assert AGGREGATES["superb_score"].values([values]) == [pytest.approx(printed, abs=1.0)], name
