"""The utterance corpus as a reader finds it: layout, counts, repeatability, difficulty."""

import hashlib
import itertools

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_demo_keywords import log_mel_statistics
from torch.nn.utils.rnn import pad_sequence

from earbench.checks.toy import measured
from earbench.contract import UpstreamCard
from earbench.demo import utterances
from earbench.demo.lexicon import KEYWORDS
from earbench.kit.metrics.errors import PER
from earbench.kit.phones import PHONES
from earbench.stack import Probe, Stack
from earbench_tasks.phoneme_recognition import PhonemeRecognition
from earbench_upstreams.fbank import FbankNoCmvn

CARD = UpstreamCard("none", "none", "none", "none")
TASK = PhonemeRecognition()

SPLITS = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("utterances")
    utterances.write(root)
    return root / "LibriSpeech"


@pytest.fixture(scope="session")
def found(corpus):
    """(split, speaker, words, path) of every line of every transcript, read without the kit's own reader."""
    rows = []
    for split, subset in SPLITS.items():
        for transcript in sorted((corpus / subset).glob("*/*/*.trans.txt")):
            for line in transcript.read_text("utf-8").splitlines():
                name, *words = line.split(" ")
                rows.append((split, name.split("-")[0], words, transcript.parent / f"{name}.flac"))
    return rows


def test_the_tree_is_laid_out_as_librispeech(corpus, found):
    assert {path.name for path in corpus.iterdir()} == set(SPLITS.values())
    assert {path for *_, path in found} == set(corpus.rglob("*.flac"))
    for transcript in corpus.rglob("*.trans.txt"):
        assert transcript.name == f"{transcript.parent.parent.name}-{transcript.parent.name}.trans.txt"
    for _, speaker, words, path in found:
        assert path.name.startswith(f"{speaker}-{path.parent.name}-0")
        assert 3 <= len(words) <= 4
        assert {word.lower() for word in words} <= set(KEYWORDS)


def test_the_counts_are_the_frozen_census(found):
    assert {split: sum(row[0] == split for row in found) for split in SPLITS} == utterances.CENSUS["asr"]
    assert utterances.CENSUS["pr"] == utterances.CENSUS["asr"]


def test_the_lexicon_says_all_ten_words_in_the_two_official_files(corpus):
    """Expected by hand: ARPABET with stress digits; ON stands in both files, so that which one counts matters."""
    read = {path.name: path.read_text("utf-8").splitlines() for path in (corpus.parent / "lexicon").iterdir()}
    assert set(read) == {"librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt"}
    entries = {name: dict(line.split("\t") for line in lines) for name, lines in read.items()}
    first, others = entries["librispeech-lexicon-200k-g2p.txt"], entries["librispeech-lexicon-allothers-g2p.txt"]
    assert {word.lower() for word in first | others} == set(KEYWORDS)
    assert (first["ON"], others["ON"], first["LEFT"], others["STOP"]) == ("AA1 N", "AO1 N", "L EH1 F T", "S T AA1 P")


def test_no_speaker_is_in_two_splits(found):
    speakers = [{row[1] for row in found if row[0] == split} for split in SPLITS]
    assert list(map(len, speakers)) == [48, 12, 24]
    assert len(set.union(*speakers)) == 84


def test_every_word_is_said_in_every_split(found):
    for split in SPLITS:
        assert {word for row in found if row[0] == split for word in row[2]} == {word.upper() for word in KEYWORDS}


def test_words_and_durations_are_the_frozen_ones(found):
    lines, seconds = [], []
    for _, _, words, path in found:
        facts = soundfile.info(path)
        assert (facts.samplerate, facts.channels, facts.subtype, facts.format) == (16_000, 1, "PCM_16", "FLAC")
        lines.append(f"{path.stem} {facts.frames} {' '.join(words)}\n")
        seconds.append(facts.duration)
    assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == "c5f55d949229f6c0"
    assert 2.0 < np.mean(seconds) < 2.3
    assert min(seconds) > 1
    assert max(seconds) < 4


