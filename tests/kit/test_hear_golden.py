"""HEAR's rules and scores against what HEAR's own kit said of the same inputs: all of it must be equal."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hear_golden import cases, every

from earbench.contract import Clip, Labels, Split
from earbench.kit import hear, hear_grid
from earbench.kit.events import Event, active, found
from earbench.kit.metrics import events as event_metrics
from earbench.kit.metrics import hear as scene_metrics

LABELS = ("ah", "bee", "cow", "dog")


def folds(mode, files):
    """The folds of a folder with so many files in each split; a file is called by its number."""
    facts = {"split_mode": mode, "splits": list(files)}
    answers = {split: {f"{number}": "x" for number in range(count)} for split, count in files.items()}
    return hear.TaskFolder(Path("task"), facts, Labels(("x",)), answers, 16_000, 16_000).folds(str)


def numbers(split):
    return [int(clip.audio.name) for clip in split.clips]


@pytest.mark.parametrize("case", cases("rows"), ids=lambda case: "-".join(map(str, case["lengths"])))
def test_rows_stand_in_the_kits_order(case):
    """Whatever a split is called: k-fold tasks are shuffled by the same generator."""
    names = [f"fold{number:02}" for number in range(len(case["lengths"]))]
    turns = folds("new_split_kfold", dict(zip(names, case["lengths"], strict=True)))
    assert [numbers(fold.test) for fold in turns] == case["orders"]


@pytest.mark.parametrize("case", cases("folds"), ids=lambda case: str(len(case["splits"])))
def test_folds_take_the_kits_turns(case):
    turns = folds("presplit_kfold", dict.fromkeys(case["splits"], 1))
    said = [
        {name: [clip.audio.parent.name for clip in split.clips] for name, split in fold.splits().items()}
        for fold in turns
    ]
    assert said == case["turns"]


@every("grid")
def test_the_points_are_the_kits_in_its_order(case):
    """Ours say "normal" for the kit's function xavier_normal_; and what has one value in the kit is not ours to say."""
    expected = [
        {key: value for key, value in point.items() if key in hear_grid.GRID}
        | {"initialization": point["initialization"].split("_")[1]}
        for point in case["points"]
    ]
    assert [dict(point) for point in hear_grid.points(case["metadata"])] == expected
    kept = {"hidden_norm": "BatchNorm1d", "embedding_norm": "Identity", "optim": "Adam"}
    assert all(kept.items() <= point.items() for point in case["points"])


def seconds(times):
    return torch.tensor(times, dtype=torch.float64) / 1000


def event(label, start, end):
    """An event as a task folder is read: milliseconds become seconds."""
    return Event(label, start / 1000, end / 1000)


@every("targets")
def test_frames_have_the_kits_labels(case):
    events = [event(**one) for one in case["events"]]
    said = active(seconds(case["times"]), events, LABELS)
    expected = [[float(label in own) for label in LABELS] for own in case["labels"]]
    assert said.tolist() == expected


@every("decoding")
def test_probabilities_become_the_kits_events(case):
    likely = torch.tensor(case["thousandths"]) / 1000
    median, shortest = case["median_filter_ms"] / 1000, case["min_duration"] / 1000
    said = [
        [one.label, round(1000 * one.start, 6), round(1000 * one.stop, 6)]
        for one in found(likely, seconds(case["times"]), LABELS, median, shortest)
    ]
    assert said == [[label, round(start, 6), round(end, 6)] for label, start, end in case["events"]]


def near(expected):
    return pytest.approx(expected, abs=1e-12, nan_ok=True)


@every("event_scores")
def test_events_have_the_kits_scores(case):
    told = {
        side: {file: tuple(event(*one) for one in own) for file, own in case[side].items()}
        for side in ("reference", "estimated")
    }
    clips = tuple(Clip(file, Path(file), events, file) for file, events in told["reference"].items())
    rows = event_metrics.event_rows(Split(clips), told["estimated"], list(case["scores"]))
    for score, parts in case["scores"].items():
        for part, value in parts.items():
            name = score if part in ("f_measure", "error_rate") else f"{score}_{part}"
            assert event_metrics.METRICS[name].value(rows, np.ones(len(rows))) == near(value), name


@every("scene_scores")
def test_clips_have_the_kits_scores(case):
    answers, likely = np.array(case["answers"]), np.array(case["thousandths"], np.float32) / 1000
    labels = Labels(map(str, range(answers.shape[1])))
    own = [tuple(labels[number] for number in np.nonzero(row)[0]) for row in answers]
    clips = tuple(Clip(f"c{number}", Path("x"), label, "g") for number, label in enumerate(own))
    predictions = {clip.id: row for clip, row in zip(clips, likely, strict=True)}
    rows = scene_metrics.scene_rows(Split(clips), predictions, labels)
    said = {name: scene_metrics.METRICS[name].value(rows, np.ones(len(rows))) for name in case["scores"]}
    assert said == {name: near(value) for name, value in case["scores"].items()}


def test_degenerate_labels_are_among_the_cases():
    """So that the comparison above says what no value and infinite ones are."""
    scores = [value for case in cases("scene_scores") for value in case["scores"].values()]
    assert {float("inf"), -float("inf")} <= set(scores)
    assert any(np.isnan(value) for value in scores)
    assert any(np.isnan(case["scores"]["event_onset_50ms_fms"]["f_measure"]) for case in cases("event_scores"))
