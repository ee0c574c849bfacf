"""`pr` on its toy tree: the published facts, where lexica may lie, and what is refused."""

import itertools
import shutil

import numpy as np
import pytest
import torch

from earbench.checks.toy import measured
from earbench.contract import Clip, Split, UpstreamCard
from earbench.errors import MissingCorpus
from earbench.kit.metrics.errors import PER, spoken_phones
from earbench.kit.phones import LEXICA, PHONES
from earbench.stack import Probe, Stack
from earbench_tasks.phoneme_recognition import PhonemeRecognition

CARD = UpstreamCard("none", "none", "none", "none")
TASK = PhonemeRecognition()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy") / "root"
    TASK.toy(root, seed=0)
    return root


@pytest.fixture
def toy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "some where" / "root")


@pytest.fixture(scope="module")
def fold(written):
    return measured(TASK.folds(written, CARD)[0])


def labels(root):
    return [clip.label for split in TASK.folds(root, CARD)[0].splits().values() for clip in split.clips]


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (16, 2, 100_000, 1_000)


def test_published_head_is_768_to_256_to_74():
    shapes = [list(weight.shape) for weight in TASK.head(768, PHONES, TASK.recipes("standard", False)[0]).parameters()]
    assert shapes == [[256, 768], [256], [74, 256], [74]]


def test_census_is_the_published_one_and_both_lexica_are_named():
    assert TASK.card.corpus.counts == {"train": 28_539, "valid": 2_703, "test": 2_620}
    assert all(name in TASK.card.corpus.layout for name in LEXICA)


def test_labels_are_the_phones_of_the_words_and_targets_end(toy):
    fold = TASK.folds(toy, CARD)[0]
    for clip in fold.train.clips[:20]:
        transcript = clip.audio.parent / f"{clip.id.rpartition('-')[0]}.trans.txt"
        words = next(line for line in transcript.read_text().splitlines() if line.startswith(clip.id)).split()[1:]
        sounds = {"E": "EH1", "T": "T", "A": "AE1", "O": "OW0", "N": "N"}
        expected = [sounds[letter] for letter in "".join(words)]
        assert clip.label.split() == expected
        assert [PHONES[number] for number in TASK.target(clip, None, PHONES)] == [*expected, "<eos>"]


def test_batches_are_windows_over_label_lengths_with_the_end_counted_for_all():
    """Expected by hand: windows of 16 in the order of label length; halves behind a first clip of over 18.75 s."""
    sizes = np.random.default_rng(0).permutation(40) + 1
    clips = tuple(Clip(str(at), "", " ".join(["N"] * size), "") for at, size in enumerate(sizes))
    order = np.argsort(-sizes).tolist()
    seconds = np.ones(40)
    seconds[order[3]] = 18.8
    stream = TASK.batches(
        Split(clips, seconds=tuple(seconds)), TASK.recipes("reference", False)[0], np.random.default_rng(0)
    )
    epoch = {tuple(sorted(batch)) for batch in itertools.islice(stream, 40)}
    whole = {tuple(sorted(order[start : start + 16])) for start in range(25) if start != 3}
    assert epoch == whole | {tuple(sorted(order[3:11]))}


@pytest.mark.parametrize("place", ["LibriSpeech", "LibriSpeech/lexicon", ".", "lexicon"])
@pytest.mark.parametrize("asked", [".", "LibriSpeech", "LibriSpeech/dev-clean"])
def test_lexica_may_lie_beside_the_subsets_or_what_holds_them_or_in_a_folder_there(toy, place, asked):
    expected = labels(toy)
    (toy / place).mkdir(exist_ok=True)
    for name in LEXICA:
        (toy / "lexicon" / name).rename(toy / place / name)
    assert labels(toy / asked) == expected


def test_a_missing_lexicon_is_named_with_the_folders_looked_in(toy):
    (toy / "lexicon" / LEXICA[1]).unlink()
    with pytest.raises(MissingCorpus, match=f"not found: {LEXICA[1]}") as error:
        TASK.folds(toy, CARD)
    home = toy / "LibriSpeech"
    assert f"looked in {home}, {home / 'lexicon'}, {toy}, {toy / 'lexicon'}" in str(error.value)


