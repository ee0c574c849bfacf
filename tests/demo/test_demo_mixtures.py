"""The corpus of mixtures as a reader finds it: layout, counts, repeatability, difficulty."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_demo_keywords import log_mel_statistics

from earbench.demo import mixtures
from earbench.kit.metrics.diarisation import scorer

FOLDERS = {"train": "train", "valid": "dev", "test": "test"}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixtures")
    mixtures.write(root)
    return root


@pytest.fixture(scope="session")
def found(corpus):
    """(split, id, path, turns) of every mixture, read without the kit's own reader."""
    rows = []
    for split, folder in FOLDERS.items():
        lines = {name: (corpus / "data" / folder / name).read_text().split("\n")[:-1] for name in ("wav.scp", "rttm")}
        turns = [line.split("\t") for line in lines["rttm"]]
        for line in lines["wav.scp"]:
            id, path = line.split(" ")
            own = [(one[7], float(one[3]), float(one[3]) + float(one[4])) for one in turns if one[1] == id]
            rows.append((split, id, corpus / path, own))
    return rows


def test_the_counts_are_the_frozen_census(found):
    assert Counter(split for split, *_ in found) == mixtures.CENSUS["sd"]


def test_every_file_is_named_once_and_every_name_is_a_file(corpus, found):
    assert sorted(path for _, _, path, _ in found) == sorted(corpus.rglob("*.wav"))
    for folder in FOLDERS.values():
        assert sorted(path.name for path in (corpus / "data" / folder).iterdir()) == [
            *("reco2dur", "rttm", "segments", "spk2utt", "utt2spk", "wav.scp")
        ]


def test_two_people_talk_in_every_mixture_and_nobody_in_two_splits(found):
    speakers = {split: set() for split in FOLDERS}
    for split, id, _, turns in found:
        own = {name for name, _, _ in turns}
        assert own == {part.split("-")[0] for part in id.split("_")}
        assert len(own) == 2
        speakers[split] |= own
    assert [len(of) for of in speakers.values()] == [48, 12, 24]
    assert len(set.union(*speakers.values())) == 84


def test_turns_and_durations_are_the_frozen_ones(found):
    lines, seconds = [], []
    for _, id, path, turns in found:
        rate, samples = wavfile.read(path)
        assert (rate, samples.ndim, samples.dtype) == (16_000, 1, np.int16)
        assert 3_000 < np.abs(samples.astype(int)).max() < 32_767
        assert max(stop for _, _, stop in turns) <= len(samples) / rate
        lines.append(f"{id} {len(samples)} {[(name, f'{start:.2f}', f'{stop:.2f}') for name, start, stop in turns]}\n")
        seconds.append(len(samples) / rate)
    assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == "5e43d4f6d80a4642"
    assert 4.5 < np.mean(seconds) < 6
    assert 2.5 < min(seconds) < max(seconds) < 8


def test_writing_twice_gives_the_same_bytes(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(mixtures, "MIXTURES", {"train": 2, "valid": 1, "test": 1})
    mixtures.write(tmp_path)
    paths = list(tmp_path.rglob("*.wav"))
    assert len(paths) == 4
    for path in paths:
        assert path.read_bytes() == (corpus / path.relative_to(tmp_path)).read_bytes(), path


def always(turns, count):
    """`count` people who talk from the first word to the last."""
    return [(str(number), min(turn[1] for turn in turns), max(turn[2] for turn in turns)) for number in range(count)]


@pytest.mark.parametrize(("guess", "expected"), [(0, 100.0), (1, 56.3), (2, 78.7)])
def test_guesses_that_hear_nothing_are_far_from_right(found, guess, expected):
    """Nobody, one person, both from first to last word (told where these are). What was measured when the generator
    was frozen, with the demo recipe: fbank_no_cmvn 26 % errors, mfcc 27 %.
    """
    rows = np.array([scorer()(turns, always(turns, guess)) for split, _, _, turns in found if split == "test"])
    assert 100 * rows[:, :3].sum() / rows[:, 3].sum() == pytest.approx(expected, abs=0.1)


def test_half_of_what_is_said_is_said_across_the_other(found):
    spans = [[np.zeros(1000), np.zeros(1000)] for _ in found]
    for (_, _, _, turns), pair in zip(found, spans, strict=True):
        names = sorted({name for name, _, _ in turns})
        for name, start, stop in turns:
            pair[names.index(name)][round(start * 100) : round(stop * 100)] = 1
    one, two = (np.concatenate([pair[side] for pair in spans]) for side in range(2))
    assert 0.3 < 2 * (one * two).sum() / (one.sum() + two.sum()) < 0.6


def test_the_hand_made_floor_lies_well_between_guessing_and_perfect(found):
    """Two logistic regressions, for the low and for the high voice, on log-mel energies of a tenth of a second each,
    on unseen voices, as measured when the generator was frozen: 34 % errors.
    """
    people = {split: mixtures.cast(split, mixtures.SPEAKERS[split]) for split in FOLDERS}
    seen = {
        split: [
            (frames(path), active(split, turns, people, path), turns) for of, _, path, turns in found if of == split
        ]
        for split in ("train", "test")
    }
    x, y = (np.concatenate([one[part] for one in seen["train"]]) for part in (0, 1))
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(x, side) for side in y.T]
    rows = []
    for features, _, turns in seen["test"]:
        said = [np.diff(model.predict(features), prepend=0, append=0) for model in models]
        spans = [zip(np.flatnonzero(one == 1), np.flatnonzero(one == -1), strict=True) for one in said]
        guess = [(str(side), start / 10, stop / 10) for side, of in enumerate(spans) for start, stop in of]
        rows.append(scorer()(turns, guess))
    errors = np.sum(rows, axis=0)
    assert 100 * errors[:3].sum() / errors[3] == pytest.approx(33.8, abs=4)


def frames(path):
    """Mean and deviation of 40 log-mel bands in every tenth of a second."""
    samples = wavfile.read(path)[1] / 32_768
    return np.array([log_mel_statistics(piece) for piece in samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)])


def active(split, turns, people, path):
    """Whether the low and the high voice talk in the middle of every tenth of a second."""
    found = np.zeros((len(wavfile.read(path)[1]) // 1600, 2), int)
    middles = np.arange(len(found)) / 10 + 0.05
    for name, start, stop in turns:
        high = people[split][int(name) - mixtures.FIRST[split]].setting == "high"
        found[(start <= middles) & (middles < stop), int(high)] = 1
    return found
