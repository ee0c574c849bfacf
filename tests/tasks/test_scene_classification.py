"""`scene` and the reader of TAU Urban Acoustic Scenes 2019: layout, valid by location, what is refused and how."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earbench.audio import read
from earbench.contract import UpstreamCard
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.tau import SCENES, TAU2019, held_out, scenes
from earbench_tasks.scene_classification import LABELS, SceneClassification

CARD = UpstreamCard("none", "none", "none", "none")
TASK = SceneClassification()
HOME = "TAU-urban-acoustic-scenes-2019-development"
TRAIN = "evaluation_setup/fold1_train.csv"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scene") / "root"
    TASK.toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "root")


def ids(root: Path) -> list[list[str]]:
    return [[clip.id for clip in split.clips] for split in scenes(root).splits().values()]


def test_the_lists_become_three_splits_and_are_counted_as_two(toy):
    fold = scenes(toy)
    assert TASK.census([fold]) == {"fold1_train": 120, "fold1_evaluate": 60}
    assert [*TASK.census([fold])] == [*TAU2019.counts]
    assert [len(split.clips) for split in fold.splits().values()] == [90, 30, 60]
    for split in fold.splits().values():
        assert len(set(Counter(clip.label for clip in split.clips).values())) == 1
        assert {clip.label for clip in split.clips} == set(LABELS)
    assert fold.test.clips[0].id == "airport-milan-0-0-a"


def test_valid_holds_whole_locations_of_every_scene_and_train_the_others(toy):
    fold = scenes(toy)
    held = {name: {clip.leak for clip in split.clips} for name, split in fold.splits().items()}
    assert [len(found) for found in held.values()] == [30, 10, 20]
    assert len(set.union(*held.values())) == 60
    assert "valid-from-train" in TASK.deviations("reference")


def test_locations_are_held_out_scene_by_scene():
    some = {("bus", f"lyon-{number}") for number in range(20)}
    assert len(held_out(some)) == 4
    more = held_out(some | {("tram", f"paris-{number}") for number in range(3)})
    assert held_out(some) < more
    assert len(more) == 5


def test_a_location_of_two_scenes_goes_to_one_side(toy):
    meta = toy / HOME / "meta.csv"
    meta.write_text(meta.read_text().replace("\tlyon-10\t", "\tlyon-0\t"))
    fold = scenes(toy)
    sides = [any(clip.group == "lyon-0" for clip in split.clips) for split in fold.splits().values()]
    assert sides in ([True, False, False], [False, True, False])


def test_odd_but_legal_content_changes_nothing(toy):
    expected = ids(toy)
    home = toy / HOME
    for path in (
        home / "audio/._airport-lyon-0-0-a.wav",
        home / "audio/readme.txt",
        home / "._meta.csv",
        toy / "a.zip",
    ):
        path.write_text("not audio")
    (home / "audio/airport-milan-99-0-a.wav").write_text("in no list")
    (home / "evaluation_setup/fold1_test.csv").write_text("filename\n")
    with (home / "meta.csv").open("a") as file:
        file.write("audio/airport-milan-99-0-a.wav\tairport\tmilan-99\ta\n\n")
    assert ids(toy) == ids(home) == expected
    for name in ("meta.csv", TRAIN):
        text = (home / name).read_text()
        (home / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    for path in list((home / "audio").glob("bus-*.wav")):
        path.rename(path.with_suffix(".WAV"))
    for path in list((home / "audio").glob("tram-*.wav")):
        path.rename(path.with_suffix(".flac"))
    assert ids(toy) == expected
    assert ids(home.rename(toy / "urban scenes").parent) == expected


def test_order_of_lines_does_not_matter(toy):
    expected = ids(toy)
    for name in ("meta.csv", TRAIN):
        first, *rest = (toy / HOME / name).read_text().splitlines()
        (toy / HOME / name).write_text("\n".join([first, *rest[::-1]]))
    assert ids(toy) == expected


def test_stereo_is_averaged(toy):
    clip = scenes(toy).train.clips[0]
    both, rate = soundfile.read(clip.audio, dtype="float32")
    assert (both.shape[1], rate) == (2, 44_100)
    assert np.allclose(read(clip, rate), both.mean(1), atol=1e-7)


def test_all_that_is_wrong_is_one_list(toy):
    home = toy / HOME
    (home / "audio/airport-lyon-0-0-a.wav").unlink()
    shutil.copy(home / "audio/bus-milan-10-0-a.wav", home / "audio/bus-milan-10-0-a.flac")
    meta = (home / "meta.csv").read_text()
    meta = meta.replace("audio/tram-lyon-90-0-a.wav\ttram", "audio/tram-lyon-90-0-a.wav\tbus")
    (home / "meta.csv").write_text(meta.replace("audio/park-lyon-40-0-a.wav", "audio/elsewhere.wav"))
    with (home / TRAIN).open("a") as file:
        file.write("audio/park-lyon-40-1-a.wav\tpark\naudio/tram-milan-90-0-a.wav\ttram\n")
    with pytest.raises(BadAudio) as error:
        scenes(toy)
    said = str(error.value)
    assert said.startswith("6 things in")
    assert "audio/airport-lyon-0-0-a.wav: no such recording" in said
    assert "audio/bus-milan-10-0-a.wav: recorded 2 times" in said
    assert f"{TRAIN}: audio/tram-lyon-90-0-a.wav is 'tram', in meta.csv 'bus'" in said
    assert f"{TRAIN}: audio/park-lyon-40-0-a.wav has no line in meta.csv" in said
    assert f"{TRAIN}: audio/park-lyon-40-1-a.wav is listed twice" in said
    assert "tram-milan-90-0-a: in both lists" in said


def test_a_scene_with_one_location_cannot_be_split(toy):
    meta = toy / HOME / "meta.csv"
    table = [line.split("\t") for line in meta.read_text().splitlines()]
    alone = [[file, scene, "lyon-10" if "bus-lyon" in file else where, by] for file, scene, where, by in table]
    meta.write_text("\n".join(map("\t".join, alone)))
    with pytest.raises(BadAudio, match="too few recording locations, no bus would be left for train"):
        scenes(toy)


def test_missing_files_and_columns_are_named(toy, tmp_path):
    with pytest.raises(MissingCorpus, match=r"need one folder with meta\.csv, evaluation_setup/fold1_train\.csv"):
        scenes(tmp_path / "nowhere")
    meta = toy / HOME / "meta.csv"
    meta.write_text(meta.read_text().replace("\t", ","))
    with pytest.raises(MissingCorpus) as error:
        scenes(toy)
    assert "no column filename, scene_label, identifier" in str(error.value)
    assert "found: filename,scene_label,identifier,source_label; columns are separated by tabs" in str(error.value)


def test_the_grid_and_the_head_are_those_of_the_utterance_tasks():
    recipes = TASK.recipes("reference", demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    shapes = [list(weight.shape) for weight in TASK.head(768, LABELS, recipes[0]).parameters()]
    assert shapes == [[256, 768], [256], [10, 256], [10]]
    assert list(LABELS) == sorted(SCENES)
