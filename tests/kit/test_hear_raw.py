"""HEAR's task folders from original corpora: equal to what HEAR's own tool made of the same files."""

import json
import shutil
import zipfile
from pathlib import Path

import hear_originals
import numpy as np
import pytest
import soundfile

from earbench.errors import MissingCorpus
from earbench.kit import hear
from earbench.kit.hear_raw import BUILDERS, splits
from earbench.kit.hear_raw.draft import Draft
from earbench.kit.hear_raw.samples import Source, prepared, resampled

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "hear_originals.json").read_text("utf-8"))
REAL = Path(__file__).parents[3] / "shared" / "data"
CORPORA = ("esc50", "mridangam", "nsynth", "speech_commands")
KINDS = {home: next(kind for kind in CORPORA if home.startswith(kind)) for home in BUILDERS}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("originals")
    return {kind: getattr(hear_originals, kind)(root / kind) for kind in CORPORA if (root / kind).mkdir() is None}


@pytest.fixture
def original(originals, tmp_path):
    """A copy of one original corpus, to be spoilt."""
    return lambda kind: shutil.copytree(originals[kind], tmp_path / kind)


def drawn(home, raw, monkeypatch):
    """The draft of a task, with the lengths per split that the golden run had."""
    lengths = GOLDEN["tasks"][home]["metadata"].get("max_task_duration_by_split")
    monkeypatch.setattr(splits, "longest", lambda _: dict(lengths))
    return BUILDERS[home](raw)


def refused(home, raw):
    with pytest.raises(MissingCorpus) as caught:
        BUILDERS[home](raw)
    return str(caught.value)


# ---- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", BUILDERS)
def test_every_split_holds_the_files_and_labels_that_hears_tool_gave_it(home, originals, monkeypatch):
    draft = drawn(home, originals[KINDS[home]], monkeypatch)
    assert draft.folder == home
    found = {split: {f"{stem}.wav": one[0] for stem, one in clips.items()} for split, clips in draft.clips.items()}
    assert found == GOLDEN["tasks"][home]["splits"]


def test_the_draw_of_a_split_is_that_of_hears_tool():
    """Sorted by the name without its ending: with it, a-1-2.wav would stand before a-1.wav."""
    stems = GOLDEN["kept"]["stems"]
    for split, order in GOLDEN["kept"]["kept"].items():
        assert splits.kept(reversed(stems), split, None) == order
        assert splits.kept(stems, split, 3) == order[:3]


def test_folds_are_drawn_again_until_every_fold_has_every_label():
    golden = GOLDEN["folds"]
    found = splits.folds({stem: stem[0] for stem in golden["stems"]}, 3)
    assert {fold: sorted(stems) for fold, stems in found.items()} == {
        fold: sorted(stems) for fold, stems in golden["folds"].items()
    }


def test_a_label_that_is_too_rare_for_the_folds_is_an_error():
    with pytest.raises(MissingCorpus, match="4 clips of 2 labels cannot be divided into 3 folds"):
        splits.folds({"a": "x", "b": "x", "c": "x", "d": "y"}, 3)


def test_hours_are_those_of_the_published_counts():
    """Sheet 2.3: 4000/500/500 and 40000/5000 of four seconds, 16000/2000 of one."""
    assert splits.most(5, 4.0) == {"train": 4000, "valid": 500, "test": 500}
    assert splits.most(50, 4.0) == {"train": 40_000, "valid": 5000, "test": 5000}
    assert splits.most(5, 1.0) == {"train": 16_000, "valid": 2000, "test": 2000}


# ---- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("home", ["nsynth_pitch-v2.2.3-5h", "mridangam_tonic-v1.5-full", "speech_commands-v0.0.2-5h"])
def test_the_written_folder_says_what_hears_tool_wrote(home, originals, monkeypatch, tmp_path):
    ticks = []
    drawn(home, originals[KINDS[home]], monkeypatch).write(tmp_path / home, (8_000,), lambda: ticks.append(1))
    golden = GOLDEN["tasks"][home]
    metadata = json.loads((tmp_path / home / "task_metadata.json").read_text())
    assert metadata.pop("prepared_by") == "earbench"
    assert metadata == golden["metadata"]
    assert (tmp_path / home / "labelvocabulary.csv").read_text().split() == golden["vocabulary"]
    for split, answers in golden["splits"].items():
        written = json.loads((tmp_path / home / f"{split}.json").read_text())
        assert list(written.items()) == [(file, [label]) for file, label in sorted(answers.items())]
        assert {path.name for path in (tmp_path / home / "8000" / split).iterdir()} == set(answers)
    assert len(ticks) == sum(map(len, golden["splits"].values()))


