"""What HEAR's kit says on small made-up inputs: writes the files of tests/golden/hear.

usage: heareval_golden.py DIR     with the interpreter of an environment that heareval 2021.1.3 imports in

Every function that is asked is the kit's own, called as the kit calls it. Inputs are drawn here and stored beside the
answers, rounded, so that no test has to draw them again.
"""

from __future__ import annotations

import gzip
import json
import logging
import pickle
import random
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import heareval_predictor
import numpy as np
import torch

LENGTHS = ((5, 3, 4), (1, 1, 1), (2, 9, 2), (44, 14, 14), (12, 12, 11, 11, 11), (20, 20, 20, 20, 20), (100, 7, 13))
FOLDS = (("fold02", "fold00", "fold01"), tuple(f"fold{number:02}" for number in range(10)), ("b", "d", "a", "c"))
GRIDS: dict[str, dict[str, Any]] = {
    "default": {},
    "dcase2016_task2": {"task_name": "dcase2016_task2"},
    "maestro": {"task_specific_param_grid": {"max_epochs": [50], "check_val_every_n_epoch": [1]}},
    "more values": {"task_specific_param_grid": {"hidden_dim": [512, 1024], "dropout": [0.0, 0.1, 0.2]}},
    "fewer points": {"task_specific_param_grid": {"hidden_layers": [0], "lr": [1e-3, 1e-4, 1e-2]}},
    "every name": {
        "task_specific_param_grid": {
            "patience": [5, 3],
            "batch_size": [64, 32],
            "max_epochs": [9, 3],
            "lr": [1e-3],
            "check_val_every_n_epoch": [3, 1],
        }
    },
}
DECODINGS = ((0, 0), (62, 62), (100, 0), (125, 125), (150, 50), (250, 125), (250, 250), (500, 250), (1000, 0))
LABELS = ("ah", "bee", "cow", "dog")
SCENE_SCORES = ("top1_acc", "pitch_acc", "chroma_acc", "mAP", "d_prime", "aucroc")
EVENT_SCORES = ("event_onset_200ms_fms", "event_onset_50ms_fms", "event_onset_offset_50ms_20perc_fms", "segment_1s_er")


