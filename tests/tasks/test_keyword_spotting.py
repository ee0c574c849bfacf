import itertools
from collections import Counter

import numpy as np
import pytest
import torch

from earbench.contract import UpstreamCard
from earbench.kit.speech_commands import SPEECH_COMMANDS_V1
from earbench_tasks.keyword_spotting import LABELS, KeywordSpotting

CARD = UpstreamCard("none", "none", "none", "none")
TASK = KeywordSpotting()


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    root = tmp_path_factory.mktemp("ks")
    TASK.toy(root, seed=0)
    return TASK.folds(root, CARD)[0]


def test_classes_come_in_the_order_of_the_protocol():
    """Expected: SUPERB sheet 2.3, "classes (index order)"."""
    assert " ".join(LABELS) == "yes no up down left right on off stop go _unknown_ _silence_"


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (32, 1, 200_000, 5_000)


def test_census_counts_units_per_class_under_the_published_keys(fold):
    census = TASK.census([fold])
    assert list(census) == list(SPEECH_COMMANDS_V1.counts)
    assert [census[f"{name}/yes"] for name in ("train", "valid", "test")] == [5, 3, 3]
    assert [census[f"{name}/_unknown_"] for name in ("train", "valid", "test")] == [20, 12, 12]
    assert [census[f"{name}/_silence_"] for name in ("train", "valid", "test")] == [2, 2, 3]


def test_silence_is_drawn_from_64_crops_per_background_file(fold):
    assert Counter(clip.pool for clip in fold.train.clips if clip.label == "_silence_").most_common()[-1][1] == 64
    assert "silence-pool-64" in TASK.deviations("reference")


def test_every_class_is_one_twelfth_of_training(fold):
    batches = TASK.batches(fold.train, TASK.recipes("standard", demo=False)[0], np.random.default_rng(0))
    drawn = Counter(fold.train.clips[index].label for batch in itertools.islice(batches, 1_000) for index in batch)
    assert set(drawn) == set(LABELS)
    assert [drawn[label] / drawn.total() for label in LABELS] == pytest.approx([1 / 12] * 12, abs=0.008)


def test_reference_judges_by_one_fixed_draw_and_standard_by_its_expectation(fold):
    one, two = (TASK.weights(fold.valid, "reference") for _ in range(2))
    assert one.tolist() == two.tolist()
    assert one.sum() == len(fold.valid.units())
    assert np.array_equal(one, np.round(one))
    expected = TASK.weights(fold.valid, "standard")
    shares = Counter()
    for clip, weight in zip(fold.valid.clips, expected, strict=True):
        shares[clip.label] += weight
    assert [shares[label] for label in LABELS] == pytest.approx([len(fold.valid.units()) / 12] * 12)


def test_head_has_the_published_shape():
    head = TASK.head(768, LABELS, TASK.recipes("standard", demo=False)[0])
    assert [list(weight.shape) for weight in head.parameters()] == [[256, 768], [256], [12, 256], [12]]


def test_targets_are_class_indices(fold):
    targets = [int(TASK.target(clip, None, LABELS)) for clip in fold.test.clips]
    assert [LABELS[target] for target in targets] == [clip.label for clip in fold.test.clips]
    assert TASK.target(fold.test.clips[0], None, LABELS).dtype == torch.int64


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*.wav")}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def test_toy_has_at_least_six_speakers(fold):
    speakers = {clip.group for split in fold.splits().values() for clip in split.clips if clip.label != "_silence_"}
    assert len(speakers) == 11