def test_the_reader_of_hears_folders_reads_it(originals, monkeypatch, tmp_path):
    home = "mridangam_stroke-v1.5-full"
    drawn(home, originals["mridangam"], monkeypatch).write(tmp_path / home, (16_000,), lambda: None)
    folder = hear.read(tmp_path / home, 16_000)
    assert [len(fold.test.clips) for fold in folder.folds(str)] == [6] * 5
    assert folder.labels == ("bheem", "cha", "tha")


def test_the_announced_size_is_what_it_takes(originals, monkeypatch, tmp_path):
    draft = drawn("nsynth_pitch-v2.2.3-5h", originals["nsynth"], monkeypatch)
    draft.write(tmp_path / "out", (8_000, 16_000), lambda: None)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.wav")) == draft.bytes((8_000, 16_000))


# ---- samples ---------------------------------------------------------------------------------------------------------


def wave(path, samples, rate=16_000, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype)
    return Source(path)


def test_a_longer_recording_is_cut_and_a_shorter_one_padded_bit_by_bit(tmp_path):
    samples = np.array([32_767, -32_768, 3, -4, 5], dtype=np.int16)
    source = wave(tmp_path / "a.wav", samples, 10)
    assert prepared(source, 0.4)[1].tolist() == samples[:4].tolist()
    assert prepared(source, 0.8)[1].tolist() == [*samples.tolist(), 0, 0, 0]
    rate, found = prepared(source, 0.5)
    assert (rate, found.dtype, found.tolist()) == (10, np.int16, samples.tolist())


def test_two_channels_become_their_mean_rounded_up(tmp_path):
    """Expected, by hand: what ffmpeg makes of the same pairs."""
    pairs = np.array([[1, 2], [-1, -2], [3, 5], [32_767, 32_767], [-32_768, -32_768]], dtype=np.int16)
    assert prepared(wave(tmp_path / "a.wav", pairs, 5), 1.0)[1].tolist() == [2, -1, 4, 32_767, -32_768]


def test_floating_point_recordings_keep_their_loudness(tmp_path):
    source = wave(tmp_path / "a.wav", np.array([0.5, -0.25, 1.5]), 3, "FLOAT")
    assert prepared(source, 1.0)[1].tolist() == [16_384, -8_192, 32_767]


def test_a_slice_of_silence_begins_at_its_sample(tmp_path):
    samples = np.arange(32_761, 32_768, dtype=np.int16)
    source = wave(tmp_path / "a.wav", samples, 4)
    assert prepared(Source(source.path, 2), 1.0)[1].tolist() == [32_763, 32_764, 32_765, 32_766]


def test_resampling_keeps_a_tone_and_its_length_and_gives_the_same_bits_each_time():
    times = np.arange(4_410) / 44_100
    tone = np.round(20_000 * np.sin(2 * np.pi * 1_000 * times)).astype(np.int16)
    found = resampled(tone, 44_100, 48_000)
    assert len(found) == 4_800
    expected = 20_000 * np.sin(2 * np.pi * 1_000 * np.arange(4_800) / 48_000)
    assert np.abs(found[500:-500] - expected[500:-500]).max() < 2
    assert (found == resampled(tone, 44_100, 48_000)).all()
    assert resampled(tone, 44_100, 44_100) is tone


