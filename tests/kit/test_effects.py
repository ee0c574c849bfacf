import numpy as np
import pytest

from earbench.errors import RequestError
from earbench.kit.effects import apply


def test_three_decibels_less_is_the_factor_of_the_protocol_sheet():
    """Expected: 0.70795, SUPERB sheet section 2."""
    assert apply(np.ones(1, np.float32), 16_000, [("gain_db", -3.0)])[0] == pytest.approx(0.70795, abs=5e-6)


def test_samples_stay_single_precision_and_the_given_array_unchanged():
    samples = np.array([0.5, -1.0], np.float32)
    assert apply(samples, 16_000, [("gain_db", 6.0)]).dtype == np.float32
    assert samples.tolist() == [0.5, -1.0]


def test_gain_does_not_clip():
    assert apply(np.ones(1, np.float32), 16_000, [("gain_db", 20.0)])[0] == pytest.approx(10.0)


def test_effects_follow_each_other():
    samples = np.array([0.25], np.float32)
    assert apply(samples, 16_000, [("gain_db", 20.0), ("gain_db", -20.0)])[0] == pytest.approx(0.25)
    assert apply(samples, 16_000, []) is samples


def test_unknown_effect_is_named_with_those_there_are():
    with pytest.raises(RequestError, match=r"'revreb'\n  there are: crop_8s, gain_db, trim_quiet"):
        apply(np.ones(1, np.float32), 16_000, [("revreb", 1.0)])
