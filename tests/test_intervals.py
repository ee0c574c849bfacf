from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from earbench.contract import Clip, Labels, Metric, Rows, Split
from earbench.intervals import REPLICATES, Sampled, around, interval, replicates, sample
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.metrics.hear import D_PRIME, scene_rows
from earbench.kit.seeds import generator


def rows(hits, groups):
    """Rows with these hits; `groups` gives one name, or a tuple of names, per unit."""
    names = tuple(one if isinstance(one, tuple) else (one,) for one in groups)
    return Rows(tuple(f"u{number}" for number in range(len(hits))), names, {"hit": np.asarray(hits, float)})


def spoken(by_group, size=4):
    """`size` hits or misses for every group, each group all right or all wrong."""
    return rows(np.repeat(by_group, size), np.repeat([f"p{number}" for number in range(len(by_group))], size))


RANDOM = generator("test intervals")
MANY_ENDS = np.where(np.arange(REPLICATES) % 2, np.inf, -np.inf)
MANY = spoken(RANDOM.integers(0, 2, 40))


def test_replicates_are_the_same_resamples_for_every_encoder():
    other = spoken(1 - MANY.arrays["hit"][::4])
    one, two = sample(ACCURACY, MANY, "ks", 1, "list"), sample(ACCURACY, other, "ks", 1, "list")
    assert np.allclose(one.replicates + two.replicates, 100)
    assert np.array_equal(one.replicates, sample(ACCURACY, MANY, "ks", 1, "list").replicates)
    assert not np.array_equal(one.replicates, sample(ACCURACY, MANY, "ks", 2, "list").replicates)


def test_a_paired_difference_is_narrower_than_two_intervals():
    """Two encoders that err on the same speakers but one: the difference is known better than either score."""
    hits = MANY.arrays["hit"].copy()
    hits[np.flatnonzero(hits)[0]] = 0
    one, two = (sample(ACCURACY, some, "ks") for some in (MANY, replace(MANY, arrays={"hit": hits})))
    assert np.std(one.replicates - two.replicates) < 0.2 * np.std(one.replicates)


def test_rows_of_one_group_move_together():
    """Forty groups of four equal rows are forty observations: the spread is that of forty, not of 160."""
    share = MANY.arrays["hit"].mean()
    expected = 100 * np.sqrt(share * (1 - share) / 40)
    assert sample(ACCURACY, MANY).replicates.std() == pytest.approx(expected, rel=0.1)
    apart = replace(MANY, groups=tuple((name,) for name in MANY.ids))
    assert sample(ACCURACY, apart).replicates.std() == pytest.approx(expected / 2, rel=0.1)


def test_the_order_of_the_rows_does_not_matter():
    turned = Rows(MANY.ids[::-1], MANY.groups[::-1], {"hit": MANY.arrays["hit"][::-1]})
    assert np.allclose(sample(ACCURACY, turned).replicates, sample(ACCURACY, MANY).replicates)


def test_a_trial_weighs_the_product_of_its_two_groups():
    """Expected: the weights recomputed here from the same draws."""
    names = [f"p{number:02d}" for number in range(25)]
    pairs = [(one, other) for one in names for other in names if one < other][:120]
    trials = rows(RANDOM.integers(0, 2, len(pairs)), pairs)
    known = sorted({name for pair in pairs for name in pair})
    draws = generator("bootstrap", "trials").multinomial(len(known), np.full(len(known), 1 / len(known)), REPLICATES)
    expected = []
    for draw in draws:
        times = dict(zip(known, draw.tolist(), strict=True))
        weights = np.array([times[one] * times[other] for one, other in pairs], float)
        expected.append(100 * (weights * trials.arrays["hit"]).sum() / weights.sum())
    found = sample(ACCURACY, trials, "trials")
    assert found.groups == len(known)
    np.testing.assert_allclose(found.replicates, expected)


def test_a_trial_of_a_speaker_with_itself_weighs_as_much_as_the_speaker():
    same = replace(MANY, groups=tuple((name, name) for (name,) in MANY.groups))
    assert sample(ACCURACY, same, "seed").replicates.tolist() == sample(ACCURACY, MANY, "seed").replicates.tolist()


def logit_t(percent, error, freedom):
    """The limits of a percentage by scipy: Student's t around its logit, whose slope is 1 / (p (1 - p))."""
    share = percent / 100
    limits = stats.t.interval(0.95, freedom, special.logit(share), error / 100 / (share * (1 - share)))
    return tuple(100 * special.expit(limits))


def arcsine_t(percent, error, freedom):
    """The same around the arcsine of the root, whose slope is 1 / (2 sqrt(p (1 - p)))."""
    share = percent / 100
    limits = stats.t.interval(0.95, freedom, np.arcsin(share**0.5), error / 200 / (share * (1 - share)) ** 0.5)
    return tuple(100 * np.sin(np.clip(limits, 0, np.pi / 2)) ** 2)


