import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earbench.contract import UpstreamCard
from earbench.kit.kaldi_writer import Mixture, write_folder
from earbench.kit.metrics.diarisation import DER, FRAME_ACCURACY
from earbench.stack import Probe, Stack
from earbench_tasks.diarisation import CHUNK, Diarisation

CARD = UpstreamCard("none", "none", "none", "none")
TASK = Diarisation()
HOPS = (0.01, 0.02, None)


def card(hop):
    return replace(CARD, hop=hop)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("sd")
    TASK.toy(root, seed=0)
    return root


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Recordings of 3 to 95 seconds with many turns at whole hundredths of a second, by absolute paths."""
    root, rng = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for folder in ("train", "dev", "test"):
        mixtures = []
        for number, samples in enumerate((3 * 16_000 + 7, 20 * 16_000, 41 * 16_000 + 5_000, 95 * 16_000 + 31)):
            path = root / "wav" / f"{folder}{number}.flac"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, np.zeros(samples), 16_000)
            edges = [np.sort(rng.choice(samples // 160 - 2, 2 * size, replace=False)) for size in (20, 6)]
            turns = [
                (f"{folder}{number}{speaker}", start / 100, stop / 100)
                for speaker, of in enumerate(edges)
                for start, stop in of.reshape(-1, 2).tolist()
            ]
            mixtures.append(Mixture(f"{folder}{number}", str(path), samples / 16_000, turns))
        write_folder(root / folder, mixtures)
    return root


@pytest.mark.parametrize("effort", ["standard", "reference"])
def test_grid_is_the_published_one(effort):
    """Expected: SUPERB sheet, master table 1.5 and the grid of 1.6; Adam without decay."""
    recipes = TASK.recipes(effort, demo=False)
    assert [recipe.lr for recipe in recipes] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    for recipe in recipes:
        assert (recipe.optimiser, recipe.weight_decay, recipe.clip) == ("adam", 0.0, 1.0)
        assert (recipe.batch, recipe.accum, recipe.steps, recipe.every) == (8, 4, 30_000, 500)
        head = TASK.head(768, TASK.space(None), recipe)
        assert (head.recurrent.num_layers, head.recurrent.hidden_size, head.recurrent.bidirectional) == (1, 512, False)
        assert list(head.classify.weight.shape) == [2, 512]


def test_honest_and_published_scores_read_turns_as_the_sheet_says():
    """Expected: SUPERB sheet 2.7 (ten hypotheses, the lowest on test) and 7.2 (0.5 and 11)."""
    assert [dict(one) for one in TASK.decodings] == [{"threshold": 0.5, "median": 11}]
    assert TASK.published == "der"
    expected = itertools.product((0.3, 0.4, 0.5, 0.6, 0.7), (1, 11))
    assert {(one["threshold"], one["median"]) for one in TASK.published_decodings} == set(expected)


@pytest.fixture
def theirs():
    """s3prl's own reader of Kaldi folders, in which chunks and labels are made."""
    try:
        from s3prl.downstream.diarization.dataset import DiarizationDataset
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl does not import here: {problem}")
    return DiarizationDataset


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # s3prl leaves its files open
@pytest.mark.parametrize("hop", HOPS[:2])
@pytest.mark.parametrize("mode", ["train", "dev", "test"])
def test_chunks_and_labels_equal_those_of_s3prl(long, theirs, hop, mode):
    shift = round(hop * 16_000)
    fold = TASK.folds(long, card(hop))[0]
    clips = {"train": fold.train, "dev": fold.valid, "test": fold.test}[mode].clips
    dataset = theirs(mode, str(long / mode), frame_shift=shift, num_speakers=2)
    found = dataset.chunk_indices
    expected = [chunk for of in found.values() for chunk in of] if mode == "test" else found
    assert [(clip.whole, round(clip.start / hop), round(clip.stop / hop)) for clip in clips] == expected
    assert max(stop - start for _, start, stop in expected) == CHUNK
    for clip, (recording, start, stop) in zip(clips, expected, strict=True):
        assert (clip.start * 16_000, clip.stop * 16_000) == (start * shift, stop * shift)
        _, labels = dataset._get_labeled_speech(recording, start, stop, 2)
        times = 0.0125 + hop * torch.arange(stop - start)
        np.testing.assert_array_equal(TASK.target(clip, times, None), labels)


def test_a_segment_that_covers_a_whole_chunk_is_kept(long):
    clip = replace(TASK.folds(long, card(0.01))[0].train.clips[0], start=20.0, stop=40.0)
    clip = replace(clip, label=(("a", ((10.0, 50.0),)), ("b", ())))
    assert TASK.target(clip, 0.01 * torch.arange(2000), None).sum(0).tolist() == [2000, 0]


