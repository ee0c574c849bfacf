import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from earbench.contract import Clip, Fold, Split, UpstreamCard
from earbench.errors import MissingCorpus
from earbench_tasks.speaker_identification import SpeakerIdentification

CARD = UpstreamCard("none", "none", "none", "none")
TASK = SpeakerIdentification()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sid")
    TASK.toy(root, seed=0)
    return root


@pytest.fixture(scope="module")
def fold(root):
    return TASK.folds(root, CARD)[0]


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (8, 4, 200_000, 5_000)


def test_published_corpus_has_the_published_speakers_and_no_unverified_counts():
    """Expected: SUPERB sheet 2.5; the numbers of utterances are tagged as not verified there."""
    assert TASK.card.corpus.counts == {"speakers": 1_251}


def test_head_and_class_order_are_the_published_ones():
    """Expected: SUPERB sheet 1.5 and 2.5: 256 hidden, 1,251 classes, index = int(id[2:]) - 10001."""
    people = [f"id{number}" for number in range(10_001, 11_252)]
    clips = tuple(Clip(name, None, name, name) for name in np.random.default_rng(0).permutation(people).tolist())
    space = TASK.space(Fold(Split(clips), Split(clips[:9]), Split(())))
    assert all(int(TASK.target(clip, None, space)) == int(clip.label[2:]) - 10_001 for clip in clips)
    head = TASK.head(768, space, TASK.recipes("standard", False)[0])
    assert (head.project.weight.shape, head.classify.weight.shape) == (torch.Size([256, 768]), torch.Size([1_251, 256]))


def test_splits_are_the_lists_and_every_split_has_every_speaker(fold):
    assert {name: len(split.units()) for name, split in fold.splits().items()} == {"train": 48, "valid": 24, "test": 24}
    assert [len({clip.label for clip in split.clips}) for split in fold.splits().values()] == [12, 12, 12]
    assert TASK.census([fold]) == {"speakers": 12}


def test_long_training_utterances_become_four_crops_of_eight_seconds_at_whole_samples(fold):
    pools = Counter(clip.pool for clip in fold.train.clips if clip.pool)
    assert len(pools) == 12
    assert set(pools.values()) == {4}
    for clip in fold.train.clips:
        length = soundfile.info(clip.audio).frames
        if clip.pool is None:
            assert (clip.start, clip.stop, length <= 128_000) == (None, None, True)
            continue
        start, stop = clip.start * 16_000, clip.stop * 16_000
        assert start == pytest.approx(round(start), abs=1e-6)
        assert (round(stop) - round(start), round(stop) <= length) == (128_000, True)
        assert clip.id.startswith(f"{clip.pool}#")
    starts = {(clip.pool, clip.start) for clip in fold.train.clips if clip.pool}
    assert len(starts) == 48


def test_valid_and_test_are_whole_utterances_however_long(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "iden_split.txt"
    path.write_text(path.read_text().replace("1 id10001/a-1_x/00001", "2 id10001/a-1_x/00001"))
    fold = TASK.folds(tmp_path, CARD)[0]
    long = next(clip for clip in fold.valid.clips if clip.id == "id10001/a-1_x/00001.wav")
    assert (long.start, long.stop, long.pool) == (None, None, None)
    assert soundfile.info(long.audio).duration > 9


def test_no_effects_are_applied(fold):
    """Expected: SUPERB sheet 2.5 names none."""
    assert not any(clip.effects for split in fold.splits().values() for clip in split.clips)


def test_a_video_is_what_is_resampled_and_speakers_straddle_the_splits(fold):
    for split in fold.splits().values():
        for clip in split.clips:
            assert clip.group == clip.id.rpartition("/")[0]
            assert clip.group.partition("/")[0] == clip.label
            assert clip.leak is None


def test_crops_do_not_depend_on_the_rest_of_the_corpus(root, fold, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "iden_split.txt"
    lines = [line for line in path.read_text().splitlines() if "id10001" not in line]
    path.write_text("\n".join(lines))
    fewer = {clip.id: (clip.start, clip.stop) for clip in TASK.folds(tmp_path, CARD)[0].train.clips}
    assert fewer == {clip.id: (clip.start, clip.stop) for clip in fold.train.clips if clip.label != "id10001"}


def test_a_test_speaker_that_nobody_trained_on_counts_as_a_miss(fold):
    stranger = replace(fold.test.clips[0], label="id19999")
    split = Split((stranger, *fold.test.clips[1:]))
    assert "id19999" not in TASK.space(replace(fold, test=split))
    rows = TASK.rows(split, {clip.id: clip.label for clip in fold.test.clips})
    assert rows.arrays["hit"].tolist() == [0.0] + [1.0] * 23


def test_without_the_list_nothing_is_guessed(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "iden_split.txt").unlink()
    with pytest.raises(MissingCorpus, match=r"iden_split\.txt"):
        TASK.folds(tmp_path, CARD)
