import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds, write_noise

from earbench import plan as module
from earbench.contract import Recipe, Split
from earbench.errors import BenchError
from earbench.plan import by_effort, deviations, freeze, plain, public_name, upstream_digest

RECIPE = Recipe(lr=1e-3, batch=32, steps=200_000, every=5_000, clip=1.0)
EPOCHS = RECIPE.with_(steps=100, every=3, unit="epoch")


class Learned(CountingUpstream):
    """The counting encoder with a weight to its name."""

    def __init__(self, weight=1.0, **choices):
        super().__init__(**choices)
        self.register_buffer("weight", torch.tensor([weight]))


class OneTask(ListedTask):
    """Keyword spotting on given folds with given recipes."""

    def __init__(self, *folds, recipes=(RECIPE,), **choices):
        super().__init__(*folds, **choices)
        self.grid = recipes

    def recipes(self, effort, demo):
        return self.grid

    def deviations(self, effort):
        return {"of-the-task": effort}


class Case:
    """A plan on six short clips, made anew with one thing changed at a time."""

    def __init__(self, folder, settings, quiet):
        self.settings, self.quiet = settings, quiet
        self.clips = noise_clips(folder, [0.2] * 6)
        self.fold = thirds(self.clips)
        self.id = self.plan().id

    def plan(self, *folds, cell_=None, settings=None, version=None, **choices):
        task = OneTask(*(folds or [self.fold]), **choices)
        task.card = replace(task.card, version=version or task.card.version)
        settings = settings or self.settings
        ready = prepared(task, self.clips[0].audio.parent, settings, self.quiet, settings.effort)
        return freeze(replace(cell_ or cell(Learned(), task), task=task), ready, settings)

    def with_clip(self, **changes):
        """The plan with one training clip changed."""
        clips = (replace(self.fold.train.clips[0], **changes), *self.fold.train.clips[1:])
        return self.plan(replace(self.fold, train=replace(self.fold.train, clips=clips)))


@pytest.fixture
def case(tmp_path, settings, quiet):
    return Case(tmp_path / "audio", settings, quiet)


@pytest.mark.parametrize(
    "changes", [{"dtype": "bf16"}, {"seeds": 2}, {"effort": "quick"}, {"effort": "reference"}], ids=str
)
def test_settings_that_change_scores_change_the_plan(changes, case, settings):
    assert case.plan(settings=settings.with_(**changes)).id != case.id


@pytest.mark.parametrize(
    "changes", [{"layers": "last"}, {"layers": "0"}, {"layers": "each"}, {"layers": "slow"}], ids=str
)
def test_layers_change_the_plan(changes, case):
    assert case.plan(cell_=replace(cell(Learned(), OneTask()), **changes)).id != case.id


@pytest.mark.parametrize(
    "choices",
    [
        {"version": 2},
        {"grain": "frame"},
        {"recipes": (RECIPE.with_(lr=1e-4),)},
        {"recipes": (RECIPE.with_(options={"hidden": 3}),)},
        {"recipes": (RECIPE, RECIPE.with_(lr=1e-4))},
    ],
    ids=str,
)
def test_what_the_task_says_changes_the_plan(choices, case):
    assert case.plan(**choices).id != case.id


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "no"},
        {"id": "another"},
        {"group": "bert"},
        {"pool": "silence"},
        {"whole": "meeting"},
        {"start": 0.05},
        {"stop": 0.15},
        {"effects": (("gain_db", -3.0),)},
    ],
    ids=str,
)
def test_every_answer_stretch_group_and_effect_changes_the_plan(changes, case):
    assert case.with_clip(**changes).id != case.id


def test_other_samples_change_the_plan(case):
    write_noise(case.clips[0].audio, 0.2, seed=99)
    assert case.plan().id != case.id


def test_a_clip_in_another_split_changes_the_plan(case):
    train, valid = case.fold.train.clips, case.fold.valid.clips
    swapped = replace(case.fold, train=Split((valid[0], *train[1:])), valid=Split((train[0], *valid[1:])))
    assert case.plan(swapped).id != case.id


def test_folds_their_names_and_their_order_change_the_plan(case):
    other = replace(case.fold, name="other")
    assert len({case.id, case.plan(other).id, case.plan(case.fold, other).id, case.plan(other, case.fold).id}) == 4