@pytest.mark.parametrize("frames", [1, 99, 101])
def test_targets_have_as_many_frames_as_the_encoder_gives(toy, frames):
    clip = TASK.folds(toy, card(0.01))[0].train.clips[0]
    target = TASK.target(clip, 0.01 * torch.arange(frames), None)
    assert (target.shape, target.dtype) == ((frames, 2), torch.float32)


@pytest.mark.parametrize("hop", HOPS)
def test_ideal_answers_are_perfect_and_the_census_counts_recordings(long, hop):
    task = TASK.at(long, card(hop))
    fold = task.folds(long, card(hop))[0]
    assert task.census([fold]) == {"train": 4, "valid": 4, "test": 4}
    assert len(fold.test.clips) == {0.01: 1 + 1 + 3 + 5, 0.02: 1 + 1 + 2 + 3, None: 1 + 1 + 2 + 3}[hop]
    rows = task.rows(fold.test, task.ideal(fold.test))
    assert len(rows) == len(task.weights(fold.test, "standard")) == 4
    assert DER.value(rows, np.ones(4)) == pytest.approx(0, abs=1e-9)
    assert FRAME_ACCURACY.value(rows, np.ones(4)) == pytest.approx(100)


def test_an_unknown_hop_is_said(toy):
    assert "chunks-40-s" in TASK.at(toy, card(None)).deviations("standard")
    assert "chunks-40-s" not in TASK.at(toy, card(0.01)).deviations("standard")


def test_toy_is_the_same_bytes_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        TASK.toy(tmp_path / name, seed)
    trees = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in sorted(tmp_path.iterdir())
    ]
    assert trees[0] == trees[1] != trees[2]


def bands(clip):
    """Energies of a low and a high band, every 20 ms."""
    wave = torch.tensor(soundfile.read(clip.audio, dtype="float32")[0])
    power = torch.fft.rfft(wave.unfold(0, 640, 320)).abs().square()
    return torch.stack([power[:, 5:20].sum(1), power[:, 30:60].sum(1)], 1).add(1e-3).log()


def batch(clips):
    features = [bands(clip) for clip in clips]
    lengths = torch.tensor([len(one) for one in features])
    targets = [
        TASK.target(clip, 0.02 * torch.arange(len(one)), None) for clip, one in zip(clips, features, strict=True)
    ]
    padded = (torch.nn.utils.rnn.pad_sequence(of, batch_first=True) for of in (features, targets))
    x, y = padded
    return x[:, None], lengths, y, lengths


def test_toy_is_learned_in_seconds(toy):
    fold = TASK.folds(toy, card(0.02))[0]
    recipe = TASK.recipes("standard", demo=True)[0].with_(lr=2e-2, options={"hidden": 8})
    torch.manual_seed(0)
    head = TASK.head(2, TASK.space(fold), recipe)
    head.generator = torch.Generator().manual_seed(0)
    stack = Stack(Probe(head, 1), [recipe], torch.device("cpu"))
    for indices in itertools.islice(TASK.batches(fold.train, recipe, np.random.default_rng(0)), 80):
        stack.step([batch([fold.train.clips[index] for index in indices])])
    x, lengths, _, _ = batch(fold.test.clips)
    times = 0.02 * torch.arange(x.shape[2]).expand(len(x), -1)
    said = head.predict(stack.outputs(x, lengths)[0], lengths, times, **TASK.decodings[0])
    rows = TASK.rows(fold.test, dict(zip((clip.id for clip in fold.test.clips), said, strict=True)))
    assert DER.value(rows, np.ones(len(rows))) < 40
    assert FRAME_ACCURACY.value(rows, np.ones(len(rows))) > 90


def test_the_published_folders_hold_the_published_numbers():
    """Expected: SUPERB sheet 2.7. EARBENCH_LIBRI2MIX names a folder with the Kaldi folders (and audio, even empty)."""
    root = os.environ.get("EARBENCH_LIBRI2MIX")
    if not root:
        pytest.skip("EARBENCH_LIBRI2MIX names no folder")
    fold = TASK.folds(Path(root), card(0.01))[0]
    assert TASK.census([fold]) == TASK.card.corpus.counts == {"train": 13_900, "valid": 3_000, "test": 3_000}
    assert len(fold.valid.clips) - 3_000 == 14, "the recordings of dev that are longer than 20 s"
