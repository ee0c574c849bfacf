"""The equal error rate against scikit-learn's ROC, interpolated and solved as the protocol's reference does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from earbench.contract import Rows
from earbench.kit.metrics.verification import EER

TRIALS = st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=60)


def rows(scores, targets):
    ids = tuple(map(str, range(len(scores))))
    return Rows(ids, (("a", "b"),) * len(ids), {"score": np.asarray(scores, float), "target": np.asarray(targets, int)})


def value(scores, targets, weights=None):
    return EER.value(rows(scores, targets), np.ones(len(scores)) if weights is None else np.asarray(weights, float))


def reference(scores, targets, weights=None):
    """Sheet 2.6: ROC, straight lines, root of 1 - x - TPR(x)."""
    false, true, _ = roc_curve(targets, scores, sample_weight=weights)
    line = interp1d(false, true)
    return 100 * brentq(lambda x: 1.0 - x - line(x), 0.0, 1.0)


@given(TRIALS)
def test_ties_and_weights_give_what_scikit_learns_roc_gives(trials):
    scores, targets, weights = zip((0, True, 1), (0, False, 1), *trials, strict=False)
    assert value(scores, targets) == pytest.approx(reference(scores, targets), abs=1e-6)
    assert value(scores, targets, weights) == pytest.approx(reference(scores, targets, weights), abs=1e-6)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.7, 2.5])
def test_thousands_of_scores_give_what_scikit_learns_roc_gives(shift):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 5_000)
    scores = rng.standard_normal(5_000) + shift * targets
    weights = rng.poisson(1.0, 5_000)
    assert value(scores, targets) == pytest.approx(reference(scores, targets), abs=1e-6)
    assert value(scores, targets, weights) == pytest.approx(reference(scores, targets, weights), abs=1e-6)


def test_an_integer_weight_is_so_many_copies():
    rng = np.random.default_rng(1)
    scores, targets, weights = rng.normal(size=50).round(1), rng.integers(0, 2, 50), rng.integers(0, 4, 50)
    copies = np.repeat(np.arange(50), weights)
    assert value(scores, targets, weights) == pytest.approx(value(scores[copies], targets[copies]), abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 100.0),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 50.0),
        ([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], 25.0),
        ([0.9, 0.2], [1, 0], 0.0),
    ],
)
def test_small_cases_worked_by_hand(scores, targets, expected):
    """The fourth: one true trial passes at 0.9; at 0.5 both rates go from (0, 1/2) straight to (1/2, 1)."""
    assert value(scores, targets) == pytest.approx(expected)


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0], []])
def test_one_kind_of_trial_alone_has_no_rate(targets):
    assert np.isnan(value(np.zeros(len(targets)), targets))


def test_a_kind_of_trial_without_weight_has_no_rate():
    assert np.isnan(value([0.9, 0.1, 0.2], [1, 0, 0], [0, 1, 1]))
    assert np.isnan(value([0.9, 0.1, 0.2], [1, 0, 0], [0, 0, 0]))


def test_order_of_trials_does_not_matter():
    rng = np.random.default_rng(2)
    scores, targets, weights = rng.normal(size=90).round(1), rng.integers(0, 2, 90), rng.integers(0, 3, 90)
    order = np.argsort(-scores, kind="stable")
    assert value(scores, targets, weights) == pytest.approx(
        value(scores[order], targets[order], weights[order]), abs=1e-9
    )
