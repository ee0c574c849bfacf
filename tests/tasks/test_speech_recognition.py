import itertools
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from earbench.checks.toy import measured
from earbench.contract import Clip, Split, UpstreamCard
from earbench.kit.librispeech_toy import SPEAKERS
from earbench.kit.metrics.errors import WER
from earbench.kit.text import LETTERS
from earbench.stack import Probe, Stack
from earbench_tasks.speech_recognition import SpeechRecognition

CARD = UpstreamCard("none", "none", "none", "none")
TASK = SpeechRecognition()
DEMO = TASK.recipes("standard", demo=True)[0]


@pytest.fixture(scope="module")
def fold(tmp_path_factory):
    root = tmp_path_factory.mktemp("asr")
    TASK.toy(root, seed=0)
    return measured(TASK.folds(root, CARD)[0])


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 (16 effective) and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (16, 1, 200_000, 2_000)


def test_published_head_has_the_published_shape_and_augmentation():
    """Expected: SUPERB sheet 2.2."""
    with torch.device("meta"):
        head = TASK.head(768, LETTERS, TASK.recipes("standard", demo=False)[0])
    shapes = {name: list(weight.shape) for name, weight in head.named_parameters() if "weight" in name}
    assert shapes["project.weight"] == [1024, 768]
    assert shapes["recurrent.0.ahead.weight_hh_l0"] == shapes["recurrent.1.back.weight_hh_l0"] == [4096, 1024]
    assert shapes["recurrent.1.ahead.weight_ih_l0"] == [4096, 2048]
    assert shapes["spell.weight"] == [32, 2048]
    assert (head.augment.time_limit, head.augment.feature_limit) == (40, 50)


def split_of(seconds):
    clip = Clip("", "", "", "")
    return Split(tuple(replace(clip, id=str(at)) for at in range(len(seconds))), seconds=tuple(seconds))


def epoch(seconds, batches, seed=0):
    stream = TASK.batches(split_of(seconds), TASK.recipes("standard", False)[0], np.random.default_rng(seed))
    return [list(batch) for batch in itertools.islice(stream, batches)]


def test_train_clean_100_makes_the_published_number_of_batches():
    """Expected: SUPERB sheet 2.2: 1,782 batches of 16 and one of 27; and 28,539 clips once each."""
    one = epoch(np.random.default_rng(0).uniform(1, 25, 28_539), 1_783)
    assert sorted(map(len, one)) == [16] * 1_782 + [27]
    assert sorted(itertools.chain(*one)) == list(range(28_539))


def test_batches_are_neighbours_in_length_longest_first_and_the_remainder_holds_the_shortest():
    seconds = np.random.default_rng(1).permutation(70) / 10 + 1
    found = epoch(seconds, 5)
    expected = np.argsort(-seconds)
    cut = [expected[start:stop].tolist() for start, stop in ((0, 16), (16, 32), (32, 48), (48, 64), (64, 70))]
    assert sorted(found) == sorted(cut)


def test_batches_are_shuffled_anew_in_each_epoch():
    seconds = np.linspace(1, 9, 320)
    both = epoch(seconds, 40)
    one, two = both[:20], both[20:]
    assert one != two
    assert sorted(one) == sorted(two)
    assert epoch(seconds, 40) == both != epoch(seconds, 40, seed=1)


@pytest.mark.parametrize(("clips", "sizes"), [(1, [1]), (2, [2]), (31, [31]), (33, [16, 16]), (34, [2, 16, 16])])
def test_a_last_incomplete_bucket_is_one_batch_unless_it_is_a_single_clip(clips, sizes):
    assert sorted(map(len, epoch([1.0] * clips, len(sizes)))) == sizes


def test_ties_in_length_keep_the_order_of_ids():
    assert sorted(epoch([2.0] * 64, 4)) == [list(range(start, start + 16)) for start in range(0, 64, 16)]


def test_targets_are_letters_bars_and_an_end(fold):
    for clip in fold.train.clips[:20]:
        target = TASK.target(clip, None, LETTERS)
        assert target.dtype == torch.int64
        spelled = [LETTERS[number] for number in target]
        assert spelled == [*clip.label.replace(" ", "|"), "|", "</s>"]


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def test_toy_has_enough_speakers_in_every_split(fold):
    speakers = [{clip.group for clip in split.clips} for split in fold.splits().values()]
    assert [len(names) for names in speakers] == [len(names) for names in SPEAKERS.values()] == [6, 2, 3]


def batch(clips, features):
    x = torch.nn.utils.rnn.pad_sequence([features[clip.id] for clip in clips], batch_first=True)[:, None]
    lengths = torch.tensor([len(features[clip.id]) for clip in clips])
    targets = [TASK.target(clip, None, LETTERS) for clip in clips]
    padded = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    return x, lengths, padded, torch.tensor([len(target) for target in targets])


def test_toy_is_learned_in_seconds(fold):
    """The demo recipe's head, smaller and without masks, on the loudness of five bands every 20 ms."""
    features = {clip.id: bands(clip) for split in fold.splits().values() for clip in split.clips}
    recipe = DEMO.with_(lr=2e-2, options={"hidden": 32, "time_limit": 1, "feature_limit": 1})
    torch.manual_seed(0)
    head = TASK.head(5, LETTERS, recipe)
    head.generator = torch.Generator().manual_seed(0)
    stack = Stack(Probe(head, 1), [recipe], torch.device("cpu"))
    stream = TASK.batches(fold.train, recipe, np.random.default_rng(0))
    for indices in itertools.islice(stream, 120):
        stack.step([batch([fold.train.clips[index] for index in indices], features)])
    x, lengths, _, _ = batch(fold.test.clips, features)
    (output,) = stack.outputs(x, lengths)
    said = dict(zip((clip.id for clip in fold.test.clips), head.predict(output, lengths, None), strict=True))
    rows = TASK.rows(fold.test, said)
    assert WER.value(rows, np.ones(len(rows))) < 20


def bands(clip):
    wave = torch.tensor(soundfile.read(clip.audio, dtype="float32")[0])
    power = torch.fft.rfft(wave.unfold(0, 640, 320) * torch.hann_window(640)).abs().square()
    edges = (np.array([320, 490, 735, 1100, 1650, 2500]) / 25).astype(int)
    return torch.stack([power[:, low:high].sum(1) for low, high in itertools.pairwise(edges)], 1).add(1e-3).log()
