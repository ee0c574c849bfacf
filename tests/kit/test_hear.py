"""HEAR task folders: found, checked and read as the reference reads them (HEAR sheet 2 and 4)."""

import json
import shutil

import numpy as np
import pytest

from earbench.errors import MissingCorpus, RequestError
from earbench.kit import hear, hear_layout

KIND = ("scene", "multiclass")
FACTS = {"split_mode": "trainvaltest", "evaluation": ["top1_acc"]}


def write(path, sizes, mode="trainvaltest", labels=(7, 8)):
    """A folder whose files are 0.wav, 1.wav, … with labels in turn; `sizes` says how many each split has."""
    splits = {
        split: [(f"{number}.wav", labels[number % len(labels)], np.zeros(160)) for number in range(count)]
        for split, count in sizes.items()
    }
    hear_layout.write(path, {**FACTS, "split_mode": mode}, labels, splits)
    return path


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "task", {"train": 5, "valid": 3, "test": 4})


def change(path, **facts):
    found = json.loads((path / "task_metadata.json").read_text())
    (path / "task_metadata.json").write_text(json.dumps(found | facts))


def files(split):
    return [clip.audio.name for clip in split.clips]


def test_rows_stand_in_the_order_of_the_reference(folder):
    """Expected: the check vector of sheet 4.1, observed on the reference."""
    (fold,) = hear.read(folder, 16_000, KIND).folds(str)
    assert files(fold.train) == [f"{number}.wav" for number in (2, 1, 0, 4, 3)]
    assert files(fold.valid) == [f"{number}.wav" for number in (0, 1, 2)]
    assert files(fold.test) == [f"{number}.wav" for number in (0, 2, 1, 3)]


def test_folds_take_turns_as_the_protocol_has_it(tmp_path):
    """Expected: the example of sheet 4.5, (train, valid, test) of three folds."""
    path = write(tmp_path / "task", dict.fromkeys(("fold02", "fold00", "fold01"), 2), "new_split_kfold")
    said = [
        [{clip.id.split("/")[0] for clip in split.clips} for split in (fold.train, fold.valid, fold.test)]
        for fold in hear.read(path, 16_000, KIND).folds(str)
    ]
    expected = [("02", "01", "00"), ("00", "02", "01"), ("01", "00", "02")]
    assert said == [[{f"fold{one}"} for one in turn] for turn in expected]


def test_training_folds_follow_each_other_in_sorted_order(tmp_path):
    path = write(tmp_path / "task", {f"fold0{number}": 3 for number in range(5)}, "presplit_kfold")
    folds = hear.read(path, 16_000, KIND).folds(str)
    assert [fold.name for fold in folds] == ["fold00", "fold01", "fold02", "fold03", "fold04"]
    assert [clip.id.split("/")[0] for clip in folds[3].train.clips] == [
        f"fold0{one}" for one in (0, 1, 2) for _ in "abc"
    ]


def test_numbers_as_labels_are_spelled_as_the_vocabulary_spells_them(folder):
    assert json.loads((folder / "train.json").read_text())["0.wav"] == [7]
    read = hear.read(folder, 16_000, KIND)
    assert read.labels == ("7", "8")
    assert {clip.label for clip in read.folds(str)[0].train.clips} == {"7", "8"}


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        ([16_000, 44_100, 48_000], 44_100, 44_100),
        ([16_000, 44_100, 48_000], 22_050, 44_100),
        ([16_000, 22_050], 44_100, 22_050),
        ([48_000], 16_000, 48_000),
    ],
)
def test_the_encoders_own_rate_is_read_else_the_next_above_else_the_highest(there, wanted, chosen, folder):
    (folder / "16000").rename(folder / "aside")
    for rate in there:
        shutil.copytree(folder / "aside", folder / str(rate))
    read = hear.read(folder, wanted, KIND)
    assert (read.rate, read.wanted) == (chosen, wanted)
    assert all(f"/{chosen}/" in clip.audio.as_posix() for clip in read.folds(str)[0].test.clips)


@pytest.mark.parametrize("below", [".", "tasks", "hear-2021.0.6/tasks/deeper"])
def test_a_folder_is_found_at_any_depth_and_itself(below, tmp_path):
    path = write(tmp_path / "root" / below / "wanted", {"train": 2, "valid": 2, "test": 2})
    write(tmp_path / "root" / "other", {"train": 2, "valid": 2, "test": 2})
    assert hear.find(tmp_path / "root", "wanted") == path.resolve()
    assert hear.find(path, "wanted") == path


def test_the_only_folder_there_is_will_do_and_of_several_none(tmp_path):
    write(tmp_path / "one", {"train": 2, "valid": 2, "test": 2})
    assert hear.find(tmp_path, "wanted") == tmp_path / "one"
    write(tmp_path / "two", {"train": 2, "valid": 2, "test": 2})
    with pytest.raises(MissingCorpus, match="2 HEAR task folders; which of them is 'wanted'") as caught:
        hear.find(tmp_path, "wanted")
    assert str(tmp_path / "one") in str(caught.value)


def test_archives_are_named_where_nothing_is_unpacked(tmp_path):
    (tmp_path / "hear2021-esc50-v2.0.0-full-48000.tar.gz").touch()
    with pytest.raises(MissingCorpus, match="no HEAR task folder") as caught:
        hear.find(tmp_path, "wanted")
    assert f"tar xzf {tmp_path}/hear2021-esc50-v2.0.0-full-48000.tar.gz" in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(folder):
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,7\n2,8\n")
    (folder / "train.json").write_text('{"0.wav": [7, 8], "../1.wav": [9]}')
    (folder / "valid.json").write_text("[]")
    (folder / "test.json").unlink()
    shutil.rmtree(folder / "16000")
    with pytest.raises(MissingCorpus) as caught:
        hear.read(folder, 16_000, KIND)
    told = str(caught.value)
    for part in [
        "labelvocabulary.csv: 'idx' should count",
        "train.json: 0.wav: a list of one label expected, got [7, 8]",
        "train.json: ../1.wav: the label '9' is not in labelvocabulary.csv",
        "train.json: ../1.wav: a file name is expected, not a path",
        "valid.json: a JSON object is expected",
        "test.json: No such file or directory",
        "no folder of audio",
    ]:
        assert part in told


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"split_mode": "other"}, "'split_mode' is 'other', not one of trainvaltest"),
        ({"splits": ["train", "test"]}, "'splits' should be train, valid and test"),
        ({"split_mode": "new_split_kfold", "splits": ["a", "b"]}, "at least three folds"),
        ({"evaluation": None}, "'evaluation' should be a list, found None"),
        ({"embedding_type": 1, "splits": []}, "'embedding_type' should be a str, found 1"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(facts, said, folder):
    change(folder, **facts)
    with pytest.raises(MissingCorpus, match=said):
        hear.read(folder, 16_000, KIND)


@pytest.mark.parametrize("facts", [{"prediction_type": "multilabel"}, {"embedding_type": "event"}])
def test_a_folder_of_another_kind_is_refused_with_the_reason(facts, folder):
    change(folder, **facts)
    with pytest.raises(RequestError, match="this task reads scene multiclass folders, and task is "):
        hear.read(folder, 16_000, KIND)
