"""The demo's HEAR folders read without the kit's own reader, and hand-made features of their clips."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_demo_keywords import BANK, log_mel_statistics

TASKS = Path("hear-2021.0.6", "tasks")


@dataclass
class Folder:
    path: Path
    metadata: dict
    labels: list[str]
    answers: dict[str, dict[str, list]]

    def wave(self, split, file):
        return wavfile.read(self.path / "16000" / split / file)[1] / 32_768


def written(corner, root):
    """The task folder that a corner of the demo writes under `root`."""
    corner.write(root)
    path = root / TASKS / corner.FOLDER
    metadata = json.loads((path / "task_metadata.json").read_text())
    rows = [line.split(",") for line in (path / "labelvocabulary.csv").read_text().splitlines()]
    assert rows[0] == ["idx", "label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(len(rows) - 1)]
    answers = {split: json.loads((path / f"{split}.json").read_text()) for split in metadata["splits"]}
    return Folder(path, metadata, [row[1] for row in rows[1:]], answers)


def digest(folder):
    """Sixteen hex digits for the names, lengths and answers of all files, each found sound: 16 kHz, 16 bits, one
    channel, neither silent nor clipped.
    """
    lines = []
    for split, answers in folder.answers.items():
        assert list(answers) == sorted(answers)
        assert sorted(path.name for path in (folder.path / "16000" / split).iterdir()) == list(answers)
        for file, answer in answers.items():
            rate, samples = wavfile.read(folder.path / "16000" / split / file)
            assert (rate, samples.dtype, samples.ndim) == (16_000, np.int16, 1)
            assert 300 < np.abs(samples.astype(int)).max() < 32_767, file
            lines.append(f"{split}/{file} {len(samples)} {json.dumps(answer)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def same_bytes(part, whole):
    """How many audio files of a folder `part` there are; all of them must be in `whole`, byte for byte."""
    paths = sorted(part.path.rglob("*.wav"))
    for path in paths:
        assert path.read_bytes() == (whole.path / path.relative_to(part.path)).read_bytes(), path
    return len(paths)


def fold_accuracies(folder, columns):
    """Mean accuracy over HEAR's rounds of folds: log-mel statistics, logistic regression, no use of the valid fold."""
    names = sorted(folder.answers)
    features = {
        name: np.array([log_mel_statistics(folder.wave(name, file))[columns] for file in folder.answers[name]])
        for name in names
    }
    labels = {name: [label for (label,) in folder.answers[name].values()] for name in names}
    accuracies = []
    for test, valid in zip(names, [*names[1:], names[0]], strict=True):
        train = [name for name in names if name not in (test, valid)]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        model.fit(np.concatenate([features[name] for name in train]), np.concatenate([labels[name] for name in train]))
        accuracies.append(model.score(features[test], labels[test]))
    return np.mean(accuracies)


def frame_features(wave, step=320):
    """Forty log-mel bands of 25 ms every 20 ms, and the times of the frames' centres in milliseconds."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::step] * np.hanning(400)
    return np.log(np.abs(np.fft.rfft(frames, 512)) ** 2 @ BANK.T + 1e-8), (np.arange(len(frames)) * step + 200) / 16


def frame_targets(folder, events, times):
    """[time, label]: what sounds at a time, both ends included (sheet 3)."""
    found = np.zeros((len(times), len(folder.labels)))
    for event in events:
        sounding = (times >= event["start"]) & (times <= event["end"])
        found[sounding, folder.labels.index(str(event["label"]))] = 1
    return found


def frames(folder, splits, features):
    """Features and targets of every frame of some splits, one below the other."""
    rows = []
    for split in splits:
        for file, events in folder.answers[split].items():
            found, times = features(folder.wave(split, file))
            rows.append((found, frame_targets(folder, events, times)))
    return [np.concatenate(one) for one in zip(*rows, strict=True)]


def ridge(train, test):
    """What a linear model that was fitted to `train`, (features, targets), says of the frames of `test`."""
    (x, y), mean, deviation = train, train[0].mean(0), train[0].std(0)
    x, z = (np.c_[(found - mean) / deviation, np.ones(len(found))] for found in (x, test[0]))
    return z @ np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
