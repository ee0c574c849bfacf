"""The tagged clips as a reader of HEAR task folders finds them: layout, counts, repeatability, difficulty."""

import numpy as np
import pytest
from hear_folders import digest, same_bytes, written
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_demo_keywords import log_mel_statistics

from earbench.demo import tags


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tags, tmp_path_factory.mktemp("tags"))


def test_the_counts_are_the_frozen_census(folder):
    counts = {split: len(answers) for split, answers in folder.answers.items()}
    assert {"labels": len(folder.labels), **counts} == tags.CENSUS["hear_fsd50k"]


def test_clips_have_no_label_or_up_to_three_and_every_split_has_all(folder):
    for answers in folder.answers.values():
        assert {len(labels) for labels in answers.values()} == {0, 1, 2, 3}
        assert {label for labels in answers.values() for label in labels} == set(folder.labels)
        assert all(labels == sorted(set(labels)) for labels in answers.values())


def test_clips_have_lengths_of_their_own_and_the_metadata_states_none(folder):
    assert folder.metadata["sample_duration"] is None
    seconds = [(path.stat().st_size - 44) / 32_000 for path in folder.path.rglob("*.wav")]
    assert 0.3 <= min(seconds) < 0.4
    assert 5.0 < max(seconds) <= 6.0
    assert len(set(seconds)) > 100


def test_files_and_answers_are_the_frozen_ones(folder):
    assert digest(folder) == "ba31790ae6a3b2b6"


def test_writing_fewer_clips_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tags, "CLIPS", {"train": 6, "valid": 3, "test": 3})
    assert same_bytes(written(tags, tmp_path), folder) == 12


def test_hand_made_floors_lie_well_between_chance_and_perfect(folder):
    """Mean average precision of log-mel averages and logistic regression, as measured when the generator was frozen:
    40 bands, mean 0.438, mean and deviation 0.569; chance 0.13.
    """
    features, targets = {}, {}
    for split in ("train", "test"):
        answers = folder.answers[split]
        features[split] = np.array([log_mel_statistics(folder.wave(split, file)) for file in answers])
        targets[split] = np.array([[label in labels for label in folder.labels] for labels in answers.values()])
    for columns, expected in ((slice(0, 40), 0.438), (slice(0, 80), 0.569)):
        model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(C=0.1, max_iter=1000)))
        model.fit(features["train"][:, columns], targets["train"])
        guessed = model.predict_proba(features["test"][:, columns])
        assert average_precision_score(targets["test"], guessed) == pytest.approx(expected, abs=0.04)
