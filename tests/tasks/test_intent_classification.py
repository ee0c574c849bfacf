"""The protocol of intent classification, and its toy corpus."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earbench.checks.toy import measured
from earbench.contract import Clip, Fold, Split, UpstreamCard
from earbench.kit.metrics.accuracy import ACCURACY
from earbench.stack import Probe, Stack
from earbench_tasks.intent_classification import TOY_SPEAKERS, IntentClassification

CARD = UpstreamCard("none", "none", "none", "none")
TASK = IntentClassification()


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    root = tmp_path_factory.mktemp("ic")
    TASK.toy(root, seed=0)
    return measured(TASK.folds(root, CARD)[0])


def clips(*intents):
    return Split(tuple(Clip(f"{at}", Path("x.wav"), one, f"speaker {at}") for at, one in enumerate(intents)))


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (32, 1, 200_000, 5_000)


def test_head_has_the_published_shape():
    """Expected: SUPERB sheet 1.5, Linear D to 256, mean, Linear 256 to 24, for as many values as are published."""
    values = [tuple(f"{slot} {number % size}" for slot, size in enumerate((6, 14, 4))) for number in range(14)]
    space = TASK.space(Fold(clips(*values), clips(values[0]), clips(values[0])))
    head = TASK.head(768, space, TASK.recipes("standard", demo=False)[0])
    assert [list(weight.shape) for weight in head.parameters()] == [[256, 768], [256], [24, 256], [24]]
    assert TASK.census([Fold(clips(*values), clips(), clips())]) == TASK.card.corpus.counts


def test_an_answer_is_right_if_all_three_are():
    truth = clips(("start", "music", "none"), ("stop", "music", "none"), ("stop", "heat", "kitchen"))
    said = {"0": ("start", "music", "none"), "1": ("stop", "music", "kitchen"), "2": ("start", "music", "none")}
    rows = TASK.rows(truth, said)
    assert rows.arrays["hit"].tolist() == [1, 0, 0]
    assert rows.groups == (("speaker 0",), ("speaker 1",), ("speaker 2",))
    assert rows.arrays["prediction"].tolist() == [list(answer) for answer in said.values()]


def test_a_value_that_only_valid_and_test_have_is_wrong_and_breaks_nothing():
    train, other = clips(("start", "music", "none"), ("stop", "heat", "none")), clips(("start", "lamp", "none"))
    space = TASK.space(Fold(train, other, other))
    head = TASK.head(4, space, TASK.recipes("standard", demo=True)[0])
    output = head(torch.randn(1, 4), None)
    target = TASK.target(other.clips[0], None, space)
    assert head.loss(output, None, target[None], torch.tensor([3])).dim() == 0
    assert TASK.rows(other, {"0": head.predict(output, None, None)[0]}).arrays["hit"].tolist() == [0]


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def test_toy_has_enough_speakers_and_every_intent_in_every_split(fold):
    for name, split in fold.splits().items():
        assert len({clip.group for clip in split.clips}) == len(TOY_SPEAKERS[name])
        assert len({clip.label for clip in split.clips}) == 18


def test_toy_is_learned_in_seconds(fold):
    features = {split: torch.stack([bands(clip) for clip in getattr(fold, split).clips]) for split in ("train", "test")}
    space, recipe = TASK.space(fold), TASK.recipes("standard", demo=True)[1]
    torch.manual_seed(0)
    stack = Stack(Probe(TASK.head(features["train"].shape[1], space, recipe), 1), [recipe], torch.device("cpu"))
    stack.probe.head.generator = torch.Generator().manual_seed(0)
    targets = torch.stack([TASK.target(clip, None, space) for clip in fold.train.clips])
    for indices in itertools.islice(TASK.batches(fold.train, recipe, np.random.default_rng(0)), 400):
        stack.step([(features["train"][indices][:, None], None, targets[indices], torch.full((len(indices),), 3))])
    (output,) = stack.outputs(features["test"][:, None], None)
    answers = stack.probe.head.predict(output, None, None)
    rows = TASK.rows(fold.test, dict(zip((clip.id for clip in fold.test.clips), answers, strict=True)))
    assert ACCURACY.value(rows, np.ones(len(rows))) > 80


def bands(clip):
    """The mean over time of the loudness in sixteen bands."""
    wave = torch.tensor(soundfile.read(clip.audio, dtype="float32")[0])
    power = torch.fft.rfft(wave.unfold(0, 640, 320) * torch.hann_window(640)).abs().square()
    edges = (np.geomspace(275, 4_000, 17) / 25).round().astype(int)
    return (
        torch.stack([power[:, low:high].sum(1) for low, high in itertools.pairwise(edges)], 1).add(1e-3).log().mean(0)
    )