def main(out: Path) -> None:
    warnings.filterwarnings("ignore")
    stand_in()
    heareval_predictor.put_right()
    out.mkdir(parents=True, exist_ok=True)
    packages = ("heareval", "pytorch-lightning", "torch", "scikit-learn", "sed_eval", "scipy", "numpy", "intervaltree")
    made_by = {name: version(name) for name in packages}
    for name, cases in {
        "rows": rows(),
        "folds": folds(),
        "grid": grids(),
        "targets": targets(),
        "decoding": decodings(),
        "scene_scores": scene_scores(),
        "event_scores": event_scores(),
        "training": trainings(),
        "event_training": event_trainings(),
    }.items():
        text = json.dumps({"made_by": made_by, "cases": list(cases)}, separators=(",", ":"))
        (out / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def stand_in() -> None:
    """The name of TensorFlow while the kit's embeddings module is imported; with torch models it has no use for it."""
    sys.modules["tensorflow"] = types.ModuleType("tensorflow")
    import_module("heareval.embeddings.task_embeddings")
    del sys.modules["tensorflow"]


# ---- the order of rows, the roles of folds, the grid -----------------------------------------------------------------


def rows() -> Iterator[dict[str, Any]]:
    """Splits of so many files, and the numbers of the files in the order of the rows that are made of them."""
    from heareval.embeddings.task_embeddings import memmap_embeddings

    for lengths in LENGTHS:
        drawn, orders = random.Random(), {}
        drawn.seed(0)
        for split, count in enumerate(lengths):
            with tempfile.TemporaryDirectory() as folder:
                files = {f"{number:03}.wav": ["x"] for number in range(count)}
                for number, file in enumerate(files):
                    np.save(Path(folder, f"{file}.embedding.npy"), np.array([number], np.float32))
                    Path(folder, f"{file}.target-labels.json").write_text('["x"]')
                facts = {"embedding_type": "scene", "prediction_type": "multiclass"}
                memmap_embeddings(Path(folder), drawn, facts, "split", Path(folder), files)
                saved = np.memmap(Path(folder, "split.embeddings.npy"), np.float32, "r")
                orders[f"split{split}"] = saved.astype(int).tolist()
        yield {"lengths": lengths, "orders": list(orders.values())}


def folds() -> Iterator[dict[str, Any]]:
    from heareval.predictions.task_predictions import get_splits_from_metadata

    for names in FOLDS:
        turns = get_splits_from_metadata({"split_mode": "new_split_kfold", "splits": list(names)})
        yield {"splits": names, "turns": turns}


def grids() -> Iterator[dict[str, Any]]:
    """Under which metadata which points are trained, in their order."""
    from heareval.predictions import task_predictions as kit

    for name, asked in GRIDS.items():
        metadata = {
            "task_name": asked.get("task_name", "any"),
            "evaluation": ["top1_acc"],
            "split_mode": "trainvaltest",
            "embedding_type": "scene",
            "prediction_type": "multiclass",
            "splits": ["train", "valid", "test"],
            "evaluation_params": {key: value for key, value in asked.items() if key != "task_name"},
        }
        yield {"name": name, "metadata": metadata, "points": chosen(kit, metadata)}


def chosen(kit: Any, metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """The points that the kit hands to its training, which is kept from training."""
    found: list[dict[str, Any]] = []

    def train(conf: dict[str, Any], **_: Any) -> Any:
        found.append({key: plain(value) for key, value in conf.items()})
        return types.SimpleNamespace(validation_score=0.0, score_mode="max", hparams={}, conf=conf)

    def test(**_: Any) -> Any:
        raise StopIteration

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "task_metadata.json").write_text(json.dumps(metadata))
        Path(folder, "labelvocabulary.csv").write_text("idx,label\n0,a\n1,b\n")
        kept = kit.task_predictions_train, kit.task_predictions_test, kit.print_scores
        kit.task_predictions_train, kit.task_predictions_test, kit.print_scores = train, test, lambda *_: None
        try:
            kit.task_predictions(Path(folder), 4, 8, None, True, True, "default", logging.getLogger("kit"))
        except StopIteration:
            return found
        finally:
            kit.task_predictions_train, kit.task_predictions_test, kit.print_scores = kept
    raise SystemExit("the kit trained nothing")


def plain(value: Any) -> Any:
    """Functions and classes by name."""
    return value if isinstance(value, int | float | str) else value.__name__


# ---- events ----------------------------------------------------------------------------------------------------------


def targets() -> Iterator[dict[str, Any]]:
    """The labels of every frame, from events and times in milliseconds."""
    from heareval.embeddings.task_embeddings import get_labels_for_timestamps

    rng = np.random.default_rng(1)
    for name, times in clocks(rng, 60).items():
        for kind in ("anywhere", "on frames", "whole milliseconds"):
            events = [event(rng, times, kind) for _ in range(12)]
            if kind == "on frames":
                events.append({"label": LABELS[0], "start": float(times[7]), "end": float(times[7])})
            (labels,) = get_labels_for_timestamps([events], np.array([times]))
            yield {"name": f"{name}, {kind}", "times": times, "events": events, "labels": [*map(sorted, labels)]}


def clocks(rng: np.random.Generator, count: int) -> dict[str, list[float]]:
    """Times of frames in milliseconds."""
    irregular = np.cumsum(rng.uniform(5, 60, count)).round(3)
    return {
        "50 ms": (50.0 * np.arange(count)).tolist(),
        "25 ms from 12.5": (12.5 + 25.0 * np.arange(count)).tolist(),
        "20 ms": (20.0 * np.arange(count)).tolist(),
        "512 samples at 44.1 kHz": (512 / 44.1 * np.arange(count)).tolist(),
        "whole milliseconds, 16000 / 3": np.round(1000 / 30 * np.arange(count)).tolist(),
        "irregular": irregular.tolist(),
    }


def event(rng: np.random.Generator, times: list[float], kind: str) -> dict[str, Any]:
    label = LABELS[rng.integers(len(LABELS))]
    if kind == "on frames":
        first, last = sorted(rng.integers(len(times), size=2).tolist())
        return {"label": label, "start": times[first], "end": times[last] if last > first else times[first] + 1.0}
    start = float(rng.uniform(0, times[-1]))
    end = start + float(rng.uniform(1, times[-1] / 4))
    digits = 3 if kind == "anywhere" else 0
    return {"label": label, "start": round(start, digits), "end": round(end, digits) + (digits == 0)}


def decodings() -> Iterator[dict[str, Any]]:
    """The events, [label, start, end] in milliseconds, that probabilities in thousandths are turned into."""
    from heareval.predictions.task_predictions import create_events_from_prediction

    rng = np.random.default_rng(2)
    for name, times in clocks(rng, 90).items():
        thousandths = likely(rng, len(times), len(LABELS))
        rows = torch.tensor(thousandths / 1000, dtype=torch.float32)
        for median, shortest in DECODINGS:
            events = create_events_from_prediction(
                dict(zip(times, rows, strict=True)),
                dict(enumerate(LABELS)),
                median_filter_ms=median,
                min_duration=shortest,
            )
            yield {
                "name": f"{name}, {median}/{shortest}",
                "times": times,
                "thousandths": thousandths.tolist(),
                "median_filter_ms": median,
                "min_duration": shortest,
                "events": [[one["label"], float(one["start"]), float(one["end"])] for one in events],
            }


def likely(rng: np.random.Generator, frames: int, labels: int) -> np.ndarray[Any, Any]:
    """Thousandths that stay for a while and flicker; none is 500, which is neither more nor less than a half."""
    slow = np.repeat(rng.uniform(0, 1, (frames // 6 + 1, labels)), 6, axis=0)[:frames]
    found = np.clip(slow + rng.normal(0, 0.25, (frames, labels)), 0, 1)
    thousandths = np.round(found * 1000).astype(int)
    thousandths[thousandths == 500] = 501
    return thousandths


def event_scores() -> Iterator[dict[str, Any]]:
    """All four scores with their parts, of reference and estimated events [label, start, end] in milliseconds."""
    from heareval.score import available_scores

    rng = np.random.default_rng(3)
    for name, step, files, drop, shift in (
        ("off by anything", None, 4, 0.2, 150.0),
        ("on a grid of 50 ms", 50.0, 4, 0.2, 200.0),
        ("on a grid of 200 ms", 200.0, 3, 0.1, 300.0),
        ("close", None, 3, 0.0, 30.0),
        ("dense", 20.0, 2, 0.1, 90.0),
        ("nothing estimated", None, 2, 1.0, 0.0),
        ("nothing right", None, 2, 0.0, 9000.0),
    ):
        reference, estimated = {}, {}
        for number in range(files):
            true = [drawn(rng, step, 2000 if name == "dense" else 8000) for _ in range(rng.integers(1, 25))]
            said = [moved(rng, one, step, shift) for one in true if rng.uniform() >= drop]
            reference[f"{number}.wav"], estimated[f"{number}.wav"] = true, said
        if name == "off by anything":
            reference["silent.wav"], estimated["silent.wav"] = [], [drawn(rng, step, 8000)]
            reference["missed.wav"], estimated["missed.wav"] = [drawn(rng, step, 8000)], []
        found: dict[str, Any] = {}
        for score in EVENT_SCORES:
            numbers = {label: number for number, label in enumerate(LABELS)}
            answer = available_scores[score](label_to_idx=numbers)(listed(estimated), listed(reference))
            found[score] = {part: float(value) for part, value in answer}
        yield {"name": name, "reference": reference, "estimated": estimated, "scores": found}


def drawn(rng: np.random.Generator, step: float | None, longest: int) -> list[Any]:
    start, duration = rng.uniform(0, longest), rng.uniform(30, 1500)
    if step:
        start, duration = step * round(start / step), step * max(1, round(duration / step))
    return [LABELS[rng.integers(len(LABELS))], round(float(start), 3), round(float(start + duration), 3)]


def moved(rng: np.random.Generator, one: list[Any], step: float | None, shift: float) -> list[Any]:
    """Both ends somewhere else, and sometimes another label."""
    label = one[0] if rng.uniform() < 0.85 else LABELS[rng.integers(len(LABELS))]
    ends = np.array(one[1:]) + rng.uniform(-shift, shift, 2)
    if step:
        ends = step * np.round(ends / step)
    start = max(0.0, float(ends[0]))
    return [label, round(start, 3), round(max(start + (step or 1.0), float(ends[1])), 3)]


def listed(events: dict[str, list[Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        file: [{"label": label, "start": start, "end": end} for label, start, end in own]
        for file, own in events.items()
    }


# ---- scores of whole clips -------------------------------------------------------------------------------------------


def scene_scores() -> Iterator[dict[str, Any]]:
    """Every score of predictions in thousandths, [clip, label], and answers of ones and zeros."""
    from heareval.score import available_scores

    rng = np.random.default_rng(4)
    for name, clips, labels, single, spread in (
        ("one label each", 60, 25, True, 0.3),
        ("two classes", 40, 2, True, 0.4),
        ("ties", 50, 6, True, 0.3),
        ("several labels", 80, 7, False, 0.4),
        ("a label that nothing has", 40, 5, False, 0.4),
        ("a label that everything has", 40, 5, False, 0.4),
        ("no error", 30, 4, True, 0.0),
        ("one label told apart", 40, 4, False, 0.4),
        ("all wrong", 30, 4, True, -1.0),
    ):
        answers = np.eye(labels, dtype=int)[rng.permutation(np.arange(clips) % labels)]
        if not single:
            answers = (rng.uniform(size=(clips, labels)) < 0.3).astype(int)
        noise = rng.normal(0, spread, (clips, labels)) if spread >= 0 else -1.5 * answers
        thousandths = np.clip(np.round(500 * answers + 250 + 500 * noise), 0, 1000).astype(int)
        if name == "one label each":
            thousandths[::4] = np.roll(thousandths[::4], 12, axis=1)  # an octave off, or two labels less than one
        if name == "ties":
            thousandths = 250 * np.round(thousandths / 250).astype(int)
        if name == "a label that nothing has":
            answers[:, 2] = 0
        if name == "a label that everything has":
            answers[:, 2] = 1
        if name == "one label told apart":
            thousandths[:, 1] = 100 + 800 * answers[:, 1]
        found = {}
        for score in SCENE_SCORES:
            try:
                ask = available_scores[score](label_to_idx={})
                found[score] = float(ask((thousandths / 1000).astype(np.float32), answers.astype(np.float32)))
            except ValueError as error:  # its own check of what a score may be
                found[score] = f"refused: {error}"
        yield {"name": name, "thousandths": thousandths.tolist(), "answers": answers.tolist(), "scores": found}


# ---- training --------------------------------------------------------------------------------------------------------


def trainings() -> Iterator[dict[str, Any]]:
    """Whole trainings without dropout from given weights: the loss and score of every judgement, and of the test.

    Biases in front of batch norm stay as they are. Their gradients are zero but for rounding, of which Adam makes steps
    as large as any: whoever sums in another order gets a loss that differs in the third digit.
    """
    rng = np.random.default_rng(5)
    for name, layers, kind, score, patience in (
        ("no hidden layer", 0, "multiclass", "top1_acc", 20),
        ("one hidden layer", 1, "multiclass", "top1_acc", 20),
        ("two hidden layers", 2, "multiclass", "top1_acc", 2),
        ("several labels", 2, "multilabel", "mAP", 20),
        ("judged by the loss", 1, "multilabel", None, 2),
    ):
        splits = {split: scenes(rng, count, kind) for split, count in (("train", 20), ("valid", 15), ("test", 12))}
        facts = {"embedding_type": "scene", "prediction_type": kind, "evaluation": [score or "mAP"]}
        conf = point(hidden_layers=layers, patience=patience)
        yield {"name": name, **trained(facts | {"use_scoring_for_early_stopping": score is not None}, conf, splits)}


def event_trainings() -> Iterator[dict[str, Any]]:
    """The same with events: how they are decoded is chosen at every judgement, and a score without a value ends it."""
    rng = np.random.default_rng(6)
    for name, clear, rate, score, shortest in (
        ("to the end", 3.0, 0.02, "event_onset_200ms_fms", [0, 100]),
        ("a score without a value ends it", 0.3, 0.01, "event_onset_200ms_fms", [0, 100]),
        ("nothing said at first", 0.0, 0.1, "event_onset_200ms_fms", [0, 100]),
        ("judged by the loss", 2.0, 0.02, None, [100]),
    ):
        sizes = {"train": 3, "valid": 2, "test": 2}
        splits = {split: scenes_in_time(rng, split, count, clear) for split, count in sizes.items()}
        facts = {"embedding_type": "event", "prediction_type": "multilabel"}
        facts |= {"evaluation": [score or "event_onset_50ms_fms", "segment_1s_er"]}
        decodings = {"median_filter_ms": [100], "min_duration": shortest}
        facts |= {"evaluation_params": {"event_postprocessing_grid": decodings}}
        conf = point(hidden_layers=1, lr=rate, batch_size=32)
        yield {"name": name, **trained(facts | {"use_scoring_for_early_stopping": score is not None}, conf, splits)}


def point(**changes: Any) -> dict[str, Any]:
    from heareval.predictions import task_predictions as kit

    small = {"hidden_dim": 12, "dropout": 0.0, "lr": 0.01, "batch_size": 8, "max_epochs": 30, "patience": 20}
    first = next(iter(kit.ParameterGrid(kit.PARAM_GRID)))
    return {**first, **small, "check_val_every_n_epoch": 3, **changes}


def scenes(rng: np.random.Generator, count: int, kind: str) -> dict[str, Any]:
    """Rows of three numbers and the numbers of their labels, of four."""
    answers = [[int(rng.integers(4))] for _ in range(count)]
    if kind == "multilabel":
        answers = [np.nonzero(rng.uniform(size=4) < 0.4)[0].tolist() for _ in range(count)]
    centres = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    rows = [centres[own].sum(0) + rng.normal(0, 0.8, 3) for own in answers]
    return {"rows": np.round(rows, 3).tolist(), "answers": answers}


def scenes_in_time(rng: np.random.Generator, split: str, files: int, clear: float) -> dict[str, Any]:
    """Files of 40 frames, every 50 ms, and the events in them; rows of four numbers (multiples of 1/16), file by file.

    `clear` is how much higher a number is on average while its label is heard.
    """
    from heareval.embeddings.task_embeddings import get_labels_for_timestamps

    times = (50.0 * np.arange(40)).tolist()
    found: dict[str, Any] = {"files": {}, "times": times, "rows": [], "answers": []}
    for number in range(files):
        events: list[dict[str, Any]] = []
        for at in (100, 600, 1100, 1600):
            start = float(at + rng.integers(0, 150))
            events.append({"label": str(rng.integers(4)), "start": start, "end": start + float(rng.integers(100, 350))})
        (labels,) = get_labels_for_timestamps([events], np.array([times]))
        on = np.array([[str(label) in own for label in range(4)] for own in labels])
        found["files"][f"{split}{number}.wav"] = events
        found["rows"] += (np.round(16 * (clear * on + rng.normal(0, 0.7, on.shape))) / 16).tolist()
        found["answers"] += [sorted(map(int, own)) for own in labels]
    return found


def trained(facts: dict[str, Any], conf: dict[str, Any], splits: dict[str, Any]) -> dict[str, Any]:
    """What went into a training, and what the kit logged of it."""
    import pytorch_lightning
    from heareval.predictions import task_predictions as kit

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    pytorch_lightning.seed_everything(7, workers=False)
    weights: dict[str, Any] = {}
    said: dict[str, list[float]] = {}
    numbers, parts = {str(number): number for number in range(4)}, {split: [split] for split in splits}
    scores = [kit.available_scores[score](label_to_idx=numbers) for score in facts["evaluation"]]
    with tempfile.TemporaryDirectory() as folder, noting(kit, weights, said):
        place, width = Path(folder), stored(Path(folder), splits)
        judged = facts["use_scoring_for_early_stopping"]
        best = kit.task_predictions_train(
            place, width, facts, parts, numbers, 4, scores, conf, judged, None, True, True
        )
        kit.task_predictions_test(place, best, facts, parts, numbers, 4, True)
    found = {"best": best.validation_score, "epoch": best.epoch, "postprocessing": best.postprocessing}
    named = {key: plain(value) for key, value in conf.items()}
    return {"metadata": facts, "conf": named, "splits": splits, "weights": weights, "said": said, **found}


def stored(folder: Path, splits: dict[str, Any]) -> int:
    """Embeddings and answers as the kit stores them; gives the width of a row."""
    for split, one in splits.items():
        given = np.array(one["rows"], np.float32)
        given.tofile(folder / f"{split}.embeddings.npy")
        (folder / f"{split}.embedding-dimensions.json").write_text(json.dumps(given.shape))
        (folder / f"{split}.target-labels.pkl").write_bytes(pickle.dumps(one["answers"]))
        if "files" in one:
            (folder / f"{split}.json").write_text(json.dumps(one["files"]))
            pairs = [(str(folder / split / file), time) for file in one["files"] for time in one["times"]]
            (folder / f"{split}.filename-timestamps.json").write_text(json.dumps(pairs))
    return int(given.shape[1])


@contextmanager
def noting(kit: Any, weights: dict[str, Any], said: dict[str, list[float]]) -> Iterator[None]:
    """Keeps the weights that a model begins with, and all that it logs of valid and test."""
    names = ("ScenePredictionModel", "EventPredictionModel")
    kept = {name: getattr(kit, name) for name in names}

    def noted(own: Any) -> Any:
        class Noted(own):  # type: ignore[misc]
            def __init__(self, *args: Any, **named: Any) -> None:
                super().__init__(*args, **named)
                for module in self.predictor.hidden.children():
                    if isinstance(module, torch.nn.Linear):
                        module.bias.requires_grad_(False)
                for name, value in self.predictor.state_dict().items():
                    weights[name] = np.round(value.tolist(), 3).tolist()
                    value.copy_(torch.tensor(weights[name]))

            def log(self, name: str, value: Any, *args: Any, **named: Any) -> None:
                if name != "train_loss":
                    said.setdefault(name, []).append(float(value))
                super().log(name, value, *args, **named)

        return Noted

    for name, own in kept.items():
        setattr(kit, name, noted(own))
    try:
        yield
    finally:
        for name, own in kept.items():
            setattr(kit, name, own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
