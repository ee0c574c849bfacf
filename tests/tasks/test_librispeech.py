"""The reader of LibriSpeech, on the toy tree, on hand-made mistakes and on real audio where it is present."""

import shutil
from pathlib import Path

import pytest

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.librispeech import LIBRISPEECH, SUBSETS, librispeech
from earbench_tasks.speech_recognition import SpeechRecognition

REAL = Path(__file__).parents[2].parent / "shared/data/librispeech_sample"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "root"
    SpeechRecognition().toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "root")


@pytest.fixture
def chapter(toy) -> Path:
    """The only chapter of the first training speaker."""
    return toy / "LibriSpeech/train-clean-100/1/1"


def ids(root: Path) -> list[list[str]]:
    return [[clip.id for clip in split.clips] for split in librispeech(root).splits().values()]


def refused(root: Path) -> list[str]:
    """What the one error says, line by line."""
    with pytest.raises(BadAudio) as error:
        librispeech(root)
    return str(error.value).splitlines()


def add_line(chapter: Path, text: str) -> None:
    path = chapter / "1-1.trans.txt"
    path.write_text(path.read_text() + text + "\n")


def test_counts_are_the_published_ones():
    """Expected: SUPERB sheet 2.1, "data"."""
    assert LIBRISPEECH.counts == {"train": 28_539, "valid": 2_703, "test": 2_620}
    assert list(SUBSETS.values()) == ["train-clean-100", "dev-clean", "test-clean"]


def test_clips_are_utterances_in_the_order_of_ids_with_their_words_and_speakers(toy):
    fold = librispeech(toy)
    assert [len(split.clips) for split in fold.splits().values()] == [72, 24, 36]
    for subset, split in zip(SUBSETS.values(), fold.splits().values(), strict=True):
        assert [clip.id for clip in split.clips] == sorted(clip.id for clip in split.clips)
        for clip in split.clips:
            speaker, number, _ = clip.id.split("-")
            assert clip.audio == toy / "LibriSpeech" / subset / speaker / number / f"{clip.id}.flac"
            assert f"{clip.id} {clip.label}\n" in (clip.audio.parent / f"{speaker}-{number}.trans.txt").read_text()
            assert clip.group == clip.leak == speaker


def test_the_root_may_be_librispeech_or_what_holds_it_or_one_subset(toy):
    expected = ids(toy)
    home = toy / "LibriSpeech"
    assert ids(home) == ids(home / "dev-clean") == expected


def test_other_files_are_passed_over(toy, chapter):
    expected = ids(toy)
    for folder in (toy, toy / "LibriSpeech", chapter.parent.parent, chapter.parent, chapter):
        for name in ("README.TXT", ".DS_Store", "._1-1-0000.flac", "notes.txt"):
            (folder / name).write_text("not audio")
    (chapter.parent / ".cache").mkdir()
    assert ids(toy) == expected


def test_a_missing_subset_is_named_with_the_folders_looked_in(toy):
    shutil.rmtree(toy / "LibriSpeech/dev-clean")
    with pytest.raises(MissingCorpus, match="need one folder 'dev-clean', found 0") as error:
        librispeech(toy)
    assert f"looked in {toy}, {toy / 'LibriSpeech'}" in str(error.value)


def test_two_copies_side_by_side_are_not_guessed_between(toy):
    shutil.copytree(toy / "LibriSpeech/dev-clean", toy / "dev-clean")
    with pytest.raises(MissingCorpus, match="'dev-clean', found 2"):
        librispeech(toy)


def test_every_mistake_of_every_subset_is_told_at_once(toy, chapter):
    (chapter / "1-1-0003.flac").unlink()
    shutil.copy(chapter / "1-1-0004.flac", chapter / "1-1-0777.flac")
    add_line(chapter, "1-1-0888 NO AUDIO")
    (toy / "LibriSpeech/test-clean/9/1/9-1.trans.txt").unlink()
    said = refused(toy)
    assert said[0] == "4 utterances or chapters of LibriSpeech cannot be used; nothing was trained"
    folder = toy / "LibriSpeech/test-clean/9/1"
    assert [line.strip() for line in said[1:5]] == [
        f"{chapter / '1-1-0777.flac'}: no line in 1-1.trans.txt",
        f"{chapter / '1-1.trans.txt'}: no audio for the line 1-1-0003",
        f"{chapter / '1-1.trans.txt'}: no audio for the line 1-1-0888",
        f"{folder}: no transcript 9-1.trans.txt for 12 audio files",
    ]


@pytest.mark.parametrize("text", ["", " ", "123", "— …"])
def test_a_line_without_a_letter_of_the_dictionary_is_refused(toy, chapter, text):
    shutil.copy(chapter / "1-1-0000.flac", chapter / "1-1-0012.flac")
    add_line(chapter, f"1-1-0012 {text}")
    assert refused(toy)[1].strip() == f"{chapter / '1-1.trans.txt'}: no letter in the line 1-1-0012"


def test_a_hundred_mistakes_are_shown_and_the_others_counted(toy, chapter):
    add_line(chapter, "\n".join(f"1-1-{number} X" for number in range(1000, 1150)))
    said = refused(toy)
    assert len([line for line in said if "no audio" in line]) == 100
    assert "  and 50 more" in said


def test_words_are_upper_cased_and_parted_by_one_space(toy, chapter):
    shutil.copy(chapter / "1-1-0000.flac", chapter / "1-1-0012.flac")
    add_line(chapter, "1-1-0012  it's\ta   Test ")
    assert {clip.id: clip.label for clip in librispeech(toy).train.clips}["1-1-0012"] == "IT'S A TEST"


def test_real_utterances_are_read(tmp_path):
    """Nine utterances of six speakers; the audio comes without its transcripts, so the lines here are made up."""
    if not REAL.is_dir():
        pytest.skip("the real pieces of LibriSpeech are not in ../shared/data")
    for path in REAL.glob("*/*/*.flac"):
        for subset in SUBSETS.values():
            folder = tmp_path / subset / path.parent.relative_to(REAL)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
            with (folder / f"{path.stem.rpartition('-')[0]}.trans.txt").open("a") as file:
                file.write(f"{path.stem} SOMETHING\n")
    clips = librispeech(tmp_path).test.clips
    assert len(clips) == 9
    assert {clip.group for clip in clips} == {"2911", "4051", "4397", "5393", "5678", "6476"}
