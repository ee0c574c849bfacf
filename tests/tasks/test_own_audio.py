"""Anybody's own labelled audio: what a folder or a table asks, how it is divided, and what is refused."""

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earbench import data, line
from earbench.checks import task as check_task
from earbench.commands import ANY_ENCODER
from earbench.errors import BadAudio, MissingCorpus, RequestError
from earbench.plan import Request, load_task
from earbench_tasks import own_audio
from earbench_tasks.own_audio import Csv, Folder


def write(path, pitch=440.0, seconds=0.2):
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(path, tone, 16_000)
    return path


def folder(root, **counts):
    """Class folders with so many clips each; silent files, since nobody listens to most of them."""
    for label, count in counts.items():
        for number in range(count):
            path = root / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def table(root, rows, name="clips.csv"):
    """A table of rows given as mappings; the audio is not there, which only the engine looks at."""
    with (root / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root / name


def opened(spec):
    task = load_task(spec)
    return task.at(task.root, ANY_ENCODER)


def opened_folder(root):
    return opened(f"folder:{root}")


def opened_table(root, rows):
    return opened(f"csv:{table(root, rows)}")


def answered(column, answers):
    return [{"path": f"{number}.wav", column: answer} for number, answer in enumerate(answers)]


def refused(root, rows):
    with pytest.raises(RequestError) as caught:
        opened_table(root, rows)
    return str(caught.value)


def splits(fold):
    return {name: {clip.id for clip in split.clips} for name, split in fold.splits().items()}


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_class_whatever_lies_deeper_and_however_it_is_called(tmp_path):
    folder(tmp_path, dog=3, **{"big cat": 3})
    for odd in ("dog/deep/er/Ä 9.FLAC", "dog/.hidden.wav", ".git/x.wav", "dog/notes.txt", "README.md"):
        path = tmp_path / odd
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    task = opened_folder(tmp_path)
    clips = {clip.id: clip for fold in task.made for clip in fold.test.clips}
    assert sorted(clips) == ["big cat/0.wav", "big cat/1.wav", "big cat/2.wav", "dog/0.wav", "dog/1.wav", "dog/2.wav",
                             "dog/deep/er/Ä 9.FLAC"]  # fmt: skip
    assert clips["dog/deep/er/Ä 9.FLAC"].label == "dog"
    assert task.space(task.made[0]) == ("big cat", "dog")
    assert task.deviations("standard")["passed-over"] == "no audio by their ending: README.md, dog/notes.txt"


def test_a_level_of_splits_above_the_classes_is_the_split(tmp_path):
    for split in ("Train", "dev", "eval"):
        folder(tmp_path / split, cat=2, dog=2)
    (fold,) = opened_folder(tmp_path).made
    assert {name: {clip.split("/")[0] for clip in clips} for name, clips in splits(fold).items()} == {
        "train": {"Train"}, "valid": {"dev"}, "test": {"eval"}}  # fmt: skip
    assert {clip.label for clip in fold.test.clips} == {"cat", "dog"}


def test_one_folder_called_like_a_split_is_a_class(tmp_path):
    assert opened_folder(folder(tmp_path, train=3, bus=3)).audio.labels == ("bus", "train")


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ("empty/.keep", "empty/: a class without audio"),
        ("loose.wav", "loose.wav: audio outside a class folder"),
        ("dog/voice.M4A", "dog/voice.M4A: .m4a cannot be decoded here; convert it to FLAC"),
        ("fox/only.wav", "'fox': clips of 1 group\n"),
    ],
)
def test_what_does_not_fit_a_folder_is_refused_by_name(tmp_path, odd, problem):
    folder(tmp_path, cat=3, dog=3)
    (tmp_path / odd).parent.mkdir(exist_ok=True)
    (tmp_path / odd).touch()
    with pytest.raises(RequestError) as caught:
        opened_folder(tmp_path)
    assert problem in str(caught.value)


def test_every_problem_of_a_folder_is_in_one_list(tmp_path):
    folder(tmp_path / "train", cat=2)
    folder(tmp_path / "test", cat=2)
    folder(tmp_path, other=2)
    write(tmp_path / "loose.wav")
    with pytest.raises(RequestError) as caught:
        opened_folder(tmp_path)
    for problem in ("other/: not a split", "loose.wav: audio outside", "1 class folder with audio"):
        assert problem in str(caught.value)


