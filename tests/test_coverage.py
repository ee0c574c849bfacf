"""Intervals, tests and ranks on a thousand simulated test sets whose truth is known.

A test set is speakers who differ in how well they are understood, and eight clips of each. A right rule is wrong 5
times in 100, which over a thousand sets is 5 ± 0.7; 3 to 7 is three such deviations. The sets are resampled all at
once, and the first test says that a run resamples in the same way.
"""

import numpy as np
import pytest
from scored import rows

from earbench import intervals
from earbench.intervals import REPLICATES, Sampled, interval, sample
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.kit.seeds import generator
from earbench.paired import Samples, contrasts, part, standings

SETS, EACH = 1000, 8
HARD, EASY, EASIEST = (3.0, 3.0), (6.0, 2.0), (18.0, 2.0)
"""How the speakers' accuracies are spread: beta distributions with means of 0.5, 0.75 and 0.9."""


def abilities(spread, groups, *names):
    """How likely each speaker's clips are right, [set, speaker]."""
    return generator("abilities", *names).beta(*spread, (SETS, groups))


def heard(ability, *names):
    """Right clips of each speaker, [set, speaker], in percent."""
    return 100 * generator("heard", *names).binomial(EACH, ability) / EACH


def resampled(shares):
    """The replicates of every test set, [set, replicate]."""
    groups = shares.shape[1]
    draws = generator("bootstrap", "simulated").multinomial(groups, np.full(groups, 1 / groups), REPLICATES)
    return shares @ draws.T / groups


def errors(shares):
    """The jackknife's standard error of every test set, [set]."""
    return shares.std(axis=1, ddof=1) / np.sqrt(shares.shape[1])


@pytest.mark.parametrize("groups", [10, 25])
def test_a_run_resamples_as_this_simulation_does(groups):
    shares = heard(abilities(EASY, groups), "same")[:1]
    hits = np.arange(EACH) < np.rint(shares[0] * EACH / 100)[:, None]
    found = sample(ACCURACY, rows(hits.astype(float), "in order "), "simulated")
    assert found.value == pytest.approx(shares.mean())
    assert found.replicates == pytest.approx(resampled(shares)[0])
    if groups < intervals.FEW:
        assert found.error == pytest.approx(errors(shares)[0])


@pytest.mark.parametrize("spread", [HARD, EASY, EASIEST], ids=["half right", "mostly right", "nearly all right"])
@pytest.mark.parametrize(
    ("groups", "kind"),
    [*((few, "jackknife, arcsine t") for few in (10, 19)), *((many, "bootstrap, logit t") for many in (20, 40, 100))],
)
def test_intervals_hold_the_truth_in_93_to_97_of_a_hundred_test_sets(groups, kind, spread):
    shares, truth = heard(abilities(spread, groups), "coverage"), 100 * spread[0] / sum(spread)
    made = zip(shares.mean(axis=1), resampled(shares), errors(shares), strict=True)
    found = [interval(ACCURACY, [[Sampled(*one, groups)]]) for one in made]
    assert {facts["interval"] for facts in found} == {kind}
    assert 0.93 <= np.mean([facts["low"] <= truth <= facts["high"] for facts in found]) <= 0.97


def encoders(groups, *means):
    """Encoders that find the same speakers hard and each some of their own, [encoder, set, speaker], in percent."""
    common = abilities(EASY, groups, "common") - 0.75
    own = (abilities(EASY, groups, number) - 0.75 for number in range(len(means)))
    chances = (np.clip(mean + (common + one) / 2, 0, 1) for mean, one in zip(means, own, strict=True))
    return [heard(chance, number) for number, chance in enumerate(chances)]


def paired(groups, *means):
    """The paired tests of every test set."""
    found = encoders(groups, *means)
    replicates, values = np.stack(list(map(resampled, found))), np.stack([one.mean(axis=1) for one in found])
    for number in range(SETS):
        per_seed = tuple(np.array([[value]]) for value in values[:, number])
        yield contrasts([part(Samples(replicates[:, number], per_seed, groups))])


@pytest.mark.parametrize("groups", [10, 20, 40, 100])
def test_of_two_equally_good_encoders_3_to_7_in_a_hundred_tests_prefer_one(groups):
    assert 0.03 <= np.mean([one.p[0, 1] <= 0.05 for one in paired(groups, 0.6, 0.6)]) <= 0.07


def test_encoders_that_differ_by_noise_share_a_rank_and_a_clear_winner_stands_alone():
    """Holm keeps a wrong rank anywhere in the column to 5 in a hundred boards."""
    ranks = [[one.rank for one in standings(each, "higher")] for each in paired(40, 0.75, 0.5, 0.5, 0.5)]
    assert np.mean([one[1:] == [2, 2, 2] for one in ranks]) >= 0.93
    assert np.mean([one[0] == 1 and 1 not in one[1:] for one in ranks]) >= 0.99