def test_with_many_groups_the_error_is_that_of_the_replicates():
    """Expected: scipy, and the variance that resamples of forty lack."""
    found = sample(ACCURACY, MANY)
    facts = interval(ACCURACY, [[found]])
    expected = logit_t(found.value, found.replicates.std(ddof=1) * np.sqrt(40 / 39), 39)
    assert (facts["interval"], facts["groups"]) == ("bootstrap, logit t", 40)
    assert (facts["low"], facts["high"]) == pytest.approx(expected)


def test_below_twenty_groups_the_error_is_that_of_the_groups_own_scores():
    """Expected: for groups of equal size, the standard error of their accuracies (scipy)."""
    scores = 100 * np.array([0, 1, 1, 0, 1, 1, 1, 0, 1, 0])
    facts = interval(ACCURACY, [[sample(ACCURACY, spoken(scores / 100))]])
    assert facts["interval"] == "jackknife, arcsine t"
    assert (facts["low"], facts["high"]) == pytest.approx(arcsine_t(scores.mean(), stats.sem(scores), 9))


FEW_SAID = [(1, "none: 1 group"), (4, "none: 4 groups"), (5, "jackknife, arcsine t"), (19, "jackknife, arcsine t")]


@pytest.mark.parametrize(("count", "said"), FEW_SAID)
def test_below_five_groups_there_is_no_interval_and_the_number_is_said(count, said):
    facts = interval(ACCURACY, [[sample(ACCURACY, spoken([number % 2 for number in range(count)]))]])
    assert (facts["interval"], facts["groups"]) == (said, count)
    assert (facts["low"] is None) == (facts["high"] is None) == said.startswith("none")
    assert facts["value"] is not None


@pytest.mark.parametrize("hits", [[1] * 6, [0] * 30])
def test_groups_that_are_all_alike_do_not_say_how_far_others_would_differ(hits):
    facts = interval(ACCURACY, [[sample(ACCURACY, spoken(hits))]])
    assert (facts["value"], facts["low"], facts["high"]) == (100 * hits[0], None, None)
    assert facts["interval"] == f"none: {len(hits)} groups all alike"


@pytest.mark.parametrize("groups", [12, 40])
def test_rounding_makes_no_interval(groups):
    """One of twelve is right in every group: sums of such shares differ in their last digits."""
    found = rows(np.tile(np.eye(12)[0], groups), np.repeat([f"p{number}" for number in range(groups)], 12))
    assert interval(ACCURACY, [[sample(ACCURACY, found)]])["interval"] == f"none: {groups} groups all alike"
    wobbling = replace(ACCURACY, value=lambda _, counts: 8.333333333333333 + 1e-14 * counts[0])
    assert interval(wobbling, [[sample(wobbling, found)]])["interval"] == f"none: {groups} groups all alike"


@pytest.mark.parametrize("value", [1e-6, 0.3, 50, 99.9])
@pytest.mark.parametrize("half", [1e-9, 0.5, 40, 1e6])
def test_an_interval_stays_within_the_bounds_of_its_metric_and_around_its_value(value, half):
    for bounds in [(0, 100), (0, np.inf), (-np.inf, 100), (-np.inf, np.inf)]:
        for few in (True, False):
            _, low, high = around(value, half, bounds, few)
            assert bounds[0] <= low <= value * (1 + 1e-12)
            assert value * (1 - 1e-12) <= high <= bounds[1]
            assert np.isfinite([low, high]).all()


def test_scales_are_logarithms_of_the_distances_from_the_bounds():
    """Expected by hand: the logarithm of 20 is 1 / 20 wide for each unit, that of the distance 5 from 100, 1 / 5."""
    assert around(20, 10, (0, np.inf)) == ("log t", pytest.approx(20 * np.exp(-0.5)), pytest.approx(20 * np.exp(0.5)))
    scale, low, high = around(95, 1, (-np.inf, 100))
    assert (scale, low, high) == ("log t", pytest.approx(100 - 5 * np.exp(0.2)), pytest.approx(100 - 5 * np.exp(-0.2)))
    assert around(20, 10, (-np.inf, np.inf)) == ("t", 10, 30)


def test_at_a_bound_there_is_no_logarithm():
    assert around(0, 3, (0, 1)) == ("t", 0, 1)
    assert around(100, 3, (0, 100)) == ("t", 97, 100)


def test_a_turned_metric_has_the_turned_interval():
    """An error rate of 10 % is an accuracy of 90 %, a correlation is Fisher's z."""
    _, low, high = around(10, 4, (0, 100))
    assert around(90, 4, (0, 100))[1:] == pytest.approx((100 - high, 100 - low))
    limits = np.tanh(np.arctanh(0.6) + np.array([-1, 1]) * 0.2 / (1 - 0.36))
    assert around(0.6, 0.2, (-1, 1))[1:] == pytest.approx(limits)


def known(values, spread=1.0, groups=40):
    """A sample for each seed, on one fold, that agrees over groups to within `spread`."""
    noise = generator("noise").normal(0, spread, REPLICATES)
    return [[Sampled(value, value + noise, spread, groups)] for value in values]


