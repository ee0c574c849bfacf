"""The strokes as a reader of HEAR task folders finds them: layout, counts, repeatability, difficulty."""

from collections import Counter

import pytest
from hear_folders import digest, fold_accuracies, written

from earbench.demo import strokes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(strokes, tmp_path_factory.mktemp("strokes"))


def test_the_counts_are_the_frozen_census(folder):
    found = {"labels": len(folder.labels), "folds": len(folder.answers)}
    assert found | {"clips": sum(map(len, folder.answers.values()))} == strokes.CENSUS["hear_mridangam_stroke"]
    assert folder.metadata["split_mode"] == "new_split_kfold"
    assert folder.metadata["nfolds"] == len(folder.metadata["splits"])


def test_every_fold_has_every_stroke_and_every_drum(folder):
    for answers in folder.answers.values():
        assert {label for (label,) in answers.values()} == set(folder.labels)
        assert {file.split("__")[1].split("-")[0] for file in answers} == set(strokes.TONICS)
    counts = Counter(label for answers in folder.answers.values() for (label,) in answers.values())
    assert set(counts.values()) == {30}


def test_files_and_answers_are_the_frozen_ones(folder):
    assert digest(folder) == "c321a3113d9997cd"


def test_writing_fewer_takes_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    """Folds are dealt from all hits; so each is looked for wherever it lies."""
    monkeypatch.setattr(strokes, "TAKES", 1)
    whole = {path.name: path.read_bytes() for path in folder.path.rglob("*.wav")}
    found = list(written(strokes, tmp_path).path.rglob("*.wav"))
    assert len(found) == 60
    assert all(path.read_bytes() == whole[path.name] for path in found)


def test_hand_made_floors_lie_well_between_chance_and_perfect(folder):
    """As measured when the generator was frozen: 40 bands, mean 0.547, mean and deviation 0.680; chance 0.1."""
    assert fold_accuracies(folder, slice(0, 40)) == pytest.approx(0.547, abs=0.04)
    assert fold_accuracies(folder, slice(0, 80)) == pytest.approx(0.680, abs=0.04)