def test_the_truth_of_a_split_changes_the_plan_however_long_it_is(case):
    """The `repr` of a long array leaves its middle out."""

    def trials(number):
        truth = {"trials": np.arange(5_000), "score": [("a", "b", True)]}
        truth["trials"][2_500] = number
        return case.plan(replace(case.fold, test=replace(case.fold.test, truth=truth))).id

    assert len({case.id, trials(0), trials(1)}) == 3
    assert trials(0) == trials(0)


def test_other_weights_change_the_digest_of_the_encoder_and_its_name_does_not():
    one, other, same = Learned(), Learned(2.0), Learned()
    same.card = replace(same.card, name="another")
    assert upstream_digest(one) != upstream_digest(other)
    assert upstream_digest(one) == upstream_digest(same)
    assert upstream_digest(one) != upstream_digest(CountingUpstream())
    newer = Learned()
    newer.card = replace(newer.card, version=2)
    assert upstream_digest(one) != upstream_digest(newer)


def test_an_encoder_with_the_same_weights_and_other_settings_has_another_digest():
    one, other = CountingUpstream(), CountingUpstream()
    other.options = {"stride": 2}
    assert upstream_digest(one) != upstream_digest(other)


def test_the_digest_of_the_encoder_is_in_the_plan(case):
    assert case.plan(cell_=cell(Learned(), OneTask(), digest="f" * 16)).id != case.id


def test_the_same_audio_at_another_root_is_the_same_plan(tmp_path, case):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "audio", moved)
    clips = tuple(replace(clip, audio=moved / clip.audio.name) for clip in case.clips)
    assert case.plan(thirds(clips)).id == case.id


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": Path("elsewhere")},
        {"results": Path("elsewhere")},
        {"budget_gb": 1.0},
        {"pack_seconds": 1.0},
        {"device": "cuda"},
        {"data": {"x": "y"}},
    ],
    ids=str,
)
def test_where_and_how_a_run_happens_does_not_change_the_plan(changes, case, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert case.plan(settings=settings.with_(**changes)).id == case.id


def test_the_device_and_what_the_user_wrote_do_not_change_the_plan(case):
    given = cell(Learned(), OneTask())
    assert case.plan(cell_=replace(given, device=torch.device("meta"))).id == case.id
    assert case.plan(cell_=replace(given, request=replace(given.request, upstream="x@/weights/mine.pt"))).id == case.id


def test_library_versions_are_not_in_the_plan(case, monkeypatch):
    monkeypatch.setattr("earbench.__version__", "99.0")
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert case.plan().id == case.id
    assert "99.0" not in str(case.plan().facts)


def test_a_change_of_the_engines_arithmetic_changes_the_plan(case, monkeypatch):
    monkeypatch.setattr(module, "ENGINE", 99)
    assert case.plan().id != case.id


@dataclass
class Segment:
    who: str
    start: float


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        (1, True),
        (["a", "b"], ["ab"]),
        (np.zeros(3), np.zeros(3, "float32")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ([Segment("a", 1.0)], [Segment("a", 2.0)]),
        ({"a": 1}, {"b": 1}),
        (None, "None"),
        (float("nan"), float("inf")),
    ],
    ids=str,
)
def test_answers_that_differ_are_told_apart(one, other):
    assert module.digest_of(plain(one)) != module.digest_of(plain(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float64(1.5), 1.5),
        ((1, 2), [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (np.str_("yes"), "yes"),
    ],
    ids=str,
)
def test_how_an_answer_is_held_does_not_matter(one, other):
    assert module.digest_of(plain(one)) == module.digest_of(plain(other))


@pytest.mark.parametrize(
    "answer", [Path("/data/list.txt"), object(), np.array([object()])], ids=["path", "object", "array"]
)
def test_an_answer_that_cannot_be_digested_is_an_error(answer):
    with pytest.raises(BenchError, match="which has no digest"):
        plain({"trials": [answer]})


@pytest.mark.parametrize(
    ("effort", "units", "recipe", "expected"),
    [
        ("reference", 3_200, RECIPE, RECIPE),
        ("standard", 3_200, RECIPE, RECIPE.with_(every=100, patience=10)),
        ("standard", 64, RECIPE, RECIPE.with_(every=50, patience=10)),
        ("standard", 10_000_000, RECIPE, RECIPE.with_(every=5_000, patience=10)),
        ("standard", 3_200, RECIPE.with_(every=20), RECIPE.with_(every=20, patience=10)),
        ("standard", 3_200, RECIPE.with_(patience=3), RECIPE.with_(patience=3)),
        ("standard", 3_200, EPOCHS.with_(patience=3), EPOCHS.with_(patience=3)),
        ("standard", 3_200, EPOCHS, EPOCHS.with_(unit="step", steps=10_000, every=100, patience=10)),
        ("reference", 3_200, EPOCHS, EPOCHS),
        ("quick", 3_200, EPOCHS, EPOCHS.with_(unit="step", steps=300, every=100)),
        ("standard", 6_400, RECIPE.with_(accum=2), RECIPE.with_(accum=2, every=100, patience=10)),
        ("quick", 3_200, RECIPE, RECIPE.with_(steps=300, every=100)),
        ("quick", 3_200, RECIPE.with_(steps=2), RECIPE.with_(steps=2, every=1)),
        ("quick", 3_200, RECIPE.with_(every=7, patience=3), RECIPE.with_(steps=300, every=7, patience=3)),
    ],
)
def test_effort_cuts_judgements_and_steps_as_declared(effort, units, recipe, expected):
    assert by_effort(recipe, effort, units) == expected


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("hubert", "hubert"),
        ("hubert~random", "hubert~random"),
        ("hubert@/home/anna/runs/best.pt", "hubert@best.pt"),
        ("hubert@/home/anna/runs/best.pt~random", "hubert@best.pt~random"),
        ("hubert@../anna/best.pt", "hubert@best.pt"),
        ("hubert@/home/anna/model/", "hubert@model"),
        (r"hubert@C:\Users\anna\best.pt", "hubert@best.pt"),
        ("hubert@C:/Users/anna/best.pt", "hubert@best.pt"),
        ("hf:org/model@main", "hf:org/model@main"),
        ("hf:org/model~random", "hf:org/model~random"),
        ("hf:/home/anna/model", "hf:model"),
        ("hf:./model", "hf:model"),
        ("hf:anna/runs/model", "hf:model"),
        (r"hf:C:\Users\anna\model", "hf:model"),
        ("hf:C:/model", "hf:model"),
        ("hf:C:/Users/anna/model", "hf:model"),
        (r"hf:\\server\anna\model", "hf:model"),
        ("s3prl:hubert@/home/anna/best.pt", "s3prl:hubert@best.pt"),
        ("s3prl:hubert@/best.pt", "s3prl:hubert@best.pt"),
        ("hear:package.module@C:/best.pt", "hear:package.module@best.pt"),
        ("py:package.module:Encoder", "py:package.module:Encoder"),
    ],
)
def test_a_public_name_hides_local_paths(spec, shown):
    assert public_name(spec) == shown
    assert "anna" not in public_name(spec)


