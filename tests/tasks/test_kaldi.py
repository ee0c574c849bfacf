"""Kaldi folders as people have them, and as they must be refused."""

import shutil

import numpy as np
import pytest
import soundfile

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.kaldi import libri2mix
from earbench.kit.kaldi_writer import Mixture, write_folder

FOLDERS = ("train", "dev", "test")


@pytest.fixture
def root(tmp_path):
    """Two mixtures of one second in each folder, named by the paths of another machine."""
    for number, folder in enumerate(FOLDERS):
        mixtures = []
        for mixture in range(2):
            people = (f"{number}{mixture}1", f"{number}{mixture}0")
            path = f"Libri2Mix/wav16k/max/{folder}/mix_both/{folder}{mixture}.wav"
            write_audio(tmp_path / path)
            turns = [(people[0], 0.1, 0.5), (people[1], 0.3, 0.9), (people[0], 0.7, 0.8)]
            mixtures.append(Mixture(f"{folder}{mixture}", f"/export/anna/{path}", 1.0, turns))
        write_folder(tmp_path / "data" / folder, mixtures[::-1])
    return tmp_path


def write_audio(path, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * 16_000)), 16_000)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_recordings_come_in_order_with_turns_of_both_speakers(root):
    found = libri2mix(root)
    assert {split: [one.id for one in of] for split, of in found.items()} == {
        "train": ["train0", "train1"],
        "valid": ["dev0", "dev1"],
        "test": ["test0", "test1"],
    }
    one = found["valid"][1]
    assert one.audio == root / "Libri2Mix/wav16k/max/dev/mix_both/dev1.wav"
    assert one.speakers() == ("110", "111")
    assert one.turns == (("110", 0.3, 0.9), ("111", 0.1, 0.5), ("111", 0.7, 0.8))
    assert [(name, start, round(stop, 6)) for name, start, stop in one.reference] == list(one.turns)
    assert one.seconds == 1.0


def test_odd_but_legal_trees_are_read_alike(root):
    """Blank lines, Windows line ends, a channel in segments, other types of RTTM lines, extra and hidden files."""
    expected = libri2mix(root)
    train = root / "data/train"
    for name in ("wav.scp", "segments", "utt2spk", "reco2dur", "rttm"):
        text = (train / name).read_text()
        (train / name).write_bytes(("\n" + text).replace("\n", "\r\n").encode())
    (train / "rttm").write_text("SPKR-INFO train0 1 <NA> <NA> <NA> unknown 001 <NA>\n" + (train / "rttm").read_text())
    lines = [f"{line} A\n" for line in (train / "segments").read_text().split("\n") if line.strip()]
    (train / "segments").write_text("".join(lines))
    (train / "spk2utt").unlink()
    (train / "text").write_text("whatever\n")
    (train / ".DS_Store").write_bytes(b"\x00")
    shutil.copytree(root / "data", root / ".backup")
    assert libri2mix(root) == expected


@pytest.mark.parametrize("ending", [".WAV", ".flac", ".FLAC", " of two  people.wav"])
@pytest.mark.parametrize("prefix", ["", "/somewhere else/", "../../"])
def test_audio_is_found_whatever_it_is_called_and_wherever_its_path_was_written(root, ending, prefix):
    folder = root / "Libri2Mix/wav16k/max/train/mix_both"
    path = folder / f"train0{ending}"
    soundfile.write(path, np.zeros(16_000), 16_000, format="FLAC" if "flac" in ending.lower() else "WAV")
    (folder / "train0.wav").unlink()
    scp = root / "data/train/wav.scp"
    rewrite(scp, f"/export/anna/{folder.relative_to(root)}/train0.wav", f"{prefix}{path.relative_to(root)}")
    assert libri2mix(root)["train"][0].audio.resolve() == path


