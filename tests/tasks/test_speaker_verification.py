import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earbench.contract import Clip, Fold, Split, UpstreamCard
from earbench.errors import BenchError, MissingCorpus
from earbench.kit.metrics.verification import EER
from earbench.kit.voxceleb import Utterance
from earbench_tasks.speaker_verification import SpeakerVerification, _held_out, _trials

CARD = UpstreamCard("none", "none", "none", "none")
TASK = SpeakerVerification()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("asv")
    TASK.toy(root, seed=0)
    return root


@pytest.fixture(scope="module")
def fold(root):
    return TASK.folds(root, CARD)[0]


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one_and_ten_states_are_kept(effort):
    """Expected: SUPERB sheet, master table 1.5, 2.6 (optimiser, reporting) and the grid of 1.6."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adamw", 0.01, 1_000.0)
        assert (recipe.batch, recipe.accum, recipe.steps) == (10, 5, 200_000)
        assert list(range(recipe.keep, recipe.steps + 1, recipe.keep)) == [20_000 * number for number in range(1, 11)]
        assert recipe.options == {"hidden": 512, "pooled": 1_500}
    assert TASK.published == TASK.select == "eer"


def test_published_counts_are_those_of_the_sheet():
    """Expected: SUPERB sheet 2.6."""
    assert TASK.card.corpus.counts == {
        "training speakers": 1_211,
        "target trials": 18_860,
        "other trials": 18_860,
        "tested files": 4_715,
    }
    assert sum(TASK.card.corpus.counts[name] for name in ("target trials", "other trials")) == 37_720


def test_a_tree_of_the_published_size_has_the_published_counts(tmp_path):
    """Expected: SUPERB sheet 2.6: 1,211 speakers to train on, 18,860 trials of each kind over 4,715 files."""
    tested = [f"id{10_270 + number % 40}/v/{number:05}.wav" for number in range(4_715)]
    known = [f"id{20_000 + number % 1_211}/v/{number:05}.wav" for number in range(2 * 1_211)]
    for part, names in (("test", tested), ("dev", known)):
        for folder in {name.rpartition("/")[0] for name in names}:
            (tmp_path / part / "wav" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / part / "wav" / name).touch()
    pairs = [(tested[number], tested[(number + 40 * turn) % 4_715]) for turn in range(1, 9) for number in range(4_715)]
    lines = [f"{number % 2} {' '.join(pair)}\n" for number, pair in enumerate(pairs)]
    (tmp_path / "voxceleb1_test_v2.txt").write_text("".join(lines))
    (fold,) = TASK.folds(tmp_path, CARD)
    assert TASK.census([fold]) == TASK.card.corpus.counts
    assert len(TASK.space(fold)) == 1_211 - 40


def test_published_head_has_1211_classes_in_the_order_of_folders():
    clips = tuple(Clip(name, None, name, name) for name in ("id2", "id10", "id3"))
    space = TASK.space(Fold(Split(clips), Split(()), Split(())))
    assert space == ("id10", "id2", "id3")
    assert [int(TASK.target(clip, None, space)) for clip in clips] == [1, 0, 2]
    head = TASK.head(768, range(1_211), TASK.recipes("standard", False)[0])
    assert (head.classes.shape, head.embed.weight.shape) == (torch.Size([512, 1_211]), torch.Size([512, 3_000]))


def test_every_clip_is_quieter_and_trimmed_and_only_training_is_cropped(fold):
    """Expected: SUPERB sheet 2.6, "audio"."""
    trimmed = (("gain_db", -3.0), ("trim_quiet", 0.001))
    assert {clip.effects for split in (fold.valid, fold.test) for clip in split.clips} == {trimmed}
    pools = Counter(clip.pool for clip in fold.train.clips if clip.pool)
    assert len(pools) == len({clip.label for clip in fold.train.clips})
    assert set(pools.values()) == {4}
    for clip in fold.train.clips:
        assert clip.effects[:2] == trimmed
        if clip.pool:
            ((name, fraction),) = clip.effects[2:]
            assert (name, 0 <= fraction < 1, clip.start) == ("crop_8s", True, None)
        else:
            assert clip.effects == trimmed
    assert TASK.shortest_train == 2.0


def test_speakers_of_the_three_splits_are_different_people(fold):
    people = [{clip.label for clip in split.clips} for split in fold.splits().values()]
    assert [len(names) for names in people] == [6, 2, 4]
    assert len(set.union(*people)) == 12
    assert all(clip.leak == clip.group == clip.label for split in fold.splits().values() for clip in split.clips)
    assert TASK.census([fold]) == {
        "training speakers": 8,
        "target trials": 112,
        "other trials": 112,
        "tested files": 32,
    }


def test_in_one_folder_the_speakers_of_the_trials_are_not_trained_on(root, fold, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    for part in ("dev", "test"):
        shutil.copytree(tmp_path / part / "wav", tmp_path / "wav", dirs_exist_ok=True)
        shutil.rmtree(tmp_path / part)
    (again,) = TASK.folds(tmp_path, CARD)
    for one, two in zip(fold.splits().values(), again.splits().values(), strict=True):
        assert [clip.id for clip in one.clips] == [clip.id for clip in two.clips]
        assert one.truth == two.truth


# ---- the valid split -------------------------------------------------------------------------------------------------


def utterances(speakers, each=3):
    names = [f"id{speaker}/video/{number:05}.wav" for speaker in speakers for number in range(each)]
    return [Utterance(name, Path(name)) for name in names]


@pytest.mark.parametrize(("speakers", "held"), [(1_211, 40), (320, 40), (64, 8), (16, 2), (4, 2)])
def test_forty_speakers_of_1211_are_held_out_and_fewer_of_few(speakers, held):
    chosen = _held_out(utterances(range(10_001, 10_001 + speakers), each=2))
    assert len(chosen) == held
    assert list(chosen) == sorted(chosen)


def test_who_is_held_out_does_not_depend_on_order_and_hardly_on_who_else_is_there():
    everyone = utterances(range(10_001, 10_201))
    chosen = _held_out(everyone)
    assert _held_out(everyone[::-1]) == chosen
    fewer = [one for one in everyone if one.speaker not in list(chosen)[:3]]
    assert set(list(chosen)[3:]) <= set(_held_out(fewer))


def test_a_held_out_speaker_has_two_utterances_at_least_and_25_at_most():
    single, many = utterances(range(10_001, 10_101), each=1), utterances(range(10_101, 10_110), each=40)
    chosen = _held_out(single + many)
    assert all(len(some) == 25 for some in chosen.values())
    assert {int(name[2:]) for name in chosen} <= set(range(10_101, 10_110))


@pytest.mark.parametrize("known", [utterances(range(3)), utterances(range(9), each=1), []])
def test_too_few_speakers_are_refused(known):
    with pytest.raises(MissingCorpus, match="two speakers with two utterances are held out"):
        _held_out(known)


def test_valid_trials_are_balanced_distinct_true_and_seeded(fold):
    trials = fold.valid.truth["trials"]
    speakers = {clip.id: clip.label for clip in fold.valid.clips}
    assert Counter(target for target, *_ in trials) == {0: 56, 1: 56}
    assert len({frozenset(pair) for _, *pair in trials}) == len(trials)
    assert all(target == (speakers[one] == speakers[two]) and one != two for target, one, two in trials)
    assert _trials(fold.valid.clips) == trials


def test_of_1000_valid_clips_4000_trials_of_each_kind_are_drawn():
    clips = [Clip(f"{speaker}/{number}", None, f"{speaker}", "") for speaker in range(40) for number in range(25)]
    assert Counter(target for target, *_ in _trials(clips)) == {0: 4_000, 1: 4_000}


# ---- the score -------------------------------------------------------------------------------------------------------


def test_a_row_is_a_trial_with_the_cosine_of_its_clips_and_both_speakers(fold):
    rng = np.random.default_rng(0)
    drawn = {clip.id: rng.normal(size=8) for clip in fold.test.clips}
    said = {name: vector / np.linalg.norm(vector) for name, vector in drawn.items()}
    rows = TASK.rows(fold.test, said)
    expected = {f"{one} {two}": (target, said[one] @ said[two]) for target, one, two in fold.test.truth["trials"]}
    assert sorted(rows.ids) == sorted(expected)
    for name, groups, score, target in zip(rows.ids, rows.groups, *rows.arrays.values(), strict=True):
        assert expected[name] == (target, pytest.approx(score))
        assert groups == tuple(one.partition("/")[0] for one in name.split())
    assert (np.diff(rows.arrays["score"]) <= 0).all()


def test_trials_without_their_clips_are_left_out_of_a_smoke_run(fold):
    split = replace(fold.test, clips=fold.test.clips[::3])
    there = {clip.id for clip in split.clips}
    rows = TASK.rows(split, TASK.ideal(split))
    assert 0 < len(rows) < len(split.truth["trials"])
    assert {name for pair in rows.ids for name in pair.split()} <= there
    assert len(TASK.weights(split, "quick")) == len(rows)
    assert EER.value(rows, np.ones(len(rows))) == 0.0


def test_without_a_single_trial_left_it_says_so(fold):
    split = replace(fold.test, clips=fold.test.clips[:1])
    with pytest.raises(BenchError, match="none has both of its clips"):
        TASK.rows(split, TASK.ideal(split))


def test_predictions_that_leave_out_a_clip_are_refused(fold):
    said = TASK.ideal(fold.test)
    with pytest.raises(BenchError, match="1 clips have none"):
        TASK.rows(fold.test, {name: vector for name, vector in said.items() if name != fold.test.clips[0].id})