# ---- what a table asks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "answers", "kind"),
    [
        ("label", ["dog", "cat"] * 4, "classes"),
        ("label", ["0", "1"] * 4, "classes"),
        ("label", ["10", "9", "11"] * 3, "classes"),
        ("label", ["0.5", "1"] * 4, "values"),
        ("label", [f"{number}" for number in range(8)], "values"),
        ("label", ["1e-3", "-2"] * 4, "values"),
        ("value", ["0", "1"] * 4, "values"),
        ("labels", ["dog;cat", "", "cat | dog", "dog"] * 3, "tags"),
        ("label_dog", ["0", "1.0"] * 4, "tags"),
    ],
)
def test_the_content_of_the_answers_decides_what_is_asked(tmp_path, column, answers, kind):
    task = opened_table(tmp_path, answered(column, answers))
    assert task.audio.kind == kind
    first = {"classes": "accuracy", "tags": "mAP", "values": "r2"}[kind]
    assert (task.select, task.card.metrics[0].name) == (first, first)
    assert f"`{column}`" in task.deviations("standard")["read-as"] or column == "label_dog"


def test_classes_that_are_numbers_stand_in_the_order_of_numbers(tmp_path):
    assert opened_table(tmp_path, answered("label", ["10", "9", "11"] * 3)).audio.labels == ("9", "10", "11")


def test_tags_are_read_from_one_column_or_from_several(tmp_path):
    rows = [{"path": f"{n}.wav", "labels": ["dog|cat", "cat", ""][n % 3]} for n in range(12)]
    flags = [{"path": row["path"], "Label_cat": int("cat" in row["labels"]), "label_dog": int("dog" in row["labels"])}
             for row in rows]  # fmt: skip
    one, two = opened_table(tmp_path, rows).audio, opened_table(tmp_path, flags).audio
    assert one.labels == two.labels == ("cat", "dog")
    assert one.clips == two.clips
    assert [clip.label for clip in one.clips[:2]] == [("cat", "dog"), ("cat",)]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_of_spreadsheets_are_read(tmp_path, mark):
    lines = [["Path", " LABEL ", "note"], *([f"{n}.wav", "cat" if n % 2 else "dog", "x, y"] for n in range(8))]
    text = "".join(mark.join(line) + "\r\n" for line in lines) + "\r\n"
    (tmp_path / "clips.csv").write_text(text, encoding="utf-8-sig", newline="")
    audio = opened(f"csv:{tmp_path / 'clips.csv'}").audio
    assert (len(audio.clips), audio.labels) == (8, ("cat", "dog"))


def test_stretches_of_one_file_are_clips_of_one_group(tmp_path):
    rows = [{"path": f"{n // 2}.wav", "label": "ab"[n % 2], "start": n % 2, "stop": ["1.5", ""][n % 2]}
            for n in range(12)]  # fmt: skip
    task = opened_table(tmp_path, rows)
    assert [clip.id for clip in task.audio.clips[:2]] == ["0.wav#0.0-1.5", "0.wav#1.0-"]
    assert {(clip.start, clip.stop, clip.group) for clip in task.audio.clips[:2]} == {
        (0.0, 1.5, "0.wav"), (1.0, None, "0.wav")}  # fmt: skip
    for fold in task.made:
        held = [{clip.group for clip in split.clips} for split in fold.splits().values()]
        assert not any(one & two for one, two in itertools.combinations(held, 2))


def test_names_say_nothing_of_where_the_audio_lies(tmp_path):
    home, other = tmp_path / "home", tmp_path / "secret"
    home.mkdir()
    paths = [home / "in.wav", other / "a" / "x.wav", other / "b" / "x.wav", Path("../secret/a/y.wav")] + [
        Path(f"{number}.wav") for number in range(6)
    ]
    rows = [{"path": path, "label": "ab"[number % 2]} for number, path in enumerate(paths)]
    found = {clip.id: clip.audio for clip in opened_table(home, rows).audio.clips}
    assert set(found) - {f"{number}.wav" for number in range(6)} == {
        "in.wav", "elsewhere/1/x.wav", "elsewhere/2/x.wav", "elsewhere/1/y.wav"}  # fmt: skip
    assert found["elsewhere/1/y.wav"] == other / "a" / "y.wav"


