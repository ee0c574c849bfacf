"""The reader of VoxCeleb1: the layouts that people have, odd but legal content, and what is refused."""

import shutil
from pathlib import Path

import pytest
import soundfile

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.voxceleb import identified, seconds, tried, voxceleb
from earbench.kit.voxceleb_toy import write_toy

FIRST = "id10001/a-1_x/00001.wav"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("voxceleb") / "a root with spaces"
    write_toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "Vox Celeb")


def read(root):
    """Everything that the two lists give, by name."""
    found = voxceleb(root)
    return {split: [one.name for one in some] for split, some in identified(found, root).items()}, tried(found, root)


def refused(error, root):
    with pytest.raises(error) as caught:
        read(root)
    return str(caught.value).splitlines()


def test_splits_and_trials_are_those_of_the_lists(toy):
    splits, trials = read(toy)
    listed = [line.split() for line in (toy / "iden_split.txt").read_text().splitlines()]
    for number, split in (("1", "train"), ("2", "valid"), ("3", "test")):
        assert splits[split] == sorted(name for one, name in listed if one == number)
    assert [len(names) for names in splits.values()] == [48, 24, 24]
    lines = (toy / "voxceleb1_test_v2.txt").read_text().splitlines()
    assert [f"{target} {one} {two}" for target, one, two in trials] == lines
    assert {name[:7] for _, *names in trials for name in names} == {"id10270", "id10271", "id10272", "id10273"}


def test_utterances_say_who_speaks_where_and_for_how_long(toy):
    one = voxceleb(toy).dev[FIRST]
    assert (one.speaker, one.video, one.path) == ("id10001", "id10001/a-1_x", toy / "dev/wav" / FIRST)
    assert seconds(one) == soundfile.info(one.path).duration
    one.path.write_bytes(b"no audio")
    assert seconds(one) == 0.0


def test_both_parts_may_lie_in_one_folder(toy):
    expected = read(toy)
    for part in ("dev", "test"):
        shutil.copytree(toy / part / "wav", toy / "wav", dirs_exist_ok=True)
        shutil.rmtree(toy / part)
    assert read(toy) == expected


@pytest.mark.parametrize("lists", ["beside the audio", "above it", "in a folder of their own"])
def test_the_root_may_be_what_holds_it_and_lists_may_lie_in_either(toy, lists):
    expected = read(toy)
    place = {"beside the audio": toy, "above it": toy.parent, "in a folder of their own": toy / "meta"}[lists]
    place.mkdir(exist_ok=True)
    for name in ("iden_split.txt", "voxceleb1_test_v2.txt"):
        (toy / name).rename(place / name)
    assert read(toy.parent) == expected


def test_the_trial_list_may_have_its_other_name(toy):
    expected = read(toy)
    (toy / "voxceleb1_test_v2.txt").rename(toy / "veri_test.txt")
    assert read(toy) == expected


def test_other_files_hidden_ones_capitals_and_flac_are_taken_as_they_are(toy):
    expected, video = read(toy), toy / "dev/wav/id10001/a-1_x"
    (video / "00001.wav").rename(video / "00001.WAV")
    samples, rate = soundfile.read(video / "00002.wav")
    soundfile.write(video / "00002.flac", samples, rate)
    (video / "00002.wav").unlink()
    (video / "._00001.wav").write_bytes(b"a Mac was here")
    (video / "00001.txt").write_text("a track")
    (video / "more").mkdir()
    (toy / "dev/wav/readme.txt").write_text("")
    (toy / "dev/wav/.cache").mkdir()
    (toy / "__MACOSX").mkdir()
    lists = [toy / "iden_split.txt", toy / "voxceleb1_test_v2.txt"]
    for path in lists:
        path.write_text("\n" + path.read_text().replace("\n", "\r\n") + "\n", newline="")
    assert read(toy) == expected
    assert voxceleb(toy).dev["id10001/a-1_x/00002.wav"].path.suffix == ".flac"


def test_audio_that_no_list_names_belongs_to_no_split(toy):
    expected = read(toy)
    shutil.copytree(toy / "dev/wav/id10001", toy / "dev/wav/id19999")
    assert read(toy) == expected