def test_utterances_are_neither_silent_nor_clipped(found):
    for *_, path in found:
        samples = np.abs(soundfile.read(path, dtype="int16")[0].astype(int))
        assert 4_000 < samples.max() < 32_767


def test_writing_twice_gives_the_same_bytes_whoever_else_is_cast(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(utterances, "SPEAKERS", {"train": 2, "valid": 1, "test": 1})
    utterances.write(tmp_path)
    files = [path for path in (tmp_path / "LibriSpeech").rglob("*") if path.is_file()]
    assert len(files) == 4 * 2 * (4 + 1)
    for path in files:
        assert path.read_bytes() == (corpus / path.relative_to(tmp_path / "LibriSpeech")).read_bytes(), path


def test_the_hand_made_floor_lies_well_between_chance_and_perfect(found):
    """The first word by log-mel statistics of five tenths of a second and logistic regression, on unseen voices, as
    measured when the generator was frozen: 0.58, where chance is 0.1.

    What the task itself then says (word error rate, the demo recipe): fbank_no_cmvn FBANK, mfcc MFCC.
    """
    features = np.array([opening(path) for *_, path in found])
    labels, splits = np.array([words[0] for _, _, words, _ in found]), np.array([row[0] for row in found])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(features[splits == "train"], labels[splits == "train"])
    assert model.score(features[splits == "test"], labels[splits == "test"]) == pytest.approx(0.58, abs=0.06)


def opening(path):
    """Log-mel mean and deviation of five consecutive tenths of a second."""
    samples = np.pad(soundfile.read(path)[0], (0, 8_000))
    return np.concatenate([log_mel_statistics(samples[start : start + 1_600]) for start in range(0, 8_000, 1_600)])


def test_phones_are_learned_from_log_mel_and_carry_over_to_unseen_voices(corpus, found):
    """The task's own head, a hundred steps on every second frame of fbank_no_cmvn: as measured when the lexicon was
    added, phone error rates of 53 on voices it was trained on, 72 on the valid and 81 on the two test voices. To say of
    every clip the training label that is nearest to all others gives 80, to say nothing 100. With the demo recipe
    fbank_no_cmvn gets to 75, mfcc to 71.
    """
    fold = measured(TASK.folds(corpus, CARD)[0])
    encoder = FbankNoCmvn().eval()
    frames = {path.stem: log_mel_frames(encoder, path) for *_, path in found}
    stack = trained(fold.train, frames, steps=100)
    for split, expected in ((fold.train, 53), (fold.valid, 72), (fold.test, 81)):
        assert error(stack, split, frames) == pytest.approx(expected, abs=8)


def log_mel_frames(encoder, path):
    wave = torch.tensor(soundfile.read(path, dtype="float32")[0])[None]
    return encoder.encode(wave, torch.tensor([wave.shape[1]])).frames[0, 0, ::2]


def trained(split, frames, steps):
    recipe = TASK.recipes("standard", demo=True)[0]
    torch.manual_seed(0)
    head = TASK.head(next(iter(frames.values())).shape[1], PHONES, recipe)
    head.generator = torch.Generator().manual_seed(0)
    stack = Stack(Probe(head, 1), [recipe], torch.device("cpu"))
    for indices in itertools.islice(TASK.batches(split, recipe, np.random.default_rng(0)), steps):
        stack.step([padded([split.clips[index] for index in indices], frames)])
    return stack


def padded(clips, frames):
    x, targets = [frames[clip.id] for clip in clips], [TASK.target(clip, None, PHONES) for clip in clips]
    lengths, sizes = (torch.tensor([len(one) for one in ones]) for ones in (x, targets))
    return pad_sequence(x, batch_first=True)[:, None], lengths, pad_sequence(targets, batch_first=True), sizes


def error(stack, split, frames):
    said = {}
    for start in range(0, len(split.clips), 32):
        clips = split.clips[start : start + 32]
        x, lengths, _, _ = padded(clips, frames)
        (output,) = stack.outputs(x, lengths)
        said |= dict(zip((clip.id for clip in clips), stack.probe.head.predict(output, lengths, None), strict=True))
    rows = TASK.rows(split, said)
    return PER.value(rows, np.ones(len(rows)))
