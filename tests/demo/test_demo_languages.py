"""The languages as a reader of HEAR task folders finds them: layout, counts, repeatability, difficulty."""

from collections import Counter

import numpy as np
import pytest
from hear_folders import digest, fold_accuracies, same_bytes, written

from earbench.demo import languages
from earbench.demo.lexicon import NATIVE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(languages, tmp_path_factory.mktemp("languages"))


def test_the_counts_are_the_frozen_census(folder):
    found = {"labels": len(folder.labels), "folds": len(folder.answers)}
    assert found | {"clips": sum(map(len, folder.answers.values()))} == languages.CENSUS["hear_vox_lingua_top10"]
    for answers in folder.answers.values():
        assert set(Counter(label for (label,) in answers.values()).values()) == {7}


def test_no_meaning_is_said_in_two_folds(monkeypatch):
    """What is asked of the pack, by its place in the list of meanings."""
    said, recording = set(), languages.recording

    def noted(voice, setting, kind, text):
        said.add((NATIVE[voice[:2]].index(text), fold))
        return recording(voice, setting, kind, text)

    monkeypatch.setattr(languages, "recording", noted)
    monkeypatch.setattr(languages, "EACH", 3)
    noises = dict.fromkeys(languages.NOISES, np.random.default_rng(0).standard_normal(40_000))
    for fold in range(languages.FOLDS):
        list(languages.clips(fold, noises))
    assert Counter(meaning for meaning, _ in said) == Counter(range(12))


def test_files_and_answers_are_the_frozen_ones(folder):
    assert digest(folder) == "65c3df7907ff304f"
    assert {path.stat().st_size for path in folder.path.rglob("*.wav")} == {44 + 2 * 32_000}


def test_writing_fewer_clips_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(languages, "EACH", 1)
    assert same_bytes(written(languages, tmp_path), folder) == 25


def test_hand_made_floors_lie_well_between_chance_and_perfect(folder):
    """As measured when the generator was frozen: 40 bands, mean 0.589, mean and deviation 0.549; chance 0.2."""
    assert fold_accuracies(folder, slice(0, 40)) == pytest.approx(0.589, abs=0.05)
    assert fold_accuracies(folder, slice(0, 80)) == pytest.approx(0.549, abs=0.05)
