"""HEAR task folders: checked and read as the reference reads them (HEAR sheet 2 and 4)."""

import json
import shutil

import numpy as np
import pytest

from earbench.errors import MissingCorpus
from earbench.kit import hear, hear_layout
from earbench.kit.events import Event

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
    (fold,) = hear.read(folder, 16_000).folds(str)
    assert files(fold.train) == [f"{number}.wav" for number in (2, 1, 0, 4, 3)]
    assert files(fold.valid) == [f"{number}.wav" for number in (0, 1, 2)]
    assert files(fold.test) == [f"{number}.wav" for number in (0, 2, 1, 3)]


def test_folds_take_turns_as_the_protocol_has_it(tmp_path):
    """Expected: the example of sheet 4.5, (train, valid, test) of three folds."""
    path = write(tmp_path / "task", dict.fromkeys(("fold02", "fold00", "fold01"), 2), "new_split_kfold")
    said = [
        [{clip.id.split("/")[0] for clip in split.clips} for split in (fold.train, fold.valid, fold.test)]
        for fold in hear.read(path, 16_000).folds(str)
    ]
    expected = [("02", "01", "00"), ("00", "02", "01"), ("01", "00", "02")]
    assert said == [[{f"fold{one}"} for one in turn] for turn in expected]


def test_training_folds_follow_each_other_in_sorted_order(tmp_path):
    path = write(tmp_path / "task", {f"fold0{number}": 3 for number in range(5)}, "presplit_kfold")
    folds = hear.read(path, 16_000).folds(str)
    assert [fold.name for fold in folds] == ["fold00", "fold01", "fold02", "fold03", "fold04"]
    assert [clip.id.split("/")[0] for clip in folds[3].train.clips] == [
        f"fold0{one}" for one in (0, 1, 2) for _ in "abc"
    ]


def test_numbers_as_labels_are_spelled_as_the_vocabulary_spells_them(folder):
    assert json.loads((folder / "train.json").read_text())["0.wav"] == [7]
    read = hear.read(folder, 16_000)
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
    read = hear.read(folder, wanted)
    assert (read.rate, read.wanted) == (chosen, wanted)
    assert all(f"/{chosen}/" in clip.audio.as_posix() for clip in read.folds(str)[0].test.clips)


