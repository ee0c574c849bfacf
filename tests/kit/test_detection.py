"""MTWV against a literal reading of its definition: every trial of the list, every threshold, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earbench import intervals
from earbench.contract import Clip, Rows, Split
from earbench.errors import BenchError
from earbench.kit.metrics.detection import BETA, MISSING, MTWV, Sought, searches


def rows_of(scores, targets, elsewhere=None, share=1.0):
    scores, targets = np.asarray(scores, float), np.asarray(targets, bool)
    names = tuple(f"q{number}" for number in range(len(scores)))
    elsewhere = np.zeros((len(scores), 2), int) if elsewhere is None else np.asarray(elsewhere)
    arrays = {"score": scores, "target": targets, "elsewhere": elsewhere, "share": np.full(len(scores), share)}
    return Rows(names, tuple((name,) for name in names), arrays)


def literal(rows, weights, unsearched=0):
    """The best of 1 - mean(miss rate + 12.49 * false alarm rate) over all thresholds, trial by trial.

    `unsearched` queries stand beside those of the rows, each with one document that holds it and one that does not.
    """
    trials = []
    for score, target, (held, others) in zip(
        *(rows.arrays[name] for name in ("score", "target", "elsewhere")), strict=True
    ):
        pairs = [*zip(score.tolist(), target.tolist(), strict=True)]
        trials.append(pairs + [(MISSING, True)] * int(held) + [(MISSING, False)] * int(others))
    weighed = [*zip(trials, weights / weights.sum() * len(rows), strict=True)]
    weighed += [([(MISSING, True), (MISSING, False)], 1.0)] * unsearched
    thresholds = {score for pairs, _ in weighed for score, _ in pairs} | {np.inf}
    return max(
        sum(weight * value(pairs, threshold) for pairs, weight in weighed) / (len(rows) + unsearched)
        for threshold in thresholds
    )


def value(pairs, threshold):
    held = [score >= threshold for score, target in pairs if target]
    others = [score >= threshold for score, target in pairs if not target]
    alarms = sum(others) / len(others) if others else 0.0
    return 1 - (held.count(False) / len(held) + (1 - 0.0008) / (100 * 0.0008) * alarms)


def test_a_false_alarm_weighs_as_the_sheet_says():
    assert pytest.approx(12.49) == BETA


@st.composite
def searched(draw):
    """A few queries and documents with many ties, some documents elsewhere, some scores missing or below that."""
    queries, documents = draw(st.integers(1, 4)), draw(st.integers(1, 7))
    levels = st.sampled_from([-12.0, MISSING, -1.0, 0.0, 0.5, 0.5, 1.0, 2.0, 3.0])
    score = draw(st.lists(st.lists(levels, min_size=documents, max_size=documents), min_size=queries, max_size=queries))
    target = draw(
        st.lists(st.lists(st.booleans(), min_size=documents, max_size=documents), min_size=queries, max_size=queries)
    )
    for row in target:
        row[draw(st.integers(0, documents - 1))] = True
    elsewhere = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=queries, max_size=queries))
    unsearched = draw(st.integers(0, 3))
    rows = rows_of(score, target, elsewhere, queries / (queries + unsearched))
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=queries, max_size=queries)), float)
    return rows, weights if weights.sum() else weights + 1, unsearched


@given(searched())
def test_value_is_the_literal_one_under_ties_and_weights_and_with_what_was_not_searched(case):
    rows, weights, unsearched = case
    assert MTWV.value(rows, weights) == pytest.approx(literal(rows, weights, unsearched), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_value_is_the_literal_one_on_many_documents(seed):
    """So many that a false alarm is worth its while."""
    rng = np.random.default_rng(seed)
    target = rng.random((6, 150)) < 0.05
    target[:, 0] = True
    rows = rows_of((rng.standard_normal((6, 150)) + 2 * target).round(2), target)
    weights = rng.integers(0, 3, 6).astype(float)
    assert 0 < literal(rows, weights) < 1
    assert MTWV.value(rows, weights) == pytest.approx(literal(rows, weights), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([[2, 1, 0]], [[True, True, False]], 1.0),
        ([[0, 1, 2]], [[True, False, False]], 0.0),  # reporting nothing is better than any threshold
        ([[1, 1, 1]], [[True, True, False]], 0.0),  # a tie with a false alarm is a false alarm
        ([[3, 1, 2]], [[True, True, False]], 0.5),
        ([[5]], [[True]], 1.0),  # no document could be a false alarm
        ([[9, 0], [2, 1]], [[True, False], [True, False]], 1.0),
        ([[9, 5], [2, 1]], [[True, False], [True, False]], 0.5),  # one threshold for all: 9 only
    ],
)
def test_small_cases_by_hand(scores, targets, expected):
    assert MTWV.value(rows_of(scores, targets), np.ones(len(scores))) == pytest.approx(expected)


def test_perfect_search_in_one_language_is_worth_its_share_of_all_queries():
    """A published SUPERB score cannot exceed the share of English queries in the answer key."""
    rows = rows_of([[2, 1, 0]], [[True, True, False]], [[0, 10_000]], share=0.25)
    assert MTWV.value(rows, np.ones(1)) == pytest.approx(0.25)


def test_documents_of_other_languages_dilute_false_alarms():
    alone, among = rows_of([[3, 1, 2]], [[True, True, False]]), rows_of([[3, 1, 2]], [[True, True, False]], [[0, 999]])
    assert MTWV.value(alone, np.ones(1)) == pytest.approx(0.5)
    assert MTWV.value(among, np.ones(1)) == pytest.approx(1 - 12.49 / 1_000)


def test_an_empty_resample_has_no_value():
    assert np.isnan(MTWV.value(rows_of([[1.0]], [[True]]), np.zeros(1)))


def test_rows_that_share_an_array_are_not_taken_for_each_other():
    one = rows_of([[2, 1]], [[True, False]])
    two = Rows(one.ids, one.groups, {**one.arrays, "target": np.array([[False, True]])})
    assert [MTWV.value(rows, np.ones(1)) for rows in (one, two, one)] == [1.0, 0.0, 1.0]


def test_bootstrap_over_queries_takes_a_moment():
    """1,000 resamples of 138 queries with 2,438 documents; about a second, where the literal way takes hours."""
    rng = np.random.default_rng(0)
    target = rng.random((138, 2_438)) < 0.005
    target[:, 0] = True
    sampled = intervals.sample(MTWV, rows_of(rng.standard_normal(target.shape) + 2 * target, target), "test")
    assert sampled.groups == 138
    assert 0 < np.quantile(sampled.replicates, 0.025) < sampled.value < 1


# ---- rows ------------------------------------------------------------------------------------------------------------


def split_of(sought, documents, share=1.0):
    clips = tuple(Clip(name, None, None, name) for name in (*sought, *documents))
    return Split(clips, {"queries": sought, "share": share})


SOUGHT = {"q1": Sought(("d2", "d3")), "q2": Sought(()), "q3": Sought((), held_elsewhere=1, not_held_elsewhere=4)}
SAID = {"q1": {"d1": 0.5, "d2": 1.5}, "q2": {}, "q3": {"d3": 2.0}}


def test_rows_hold_the_queries_that_are_said_somewhere_and_missing_pairs_have_the_default_score():
    rows = searches(split_of(SOUGHT, ["d3", "d1", "d2"], 0.5), SAID)
    assert rows.ids == ("q1", "q3")
    assert rows.groups == (("q1",), ("q3",))
    assert rows.arrays["score"].tolist() == [[0.5, 1.5, -10.0], [-10.0, -10.0, 2.0]]
    assert rows.arrays["target"].tolist() == [[False, True, True], [False, False, False]]
    assert rows.arrays["elsewhere"].tolist() == [[0, 0], [1, 4]]
    assert rows.arrays["share"].tolist() == [0.5, 0.5]


def test_documents_and_queries_cut_from_a_smoke_run_are_left_out():
    whole = split_of(SOUGHT, ["d1", "d2", "d3"])
    cut = Split(tuple(clip for clip in whole.clips if clip.id not in ("q3", "d3")), whole.truth)
    rows = searches(cut, {"q1": SAID["q1"], "q2": {}})
    assert rows.ids == ("q1",)
    assert rows.arrays["target"].tolist() == [[False, True]]


@pytest.mark.parametrize("change", [{"q1": None}, {"q9": {}}, {"d1": {}}, {"q1": {"d9": 1.0}}, {"q1": {"q2": 1.0}}])
def test_predictions_must_fit_the_split(change):
    said = {name: scores for name, scores in (SAID | change).items() if scores is not None}
    with pytest.raises(BenchError, match="do not fit"):
        searches(split_of(SOUGHT, ["d1", "d2", "d3"]), said)


def test_a_split_in_which_nothing_is_said_is_refused():
    with pytest.raises(BenchError, match="none of 1 queries"):
        searches(split_of({"q": Sought(())}, ["d1"]), {"q": {"d1": 0.0}})
