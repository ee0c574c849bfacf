"""Tasks without a head: the layer is chosen on valid, and nothing is trained."""

from dataclasses import replace

import pytest
import torch
from fitting import CARD, COLOURS, Colours, MadeUp, cell, fold, plan, shelf, split

from earbench.contract import Fold, Match, Split
from earbench.errors import RequestError
from earbench.matching import match
from earbench.plan import Request, resolve


class Strongest(Match):
    """The colour is the strongest number of the clip's mean. `seen` remembers what it was given."""

    select = "accuracy"

    def __init__(self, grain="frame"):
        self.card, self.seen = replace(CARD, grain=grain), []

    def folds(self, root, upstream):
        return [fold()]

    def match(self, split, features):
        said = {}
        for clip in split.clips:
            x = features(clip.id)
            self.seen.append(x)
            mean = x.mean(0) if x.dim() == 2 else x
            said[clip.id] = COLOURS[int(mean[:3].argmax())]
        return said

    rows, ideal, toy = Colours.rows, Colours.ideal, Colours.toy


def matched(task, store, quiet, layers="each", folds=None):
    folds = folds or [Fold(Split(()), split("valid/0", 30), split("test/0", 60))]
    return match(cell(task, store, layers), task, folds, shelf(store, *folds), quiet)


@pytest.mark.parametrize(("grain", "frames"), [("frame", 9), ("mean", 1), ("clip", 1)])
def test_the_layer_that_is_best_on_valid_is_the_score(grain, frames, quiet):
    task = Strongest(grain)
    found, said = matched(task, MadeUp(layers=3, at=1, noise=0.3, frames=frames), quiet)
    assert found.best_layer == 1
    assert [line["layer"] for line in found.table] == [0, 1, 2]
    assert found.table[1]["valid"] > max(found.table[0]["valid"], found.table[2]["valid"])
    assert said.scores()["accuracy"]["value"] == said.layers[1]["scores"]["accuracy"]["value"] > 80
    assert len(said.rows) == 1
    assert len(said.rows[0][2]) == 60
    assert {one.dim() for one in task.seen} == ({2} if grain == "frame" else {1})
    assert {one.dtype for one in task.seen} == {torch.float32}


def test_one_layer_alone_can_be_asked_for(quiet):
    found, said = matched(Strongest(), MadeUp(layers=3, at=1, noise=0.3, frames=9), quiet, layers="0")
    assert (found.best_layer, said.layers) == (0, [])
    assert said.scores()["accuracy"]["value"] < 60


def test_features_come_by_clip_in_whatever_order_they_are_asked_for(quiet):
    class Twice(Strongest):
        def match(self, split, features):
            first = {clip.id: features(clip.id) for clip in split.clips}
            assert all(torch.equal(first[clip.id], features(clip.id)) for clip in reversed(split.clips))
            return super().match(split, features)

    matched(Twice(), MadeUp(frames=9), quiet)


def test_the_score_is_the_mean_over_folds(quiet):
    folds = [Fold(Split(()), split(f"valid/{n}", 30), split(f"test/{n}", 60), f"fold{n}") for n in (0, 1)]
    found, said = matched(Strongest(), MadeUp(layers=2, noise=0.8, frames=3), quiet, folds=folds)
    values = [100 * rows.arrays["hit"].mean() for _, _, rows in said.rows]
    assert len(set(values)) == 2
    assert said.scores()["accuracy"]["value"] == pytest.approx(sum(values) / 2)
    assert len(found.table) == 4


def test_layers_cannot_be_mixed_without_training(monkeypatch, settings):
    monkeypatch.setattr("earbench.plan.load_task", lambda _: Strongest())
    with pytest.raises(RequestError, match="nothing that could weight layers"):
        resolve(Request("mel", "colours", layers="mix"), settings)


def test_a_plan_of_a_task_without_a_head_has_no_recipes():
    assert plan(Strongest().recipes("standard", False)).recipes == ()
