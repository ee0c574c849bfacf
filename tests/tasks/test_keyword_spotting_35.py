"""`ks35` and the reader of Speech Commands v0.02, on the toy tree and on real pieces where they are present."""

import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import earbench
from earbench.contract import UpstreamCard
from earbench.demo.lexicon import LATER, WORDS
from earbench.errors import BadAudio, MissingCorpus
from earbench.kit import speech_commands as kit
from earbench.kit.speech_commands import ALL_WORDS, SPEECH_COMMANDS_V2, listed_words
from earbench_tasks.keyword_spotting import KeywordSpotting
from earbench_tasks.keyword_spotting_35 import LABELS, KeywordSpotting35

CARD = UpstreamCard("none", "none", "none", "none")
TASK = KeywordSpotting35()
REAL = Path(__file__).parents[2].parent / "shared/data/speech_commands_v0.02-small.zip"
HOME = "speech_commands_v0.02"


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "root"
    TASK.toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "root")


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    if not REAL.is_file():
        pytest.skip("the real pieces of Speech Commands are not in ../shared/data")
    root = tmp_path_factory.mktemp("real") / HOME
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(root)
    return root


def ids(root: Path) -> list[list[str]]:
    return [[clip.id for clip in split.clips] for split in listed_words(root).splits().values()]


def test_the_words_are_the_35_in_alphabetical_order():
    """Expected: the demo's list, typed in separately; the corpus' paper gives 105,829 recordings of 35 words."""
    assert list(LABELS) == sorted(WORDS)
    assert len(LABELS) == 35
    assert sum(SPEECH_COMMANDS_V2.counts.values()) == 105_829
    assert kit.LATER == LATER


def test_the_real_pieces_are_split_as_their_lists_say(real):
    """Expected: what the lists say, read here once more; they name 9,981 and 11,005 recordings, most of them absent."""
    fold = listed_words(real)
    lists = {split: set((real / name).read_text().split()) for split, name in kit._LISTS.items()}
    assert {split: len(names) for split, names in lists.items()} == {
        split: SPEECH_COMMANDS_V2.counts[split] for split in ("valid", "test")
    }
    for split, names in lists.items():
        assert {f"{id}.wav" for id in ids(real)[("train", "valid", "test").index(split)]} <= names
    files = {path.relative_to(real).as_posix() for path in real.glob("[!_]*/*.wav")}
    assert {f"{clip.id}.wav" for split in fold.splits().values() for clip in split.clips} == files
    assert not {f"{clip.id}.wav" for clip in fold.train.clips} & (lists["valid"] | lists["test"])


def test_the_official_lists_share_no_speaker(real):
    """What `leak` promises, on all 20,986 names."""
    speakers = [
        {line.partition("/")[2].partition("_nohash_")[0] for line in (real / name).read_text().split()}
        for name in kit._LISTS.values()
    ]
    assert all(speakers)
    assert not speakers[0] & speakers[1]


@pytest.mark.filterwarnings("ignore:The number of unique classes")  # of scikit-learn, about 62 clips of 35 words
def test_the_real_pieces_run_to_a_score(real, tmp_path):
    """Too few clips to learn from: the run ends, says that it is partial, and tells how little it knows."""
    record = earbench.run(
        "fbank_no_cmvn",
        "ks35",
        str(real),
        True,
        device="cpu",
        quiet=True,
        cache=tmp_path / "cache",
        results=tmp_path / "results",
    )
    assert "partial: the corpus differs from its published counts" in record.facts["deviations"]
    assert 0.0 <= record.scores["accuracy"]["value"] < 50.0


def test_splits_follow_the_lists_and_keep_speakers_apart(toy):
    fold = listed_words(toy)
    assert [len(split.clips) for split in fold.splits().values()] == [4 * 35, 2 * 35, 2 * 35]
    speakers = [{clip.leak for clip in split.clips} for split in fold.splits().values()]
    assert [len(found) for found in speakers] == [4, 2, 2]
    assert len(set.union(*speakers)) == 8
    assert Counter(clip.label for clip in fold.train.clips) == dict.fromkeys(ALL_WORDS, 4)
    assert all(clip.group == clip.leak == clip.id.partition("/")[2][:8] for clip in fold.train.clips)