def test_a_path_that_exists_is_taken_as_it_is(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "Libri2Mix/wav16k/max/train/mix_both/train0.wav"
    write_audio(elsewhere)
    rewrite(root / "data/train/wav.scp", "/export/anna/Libri2Mix/wav16k/max/train/mix_both/train0.wav", str(elsewhere))
    assert [one.audio == elsewhere for one in libri2mix(root)["train"]] == [True, False]


def test_the_root_may_be_the_folder_of_the_kaldi_folders_if_the_audio_is_where_it_says(root):
    for folder in FOLDERS:
        rewrite(root / "data" / folder / "wav.scp", "/export/anna", str(root))
    assert libri2mix(root / "data") == libri2mix(root)


def test_without_reco2dur_and_rttm_the_audio_and_the_segments_speak(root):
    for folder in FOLDERS:
        (root / "data" / folder / "reco2dur").unlink()
        (root / "data" / folder / "rttm").unlink()
    one = libri2mix(root)["test"][0]
    assert one.seconds == 1.0
    assert one.reference == one.turns


def test_an_utterance_id_that_stands_twice_has_both_its_speakers(root):
    """As in the published train folder: ids hold recording and times but no speaker, and two may coincide."""
    folder = root / "data/train"
    twin = "train0_000200_000400"
    for name, lines in {
        "segments": f"{twin} train0 0.2 0.4\n" * 2,
        "utt2spk": f"{twin} 000\n{twin} 001\n",
        "rttm": "".join(f"SPEAKER train0 1 0.2 0.2 <NA> <NA> {who} <NA>\n" for who in ("000", "001")),
    }.items():
        (folder / name).write_text((folder / name).read_text() + lines)
    assert [turn[0] for turn in libri2mix(root)["train"][0].turns if turn[1] == 0.2] == ["000", "001"]


BROKEN = {
    "a command": ("wav.scp", "/export/anna/Libri2Mix/wav16k/max/train/mix_both/train0.wav", "sox a.wav -t wav - |"),
    "no file": ("wav.scp", "train0.wav", "train7.wav"),
    "fields expected": ("wav.scp", "train0 ", "train0"),
    "stands there twice": ("wav.scp", "train1 ", "train0 "),
    "wav.scp has no train9": ("segments", " train0 ", " train9 "),
    "has no speaker in utt2spk": ("utt2spk", "train0_000100_000500", "train0_000100_000501"),
    "no stretch of time": ("segments", " 0.1 0.5", " 0.5 0.1"),
    "'nan'": ("segments", " 0.1 0.5", " nan 0.5"),
    "no duration in reco2dur": ("reco2dur", "train0", "trainX"),
    "somebody talks until": ("reco2dur", "train0 1.0", "train0 0.5"),
    "has other speakers in rttm": ("rttm", "\t001\t", "\t009\t"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_lines_are_refused_with_what_is_wrong(root, problem):
    name, old, new = BROKEN[problem]
    rewrite(root / "data/train" / name, old, new)
    with pytest.raises(BadAudio, match=problem):
        libri2mix(root)


def test_missing_files_and_all_else_are_one_list(root):
    (root / "data/dev/utt2spk").unlink()
    (root / "data/test/segments").write_text("")
    with pytest.raises(BadAudio) as caught:
        libri2mix(root)
    assert "dev/utt2spk is missing" in str(caught.value)
    assert "nobody talks in test1" in str(caught.value)


@pytest.mark.parametrize(("name", "number"), [("002", 3), ("000", 1)])
def test_one_or_three_speakers_in_a_recording_are_refused(root, name, number):
    (root / "data/train/rttm").unlink()
    rewrite(root / "data/train/utt2spk", "train0_000100_000500 001", f"train0_000100_000500 {name}")
    if number == 1:
        rewrite(root / "data/train/utt2spk", "train0_000700_000800 001", f"train0_000700_000800 {name}")
    with pytest.raises(BadAudio, match=f"train0 has {number} speakers"):
        libri2mix(root)


def test_a_speaker_of_two_splits_is_refused(root):
    for name in ("utt2spk", "rttm"):
        rewrite(root / "data/test" / name, "200", "000")
    with pytest.raises(BadAudio, match="000 talks in test and train"):
        libri2mix(root)


def test_no_or_two_sets_of_folders_are_refused_with_where_was_looked(root):
    shutil.copytree(root / "data", root / "again")
    with pytest.raises(MissingCorpus, match="found 2"):
        libri2mix(root)
    shutil.rmtree(root / "again")
    (root / "data/test/wav.scp").unlink()
    with pytest.raises(MissingCorpus, match=r"found 0[\s\S]*looked in"):
        libri2mix(root)
