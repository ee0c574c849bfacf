"""Multilabel and regression scores against scikit-learn, on random and degenerate input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

from earbench.contract import Clip, Rows, Split
from earbench.errors import BenchError
from earbench.kit.metrics.multilabel import AUROC, MEAN_AP, tagged
from earbench.kit.metrics.ranking import Ranking
from earbench.kit.metrics.regression import MAE, R2, RMSE, numbered

UNITS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30
)  # few scores: many ties


def arrays(units):
    truth, score, weights = (np.array(column, float) for column in zip(*units, strict=True))
    return truth, score, weights


def one(truth, score):
    """The ranking of a single label."""
    return Ranking(truth[:, None] > 0, score[:, None])


def rows(**columns):
    count = len(next(iter(columns.values())))
    names = tuple(map(str, range(count)))
    return Rows(names, tuple((name,) for name in names), columns)


@given(UNITS)
def test_average_precision_is_scikit_learns_with_ties_and_weights(units):
    truth, score, weights = arrays(units)
    (found,) = one(truth, score).precisions(weights)
    if not (weights * truth).sum():
        assert np.isnan(found)
    else:
        kept = weights > 0
        assert found == pytest.approx(
            average_precision_score(truth[kept], score[kept], sample_weight=weights[kept]), abs=1e-12
        )


@given(UNITS)
def test_area_under_roc_is_scikit_learns_with_ties_and_weights(units):
    truth, score, weights = arrays(units)
    (found,) = one(truth, score).areas(weights)
    if not (weights * truth).sum() or not (weights * (1 - truth)).sum():
        assert np.isnan(found)
    else:
        kept = weights > 0
        assert found == pytest.approx(roc_auc_score(truth[kept], score[kept], sample_weight=weights[kept]), abs=1e-12)


def test_means_over_labels_are_scikit_learns_macro_average():
    rng = np.random.default_rng(0)
    truth, score = (rng.uniform(size=(200, 7)) < 0.3).astype(float), rng.normal(size=(200, 7)).round(1)
    weights = rng.integers(1, 4, 200).astype(float)
    for metric, expected in [(MEAN_AP, average_precision_score), (AUROC, roc_auc_score)]:
        value = metric.value(rows(truth=truth, score=score), weights)
        assert value == pytest.approx(expected(truth, score, average="macro", sample_weight=weights), abs=1e-12)


def test_a_label_without_a_clip_is_left_out_of_the_mean():
    truth, score = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[0.1, 0.5], [0.9, 0.5]])
    assert MEAN_AP.value(rows(truth=truth, score=score), np.ones(2)) == 0.5
    assert AUROC.value(rows(truth=truth, score=score), np.ones(2)) == 0.0
    assert np.isnan(MEAN_AP.value(rows(truth=truth[1:], score=score[1:]), np.ones(1)))


def test_tags_are_laid_out_label_by_label():
    clips = tuple(Clip(name, None, tags, "anna") for name, tags in [("1", ("b", "a")), ("2", ())])
    found = tagged(Split(clips), {"2": [0.1, 0.2, 0.3], "1": [0.9, 0.8, 0.7]}, ("a", "b", "c"))
    assert found.arrays["truth"].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert found.arrays["score"].tolist() == [[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]]
    with pytest.raises(BenchError, match="1 clips have none"):
        tagged(Split(clips), {"1": [0.0, 0.0, 0.0]}, ("a", "b", "c"))


def test_errors_of_numbers_are_scikit_learns_with_weights():
    rng = np.random.default_rng(0)
    truth = rng.normal(3.0, 10.0, 100)
    guess = truth + rng.normal(0.0, 5.0, 100)
    weights = rng.integers(0, 4, 100).astype(float)
    for metric, expected in [
        (R2, r2_score(truth, guess, sample_weight=weights)),
        (RMSE, np.sqrt(mean_squared_error(truth, guess, sample_weight=weights))),
        (MAE, mean_absolute_error(truth, guess, sample_weight=weights)),
    ]:
        assert metric.value(rows(truth=truth, guess=guess), weights) == pytest.approx(expected, rel=1e-12)


def test_r2_has_no_value_where_the_truth_does_not_vary():
    flat = rows(truth=np.array([2.0, 2.0, 5.0]), guess=np.array([2.0, 2.0, 5.0]))
    assert np.isnan(R2.value(flat, np.array([1.0, 3.0, 0.0])))
    assert R2.value(flat, np.ones(3)) == 1.0


@pytest.mark.parametrize("metric", [R2, RMSE, MAE])
def test_an_empty_resample_of_numbers_has_no_value(metric):
    assert np.isnan(metric.value(rows(truth=np.array([1.0, 2.0]), guess=np.array([1.0, 2.0])), np.zeros(2)))


def test_numbers_are_laid_out_in_the_order_of_the_split():
    clips = tuple(Clip(name, None, value, "anna") for name, value in [("1", 1.5), ("2", -2.0)])
    found = numbered(Split(clips), {"2": 0.0, "1": 3.0})
    assert (found.arrays["truth"].tolist(), found.arrays["guess"].tolist()) == ([1.5, -2.0], [3.0, 0.0])
