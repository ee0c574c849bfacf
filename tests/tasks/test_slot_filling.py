"""The protocol of slot filling, and its toy corpus."""

import itertools

import numpy as np
import pytest
import soundfile
import torch

from earbench.checks.toy import measured
from earbench.contract import UpstreamCard
from earbench.kit.metrics.slots import SLOT_TYPE_F1, SLOT_VALUE_CER
from earbench.kit.snips import SlotSpelling
from earbench.stack import Probe, Stack
from earbench_tasks.slot_filling import SlotFilling

CARD = UpstreamCard("none", "none", "none", "none")
TASK = SlotFilling()
DEMO = TASK.recipes("standard", demo=True)[0]


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    root = tmp_path_factory.mktemp("sf")
    TASK.toy(root, seed=0)
    return measured(TASK.folds(root, CARD)[0])


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (32, 1, 200_000, 2_000)
    assert TASK.select == SLOT_TYPE_F1.name


def test_published_head_is_that_of_asr_with_109_outputs():
    """Expected: SUPERB sheet 2.9."""
    space = SlotSpelling([f"slot{number}" for number in range(39)])
    with torch.device("meta"):
        head = TASK.head(768, space, TASK.recipes("standard", demo=False)[0])
    shapes = {name: list(weight.shape) for name, weight in head.named_parameters() if "weight" in name}
    assert shapes["project.weight"] == [1024, 768]
    assert shapes["recurrent.0.ahead.weight_hh_l0"] == shapes["recurrent.1.back.weight_hh_l0"] == [4096, 1024]
    assert shapes["spell.weight"] == [109, 2048]
    assert (head.augment.time_limit, head.augment.feature_limit) == (40, 50)


def test_census_counts_utterances_and_slots(fold):
    assert TASK.census([fold]) == {"train": 96, "valid": 48, "test": 48, "slots": 2}


def test_batches_are_windows_of_like_many_symbols(fold):
    """Expected: SUPERB sheet 2.9: an epoch is as many windows as clips; neighbours in a list sorted by label length."""
    space = TASK.space(fold)
    symbols = [len(space.encode(clip.label)) for clip in fold.train.clips]
    stream = TASK.batches(fold.train, TASK.recipes("standard", False)[0], np.random.default_rng(0))
    epoch = list(itertools.islice(stream, 96))
    ranks = np.argsort(np.argsort(-np.array(symbols), kind="stable"))
    starts = []
    for batch in epoch:
        inside = sorted(ranks[list(batch)].tolist())
        assert inside == list(range(inside[0], inside[0] + 32))
        starts.append(inside[0])
    assert sorted(starts) == sorted(min(start, 96 - 32) for start in range(96))


def test_targets_decode_to_what_a_perfect_head_says(fold):
    space, ideal = TASK.space(fold), TASK.ideal(fold.train)
    for clip in fold.train.clips:
        target = TASK.target(clip, None, space)
        assert target.dtype == torch.int64
        assert space.symbols[target[-1]] == "<eos>"
        assert space.decode(target.tolist()) == ideal[clip.id]
    assert any("B-number ONE E-number" in text for text in ideal.values())


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def batch(clips, features, space):
    x = torch.nn.utils.rnn.pad_sequence([features[clip.id] for clip in clips], batch_first=True)[:, None]
    lengths = torch.tensor([len(features[clip.id]) for clip in clips])
    targets = [TASK.target(clip, None, space) for clip in clips]
    padded = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    return x, lengths, padded, torch.tensor([len(target) for target in targets])


def test_toy_is_learned_in_seconds(fold):
    """The demo recipe's head, smaller and without masks, on the loudness of five bands every 20 ms."""
    features = {clip.id: bands(clip) for split in fold.splits().values() for clip in split.clips}
    recipe = DEMO.with_(lr=2e-2, options={"hidden": 32, "time_limit": 1, "feature_limit": 1})
    space = TASK.space(fold)
    torch.manual_seed(0)
    head = TASK.head(5, space, recipe)
    head.generator = torch.Generator().manual_seed(0)
    stack = Stack(Probe(head, 1), [recipe], torch.device("cpu"))
    for indices in itertools.islice(TASK.batches(fold.train, recipe, np.random.default_rng(0)), 220):
        stack.step([batch([fold.train.clips[index] for index in indices], features, space)])
    x, lengths, _, _ = batch(fold.test.clips, features, space)
    (output,) = stack.outputs(x, lengths)
    said = dict(zip((clip.id for clip in fold.test.clips), head.predict(output, lengths, None), strict=True))
    rows = TASK.rows(fold.test, said)
    assert SLOT_TYPE_F1.value(rows, np.ones(len(rows))) > 80
    assert SLOT_VALUE_CER.value(rows, np.ones(len(rows))) < 50


def bands(clip):
    wave = torch.tensor(soundfile.read(clip.audio, dtype="float32")[0])
    power = torch.fft.rfft(wave.unfold(0, 640, 320) * torch.hann_window(640)).abs().square()
    edges = (np.array([320, 490, 735, 1100, 1650, 2500]) / 25).astype(int)
    return torch.stack([power[:, low:high].sum(1) for low, high in itertools.pairwise(edges)], 1).add(1e-3).log()
