"""HEAR's predictor trained by our engine as HEAR's own kit trained it: same first weights, same rows, no dropout.

Every judgement, the end, the best epoch, how events are decoded and the scores on test are compared with what the kit
logged (tests/golden/hear).
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import CPU, cell, plan, shelf
from hear_golden import every

from earbench.contract import Labels, UpstreamCard
from earbench.examples import examples
from earbench.fit import grid, predict
from earbench.kit import hear, hear_grid
from earbench.kit.hear_task import HearTask
from earbench.search import open_fold
from earbench_tasks.hear import Folder

CLOSE = 1e-5
SPLITS = ("train", "valid", "test")


class Given(HearTask):
    """A task whose heads begin with the weights of a case."""

    def head(self, width, space, recipe):
        head = super().head(width, space, recipe)
        weights = {name: torch.tensor(value) for name, value in self.given.items()}
        parts = {"output": "projection"}
        for layer in range(len(head.hidden)):  # of the kit's four parts of a layer, two have weights
            parts |= {f"hidden.{layer}": f"hidden.{4 * layer}", f"norms.{layer}": f"hidden.{4 * layer + 1}"}
        for ours, theirs in parts.items():
            state = {name: weights.pop(f"{theirs}.{name}") for name in head.get_submodule(ours).state_dict()}
            head.get_submodule(ours).load_state_dict(state)
        assert not weights
        for linear in head.hidden:
            hold(linear)
        return head


def hold(linear):
    """Keep the bias from being trained, as the kit was kept: in front of batch norm it learns from rounding errors."""
    bias = linear.bias.detach()
    del linear.bias
    linear.register_buffer("bias", bias)


class Rows:
    """A store that holds the rows of a case: those of clip i are what `rows[i]` says."""

    def __init__(self, rows):
        self.rows, (self.layers, self.width) = rows, next(iter(rows.values())).shape[1:]

    def times(self):
        return 0.05, 0.0

    def read(self, keys):
        return torch.cat([self.rows[key] for key in keys]), torch.tensor(self.lengths(keys))

    def lengths(self, keys):
        return [len(self.rows[key]) for key in keys]

    def irregular(self, keys):
        return {}


def written(case, root):
    """The task folder of a case, whose clips stand in the order of its rows once the protocol has shuffled them."""
    facts = {"split_mode": "trainvaltest", "splits": list(SPLITS), **case["metadata"]}
    events = case["metadata"]["embedding_type"] == "event"
    told = {split: list(one["files"].values() if events else one["answers"]) for split, one in case["splits"].items()}
    given = {split: {f"{number:02}.wav": "" for number in range(len(one))} for split, one in told.items()}
    (fold,) = hear.TaskFolder(Path("x"), facts, Labels(), given, 0, 0).folds(str)
    for split, part in fold.splits().items():
        (root / "16000" / split).mkdir(parents=True)
        for clip in part.clips:
            (root / "16000" / split / clip.audio.name).touch()
        answers = dict(zip([clip.audio.name for clip in part.clips], told[split], strict=True))
        (root / f"{split}.json").write_text(json.dumps(dict(sorted(answers.items()))))
    (root / "task_metadata.json").write_text(json.dumps(facts))
    (root / "labelvocabulary.csv").write_text("idx,label\n0,0\n1,1\n2,2\n3,3\n")
    return root


def stored(case, fold):
    """The rows of every clip, [time, layer, width]."""
    found = {}
    for split, part in fold.splits().items():
        rows = torch.tensor(case["splits"][split]["rows"])[:, None]
        frames = len(rows) // len(part.clips)
        found |= {clip.id: one for clip, one in zip(part.clips, rows.split(frames), strict=True)}
    return Rows(found)


def trained(case, root, quiet, **changes):
    """Our training of a case: the task, the fold ready to be fitted, the head, and the test split."""
    encoder = UpstreamCard("rows", "", "", "", sample_rate=16_000)
    task = Given(Folder.card, [None]).at(written(case, root), encoder)
    vars(task).update(changes, given=case["weights"])
    fold = task.folds(root, encoder)[0].each(lambda _, split: replace(split, seconds=(2.0,) * len(split.clips)))
    store = stored(case, fold)
    recipe = hear_grid.recipe({**case["conf"], "initialization": "normal"}, 0, "fixed", finite=True)
    bench = open_fold(cell(task, store), plan([recipe]), fold, shelf(store, fold), root)
    (fitted,) = grid(bench, [0], 0, None, quiet)
    return task, bench, fitted, examples(task, fold.test, None, shelf(store, fold), CPU)


def judgements(fitted):
    return [score for _, score in fitted.curve]


def near(expected):
    return pytest.approx(expected, abs=CLOSE, nan_ok=True)


@every("training")
def test_vectors_are_judged_and_tested_as_the_kit_does_it(case, tmp_path, quiet):
    check(case, *trained(case, tmp_path, quiet))


@every("event_training")
def test_events_are_judged_and_tested_as_the_kit_does_it(case, tmp_path, quiet):
    task, bench, fitted, test = trained(case, tmp_path, quiet)
    check(case, task, bench, fitted, test)
    chosen = {"median": "median_filter_ms", "shortest": "min_duration"}
    expected = {ours: dict(case["postprocessing"])[theirs] / 1000 for ours, theirs in chosen.items()}
    assert fitted.decoding == expected


def check(case, task, bench, fitted, test):
    """The judgements, when the best one was (the kit counts epochs from 0), and every score on test."""
    said, metadata = case["said"], case["metadata"]
    assert judgements(fitted) == near(said["val_score" if metadata["use_scoring_for_early_stopping"] else "val_loss"])
    assert fitted.valid == near(case["best"])
    assert fitted.step == (case["epoch"] + 1) * math.ceil(bench.train.units / case["conf"]["batch_size"])
    (predictions,) = predict(bench, fitted, test, [fitted.decoding])
    rows = task.rows(test.split, predictions)
    for metric in task.card.metrics:
        assert metric.value(rows, np.ones(len(rows))) == near(said[f"test_{metric.name}"][0]), metric.name


@every("training")
def test_vectors_lose_what_the_kits_lose_until_it_stops(case, tmp_path, quiet):
    _, _, fitted, _ = trained(case, tmp_path, quiet, select="loss")
    both = list(zip(judgements(fitted), case["said"]["val_loss"], strict=False))
    assert len(both) >= 2
    assert all(ours == near(theirs) for ours, theirs in both)


@every("event_training")
def test_frames_lose_what_the_kits_lose_until_it_stops(case, tmp_path, quiet):
    _, _, fitted, _ = trained(case, tmp_path, quiet, select="loss")
    both = list(zip(judgements(fitted), case["said"]["val_loss"], strict=False))
    assert both
    assert all(ours == near(theirs) for ours, theirs in both)