def test_moving_a_line_from_list_to_list_moves_the_clip(toy):
    home = toy / HOME
    one = (home / "validation_list.txt").read_text().split()
    (home / "validation_list.txt").write_text("\n".join(one[1:]))
    with (home / "testing_list.txt").open("a") as file:
        file.write(f"{one[0]}\r\nbed/somebody_nohash_0.wav\n")  # a recording that is not there shows in the counts
    assert [len(found) for found in ids(toy)] == [140, 69, 71]
    assert one[0].removesuffix(".wav") in ids(toy)[2]


def test_odd_but_legal_content_changes_nothing(toy):
    expected = ids(toy)
    home = toy / HOME
    for path in (home / "yes/._a.wav", home / "yes/notes.txt", home / ".DS_Store", home / "README.md"):
        path.write_text("not audio")
    (home / "_background_noise_").mkdir()
    (home / "_background_noise_/white_noise.wav").write_text("not a word")
    (home / "test_set/yes").mkdir(parents=True)
    assert ids(toy) == ids(home) == expected
    for path in list((home / "yes").glob("*_nohash_0.wav")):
        path.rename(path.with_suffix(".WAV"))
    for path in list((home / "no").glob("*_nohash_0.wav")):
        path.rename(path.with_suffix(".flac"))
    assert ids(toy) == expected
    assert ids(home.rename(toy / "my own words").parent) == expected


def test_listing_order_of_the_file_system_does_not_matter(toy, monkeypatch):
    expected = ids(toy)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path), key=lambda name: name[::-1]))
    assert ids(toy) == expected


def test_v001_beside_it_is_told_apart(toy):
    expected = ids(toy)
    older = toy / "speech_commands_v0.01"
    KeywordSpotting().toy(toy, seed=0)
    for name in kit._LISTS.values():
        (older / name).write_text("")
    assert ids(toy) == expected


def test_v001_instead_of_v002_is_refused_and_said_so(tmp_path):
    KeywordSpotting().toy(tmp_path, seed=0)
    archive = tmp_path / "speech_commands_v0.01"
    for name in kit._LISTS.values():
        (archive / name).write_text("")
    with pytest.raises(MissingCorpus) as error:
        listed_words(tmp_path)
    assert "the words that v0.01 does not have (backward, follow, forward, learn, visual), found 0" in str(error.value)
    assert f"so v0.01 or not whole: {archive}" in str(error.value)


def test_v002_instead_of_v001_is_counted_first_and_said_so(toy, tmp_path):
    KeywordSpotting().toy(tmp_path, seed=0)
    shutil.copytree(toy / HOME, tmp_path / "speech_commands_v0.01", dirs_exist_ok=True)
    task = KeywordSpotting()
    counts = task.census(task.folds(tmp_path, CARD))
    assert next(iter(counts)) == "words of v0.02"
    assert counts["words of v0.02"] == 5
    assert task.card.corpus.counts["words of v0.02"] == 0


def test_missing_lists_are_asked_for(toy):
    (toy / HOME / "testing_list.txt").unlink()
    with pytest.raises(MissingCorpus) as error:
        listed_words(toy)
    assert "validation_list.txt and testing_list.txt" in str(error.value)
    assert str(toy / HOME) in str(error.value)


def test_two_archives_are_not_guessed_between(toy):
    shutil.copytree(toy / HOME, toy / "copy")
    with pytest.raises(MissingCorpus, match="found 2"):
        listed_words(toy)


def test_all_that_is_wrong_is_one_list(toy):
    home = toy / HOME
    twice = (home / "validation_list.txt").read_text().split()[0]
    with (home / "testing_list.txt").open("a") as file:
        file.write(f"{twice}\n")
    (home / "banana").mkdir()
    shutil.copy(next((home / "yes").glob("*.wav")), home / "banana/a_nohash_0.wav")
    path = next((home / "yes").glob("*.wav"))
    shutil.copy(path, path.with_suffix(".flac"))
    with pytest.raises(BadAudio) as error:
        listed_words(toy)
    said = str(error.value)
    assert said.startswith("3 things in")
    assert f"{twice}: in both lists" in said
    assert "banana: 1 recordings, but no word of v0.02" in said
    assert f"{path}: the same recording as {path.stem}.flac" in said


def test_the_head_is_one_linear_layer():
    (recipe, *_), (weight, bias) = TASK.recipes("standard", False), TASK.head(768, LABELS, None).parameters()
    assert (list(weight.shape), list(bias.shape)) == ([35, 768], [35])
    assert (recipe.batch, recipe.steps, recipe.unit, recipe.patience) == (256, 200, "epoch", 20)
    assert [one.lr for one in TASK.recipes("reference", False)] == [1e-2, 1e-3, 1e-4, 1e-5]
