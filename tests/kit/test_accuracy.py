from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from earbench.contract import Clip, Split
from earbench.errors import BenchError
from earbench.kit.classification import hits
from earbench.kit.metrics.accuracy import ACCURACY

LABELS = ("yes", "no", "_silence_")


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    return Split(tuple(Clip(f"c{n}", Path("x.wav"), str(rng.choice(LABELS)), f"speaker {n % 3}") for n in range(40)))


def guesses(split: Split) -> dict[str, str]:
    rng = np.random.default_rng(1)
    return {clip.id: clip.label if rng.random() < 0.6 else str(rng.choice(LABELS)) for clip in split.clips}


def test_accuracy_agrees_with_scikit_learn(split):
    """Expected: sklearn.metrics.accuracy_score, with and without sample weights."""
    said, weights = guesses(split), np.random.default_rng(2).random(40)
    truths = [clip.label for clip in split.clips], [said[clip.id] for clip in split.clips]
    rows = hits(split, said)
    assert ACCURACY.value(rows, np.ones(40)) == pytest.approx(100 * accuracy_score(*truths), rel=1e-12)
    weighted = 100 * accuracy_score(*truths, sample_weight=weights)
    assert ACCURACY.value(rows, weights) == pytest.approx(weighted, rel=1e-12)


def test_perfect_answers_score_exactly_best_under_any_weights(split):
    rows = hits(split, {clip.id: clip.label for clip in split.clips})
    for seed in range(50):
        assert ACCURACY.value(rows, np.random.default_rng(seed).random(40)) == ACCURACY.best


def test_an_empty_resample_has_no_accuracy(split):
    assert np.isnan(ACCURACY.value(hits(split, guesses(split)), np.zeros(40)))


def test_rows_carry_groups_labels_and_predictions_in_clip_order(split):
    said = guesses(split)
    rows = hits(split, dict(reversed(said.items())))
    assert rows.ids == tuple(clip.id for clip in split.clips)
    assert rows.groups[4] == ("speaker 1",)
    assert rows.arrays["prediction"].tolist() == [said[name] for name in rows.ids]
    assert rows.arrays["label"].dtype.kind == "U"
    assert rows.arrays["hit"].tolist() == [float(said[clip.id] == clip.label) for clip in split.clips]


def test_predictions_that_do_not_fit_the_split_are_refused(split):
    said = guesses(split)
    del said["c7"]
    with pytest.raises(BenchError, match=r"1 clips have none, 1 belong to no clip\n  for example c7, stranger"):
        hits(split, said | {"stranger": "yes"})