@pytest.mark.parametrize(
    ("changes", "layers", "grain", "name"),
    [
        ({"effort": "quick"}, "mix", "mean", "quick"),
        ({"effort": "standard"}, "mix", "mean", "early-stop"),
        ({"dtype": "bf16"}, "mix", "mean", "bf16"),
        ({}, "3", "mean", "layers-3"),
        ({}, "slow", "mean", "layers-slow"),
        ({}, "slow.last", "mean", "layers-slow.last"),
        ({}, "mix", "frame", "fp16-frames"),
    ],
)
def test_every_departure_from_the_protocol_is_named(changes, layers, grain, name, case, settings, quiet):
    settings = settings.with_(effort="reference").with_(**changes)
    task = OneTask(case.fold, grain=grain)
    ready = replace(prepared(task, case.clips[0].audio.parent, settings, quiet), deviations=())
    given = replace(cell(Learned(), task), layers=layers)
    found = deviations(given, freeze(given, ready, settings), ready, settings)
    assert list(found) == ["of-the-task", name]


def test_the_demo_and_a_partial_corpus_are_named(case, settings, quiet):
    settings = settings.with_(effort="reference")
    task = OneTask(case.fold)
    ready = prepared(task, case.clips[0].audio.parent, settings, quiet)
    demo = replace(ready, place=replace(ready.place, demo=True), deviations=())
    given = cell(Learned(), task)
    for one, name in [(ready, "partial"), (demo, "demo-recipe")]:
        assert list(deviations(given, freeze(given, one, settings), one, settings)) == ["of-the-task", name]