def test_two_copies_of_a_lexicon_are_not_guessed_between(toy):
    shutil.copy(toy / "lexicon" / LEXICA[0], toy)
    with pytest.raises(MissingCorpus, match=f"{LEXICA[0]} lies in 2 places"):
        TASK.folds(toy, CARD)


def test_words_without_phones_stop_the_run_and_never_become_unknown(toy):
    path = toy / "lexicon" / LEXICA[0]
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("ATE")))
    with pytest.raises(MissingCorpus, match="1 words of the transcripts are in no lexicon file"):
        TASK.folds(toy, CARD)


def test_another_pronunciation_is_another_plan(toy):
    before = labels(toy)
    path = toy / "lexicon" / LEXICA[0]
    path.write_text(path.read_text().replace("AE1", "AE2"))
    assert labels(toy) != before


def test_error_rate_is_s3prls_empty_predictions_included():
    """Expected: s3prl's rule written here: both sides split at single spaces, so that nothing is one empty token."""

    def distance(one, two):
        row = list(range(len(two) + 1))
        for at, left in enumerate(one, 1):
            row, above = [at], row
            for to, right in enumerate(two, 1):
                row.append(min(above[to] + 1, row[-1] + 1, above[to - 1] + (left != right)))
        return row[-1]

    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(["N", "OW1", "S"], size=size)) for size in random.integers(0, 9, 120)]
    truths, answers = [text or "N" for text in texts[:60]], texts[60:]
    answers[:3] = ["", "", "N"]
    truths[:3] = ["N", "N OW1 S", "N"]
    split = Split(tuple(Clip(str(at), "", text, "anna") for at, text in enumerate(truths)))
    rows = spoken_phones(split, {str(at): text for at, text in enumerate(answers)})
    pairs = [(answer.split(" "), truth.split(" ")) for answer, truth in zip(answers, truths, strict=True)]
    assert rows.arrays["phone_errors"].tolist() == [distance(*pair) for pair in pairs]
    assert rows.arrays["phone_errors"][:3].tolist() == [1, 3, 0]
    expected = 100 * sum(distance(*pair) for pair in pairs) / sum(len(truth) for _, truth in pairs)
    assert PER.value(rows, np.ones(60)) == pytest.approx(expected)
    assert rows.groups == (("anna",),) * 60


def batch(clips, features):
    x = torch.nn.utils.rnn.pad_sequence([features[clip.id] for clip in clips], batch_first=True)[:, None]
    targets = [TASK.target(clip, None, PHONES) for clip in clips]
    padded = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    lengths = torch.tensor([len(features[clip.id]) for clip in clips])
    return x, lengths, padded, torch.tensor([len(target) for target in targets])


def test_toy_is_learned_in_seconds(fold):
    """The demo recipe's head on a frame per phone and a silent one: which tone it is, with a little noise."""
    features = {clip.id: tones(clip) for split in fold.splits().values() for clip in split.clips}
    recipe = TASK.recipes("standard", demo=True)[0].with_(lr=1e-2)
    torch.manual_seed(0)
    stack = Stack(Probe(TASK.head(6, PHONES, recipe), 1), [recipe], torch.device("cpu"))
    stack.probe.head.generator = torch.Generator().manual_seed(0)
    for indices in itertools.islice(TASK.batches(fold.train, recipe, np.random.default_rng(0)), 150):
        stack.step([batch([fold.train.clips[index] for index in indices], features)])
    x, lengths, _, _ = batch(fold.test.clips, features)
    (output,) = stack.outputs(x, lengths)
    said = stack.probe.head.predict(output, lengths, None)
    rows = TASK.rows(fold.test, dict(zip((clip.id for clip in fold.test.clips), said, strict=True)))
    assert PER.value(rows, np.ones(len(rows))) < 20


def tones(clip):
    names = ("EH1", "T", "AE1", "OW0", "N")
    frames = [[*(float(phone == name) for name in names), 0.0] for phone in clip.label.split()]
    spaced = [row for frame in frames for row in (frame, [0.0] * 5 + [1.0])]
    noise = torch.randn(len(spaced), 6, generator=torch.Generator().manual_seed(len(spaced)))
    return torch.tensor(spaced) + 0.05 * noise
