"""Before any work starts: the corpus is found, whole, sound and measured, or one message says all that is wrong."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from fakes import CARD, SPOILED, ListedTask, noise_clips, prepared, thirds, write_noise

from earbench import config, data
from earbench.contract import Fold, Split
from earbench.data import Place, locate
from earbench.errors import BadAudio, BenchError, MissingCorpus
from earbench_tasks.keyword_spotting import KeywordSpotting

TASK = KeywordSpotting()


@pytest.fixture
def own_toy(toy, tmp_path):
    """A copy of the toy corpus that may be spoiled."""
    return Path(shutil.copytree(toy, tmp_path / "toy"))


def refusal(error, *args):
    with pytest.raises(error) as caught:
        prepared(*args)
    return str(caught.value)


# ---- bad audio -------------------------------------------------------------------------------------------------------


def test_all_bad_files_of_a_corpus_come_as_one_list(own_toy, settings, quiet):
    """Whatever is wrong with them, and whichever split they are in: words, background noise, the test archive."""
    kinds = {problem: spoil for problem, spoil in SPOILED.items() if problem not in ("No such file", "Is a directory")}
    paths = [clip.audio for split in TASK.folds(own_toy, CARD)[0].splits().values() for clip in split.clips]
    victims = sorted(set(paths))[:: len(set(paths)) // 12]
    for index, path in enumerate(victims):
        list(kinds.values())[index % len(kinds)](path)
    message = refusal(BadAudio, TASK, own_toy, settings, quiet)
    assert message.startswith(f"{len(victims)} audio files cannot be used; nothing was trained")
    for index, path in enumerate(victims):
        assert f"{path}: {list(kinds)[index % len(kinds)]}" in message


def test_a_long_list_of_bad_files_is_cut_and_counted(own_toy, settings, quiet):
    for path in own_toy.rglob("*.wav"):
        path.write_bytes(b"")
    message = refusal(BadAudio, TASK, own_toy, settings, quiet)
    total = int(message.split()[0])
    assert total > 100
    assert message.count("the file is empty") == 100
    assert f"and {total - 100} more" in message


@pytest.mark.parametrize("bounds", [(0.5, 1.5), (1.0, None), (-0.1, 0.5), (0.5, 0.5), (0.6, 0.5)])
def test_a_stretch_outside_its_file_is_listed_with_the_bad_files(tmp_path, settings, quiet, bounds):
    clips = noise_clips(tmp_path, [1.0, 1.0, 1.0])
    clips[1].audio.write_bytes(b"")
    task = ListedTask(thirds((*clips[:2], replace(clips[2], start=bounds[0], stop=bounds[1]))))
    message = refusal(BadAudio, task, tmp_path, settings, quiet)
    assert message.startswith("2 audio files")
    assert "clip-2: the stretch" in message
    assert "the file is empty" in message


# ---- the census ------------------------------------------------------------------------------------------------------


def counted(counts):
    task = KeywordSpotting()
    task.card = replace(task.card, corpus=replace(task.card.corpus, counts=counts))
    return task


def test_a_corpus_with_other_counts_is_refused_with_the_first_difference(toy, settings, quiet):
    true = TASK.census(TASK.folds(toy, CARD))
    task = counted({**true, "valid/down": 300, "test/go": 1_700})
    message = refusal(MissingCorpus, task, toy, settings, quiet, "standard", False)
    assert f"valid/down: expected 300, found {true['valid/down']}" in message.splitlines()[0]
    assert "test/go: expected 1,700" in message
    assert "bench prepare --task ks" in message
    assert "--partial" in message


def test_partial_accepts_a_corpus_with_other_counts_and_says_so(toy, settings, quiet):
    assert prepared(counted({"train/yes": 7}), toy, settings, quiet).deviations == ("partial",)


def test_a_whole_corpus_is_not_called_partial(toy, settings, quiet):
    whole = counted(TASK.census(TASK.folds(toy, CARD)))
    assert prepared(whole, toy, settings, quiet, partial=False).deviations == ()
    assert prepared(whole, toy, settings, quiet, partial=True).deviations == ()


# ---- where it is -----------------------------------------------------------------------------------------------------


def test_a_corpus_without_a_folder_is_an_error_that_says_where_to_write_one(settings, quiet):
    with pytest.raises(MissingCorpus) as caught:
        locate(TASK, None, settings, quiet)
    message = str(caught.value)
    for hint in ("--data DIR", '[data] speech_commands_v1 = "DIR"', str(settings.source), "bench prepare --task ks"):
        assert hint in message
    assert "--data demo" in message


@pytest.mark.parametrize("given", ["flag", "file"])
def test_a_folder_that_is_not_there_is_named(tmp_path, settings, quiet, given):
    gone = str(tmp_path / "gone")
    settings = settings.with_(data={"speech_commands_v1": gone}) if given == "file" else settings
    with pytest.raises(MissingCorpus, match=f"{gone} is not a folder"):
        locate(TASK, gone if given == "flag" else None, settings, quiet)


def test_the_flag_goes_before_the_file(tmp_path, settings, quiet):
    for name in ("flag", "file"):
        (tmp_path / name).mkdir()
    settings = settings.with_(data={"speech_commands_v1": str(tmp_path / "file")})
    assert locate(TASK, str(tmp_path / "flag"), settings, quiet).root == tmp_path / "flag"
    assert locate(TASK, None, settings, quiet).root == tmp_path / "file"


def test_a_relative_folder_is_looked_for_beside_the_bench_toml(tmp_path, quiet):
    (tmp_path / "corpora").mkdir()
    (tmp_path / "bench.toml").write_text('[data]\nspeech_commands_v1 = "corpora"')
    place = locate(TASK, None, config.load(tmp_path / "bench.toml"), quiet)
    assert place == Place(tmp_path / "corpora", False)


def test_a_folder_without_the_corpus_is_an_error_that_says_what_was_looked_for(tmp_path, settings, quiet):
    (tmp_path / "elsewhere").mkdir()
    message = refusal(MissingCorpus, TASK, tmp_path / "elsewhere", settings, quiet)
    for words in (str(tmp_path / "elsewhere"), "_background_noise_", "bench prepare --task ks", "--data demo"):
        assert words in message


# ---- folds -----------------------------------------------------------------------------------------------------------


def test_durations_are_those_of_the_stretches(toy, settings, quiet):
    found = prepared(TASK, toy, settings, quiet)
    seconds = found.seconds()
    for clip in found.clips():
        whole = soundfile.info(clip.audio).duration
        assert seconds[clip.id] == pytest.approx(whole if clip.stop is None else 1.0)
    for fold in found.folds:
        assert all(len(split.seconds) == len(split.clips) for split in fold.splits().values())


def test_every_file_is_fingerprinted(toy, settings, quiet):
    found = prepared(TASK, toy, settings, quiet)
    assert set(found.digests) == {clip.audio for clip in found.clips()}
    assert all(found.digests.values())


def test_a_changed_file_changes_the_content_of_its_own_clips_only(tmp_path, settings, quiet):
    clips = noise_clips(tmp_path, [0.5, 0.5, 0.5])
    before = prepared(ListedTask(thirds(clips)), tmp_path, settings, quiet)
    write_noise(clips[0].audio, 0.7, seed=9)
    after = prepared(ListedTask(thirds(clips)), tmp_path, settings, quiet)
    assert [before.content(clip) == after.content(clip) for clip in clips] == [False, True, True]


def test_one_id_for_two_clips_is_refused(tmp_path, settings, quiet):
    one, two, three = noise_clips(tmp_path, [0.5, 0.5, 0.5])
    task = ListedTask(thirds((one, two, replace(three, id=one.id))))
    assert "two different clips the id 'clip-0'" in refusal(BenchError, task, tmp_path, settings, quiet)


def test_a_clip_listed_twice_in_a_split_is_refused(tmp_path, settings, quiet):
    one, two, three = (Split((clip,)) for clip in noise_clips(tmp_path, [0.5, 0.5, 0.5]))
    task = ListedTask(Fold(Split(one.clips * 2), two, three))
    assert "the clip 'clip-0' twice" in refusal(BenchError, task, tmp_path, settings, quiet)


def test_an_empty_split_is_refused_by_name(tmp_path, settings, quiet):
    clips = noise_clips(tmp_path, [0.5, 0.5])
    task = ListedTask(thirds(clips, "third"))
    message = refusal(MissingCorpus, task, tmp_path, settings, quiet)
    assert "the test split of fold 'third' is empty" in message


# ---- quick -----------------------------------------------------------------------------------------------------------


def labelled(tmp_path, labels):
    path = write_noise(tmp_path / "one.wav", 0.5)
    clips = noise_clips(tmp_path, [0.5])
    return Split(tuple(replace(clips[0], id=f"{i}", audio=path, label=label) for i, label in enumerate(labels)))


def quick(split, settings, quiet):
    parts = [Split(tuple(replace(clip, id=f"{name} {clip.id}") for clip in split.clips)) for name in ("a", "b", "c")]
    task = ListedTask(Fold(*parts))
    return prepared(task, Path("unused"), settings, quiet, "quick").folds[0]


def test_quick_cuts_every_split_and_keeps_every_label(tmp_path, settings, quiet):
    labels = ["rare", *["common"] * 2_000, *["some"] * 50]
    fold = quick(labelled(tmp_path, labels), settings, quiet)
    sizes = {name: len(split.clips) for name, split in fold.splits().items()}
    assert sizes == data.QUICK_UNITS
    counts = Counter(clip.label for clip in fold.valid.clips)
    assert counts == {"rare": 1, "some": 50, "common": 149}


def test_quick_cuts_where_every_clip_has_a_label_of_its_own(tmp_path, settings, quiet):
    fold = quick(labelled(tmp_path, map(str, range(1_000))), settings, quiet)
    assert len(fold.train.clips) == 600


def test_quick_keeps_pools_whole(toy, settings, quiet, monkeypatch):
    monkeypatch.setattr(data, "QUICK_UNITS", {"train": 14, "valid": 14, "test": 14})
    full, cut = (prepared(TASK, toy, settings, quiet, effort).folds[0] for effort in ("standard", "quick"))
    assert len(cut.train.units()) == 14
    assert {clip.label for clip in cut.train.clips} == {clip.label for clip in full.train.clips}
    pools = {clip.pool for clip in cut.train.clips if clip.pool}
    assert pools
    for pool in pools:
        assert [clip for clip in cut.train.clips if clip.pool == pool] == [
            clip for clip in full.train.clips if clip.pool == pool
        ]


def test_quick_draws_the_same_clips_whatever_their_order(tmp_path, settings, quiet):
    split = labelled(tmp_path, ["a", "b"] * 500)
    one, two = (quick(Split(clips), settings, quiet) for clips in (split.clips, split.clips[::-1]))
    assert one.test.clips == two.test.clips[::-1]


def test_two_folds_of_one_name_are_refused(tmp_path, toy, settings, quiet):
    clips = noise_clips(tmp_path, [0.2] * 6)
    with pytest.raises(BenchError, match="two folds the same name"):
        prepared(ListedTask(thirds(clips), thirds(clips)), toy, settings, quiet)


@pytest.mark.parametrize("shared", ["clip", "leak"])
def test_a_clip_or_speaker_in_two_splits_is_refused(shared, tmp_path, toy, settings, quiet):
    one = thirds(noise_clips(tmp_path, [0.2] * 6))
    if shared == "clip":
        fold = replace(one, test=one.train)
    else:
        fold = one.each(
            lambda _, split: replace(split, clips=tuple(replace(clip, leak="anna") for clip in split.clips))
        )
    with pytest.raises(BenchError, match="clips or speakers are in both train and"):
        prepared(ListedTask(fold), toy, settings, quiet)