def test_all_that_is_wrong_is_told_at_once(folder):
    (folder / "labelvocabulary.csv").write_text("idx,label\n0,7\n2,8\n")
    (folder / "train.json").write_text('{"0.wav": [7, 8], "../1.wav": [9]}')
    (folder / "valid.json").write_text("[]")
    (folder / "test.json").unlink()
    shutil.rmtree(folder / "16000")
    with pytest.raises(MissingCorpus) as caught:
        hear.read(folder, 16_000)
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
        ({"splits": [["train"], "valid", "test"]}, r"'splits' should list names, found \['train'\]"),
        ({"splits": ["train", "valid", 3]}, "'splits' should list names, found 3"),
        ({"splits": ["train", "valid", "../x"]}, "'splits' should list names, found ../x"),
        ({"evaluation": [["top1_acc"]]}, r"'evaluation' should list names, found \['top1_acc'\]"),
        ({"split_mode": "new_split_kfold", "splits": ["a", "b", "c", "b"]}, "'splits' names 'b' more than once"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(facts, said, folder):
    change(folder, **facts)
    with pytest.raises(MissingCorpus, match=said):
        hear.read(folder, 16_000)


def kind(path, embedding, prediction, answers):
    """The folder at `path` as one of another kind, whose train split says `answers`."""
    change(path, embedding_type=embedding, prediction_type=prediction)
    for split, said in {"train": answers, "valid": {}, "test": {}}.items():
        (path / f"{split}.json").write_text(json.dumps(said))
        for file in said:
            (path / "16000" / split / file).touch()
    return path


def labels(folder):
    return {clip.audio.name: clip.label for clip in folder.folds(str)[0].train.clips}


def test_a_clip_may_have_any_number_of_labels(folder):
    read = hear.read(kind(folder, "scene", "multilabel", {"a.wav": [8, 7, 8], "b.wav": []}), 16_000)
    assert read.kind == hear.MULTILABEL
    assert labels(read) == {"a.wav": ("8", "7"), "b.wav": ()}


def test_events_are_read_in_seconds(folder):
    events = [{"label": 7, "start": 250.0, "end": 500}, {"label": "8", "start": 0, "end": 0}]
    read = hear.read(kind(folder, "event", "multilabel", {"a.wav": events, "b.wav": []}), 16_000)
    assert read.kind == hear.EVENTS
    assert labels(read) == {"a.wav": (Event("7", 0.25, 0.5), Event("8", 0.0, 0.0)), "b.wav": ()}


@pytest.mark.parametrize(
    "event",
    [
        {"label": 7, "start": 500, "end": 250},
        {"label": 7, "start": -1, "end": 250},
        {"label": 7, "start": 0, "end": float("nan")},
        {"label": 7, "start": 0, "end": int("9" * 400)},
        {"label": 7, "start": "0", "end": 1},
        {"label": 7, "end": 1},
        7,
    ],
)
def test_what_is_no_event_is_told(event, folder):
    with pytest.raises(MissingCorpus, match=r"train.json: a.wav: a list of events"):
        hear.read(kind(folder, "event", "multilabel", {"a.wav": [event]}), 16_000)


def test_labels_of_every_kind_have_to_be_in_the_vocabulary(folder):
    for embedding, said in [("scene", 9), ("event", {"label": 9, "start": 0, "end": 1})]:
        with pytest.raises(MissingCorpus, match=r"a.wav: the label '9' is not in labelvocabulary.csv"):
            hear.read(kind(folder, embedding, "multilabel", {"a.wav": [said]}), 16_000)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("train.json", '{"0.wav": [7], "0.wav": [8]}', "train.json: '0.wav' is there twice"),
        ("train.json", "[" * 100_000, "train.json: what it holds is nested too deeply"),
        ("task_metadata.json", '{"a": ' * 100_000, "task_metadata.json: what it holds is nested too deeply"),
        ("labelvocabulary.csv", f"idx,label\n0,{'x' * 200_000}\n", "labelvocabulary.csv: field larger than"),
    ],
)
def test_files_that_python_would_stumble_over_are_named(name, text, said, folder):
    (folder / name).write_text(text)
    with pytest.raises(MissingCorpus, match=said):
        hear.read(folder, 16_000)


def test_a_rate_without_some_of_its_audio_says_what_to_delete(folder):
    shutil.copytree(folder / "16000", folder / "48000")
    (folder / "48000" / "valid" / "1.wav").unlink()
    shutil.rmtree(folder / "48000" / "test")
    assert hear.read(folder, 16_000).rate == 16_000
    with pytest.raises(MissingCorpus, match="48000/: 5 of 12 audio files are not there") as caught:
        hear.read(folder, 48_000)
    assert f"or delete {folder / '48000'} so that 16000/ is read" in str(caught.value)


@pytest.mark.parametrize("name", ["0", "016000", "8000"])
def test_a_folder_that_hear_has_no_rate_for_is_named(name, folder):
    (folder / "16000").rename(folder / name)
    with pytest.raises(MissingCorpus, match=f"no folder of audio: .*, found {name}/"):
        hear.read(folder, 16_000)


def test_an_empty_rate_is_not_read(folder):
    (folder / "16000").rename(folder / "48000")
    (folder / "16000").mkdir()
    assert hear.read(folder, 16_000).rate == 48_000


def test_a_folder_of_a_kind_that_hear_does_not_have_is_refused(folder):
    change(folder, embedding_type="event")
    with pytest.raises(MissingCorpus, match="the task is event multiclass, not one of scene multiclass"):
        hear.read(folder, 16_000)
