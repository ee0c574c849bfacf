"""The reader of Speech Commands, on the toy tree and on real pieces of v0.02 where they are present."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earbench.errors import MissingCorpus
from earbench.kit.speech_commands import SPEECH_COMMANDS_LABELS, SPEECH_COMMANDS_V1, official_split, speech_commands
from earbench_tasks.keyword_spotting import KeywordSpotting

REAL = Path(__file__).parents[2].parent / "shared/data"
TRAIN, TEST = "speech_commands_v0.01", "speech_commands_test_set_v0.01"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "root"
    KeywordSpotting().toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    """A copy of both archives, below a folder of its own so that nothing else lies beside it."""
    return shutil.copytree(written, tmp_path / "root")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    names = ("speech_commands_v0.02-small", "speech_commands_test_set_v0.02-small")
    if not all((REAL / f"{name}.zip").is_file() for name in names):
        pytest.skip("the real pieces of Speech Commands are not in ../shared/data")
    root = tmp_path_factory.mktemp("real")
    for name in names:
        with zipfile.ZipFile(REAL / f"{name}.zip") as archive:
            archive.extractall(root / name)
    return root


def ids(root: Path) -> list[tuple[str, ...]]:
    return [tuple(clip.id for clip in split.clips) for split in speech_commands(root, 4).splits().values()]


def test_published_counts_add_up_to_the_published_totals():
    """Expected: the totals 51,094, 6,804 and 3,081 that the SUPERB sheet (2.3) prints beside the classes."""
    counts = SPEECH_COMMANDS_V1.counts
    for split, total in {"train": 51_094, "valid": 6_804, "test": 3_081}.items():
        assert sum(counts[f"{split}/{label}"] for label in SPEECH_COMMANDS_LABELS) == total
    assert len(counts) == 36 + 1
    assert counts["words of v0.02"] == 0


def test_split_rule_equals_an_independent_formula():
    """Whole numbers only: the last 27 bits of the speaker's SHA-1 against a tenth and a fifth of 2^27 - 1."""
    found = set()
    for number in range(2_000):
        speaker = f"{number * 2_654_435_761 % 2**32:08x}"
        bits = int.from_bytes(hashlib.sha1(speaker.encode()).digest()[-4:], "big") & 0x7FFFFFF
        expected = "valid" if 10 * bits < 0x7FFFFFF else "test" if 5 * bits < 0x7FFFFFF else "train"
        assert official_split(f"{speaker}_nohash_{number % 7}.wav") == expected
        found.add(expected)
    assert found == {"train", "valid", "test"}


def test_split_rule_gives_the_official_lists(real):
    """Expected: validation_list.txt and testing_list.txt of v0.02, 20,986 names its authors made by the same rule."""
    folder = real / "speech_commands_v0.02-small"
    for split, file, number in (("valid", "validation_list.txt", 9_981), ("test", "testing_list.txt", 11_005)):
        names = [line.partition("/")[2] for line in (folder / file).read_text().split()]
        assert len(names) == number
        assert {official_split(name) for name in names} == {split}


def test_real_pieces_are_read(real):
    fold = speech_commands(real, 4)
    assert {name: len(split.units()) for name, split in fold.splits().items()} == {"train": 57, "valid": 12, "test": 96}
    groups = {clip.id: clip.group for clip in fold.test.clips}
    assert groups["test/_unknown_-four_b49caed3_nohash_0.wav.wav"] == "b49caed3"
    assert groups["test/_silence_-4888.wav"] == "4888.wav"
    assert groups["test/yes-105a0eea_nohash_0.wav"] == "105a0eea"


def test_real_silence_crops_are_whole_seconds_inside_the_file(real):
    for split in (speech_commands(real, 64).train, speech_commands(real, 64).valid):
        crops = [clip for clip in split.clips if clip.label == "_silence_"]
        assert len(crops) == 64
        starts = np.array([clip.start for clip in crops])
        assert len(set(starts)) > 60
        assert np.allclose(starts * 16_000, np.round(starts * 16_000), atol=1e-6)
        assert all(round((clip.stop - clip.start) * 16_000) == 16_000 for clip in crops)
        assert starts.min() >= 0
        assert max(clip.stop for clip in crops) <= soundfile.info(crops[0].audio).duration


def test_words_outside_the_ten_are_unknown_and_discarded_speakers_are_nowhere(toy):
    fold = speech_commands(toy, 4)
    labels = {clip.id.partition("/")[0]: clip.label for clip in fold.train.clips if clip.pool is None}
    assert labels["bed"] == labels["wow"] == "_unknown_"
    assert labels["yes"] == "yes"
    discarded = {path.name for path in (toy / TRAIN / "yes").iterdir() if official_split(path.name) == "test"}
    kept = {clip.audio.name for split in (fold.train, fold.valid) for clip in split.clips}
    assert discarded
    assert not discarded & kept