def test_resampling_does_not_wrap_round_where_it_overshoots():
    square = np.where(np.arange(400) // 20 % 2, 32_767, -32_768).astype(np.int16)
    found = resampled(square, 16_000, 48_000)[60:-60].reshape(-1, 60)[:, 20:40]
    assert (np.sign(found) == np.sign(found[:, :1])).all()


# ---- what is wrong with an original ----------------------------------------------------------------------------------


def test_all_that_is_wrong_with_esc50_is_one_list(original):
    raw = original("esc50")
    home = raw / "ESC-50-master"
    (home / "audio" / "1-900-A-0.wav").unlink()
    table = home / "meta" / "esc50.csv"
    table.write_text(table.read_text() + "5-900-A-0.wav,6,0,rooster\n" + "5-900-A-0.wav,5,0,\n")
    text = refused("esc50-v2.0.0-full", raw)
    assert "3 things in" in text
    assert "audio/1-900-A-0.wav: named by meta/esc50.csv, and not there" in text
    assert "meta/esc50.csv, line 12: a fold from 1 to 5 and a category" in text
    assert "meta/esc50.csv, line 13" in text


@pytest.mark.parametrize(("text", "words"), [("a,b\n1,2\n", "no column category, filename, fold"),
                                             ("filename,fold,category\n", "names no recordings"),
                                             ("filename,f\xf6ld\n", "esc50.csv: 'utf-8' codec")])  # fmt: skip
def test_a_table_of_another_kind_is_no_esc50(original, text, words):
    raw = original("esc50")
    (raw / "ESC-50-master" / "meta" / "esc50.csv").write_text(text, encoding="latin-1")
    assert words in refused("esc50-v2.0.0-full", raw)


def test_all_that_is_wrong_with_mridangam_is_one_list(original):
    raw = original("mridangam")
    home = raw / "mridangam_stroke_1.5"
    first = sorted((home / "B").iterdir())[0]
    shutil.copy(first, home / "CSH")
    shutil.copy(first, home / "B" / "224999__akshaylaya__clap-b-001.wav")
    shutil.copy(first, home / "B" / f"._{first.name}")
    text = refused("mridangam_stroke-v1.5-full", raw)
    assert "2 things in" in text
    assert "224999__akshaylaya__clap-b-001.wav: its name does not end in STROKE-TONIC-NUMBER" in text
    assert f"CSH/{first.name}: has the name of {first}" in text


def test_mridangam_lies_in_its_folder_beside_others_or_is_named_itself(originals, tmp_path):
    home = "mridangam_stroke-v1.5-full"
    raw = shutil.copytree(originals["mridangam"], tmp_path / "all")
    hear_originals.save(raw / "other" / "x.wav", 0.1)
    assert len(BUILDERS[home](raw)) == len(BUILDERS[home](raw / "mridangam_stroke_1.5")) == 30
    (raw / "mridangam_stroke_1.5").rename(raw / "strokes")
    assert len(BUILDERS[home](raw)) == 30


def test_all_that_is_wrong_with_nsynth_is_one_list(original):
    raw = original("nsynth")
    (raw / "nsynth-valid" / "audio" / "bass_valid_002-060-050.wav").unlink()
    (raw / "nsynth-valid" / "audio" / "bass_valid_002-020-050.wav").unlink()  # out of range: nobody needs it
    (raw / "nsynth-test" / "examples.json").write_text('{"a": {"pitch": 60}, "b": {"note": 1}}')
    (raw / "nsynth-train" / "examples.json").write_text("{")
    text = refused("nsynth_pitch-v2.2.3-50h", raw)
    (raw / "nsynth-test" / "examples.json").write_text('{"a": {"pitch": 20}}')
    assert "nsynth-test/examples.json: no note with a pitch from 21 to 108" in refused("nsynth_pitch-v2.2.3-5h", raw)
    assert "3 things in" in text
    assert "nsynth-valid/audio/bass_valid_002-060-050.wav: named by examples.json, and not there" in text
    assert "nsynth-test/examples.json: an object of notes, each with a whole 'pitch', is expected" in text
    assert "nsynth-train/examples.json: Expecting" in text


def test_a_missing_archive_of_nsynth_is_named(original):
    raw = original("nsynth")
    shutil.rmtree(raw / "nsynth-valid")
    assert "nsynth-valid.jsonwav.tar.gz is not found under" in refused("nsynth_pitch-v2.2.3-5h", raw)


def test_the_archives_of_nsynth_may_lie_in_folders_of_their_own(originals, tmp_path):
    for split in ("train", "valid", "test"):
        shutil.copytree(originals["nsynth"] / f"nsynth-{split}", tmp_path / split / f"nsynth-{split}")
    assert len(BUILDERS["nsynth_pitch-v2.2.3-5h"](tmp_path)) == 36


def test_all_that_is_wrong_with_speech_commands_is_one_list(original):
    raw = original("speech_commands")
    home = raw / "speech_commands_v0.02"
    (home / "yes" / "22cd_nohash_0.wav").unlink()
    hear_originals.save(home / "noise" / "a.wav", 0.1)
    hear_originals.save(raw / "speech_commands_test_set_v0.02" / "bed" / "a.wav", 0.1)
    hear_originals.save(home / "_background_noise_" / "pink_noise.wav", 2.1, channels=2)
    (home / "_background_noise_" / "white_noise.wav").write_text("no audio")
    (home / "testing_list.txt").write_text("go/22cd_nohash_0.wav\n")
    text = refused("speech_commands-v0.0.2-full", raw)
    assert "6 things in" in text
    for words in (
        "yes/22cd_nohash_0.wav: named by validation_list.txt, and not there",
        "go/22cd_nohash_0.wav: named by validation_list.txt and by testing_list.txt",
        "noise/: 1 recordings, but no word of v0.02",
        "speech_commands_test_set_v0.02/bed/: 1 recordings, but none of the twelve labels",
        "_background_noise_/pink_noise.wav: 2 channels, one is expected",
        "_background_noise_/white_noise.wav: cannot be decoded",
    ):
        assert words in text


def test_speech_commands_without_the_running_tap_has_no_silence_for_valid(original):
    raw = original("speech_commands")
    hear_originals.save(raw / "speech_commands_v0.02" / "_background_noise_" / "running_tap.wav", 1.0)
    assert "running_tap.wav: not there, or not longer than a second" in refused("speech_commands-v0.0.2-5h", raw)


def test_speech_commands_v2_is_told_from_v1_beside_it(originals, tmp_path):
    raw = shutil.copytree(originals["speech_commands"], tmp_path / "raw")
    for folder in ("speech_commands_v0.02", "speech_commands_test_set_v0.02"):
        shutil.copytree(raw / folder, raw / folder.replace("2", "1"))
    shutil.rmtree(raw / "speech_commands_v0.01" / "backward")
    home = "speech_commands-v0.0.2-full"
    assert len(BUILDERS[home](raw)) == len(BUILDERS[home](raw / "speech_commands_v0.02")) == 55


@pytest.mark.parametrize("home", BUILDERS)
def test_a_folder_that_holds_something_else_is_told_with_what_is_needed(home, tmp_path):
    (tmp_path / "other").mkdir()
    text = refused(home, tmp_path)
    assert f"is not found under {tmp_path}: need " in text
    assert f"looked in {tmp_path}, {tmp_path / 'other'}" in text
    assert "is not a folder" in refused(home, tmp_path / "nowhere")


# ---- real recordings -------------------------------------------------------------------------------------------------


def test_real_pieces_of_speech_commands_become_a_folder_that_can_be_read(tmp_path):
    archives = ("speech_commands_v0.02", "speech_commands_test_set_v0.02")
    if not all((REAL / f"{name}-small.zip").is_file() for name in archives):
        pytest.skip("the real pieces of Speech Commands are not in ../shared/data")
    for name in archives:
        with zipfile.ZipFile(REAL / f"{name}-small.zip") as archive:
            archive.extractall(tmp_path / name)
    words = tmp_path / archives[0]
    for name in ("validation_list.txt", "testing_list.txt"):  # they name all of the corpus
        there = [line for line in (words / name).read_text().split() if (words / line).is_file()]
        (words / name).write_text("\n".join(there))
    draft: Draft = BUILDERS["speech_commands-v0.0.2-5h"](tmp_path)
    draft.write(tmp_path / draft.folder, (16_000,), lambda: None)
    folder = hear.read(tmp_path / draft.folder, 16_000)
    assert len(folder.labels) == 12
    assert {split: len(files) for split, files in folder.answers.items()} == {"train": 56, "valid": 132, "test": 96}
    unknown = "_unknown__four_b49caed3_nohash_0.wav.wav"
    assert folder.answers["test"][unknown] == "_unknown_"
    original, _ = soundfile.read(tmp_path / archives[1] / "_unknown_" / "four_b49caed3_nohash_0.wav.wav", dtype="int16")
    found, rate = soundfile.read(folder.path / "16000" / "test" / unknown, dtype="int16")
    assert (rate, len(found), found[: len(original)].tolist()) == (16_000, 16_000, original.tolist())
