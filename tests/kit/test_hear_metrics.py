"""HEAR's single-label scores against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from earbench.contract import Rows
from earbench.kit.metrics.hear import CHROMA_ACC, METRICS, PITCH_ACC, TOP1_ACC


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 88, 300)
    guess = np.where(rng.uniform(size=300) < 0.5, truth, (truth + 12 * rng.integers(-2, 3, 300)) % 88)
    return Rows(tuple(map(str, range(300))), (("x",),) * 300, {"guess": guess, "truth": truth})


@pytest.mark.parametrize("metric", [TOP1_ACC, PITCH_ACC])
def test_pitch_and_top1_accuracy_are_scikit_learns(metric, rows):
    weights = np.random.default_rng(1).integers(0, 4, 300).astype(float)
    expected = accuracy_score(rows.arrays["truth"], rows.arrays["guess"], sample_weight=weights)
    assert metric.value(rows, weights) == pytest.approx(expected, abs=1e-12)


def test_chroma_accuracy_forgives_octaves(rows):
    """Expected: scikit-learn on both class numbers modulo 12."""
    truth, guess = (rows.arrays[key] % 12 for key in ("truth", "guess"))
    value = CHROMA_ACC.value(rows, np.ones(300))
    assert value == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    assert value > PITCH_ACC.value(rows, np.ones(300))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_empty_resample_has_no_value(metric, rows):
    assert np.isnan(metric.value(rows, np.zeros(300)))
