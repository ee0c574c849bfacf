"""The keyword corpus as a reader finds it: layout, counts, repeatability, difficulty."""

import hashlib
import wave
from collections import Counter

import numpy as np
import pytest
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earbench.demo import build as demo
from earbench.demo import keywords
from earbench.demo.lexicon import KEYWORDS, OTHERS

SILENCE, UNKNOWN = "_silence_", "_unknown_"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    cache = tmp_path_factory.mktemp("demo")
    return demo.build(cache, "speech_commands_v1")


@pytest.fixture(scope="session")
def found(corpus):
    """(split, class, speaker, path) of every clip, by the published rules, written without the demo's own code."""
    rows = []
    for path in sorted(corpus.glob("*/*/*.wav")):
        archive, folder, speaker = path.parts[-3], path.parts[-2], path.name.split("_nohash_")[0]
        share = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27 * 100 / (2**27 - 1)
        if archive == "speech_commands_test_set_v0.01":
            rows.append(("test", folder, speaker, path))
        elif folder == "_background_noise_":
            rows += [(split, SILENCE, speaker, path) for split in ("train", "valid")]
        elif not 10 <= share < 20:
            label = folder if folder in KEYWORDS else UNKNOWN
            rows.append(("valid" if share < 10 else "train", label, speaker, path))
    return rows


def test_the_tree_has_the_folders_of_the_two_archives(corpus):
    main, test = corpus / "speech_commands_v0.01", corpus / "speech_commands_test_set_v0.01"
    assert {path.name for path in main.iterdir()} == {*KEYWORDS, *OTHERS, "_background_noise_"}
    assert {path.name for path in test.iterdir()} == {*KEYWORDS, SILENCE, UNKNOWN}
    assert sorted(path.name for path in (main / "_background_noise_").iterdir()) == [
        *("doing_the_dishes.wav", "dude_miaowing.wav", "exercise_bike.wav"),
        *("pink_noise.wav", "running_tap.wav", "white_noise.wav"),
    ]


def test_the_counts_are_the_frozen_census(found):
    counted = Counter(f"{split}/{label}" for split, label, _, _ in found)
    assert dict(counted) == keywords.CENSUS["ks"]


def test_no_speaker_is_in_two_splits_and_no_file_is_discarded(corpus, found):
    speakers = {
        split: {name for at, label, name, _ in found if at == split and label != SILENCE}
        for split in ("train", "valid", "test")
    }
    assert [len(names) for names in speakers.values()] == [48, 16, 40]
    assert len(set.union(*speakers.values())) == 104
    assert len({row[3] for row in found}) == len(list(corpus.rglob("*.wav")))


def test_files_and_durations_are_the_frozen_ones(corpus):
    lines, seconds = [], []
    for path in sorted(corpus.rglob("*.wav")):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2), path
            lines.append(f"{path.relative_to(corpus).as_posix()} {file.getnframes()}\n")
            if path.parent.name != "_background_noise_":
                seconds.append(file.getnframes() / 16_000)
    assert hashlib.sha256("".join(lines).encode()).hexdigest()[:16] == "7b0885e613c95832"
    assert max(seconds) == 1.0
    assert 0.02 < np.mean(np.array(seconds) < 1.0) < 0.1
    assert min(seconds) >= 0.7


def test_clips_are_neither_silent_nor_clipped(found):
    for split, label, _, path in found:
        samples = np.abs(wavfile.read(path)[1].astype(int))
        assert samples.max() > 30, path
        if split == "test" and label != SILENCE:
            assert (samples >= 32_767).sum() <= 1, path


def test_writing_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(keywords, "SPEAKERS", {"train": 2, "valid": 1, "test": 2})
    trees = []
    for name in ("a", "b"):
        keywords.write(tmp_path / name)
        files = sorted(path for path in (tmp_path / name).rglob("*.wav"))
        trees.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert len(trees[0]) > 100
    assert trees[0] == trees[1]


def test_what_a_speaker_says_does_not_depend_on_who_else_is_cast(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(keywords, "SPEAKERS", {"train": 1, "valid": 0, "test": 1})
    keywords.write(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        assert path.read_bytes() == (corpus / path.relative_to(tmp_path)).read_bytes(), path


def test_hand_made_floors_lie_well_between_chance_and_perfect(found):
    """Log-mel averages and logistic regression on unseen voices, as measured when the generator was frozen:
    mean 0.29, mean and deviation 0.38; chance and the majority guess 0.083.
    """
    clips = [(split, label, piece) for split, label, _, path in found for piece in pieces(path, split, label)]
    features = np.array([log_mel_statistics(piece) for _, _, piece in clips])
    labels, train = np.array([label for _, label, _ in clips]), np.array([split == "train" for split, _, _ in clips])
    test = np.array([split == "test" for split, _, _ in clips])
    for columns, expected in ((slice(0, 40), 0.29), (slice(0, 80), 0.38)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        model.fit(features[train][:, columns], labels[train])
        assert model.score(features[test][:, columns], labels[test]) == pytest.approx(expected, abs=0.04)


def pieces(path, split, label):
    """The clip itself; of a background file, 64 evenly spaced seconds in train and none in valid (not used here)."""
    samples = wavfile.read(path)[1] / 32_768
    if label != SILENCE or split == "test":
        return [samples]
    starts = np.linspace(0, len(samples) - 16_000, 64 if split == "train" else 0).astype(int)
    return [samples[start : start + 16_000] for start in starts]


def log_mel_statistics(samples):
    """Mean and deviation over time of 40 log-mel bands (25 ms, 10 ms)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160] * np.hanning(400)
    energy = np.log(np.abs(np.fft.rfft(frames, 512)) ** 2 @ BANK.T + 1e-8)
    return np.concatenate([energy.mean(0), energy.std(0)])


def triangles(bands=40):
    hertz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 2) / 2595) - 1)
    bins = np.arange(257) * 16_000 / 512
    up = (bins - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    down = (hertz[2:, None] - bins) / np.diff(hertz)[1:, None]
    return np.clip(np.minimum(up, down), 0, None)


BANK = triangles()
