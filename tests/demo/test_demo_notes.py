"""The notes as a reader of HEAR task folders finds them: layout, counts, repeatability, difficulty."""

import hashlib
import json

import numpy as np
import pytest
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_demo_keywords import log_mel_statistics

from earbench.demo import notes


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("notes")
    notes.write(root)
    return root / "hear-2021.0.6" / "tasks" / "nsynth_pitch-v2.2.3-5h"


@pytest.fixture(scope="session")
def answers(folder):
    return {split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "valid", "test")}


def test_the_folder_has_what_hears_tool_writes(folder, answers):
    """Expected: HEAR sheet 2. Integer labels in lists, keys in order, 16-bit mono at the folder's rate."""
    names = {"16000", "labelvocabulary.csv", "task_metadata.json", "train.json", "valid.json", "test.json"}
    assert {path.name for path in folder.iterdir()} == names
    vocabulary = (folder / "labelvocabulary.csv").read_text().splitlines()
    assert vocabulary[:2] + vocabulary[-1:] == ["idx,label", "0,36", "48,84"]
    for split, given in answers.items():
        assert list(given) == sorted(given)
        assert sorted(path.name for path in (folder / "16000" / split).iterdir()) == list(given)
        for file, labels in given.items():
            rate, samples = wavfile.read(folder / "16000" / split / file)
            assert (rate, samples.dtype, samples.shape) == (16_000, np.int16, (16_000,))
            assert labels == [int(file.split("-")[1])]
            assert 300 < np.abs(samples.astype(int)).max() < 32_767


def test_the_counts_are_the_frozen_census(answers):
    counts = {split: len(given) for split, given in answers.items()}
    assert {"labels": len(notes.PITCHES), **counts} == notes.CENSUS["pitch"]


def test_every_split_plays_every_pitch_in_timbres_of_its_own(answers):
    families = {split: {file.split("_")[0] for file in given} for split, given in answers.items()}
    assert sum(map(len, families.values())) == len(set.union(*families.values())) == 10
    for given in answers.values():
        assert {label for (label,) in given.values()} == set(range(36, 85))
    assert len({file.split("-")[0] for file in answers["test"]}) == 24


def test_writing_twice_gives_the_same_bytes(tmp_path, monkeypatch, folder):
    """With fewer instruments, so that a note does not depend on who else plays."""
    monkeypatch.setattr(notes, "INSTRUMENTS", dict.fromkeys(notes.SPLITS, 1))
    notes.write(tmp_path)
    paths = sorted(tmp_path.rglob("*.wav"))
    assert len(paths) > 200
    for path in paths:
        assert path.read_bytes() == (folder / "16000" / path.parent.name / path.name).read_bytes()


def test_files_are_the_frozen_ones(folder):
    names = "\n".join(sorted(f"{path.parent.name}/{path.name}" for path in folder.rglob("*.wav")))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "fcfdf00fe1c8349f"


def test_hand_made_floors_lie_well_between_chance_and_perfect(folder, answers):
    """Log-mel averages and logistic regression on unseen timbres, as measured when the generator was frozen: 40 bands,
    mean 0.51, mean and deviation 0.46; chance 0.02.
    """
    features, labels = {}, {}
    for split in ("train", "test"):
        waves = [wavfile.read(folder / "16000" / split / file)[1] / 32_768 for file in answers[split]]
        features[split] = np.array([log_mel_statistics(wave) for wave in waves])
        labels[split] = [label for (label,) in answers[split].values()]
    for columns, expected in ((slice(0, 40), 0.51), (slice(0, 80), 0.46)):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(features["train"][:, columns], labels["train"])
        assert model.score(features["test"][:, columns], labels["test"]) == pytest.approx(expected, abs=0.04)