# ---- tables that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"label": "7"}, "line 3: the label 'dog' is no number, but 1 of 8 labels are"),
        ({"label": ""}, "line 2: no label"),
        ({"path": ""}, "line 2: no path"),
        ({"path": "1.wav"}, "line 3: the same clip as line 2"),
        ({"start": "x"}, "line 2: start 'x' is not a number"),
        ({"start": "-1"}, "line 2: start -1 lies before the file"),
        ({"start": "2", "stop": "2"}, "line 2: start 2 is not before stop 2"),
        ({"stop": "0"}, "line 2: start 0 is not before stop 0"),
        ({"group": ""}, "line 2: no group"),
        ({"label": "fox"}, "'fox': clips of 1 group\n"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_its_line(tmp_path, changes, problem):
    rows = [{"path": f"{n}.wav", "label": ["cat", "dog"][n % 2], "start": "", "stop": "", "group": f"g{n}"}
            for n in range(8)]  # fmt: skip
    rows[0] |= changes
    assert problem in refused(tmp_path, rows)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([{"file": "a.wav", "label": "x"}], "no column path\n  found the columns file, label\n"),
        ([{"path": "a.wav", "class": "x"}], "no answer\n  found the columns path, class\n"),
        ([{"path": "a.wav", "label": "x", "value": "1"}], "2 kinds of answer, label and value"),
        (answered("label", ["1", "1.0"] * 4), "one number in two spellings: 1, 1.0"),
        (answered("label", ["1", "2", "", "1"] * 3), "line 4: no label\n"),
        (answered("label", ["dog"] * 8), "all labels are 'dog': at least two classes are needed"),
        (answered("value", ["1", "two"] * 4), "line 3: value 'two' is not a number"),
        (answered("value", ["1", "nan"] * 4), "line 3: value 'nan' is not a number"),
        (answered("value", ["3"] * 8), "fold1: all numbers in train are the same"),
        (answered("value", ["3", "4"]), "numbers: clips of 2 groups"),
        (answered("labels", [""] * 8), "the column labels is empty"),
        (answered("label_dog", ["0", "2"] * 4), "line 3: label_dog is '2', not 0 or 1"),
        (answered("label_dog", ["0"] * 8), "label_dog is never 1"),
    ],
)
def test_a_table_that_asks_nothing_clear_is_refused(tmp_path, rows, problem):
    assert problem in refused(tmp_path, rows)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "has no rows"),
        (b"path,label\n", "has no rows"),
        (b"path,label\na.wav,x,y\n", "line 2: 3 cells under 2 columns"),
        (b"path,label,Label\na.wav,x,y\n", "two columns are called 'label'"),
        (b"path,label\n\xff.wav,x\n", "is not UTF-8"),
        (b'path,label\n"a.wav"x,y\n', "is not a CSV file: line 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, problem):
    (tmp_path / "clips.csv").write_bytes(text)
    with pytest.raises(RequestError) as caught:
        opened(f"csv:{tmp_path / 'clips.csv'}")
    assert problem in str(caught.value)


# ---- folds -----------------------------------------------------------------------------------------------------------


def test_every_clip_is_tested_once_and_classes_are_spread_evenly(tmp_path):
    task = opened_folder(folder(tmp_path, cat=25, dog=10))
    assert [fold.name for fold in task.made] == ["fold1", "fold2", "fold3", "fold4", "fold5"]
    assert sorted(clip.id for fold in task.made for clip in fold.test.clips) == [clip.id for clip in task.audio.clips]
    for fold, following in zip(task.made, [*task.made[1:], task.made[0]], strict=True):
        assert [clip.label for clip in fold.test.clips].count("dog") == 2
        assert fold.valid == following.test
        assert sum(len(split.clips) for split in fold.splits().values()) == 35
    assert task.search == "all"


def test_the_scarcest_class_says_how_many_folds_there_are(tmp_path):
    assert len(opened_folder(folder(tmp_path, cat=25, dog=3)).made) == 3


def test_groups_stay_together(tmp_path):
    rows = [{"path": f"{n}.wav", "label": "ab"[n % 2], "group": f"g{n % 7}"} for n in range(70)]
    for fold in opened_table(tmp_path, rows).made:
        held = [{clip.leak for clip in split.clips} for split in fold.splits().values()]
        assert sum(map(len, held)) == 7
        assert not any(one & two for one, two in itertools.combinations(held, 2))


def test_folds_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = [{"path": f"{n}.wav", "value": n % 13, "group": f"g{n % 9}"} for n in range(60)]
    one, two = (opened_table(tmp_path, some).made for some in (rows, rows[::-1]))
    assert list(one) == list(two)


def test_a_stated_split_holds_under_any_of_its_names(tmp_path):
    names = ["train", "Training", "dev", "VAL", "test", "eval"]
    rows = [{"path": f"{n}.wav", "label": "ab"[n // 6 % 2], "split": names[n % 6]} for n in range(24)]
    (fold,) = opened_table(tmp_path, rows).made
    assert {name: len(clips) for name, clips in splits(fold).items()} == {"train": 8, "valid": 8, "test": 8}
    assert "own-folds" not in opened_table(tmp_path, rows).deviations("standard")


def test_valid_is_carved_from_train_by_group_where_it_is_not_stated(tmp_path):
    rows = [{"path": f"{n}.wav", "label": "ab"[n % 2], "group": f"g{n // 4}", "split": ["train", "test"][n >= 40]}
            for n in range(60)]  # fmt: skip
    task = opened_table(tmp_path, rows)
    (fold,) = task.made
    assert {name: len(clips) for name, clips in splits(fold).items()} == {"train": 32, "valid": 8, "test": 20}
    assert not {clip.group for clip in fold.train.clips} & {clip.group for clip in fold.valid.clips}
    assert "one group in 5 of train" in task.deviations("standard")["own-valid"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"split": "trian"}, "line 2: the split 'trian' is none of train, training"),
        ({"split": ""}, "line 2: the split '' is none of"),
        ({"group": "g13"}, "the group 'g13' is in train and in test"),
    ],
)
def test_a_split_that_would_leak_or_says_nothing_is_refused(tmp_path, changes, problem):
    rows = [{"path": f"{n:02}.wav", "label": "ab"[n % 2], "group": f"g{n}", "split": ["train", "test"][n >= 10]}
            for n in range(20)]  # fmt: skip
    rows[0] |= changes
    assert problem in refused(tmp_path, rows)


def test_one_file_in_two_splits_is_refused(tmp_path):
    rows = [{"path": "long.wav", "label": "ab"[n % 2], "start": n, "split": ["train", "test"][n >= 10]}
            for n in range(20)]  # fmt: skip
    assert "the group 'long.wav' is in train and in test" in refused(tmp_path, rows)


def test_tags_of_which_train_has_none_are_refused(tmp_path):
    """Fewer clips than folds, and no label whose groups could say how many folds there are."""
    rows = [{"path": f"{number}.wav", "labels": "dog" * (number > 3), "split": "test" if number > 3 else "train"}
            for number in range(6)]  # fmt: skip
    assert "any label: clips of 0 groups" in refused(tmp_path, rows)


def test_a_class_that_is_never_taught_is_refused_and_one_never_tested_is_named(tmp_path):
    rows = [{"path": f"{n}.wav", "label": "abc"[n % 3], "split": ["train", "valid", "test"][n // 9]}
            for n in range(27)]  # fmt: skip
    without = [row for row in rows if row["split"] != "train" or row["label"] != "c"]
    assert "no clip of 'c' is in train" in refused(tmp_path, without)
    without = [row for row in rows if row["split"] != "test" or row["label"] != "c"]
    assert opened_table(tmp_path, without).deviations("standard")["untested"] == "no test clip of c"


def test_a_split_without_train_or_test_is_refused(tmp_path):
    rows = [{"path": f"{n}.wav", "label": "ab"[n % 2], "split": ["train", "dev"][n % 3 == 0]} for n in range(12)]
    assert "the splits are train, valid: state train and test, or no split at all" in refused(tmp_path, rows)


# ---- the tasks -------------------------------------------------------------------------------------------------------


def test_the_name_is_the_last_part_of_the_path(tmp_path):
    folder(tmp_path / "my birds (2025)", cat=3, dog=3)
    assert opened_folder(tmp_path / "my birds (2025)").card.name == "folder-my-birds-2025"
    assert opened_table(tmp_path, answered("value", ["1", "2", "3"] * 3)).card.name == "csv-clips"
    assert (Folder.card.name, Csv.card.name) == ("folder", "csv")


@pytest.mark.parametrize(("spec", "problem"), [("folder:{}/gone", "is not a folder"), ("csv:{}", "is not a file")])
def test_an_argument_that_names_nothing_is_refused(tmp_path, spec, problem):
    with pytest.raises(MissingCorpus, match=problem):
        load_task(spec.format(tmp_path))


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_without_audio_the_error_says_how_to_name_it(name, tmp_path):
    with pytest.raises(RequestError, match=f"--task {name}:PATH"):
        load_task(name).folds(tmp_path, ANY_ENCODER)


def test_a_second_place_is_refused(tmp_path, settings, quiet):
    task = load_task(f"folder:{folder(tmp_path / 'one', cat=3, dog=3)}")
    with pytest.raises(RequestError, match="name two places"):
        data.locate(task, str(tmp_path), settings, quiet)


class Tags(Csv):
    """Tags and numbers face the contract's checks too."""

    column, answers = "labels", ("low", "low;middle", "", "high|low")

    def toy(self, root, seed):
        rows = answered(self.column, [self.answers[number % 4] for number in range(40)])
        for number, row in enumerate(rows):
            write(root / row["path"], 200.0 * (1 + number % 4))
        table(root, rows)


class Numbers(Tags):
    column, answers = "value", ("200", "400", "600", "800.5")


@pytest.mark.parametrize("task", [Tags(), Numbers()], ids=["tags", "numbers"])
def test_tags_and_numbers_keep_the_contract(task):
    assert [finding for finding in check_task.run(task, ANY_ENCODER) if not finding.ok] == []


@pytest.fixture
def short(monkeypatch):
    """Two rates and three folds."""
    monkeypatch.setattr(own_audio, "RATES", (1e-2, 1e-3))
    monkeypatch.setattr(own_audio.own_audio, "FOLDS", 3)


def ran(spec, settings, quiet):
    return line.run(Request("fbank_no_cmvn", spec), settings.with_(effort="quick"), quiet)


@pytest.mark.usefixtures("short")
def test_classes_in_four_formats_run_to_the_end(tmp_path, settings, quiet):
    root = tmp_path / "birds"
    for ending in ("wav", "FLAC", "ogg", "mp3"):
        for label, pitch in (("low", 300), ("high", 2_000)):
            write(root / label / f"one.{ending}", pitch)
    record = ran(f"folder:{root}", settings, quiet)
    assert record.scores["accuracy"]["value"] == 100
    assert {"accuracy_knn", "accuracy_logistic"} < set(record.scores)
    assert record.facts["labels"] == ["high", "low"]
    assert (record.task, record.facts["task"]["suite"], record.facts["task"]["demo"]) == ("folder-birds", "own", False)
    assert "partial" not in " ".join(record.facts["deviations"])


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("kind", "metric", "least"), [(Tags, "mAP", 0.9), (Numbers, "r2", 0.8)])
def test_tags_and_numbers_are_learned_from_tones(tmp_path, settings, quiet, kind, metric, least):
    root = tmp_path / "audio"
    root.mkdir()
    kind().toy(root, 0)
    record = ran(f"csv:{root / 'clips.csv'}", settings, quiet)
    assert record.scores[metric]["value"] > least
    assert len(record.scores) == len(record.facts["plan"]["facts"]["task"]["metrics"])


@pytest.mark.usefixtures("short")
def test_numbers_that_are_all_the_same_on_valid_leave_the_choice_to_the_loss(tmp_path, settings, quiet, capsys):
    """R2 has no value there; the first rate would win whatever it learned."""
    splits = ["train"] * 8 + ["valid"] * 3 + ["test"] * 4
    numbers = [1, 2.5] * 4 + [2.5] * 3 + [1, 2.5] * 2
    rows = [{"path": write(tmp_path / f"{n}.wav", 500 * one), "value": one, "split": split}
            for n, (one, split) in enumerate(zip(numbers, splits, strict=True))]  # fmt: skip
    record = ran(f"csv:{table(tmp_path, rows)}", settings, quiet)
    said = "r2 has no value on the valid split of fold 'main', whatever is said of it: recipes are chosen by the loss"
    assert said in record.facts["notes"]
    assert said in capsys.readouterr().err
    assert any(deviation.startswith("valid-loss: ") for deviation in record.facts["deviations"])
    judged = {line["lr"]: line["valid"] for line in record.facts["search"]}
    assert record.facts["recipe"][0]["lr"] == min(judged, key=judged.get)
    assert set(record.scores) == {"r2", "rmse", "mae"}


@pytest.mark.usefixtures("short")
def test_records_do_not_say_where_the_audio_lay(tmp_path, settings, quiet):
    home, other = tmp_path / "home", tmp_path / "secret"
    home.mkdir()
    rows = [{"path": write(other / f"{n}.wav", 300 + n), "value": n} for n in range(6)]
    record = ran(f"csv:{table(home, rows)}", settings, quiet)
    assert {row["id"] for row in record.rows()} == {f"elsewhere/1/{n}.wav" for n in range(6)}
    for said in (record.path.read_text("utf-8"), str(record.rows())):
        assert "secret" not in said
        assert str(tmp_path) not in said


def test_audio_that_is_missing_is_one_list(tmp_path, settings, quiet):
    path = table(tmp_path, answered("value", range(10)))
    with pytest.raises(BadAudio, match="10 audio files cannot be used") as caught:
        ran(f"csv:{path}", settings, quiet)
    assert "9.wav: No such file" in str(caught.value)
