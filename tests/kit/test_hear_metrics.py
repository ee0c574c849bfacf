"""HEAR's scores of whole clips against scikit-learn, called as the reference calls it (HEAR sheet 5)."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from earbench.contract import Clip, Labels, Split
from earbench.kit.metrics.hear import AUCROC, CHROMA_ACC, D_PRIME, MEAN_AP, METRICS, PITCH_ACC, TOP1_ACC, scene_rows


def scored(answers, score, labels=None):
    """Rows of clips with these labels (a name each, or tuples) and probabilities."""
    labels = labels or Labels(sorted({name for one in answers for name in ((one,) if isinstance(one, str) else one)}))
    clips = tuple(Clip(str(number), None, answer, str(number)) for number, answer in enumerate(answers))
    return scene_rows(Split(clips), {clip.id: one for clip, one in zip(clips, score, strict=True)}, labels)


def pitches(count=300, classes=88):
    """Scores that are right half of the time, and an octave off otherwise."""
    rng = np.random.default_rng(0)
    truth = np.append(np.arange(classes), rng.integers(0, classes, count - classes))
    guess = np.where(rng.uniform(size=count) < 0.5, truth, (truth + 12 * rng.integers(-2, 3, count)) % classes)
    labels = Labels(f"{number:02}" for number in range(classes))
    return scored([labels[one] for one in truth], np.eye(classes)[guess], labels)


def tags(count=200, seed=0):
    """Clips with any of seven labels, and coarse scores with many ties."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(size=(count, 7)) < 0.2
    target[0], target[1] = False, True
    score = (target * 0.3 + rng.uniform(size=target.shape) * 0.7).round(1).astype(np.float32)
    return scored([tuple("abcdefg"[n] for n in np.flatnonzero(row)) for row in target], score)


@pytest.mark.parametrize("metric", [TOP1_ACC, PITCH_ACC])
def test_pitch_and_top1_accuracy_are_scikit_learns(metric):
    rows = pitches()
    weights = np.random.default_rng(1).integers(0, 4, len(rows)).astype(float)
    expected = accuracy_score(rows.arrays["truth"], rows.arrays["guess"], sample_weight=weights)
    assert metric.value(rows, weights) == pytest.approx(expected, abs=1e-12)


def test_chroma_accuracy_forgives_octaves():
    """Expected: scikit-learn on both class numbers modulo 12."""
    rows = pitches()
    truth, guess = (rows.arrays[key] % 12 for key in ("truth", "guess"))
    value = CHROMA_ACC.value(rows, np.ones(len(rows)))
    assert value == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    assert value > PITCH_ACC.value(rows, np.ones(len(rows)))


@pytest.mark.parametrize("rows", [tags(), pitches()], ids=["multilabel", "multiclass"])
def test_means_over_labels_are_scikit_learns(rows):
    target, score = rows.arrays["target"], rows.arrays["score"]
    weights = np.random.default_rng(1).integers(1, 4, len(rows)).astype(float)
    for given in (None, weights):
        areas = roc_auc_score(target, score, average=None, sample_weight=given)
        expected = {
            MEAN_AP: average_precision_score(target, score, average="macro", sample_weight=given),
            AUCROC: roc_auc_score(target, score, average="macro", sample_weight=given),
            D_PRIME: np.mean(stats.norm().ppf(areas) * np.sqrt(2.0)),
        }
        for metric, value in expected.items():
            assert metric.value(rows, np.ones(len(rows)) if given is None else given) == pytest.approx(value, abs=1e-9)


def test_a_label_that_no_clip_has_counts_zero_and_leaves_the_area_without_a_value():
    """Expected: what scikit-learn says, apart from its warnings."""
    rows = scored(["a", "b", "a"], [[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.7, 0.0, 0.3]], Labels("abc"))
    target, score = rows.arrays["target"], rows.arrays["score"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = average_precision_score(target, score, average="macro")
        area = roc_auc_score(target, score, average="macro")
    assert MEAN_AP.value(rows, np.ones(3)) == pytest.approx(expected)
    assert np.isnan([area, AUCROC.value(rows, np.ones(3)), D_PRIME.value(rows, np.ones(3))]).all()


def test_a_resample_without_a_label_is_scored_on_the_others():
    """Expected: scikit-learn on the labels that are left."""
    rows, kept = tags(), np.ones(200)
    kept[rows.arrays["target"][:, 3] == 1] = 0
    kept[1] = 0
    there, others = kept > 0, [0, 1, 2, 4, 5, 6]
    target, score = (rows.arrays[key][there][:, others] for key in ("target", "score"))
    for metric, expected in [(MEAN_AP, average_precision_score), (AUCROC, roc_auc_score)]:
        assert metric.value(rows, kept) == pytest.approx(expected(target, score, average="macro"), abs=1e-12)


def test_labels_told_apart_without_an_error_have_an_infinite_d_prime():
    rows = scored(["a", "b", "a", "b"], [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]])
    assert [metric.value(rows, np.ones(4)) for metric in (D_PRIME, AUCROC, MEAN_AP)] == [np.inf, 1.0, 1.0]
    assert D_PRIME.value(scored(["a", "b"], [[0.1, 0.9], [0.8, 0.2]]), np.ones(2)) == -np.inf


def test_the_truth_of_a_clip_with_several_labels_is_the_first_of_the_vocabulary():
    rows = scored([("c", "b"), (), ("a",)], [[0.1, 0.9, 0.8], [0.2, 0.1, 0.1], [0.5, 0.5, 0.5]], Labels("abc"))
    assert rows.arrays["truth"].tolist() == [1, 0, 0]
    assert rows.arrays["guess"].tolist() == [1, 0, 0]
    assert rows.arrays["target"].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


def test_a_name_as_prediction_is_a_certain_answer():
    rows = scored(["a", "b"], ["b", "b"])
    assert rows.arrays["score"].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert TOP1_ACC.value(rows, np.ones(2)) == 0.5


def test_scores_that_are_not_numbers_have_no_area_and_no_precision():
    rows = scored(["a", "b"], [[np.nan, 0.5], [0.5, 0.5]])
    assert np.isnan([metric.value(rows, np.ones(2)) for metric in (MEAN_AP, AUCROC, D_PRIME)]).all()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_an_empty_resample_has_no_value(metric):
    assert np.isnan(metric.value(tags(), np.zeros(200)))