FREE = replace(ACCURACY, bounds=(-np.inf, np.inf))


def test_with_several_seeds_the_score_is_their_mean_and_the_interval_covers_their_spread():
    """Expected: Welch-Satterthwaite by hand, from the variance over groups and that of the mean of the seeds."""
    near, far = (interval(FREE, known(values)) for values in ([50, 50.1, 49.9], [40, 60, 50]))
    assert (near["value"], far["value"]) == pytest.approx((50, 50))
    assert near["interval"] == far["interval"] == "bootstrap, t"
    assert near["high"] - near["low"] == pytest.approx(2 * stats.t.ppf(0.975, 39), rel=0.05)
    seeds = 100 / 3
    freedom = (1 + seeds) ** 2 / (1 / 39 + seeds**2 / 2)
    assert far["high"] - far["low"] == pytest.approx(2 * stats.t.ppf(0.975, freedom) * np.sqrt(1 + seeds), rel=0.02)


def test_a_score_over_folds_is_their_mean():
    folds = [Sampled(value, np.full(REPLICATES, value), 0.0, 30) for value in (10.0, 20.0, 60.0)]
    facts = interval(ACCURACY, [folds])
    assert (facts["value"], facts["groups"]) == (30, 90)
    assert replicates([folds]).shape == (1, REPLICATES)
    assert set(replicates([folds]).flatten()) == {30.0}


def test_few_groups_in_each_fold_are_few_even_where_the_folds_have_many_together():
    """Five folds of four speakers resample four at a time, which is too narrow; so the jackknife, with 15 to spare."""
    folds = [sample(FREE, spoken(RANDOM.permutation([0, 0, 1, 1]))) for _ in range(5)]
    facts = interval(FREE, [folds])
    half = stats.t.ppf(0.975, 15) * folds[0].error / np.sqrt(5)
    assert facts["interval"] == "jackknife, t"
    assert facts["high"] - facts["low"] == pytest.approx(2 * half)


def test_where_every_fold_holds_one_group_the_folds_are_the_groups():
    folds = [sample(ACCURACY, rows([1] * right + [0] * (10 - right), ["one"] * 10)) for right in (2, 4, 5, 6, 9)]
    facts = interval(ACCURACY, [folds])
    scores = np.array([20, 40, 50, 60, 90])
    assert (facts["low"], facts["high"]) == pytest.approx(arcsine_t(scores.mean(), stats.sem(scores), 4))


def test_a_metric_without_a_value_has_none_and_no_interval():
    nothing = Metric("nothing", "", "higher", 1.0, (0.0, 1.0), lambda *_: float("nan"))
    facts = interval(nothing, [[sample(nothing, MANY)]])
    assert np.isnan(facts["value"])
    assert (facts["low"], facts["high"], facts["interval"]) == (None, None, "none: no value")


def test_resamples_without_a_value_are_left_out_of_the_interval():
    """A class that only one speaker has is missing from a third of the resamples."""

    def share(_, weights):
        return float(weights[0] / weights.sum()) if weights[0] else float("nan")

    metric = Metric("share", "", "higher", 1.0, (0.0, 1.0), share)
    found = sample(metric, MANY)
    assert 0.3 < np.isnan(found.replicates).mean() < 0.45
    facts = interval(metric, [[found]])
    assert facts["low"] <= facts["value"] < facts["high"]
    few = interval(metric, [[sample(metric, spoken([0, 1, 1, 0, 1, 1]))]])
    assert (few["low"], few["interval"]) == (None, "none: no value without some of 6 groups")


def test_an_infinite_score_has_no_interval_and_says_why():
    best, mixed = Sampled(np.inf, np.full(REPLICATES, np.inf), np.nan, 40), Sampled(-np.inf, MANY_ENDS, np.nan, 40)
    assert interval(D_PRIME, [[best]])["interval"] == "none: infinite"
    assert interval(D_PRIME, [[best]])["value"] == np.inf
    both = interval(D_PRIME, [[best, mixed]])
    assert (both["interval"], both["low"], both["high"]) == ("none: no value", None, None)
    assert np.isnan(both["value"])


def test_resamples_without_a_finite_value_leave_the_interval_to_the_others():
    """One group of six is all that stands between the labels and infinity: leaving it out has no finite score."""
    labels = ["a", "b"] * 6
    likely = [[0.9, 0.1] if label == "a" else [0.1, 0.9] for label in labels]
    likely[0] = likely[0][::-1]
    clips = tuple(Clip(str(number), None, label, f"p{number // 2}") for number, label in enumerate(labels))
    rows = scene_rows(Split(clips), {clip.id: one for clip, one in zip(clips, likely, strict=True)}, Labels("ab"))
    found = sample(D_PRIME, rows, "few")
    assert np.isfinite(found.value)
    assert np.isnan(found.error)
    assert np.isinf(found.replicates).any()
    told = interval(D_PRIME, [[found]])
    assert told["value"] == found.value
    assert told["interval"].startswith("none")
