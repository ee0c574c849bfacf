"""The reader of Fluent Speech Commands, on the toy tree, on odd but legal trees and on hand-made mistakes."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.fluent import FLUENT, fluent
from earbench_tasks.intent_classification import IntentClassification

NAME = "fluent_speech_commands_dataset"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "root"
    IntentClassification().toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "with spaces")


def labels(root: Path) -> list[list[object]]:
    return [[(clip.id, clip.label, clip.group) for clip in split.clips] for split in fluent(root).splits().values()]


def rewritten(table: Path, change) -> None:
    """Every line of a table, as a list of cells, changed in place or put in the place of what `change` gives."""
    with table.open(encoding="utf-8", newline="") as file:
        lines = [change(line) for line in csv.reader(file)]
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)


def refused(root: Path) -> list[str]:
    """What the one error says, line by line."""
    with pytest.raises(BadAudio) as error:
        fluent(root)
    return [line.strip() for line in str(error.value).splitlines()]


def test_only_the_number_of_values_is_held_against_the_published_counts():
    """Expected: SUPERB sheet 1.5, Linear 256 to 24; the counts of recordings are not verified there."""
    assert FLUENT.counts == {"values": 24}


def test_clips_are_lines_in_their_order_with_intent_and_speaker(toy):
    fold = fluent(toy)
    assert [len(split.clips) for split in fold.splits().values()] == [108, 54, 54]
    with (toy / NAME / "data/train_data.csv").open(encoding="utf-8", newline="") as file:
        for clip, line in zip(fold.train.clips, csv.DictReader(file), strict=True):
            assert clip.id == line["path"]
            assert clip.audio == toy / NAME / line["path"]
            assert clip.label == (line["action"], line["object"], line["location"])
            assert clip.group == line["speakerId"]


def test_the_root_may_be_the_dataset_or_what_holds_it(toy):
    assert labels(toy) == labels(toy / NAME)


def test_tables_may_lack_the_index_and_what_is_not_read_and_carry_more(toy):
    """The published columns are: index, path, speakerId, transcription, action, object, location."""
    expected = labels(toy)
    for table in (toy / NAME / "data").iterdir():
        rewritten(table, lambda line: [line[4], line[5], line[1], "more, and more", line[6]])
        table.write_text("\ufeff" + table.read_text("utf-8").replace("more, and more", "note", 1), "utf-8")
    assert labels(toy) == expected


def test_other_files_and_endings_are_fine(toy):
    expected = labels(toy)
    home = toy / NAME
    for folder in (toy, home, home / "data", home / "wavs/speakers/speaker01"):
        for name in ("readme.md", ".DS_Store", "._speaker01-00.wav"):
            (folder / name).write_text("not audio")
    one, two = (home / f"wavs/speakers/speaker01/speaker01-0{number}.wav" for number in (0, 1))
    one.rename(one.with_suffix(".WAV"))
    soundfile.write(two.with_suffix(".flac"), *soundfile.read(two))
    two.unlink()
    assert labels(toy) == expected
    assert [clip.audio.suffix for clip in fluent(toy).train.clips[:3]] == [".WAV", ".flac", ".wav"]


def test_a_missing_table_is_named_with_the_folders_looked_in(toy, tmp_path):
    (toy / NAME / "data/valid_data.csv").unlink()
    with pytest.raises(MissingCorpus, match=r"lacks data/valid_data\.csv"):
        fluent(toy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingCorpus, match=r"looked in .*empty"):
        fluent(tmp_path / "empty")


def test_two_copies_are_not_guessed_between(toy):
    shutil.copytree(toy / NAME / "data", toy / "copy/data")
    with pytest.raises(MissingCorpus, match=r"found .*copy, .*dataset"):
        fluent(toy)


def test_a_missing_column_is_named(toy):
    table = toy / NAME / "data/test_data.csv"
    rewritten(table, lambda line: line[:5] + line[6:])
    with pytest.raises(MissingCorpus, match=r"test_data.csv: no column object"):
        fluent(toy)
    table.write_text("")
    with pytest.raises(MissingCorpus, match=r"no column path, action, object, location"):
        fluent(toy)


def test_every_mistake_of_every_table_is_told_at_once(toy):
    home = toy / NAME
    (home / "wavs/speakers/speaker01/speaker01-03.wav").unlink()
    rewritten(home / "data/valid_data.csv", lambda line: [*line[:4], "", *line[5:6], ""] if line[0] == "2" else line)
    rewritten(home / "data/test_data.csv", lambda line: [line[0], "", *line[2:]] if line[0] == "0" else line)
    said = refused(toy)
    assert said[0] == "3 lines of Fluent Speech Commands cannot be used; nothing was trained"
    assert said[1:4] == [
        f"train_data.csv, line 5: no audio {home / 'wavs/speakers/speaker01/speaker01-03.wav'}",
        "valid_data.csv, line 4: no action and no location",
        "test_data.csv, line 2: no audio is named",
    ]


def test_a_hundred_mistakes_are_shown_and_the_others_counted(toy):
    shutil.rmtree(toy / NAME / "wavs")
    said = refused(toy)
    assert len([line for line in said if "no audio" in line]) == 100
    assert "and 116 more" in said
