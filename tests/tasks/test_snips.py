"""The reader of Audio SNIPS, on the toy tree, on odd but legal trees and on hand-made mistakes."""

import shutil
from pathlib import Path

import pytest
import soundfile

from earbench.errors import BadAudio, MissingCorpus
from earbench.kit.snips import SNIPS, SPEAKERS, snips
from earbench_tasks.slot_filling import SlotFilling


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "root"
    SlotFilling().toy(root, seed=0)
    return root


@pytest.fixture
def home(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "with spaces") / "SNIPS"


def clips(home: Path) -> list[list[object]]:
    return [[(clip.id, clip.label, clip.group) for clip in split.clips] for split in snips(home).splits().values()]


def add(home: Path, *lines: str) -> None:
    with (home / "all.iob.snips.txt").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def refused(home: Path) -> list[str]:
    """What the one error says, line by line."""
    with pytest.raises(BadAudio) as error:
        snips(home)
    return [line.strip() for line in str(error.value).splitlines()]


def test_counts_and_speakers_are_the_published_ones():
    """Expected: SUPERB sheet 2.9."""
    assert SNIPS.counts == {"train": 104_672, "valid": 2_800, "test": 2_800, "slots": 39}
    assert " ".join(SPEAKERS["train"]) == "Ivy Joanna Joey Justin Kendra Kimberly Matthew Salli"
    assert " ".join(SPEAKERS["valid"]) == "Aditi Amy Geraint Nicole"
    assert " ".join(SPEAKERS["test"]) == "Brian Emma Raveena Russell"


def test_clips_are_utterances_in_the_order_of_ids_with_words_slots_and_speakers(home):
    fold = snips(home)
    assert [len(split.clips) for split in fold.splits().values()] == [96, 48, 48]
    lines = (home / "all.iob.snips.txt").read_text("utf-8").splitlines()
    for name, split in fold.splits().items():
        assert split.truth == {"slots": ("drink", "number")}
        assert [clip.id for clip in split.clips] == sorted(clip.id for clip in split.clips)
        for clip in split.clips:
            words, named = clip.label.split("\t")
            assert f"{clip.id} BOS {words} EOS\tO {named} Toy" in lines
            assert clip.audio == home / name / f"{clip.id}.wav"
            assert (clip.leak, clip.group) == tuple(clip.id.split("-", 1))


def test_the_root_may_be_snips_or_what_holds_it(home):
    assert clips(home) == clips(home.parent)


def test_speakers_of_other_splits_and_other_files_are_passed_over(home):
    """As published: every speaker says every text, and the text file has them all."""
    expected = clips(home)
    for name in ("Ivy-snips-test-0", "Brian-snips-train-0", "Nobody-snips-train-0"):
        shutil.copy(home / "train/Ivy-snips-train-0.wav", home / name.split("-")[2] / f"{name}.wav")
        add(home, f"{name} BOS a broken line")
    add(home, "Salli-snips-valid-7 BOS TO EOS\tO O Toy", "")
    for folder in (home, home / "train", home / "test"):
        for name in ("readme.md", ".DS_Store", "._Ivy-snips-train-0.wav", "notes.wav"):
            (folder / name).write_text("not audio")
    assert clips(home) == expected


def test_folders_below_endings_and_line_ends_do_not_matter(home):
    expected = clips(home)
    (home / "train/Ivy").mkdir()
    (home / "train/Ivy-snips-train-0.wav").rename(home / "train/Ivy/Ivy-snips-train-0.WAV")
    flac = home / "train/Ivy-snips-train-1.flac"
    soundfile.write(flac, *soundfile.read(flac.with_suffix(".wav")))
    flac.with_suffix(".wav").unlink()
    for name in ("all.iob.snips.txt", "slots.txt"):
        (home / name).write_bytes((home / name).read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert clips(home) == expected


@pytest.mark.parametrize("name", ["train", "valid", "test", "slots.txt", "all.iob.snips.txt"])
def test_a_missing_part_is_named(home, name):
    path = home / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingCorpus, match=name):
        snips(home)


@pytest.mark.parametrize("text", ["", "O", "drink\nnumber", "O\ndrink\ndrink", "O\ndrink\nO"])
def test_slot_names_begin_with_o_and_differ(home, text):
    (home / "slots.txt").write_text(text)
    with pytest.raises(MissingCorpus, match="need a line 'O'"):
        snips(home)


def test_every_mistake_of_every_split_is_told_at_once(home):
    (home / "train/Ivy-snips-train-3.wav").unlink()
    shutil.copy(home / "valid/Amy-snips-valid-0.wav", home / "valid/Amy-snips-valid-99.wav")
    shutil.copy(home / "test/Emma-snips-test-0.wav", home / "test/Emma-snips-test-0.flac")
    for number in range(50, 55):
        shutil.copy(home / "test/Emma-snips-test-0.wav", home / f"test/Emma-snips-test-{number}.wav")
    add(
        home,
        "Emma-snips-test-50 BOS TO EAT EOS\tO O Toy",
        "Emma-snips-test-51 BOS TO EOS O O Toy",
        "Emma-snips-test-52 BOS TO EOS\tO colour Toy",
        "Emma-snips-test-53 BOS ? EOS\tO O Toy",
        "Emma-snips-test-54 BOS TO EOS\tO O Toy",
        "Emma-snips-test-54 BOS TO EOS\tO O Toy",
    )
    said = refused(home)
    assert said[0] == "8 utterances of Audio SNIPS cannot be used; nothing was trained"
    text = "all.iob.snips.txt"
    assert said[1:9] == [
        f"{text}, line 193: 2 words, 1 slots of Emma-snips-test-50",
        f"{text}, line 194: 4 words, no slots of Emma-snips-test-51",
        f"{text}, line 195: the slot colour, which slots.txt does not name, of Emma-snips-test-52",
        f"{text}, line 196: no word in the text of Emma-snips-test-53",
        f"{text}, line 198: a second line of Emma-snips-test-54",
        f"{home / 'train'}: no audio for the line Ivy-snips-train-3",
        f"{home / 'valid/Amy-snips-valid-99.wav'}: no line in {text}",
        f"{home / 'test/Emma-snips-test-0.wav'}: the same utterance as {home / 'test/Emma-snips-test-0.flac'}",
    ]


def test_a_hundred_mistakes_are_shown_and_the_others_counted(home):
    for path in (home / "train").iterdir():
        path.unlink()
    add(home, *(f"Ivy-snips-train-{number} BOS TO EOS\tO O Toy" for number in range(100, 150)))
    said = refused(home)
    assert len([line for line in said if "no audio" in line]) == 100
    assert "and 46 more" in said