def test_silence_is_one_unit_per_background_file_with_its_own_crops_in_each_split(toy):
    fold = speech_commands(toy, 8)
    crops = {
        name: [clip for clip in split.clips if clip.pool is not None]
        for name, split in {"train": fold.train, "valid": fold.valid}.items()
    }
    for found in crops.values():
        assert len(found) == 16
        assert {clip.pool.rpartition("/")[2] for clip in found} == {clip.group for clip in found}
        assert {clip.group for clip in found} == {"noise_0.wav", "noise_1.wav"}
    one, two = ({(clip.group, clip.start) for clip in found} for found in crops.values())
    assert not one & two


def test_background_shorter_than_a_second_is_one_whole_clip(toy):
    soundfile.write(toy / TRAIN / "_background_noise_" / "short.wav", np.zeros(15_999), 16_000)
    soundfile.write(toy / TRAIN / "_background_noise_" / "exact.wav", np.zeros(16_000), 16_000)
    clips = speech_commands(toy, 3).train.clips
    assert [(clip.start, clip.stop) for clip in clips if clip.group == "short.wav"] == [(None, None)]
    assert [(clip.start, clip.stop) for clip in clips if clip.group == "exact.wav"] == [(0.0, 1.0)] * 3


def test_unreadable_background_is_left_for_the_engine_to_report(toy):
    (toy / TRAIN / "_background_noise_" / "broken.wav").write_bytes(b"RIFF")
    clips = [clip for clip in speech_commands(toy, 3).train.clips if clip.group == "broken.wav"]
    assert [(clip.start, clip.stop) for clip in clips] == [(None, None)]


def test_speakers_are_kept_apart_only_where_the_split_rule_promises_it(toy):
    fold = speech_commands(toy, 2)
    spoken = {clip.leak for clip in fold.train.clips if clip.pool is None}
    assert spoken
    assert not spoken & {clip.leak for clip in fold.valid.clips if clip.pool is None}
    assert {clip.leak for clip in fold.test.clips} == {None}
    assert {clip.leak for clip in fold.train.clips if clip.pool is not None} == {None}


def test_every_clip_is_three_decibels_quieter(toy):
    splits = speech_commands(toy, 2).splits().values()
    assert {clip.effects for split in splits for clip in split.clips} == {(("gain_db", -3.0),)}


def test_folder_names_do_not_matter(toy):
    expected = ids(toy)
    (toy / TRAIN).rename(toy / "b")
    (toy / TEST).rename(toy / "a")
    assert ids(toy) == expected


def test_the_training_archive_itself_may_be_the_root(toy):
    expected = ids(toy)
    assert ids(toy / TRAIN) == expected
    shutil.move(toy / TEST, toy / TRAIN / "test_set")
    assert ids(toy / TRAIN) == expected
    assert ids(toy / TRAIN / ".." / TRAIN) == expected


def test_upper_case_extensions_are_read(toy):
    number = len(ids(toy)[0])
    for path in list((toy / TRAIN / "yes").iterdir()):
        path.rename(path.with_suffix(".WAV"))
    found = ids(toy)[0]
    assert len(found) == number
    assert any(name.startswith("yes/") and name.endswith(".WAV") for name in found)


def test_other_files_are_passed_over(toy):
    expected = ids(toy)
    for folder in (toy, toy / TRAIN, toy / TRAIN / "yes", toy / TRAIN / "_background_noise_", toy / TEST / "_silence_"):
        for name in ("README.md", "LICENSE", ".DS_Store", "validation_list.txt", "._0.wav"):
            (folder / name).write_text("not audio")
    (toy / ".cache").mkdir()
    assert ids(toy) == expected


def test_listing_order_of_the_file_system_does_not_matter(toy, monkeypatch):
    expected = ids(toy)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), key=lambda name: name[::-1]))
    assert ids(toy) == expected


def test_missing_corpus_names_the_folders_looked_in(tmp_path):
    (tmp_path / "downloads").mkdir()
    with pytest.raises(MissingCorpus) as error:
        speech_commands(tmp_path, 4)
    assert f"looked in {tmp_path}, {tmp_path / 'downloads'}" in str(error.value)
    assert "found 0 and 0" in str(error.value)


def test_a_missing_half_is_named(toy):
    shutil.rmtree(toy / TEST)
    with pytest.raises(MissingCorpus, match="found 1 and 0") as error:
        speech_commands(toy, 4)
    assert str(toy / TRAIN) in str(error.value)


def test_two_versions_side_by_side_are_not_guessed_between(toy):
    shutil.copytree(toy / TRAIN, toy / "speech_commands_v0.02")
    with pytest.raises(MissingCorpus, match="found 2 and 1"):
        speech_commands(toy, 4)


def test_v002_beside_it_is_told_apart_by_its_words(toy):
    expected = ids(toy)
    shutil.copytree(toy / TRAIN, toy / "speech_commands_v0.02")
    (toy / "speech_commands_v0.02/backward").mkdir()
    assert ids(toy) == expected


def test_both_archives_in_one_folder_are_refused(toy):
    shutil.copytree(toy / TEST, toy / TRAIN, dirs_exist_ok=True)
    shutil.rmtree(toy / TEST)
    with pytest.raises(MissingCorpus, match="a folder of its own"):
        speech_commands(toy, 4)