def test_a_speaker_may_have_a_single_utterance(toy):
    path = toy / "iden_split.txt"
    lines = [line for line in path.read_text().splitlines() if "id10001" not in line]
    path.write_text("\n".join([f"1 {FIRST}", *lines]))
    assert [name for name in read(toy)[0]["train"] if "id10001" in name] == [FIRST]


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["dev", "test"])
def test_one_part_without_the_other_is_named(toy, missing):
    shutil.rmtree(toy / missing)
    assert f"but no {toy / missing / 'wav'}; both parts are needed" in refused(MissingCorpus, toy)[0]


def test_an_empty_folder_is_refused_with_what_was_looked_for(tmp_path):
    said = refused(MissingCorpus, tmp_path)
    assert "need dev/wav and test/wav side by side, or one wav/" in said[0]
    assert str(tmp_path) in said[1]


def test_two_corpora_below_the_root_are_not_guessed_between(toy):
    shutil.copytree(toy, toy.parent / "again")
    said = refused(MissingCorpus, toy.parent)[0]
    assert "several folders could be it" in said
    assert str(toy.parent / "again") in said


@pytest.mark.parametrize("name", ["iden_split.txt", "voxceleb1_test_v2.txt"])
def test_a_missing_list_is_named_with_its_page(toy, name):
    (toy / name).unlink()
    said = refused(MissingCorpus, toy)
    assert name in said[0]
    assert "robots.ox.ac.uk" in said[1]


def test_all_lines_of_a_list_that_cannot_be_used_come_as_one_list(toy):
    path = toy / "iden_split.txt"
    count = len(path.read_text().splitlines())
    path.write_text(path.read_text() + f"4 {FIRST}\n1\n1 a b\n2 {FIRST}\n1 id1/gone/1.wav\n")
    said = refused(BadAudio, toy)
    assert said[0].startswith("5 lines of ")
    assert [line.strip() for line in said[1:6]] == [
        f"iden_split.txt, line {count + 1}: not one of 1, 2, 3 and a file",
        f"iden_split.txt, line {count + 2}: not one of 1, 2, 3 and a file",
        f"iden_split.txt, line {count + 3}: not one of 1, 2, 3 and a file",
        f"iden_split.txt, line {count + 4}: {FIRST} is listed before",
        f"iden_split.txt, line {count + 5}: no audio for id1/gone/1.wav",
    ]


def test_all_trials_that_cannot_be_held_come_as_one_list(toy):
    path, tested = toy / "voxceleb1_test_v2.txt", "id10270/a-1_x/00001.wav"
    count = len(path.read_text().splitlines())
    path.write_text(path.read_text() + f"2 {tested} {tested}\n1 {tested}\n0 {tested} gone.wav\n1 {FIRST} {tested}\n")
    said = refused(BadAudio, toy)
    assert [line.strip() for line in said[1:5]] == [
        f"voxceleb1_test_v2.txt, line {count + 1}: not 0 or 1 and two files",
        f"voxceleb1_test_v2.txt, line {count + 2}: not 0 or 1 and two files",
        f"voxceleb1_test_v2.txt, line {count + 3}: no audio for gone.wav",
        f"voxceleb1_test_v2.txt, line {count + 4}: no audio for {FIRST}",
    ]


def test_a_hundred_lines_are_shown_and_the_others_counted(toy):
    shutil.rmtree(toy / "dev/wav")
    (toy / "dev/wav").mkdir()
    path = toy / "iden_split.txt"
    path.write_text(path.read_text() + "".join(f"1 id1/gone/{number}.wav\n" for number in range(100)))
    said = refused(BadAudio, toy)
    assert len([line for line in said if "no audio" in line]) == 100
    assert "  and 64 more" in said


def test_two_files_for_one_utterance_are_refused(toy):
    for name in (FIRST, "id10002/b-2_y/00001.wav"):
        path = toy / "dev/wav" / name
        shutil.copy(path, path.with_suffix(".WAV"))
    said = refused(BadAudio, toy)
    assert said[0] == "2 utterances have two files each"
    assert "00001.WAV" in said[1]
