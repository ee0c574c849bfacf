"""`--layers`: the encoder's own layers, and named groups of others through the whole line."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds

from earbench import line
from earbench import plan as plans
from earbench import record as records
from earbench.checks.upstream import noise
from earbench.compare import compare
from earbench.contract import Features, Group, Match
from earbench.errors import BenchError, RequestError
from earbench.extract import distinct, estimate_bytes, extract, store_of
from earbench.frames import Streamed, frames_of
from earbench.hear_view import HearModel
from earbench.layers import GroupView, LayerView, check_layers
from earbench.plan import ENGINE, Request, resolve, upstream_digest
from earbench.search import layer_choices


class Grouped(CountingUpstream):
    """The counting encoder with two slow layers and a wide one, which cannot be mixed with its own two."""

    groups: Mapping[str, Group] = {"slow": Group(2, 3, 0.04), "wide": Group(1, 7, 0.01)}

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        slow = Features(3 * features.frames[:, :, ::4], (features.lengths + 3) // 4, hop=0.04, first=0.005)
        wide = replace(features, frames=waves.unfold(1, 160, 160)[:, None, :, :7])
        return replace(features, groups={"slow": slow, "wide": wide})


class Forgetful(Grouped):
    """Declares what it does not give."""

    def encode(self, waves, lengths):
        return CountingUpstream.encode(self, waves, lengths)


class Asking(Match, ListedTask):
    """A task without a head."""

    def match(self, split, features):
        return {}


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The grouped encoder under the name `grouped`."""
    monkeypatch.setattr(plans, "load_upstream", lambda _text: Grouped().eval())


@pytest.fixture
def run(toy, settings, quiet):
    def run(layers=None, effort="quick"):
        request = Request("grouped", "ks", str(toy), True, layers)
        return line.run(request, settings.with_(effort=effort), quiet)

    return run


def group_cell(name, task=None):
    """A cell as `resolve` makes it of `--layers NAME`."""
    return replace(cell(GroupView(Grouped(), name), task or ListedTask()), layers=name)


@pytest.mark.parametrize("layers", ["mix", "last", "each", "0", "1", "slow", "slow.mix", "slow.1", "wide.last"])
def test_layers_that_an_encoder_has_are_accepted(layers):
    check_layers(layers, Grouped())


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("2", "has layers 0 to 1"),
        ("-1", "not mix"),
        ("best", "not mix"),
        ("wide.1", "group 'wide', has layers 0 to 0"),
        ("slow.best", "not mix"),
        ("mix.slow", "not mix"),
    ],
)
def test_layers_that_an_encoder_lacks_are_refused_and_its_groups_named(layers, said):
    with pytest.raises(RequestError, match=said) as caught:
        check_layers(layers, Grouped())
    assert "slow (2 of width 3), wide (1 of width 7)" in str(caught.value)


def test_an_encoder_without_groups_names_none():
    with pytest.raises(RequestError, match="not mix") as caught:
        check_layers("slow", CountingUpstream())
    assert caught.value.hints == ()


def test_a_view_gives_what_the_encoder_says_of_the_group():
    upstream = Grouped()
    view = GroupView(upstream, "slow")
    given = noise(upstream, (0.5, 0.31))
    seen, whole = view.encode(*given), upstream.encode(*given)
    assert torch.equal(seen.frames, whole.groups["slow"].frames)
    assert torch.equal(view.embed(*given), whole.groups["slow"].pooled())
    assert (view.layers, view.width, view.hop, view.sample_rate) == (2, 3, 0.04, 16_000)
    assert (view.card.layers, view.card.widths, view.card.hop) == (2, (3,), 0.04)


def test_a_view_of_one_layer_gives_that_layer_and_nothing_else():
    upstream = Grouped()
    view = LayerView(upstream, 1)
    given = noise(upstream, (0.5, 0.31))
    seen, whole = view.encode(*given), upstream.encode(*given)
    assert torch.equal(seen.frames, whole.frames[:, 1:])
    assert (view.layers, view.width, view.hop, view.card.layers, seen.groups) == (1, 3, 0.01, 1, {})


def test_a_group_that_is_declared_but_not_given_is_an_error():
    with pytest.raises(BenchError, match="declares a group 'slow' that its features lack"):
        GroupView(Forgetful(), "slow").encode(*noise(Grouped(), (0.5,)))


@pytest.mark.parametrize(
    ("layers", "choices"),
    [("slow", [None]), ("slow.each", [0, 1]), ("slow.last", [1]), ("slow.0", [0]), ("mix", [None]), ("last", [1])],
)
def test_the_layers_of_a_group_are_mixed_unless_one_is_named(layers, choices, settings):
    assert layer_choices(resolve(Request("grouped", "ks", layers=layers), settings)) == choices


@pytest.mark.parametrize(
    ("layers", "kept"), [("slow", None), ("slow.each", None), ("slow.last", 1), ("slow.0", 0), ("mix", None), ("1", 1)]
)
def test_of_frames_the_store_keeps_the_only_layer_that_is_used(layers, kept, settings, monkeypatch):
    monkeypatch.setattr(plans, "load_task", lambda _text: ListedTask(grain="frame"))
    given = resolve(Request("grouped", "ks", layers=layers), settings)
    assert given.kept == kept
    assert given.heard.layers == (2 if kept is None else 1)
    group, number = layers.startswith("slow"), "" if kept is None else f".{kept}"
    assert store_of(given, settings, settings.cache).folder.name == f"frame-fp32-e{ENGINE}{'-slow' * group}{number}"
    assert replace(given, task=ListedTask(grain="mean")).kept is None, "means of all layers are small"
    assert (given.with_all_layers().kept, given.with_all_layers().group) == (None, "slow" if group else None)


def test_saying_what_the_task_does_anyway_is_the_same_run(settings):
    one, other = (resolve(Request("grouped", "ks", layers=layers), settings) for layers in ("slow", "slow.mix"))
    assert one.layers == other.layers == "slow"


def test_a_task_without_a_head_sees_each_layer_of_a_group_and_mixes_none(settings, monkeypatch):
    monkeypatch.setattr(plans, "load_task", lambda _text: Asking())
    assert layer_choices(resolve(Request("grouped", "ks", layers="slow"), settings)) == [0, 1]
    with pytest.raises(RequestError, match=r"--layers slow.mix: task 'ks' trains nothing"):
        resolve(Request("grouped", "ks", layers="slow.mix"), settings)


def test_the_digest_is_of_the_encoder_and_the_store_of_the_group(settings):
    own, group = (resolve(Request("grouped", "ks", layers=layers), settings) for layers in (None, "wide"))
    assert own.digest == group.digest == upstream_digest(Grouped())
    assert store_of(own, settings, settings.cache).folder != store_of(group, settings, settings.cache).folder


@pytest.mark.parametrize(("name", "layers", "width", "hop"), [("slow", 2, 3, 0.04), ("wide", 1, 7, 0.01)])
@pytest.mark.parametrize("budget", [1.0, 1e-9], ids=["stored", "streamed"])
def test_frames_of_a_group_have_its_sizes_stored_or_streamed(
    name, layers, width, hop, budget, tmp_path, settings, quiet
):
    clips = noise_clips(tmp_path / "audio", [0.4] * 3)
    task = ListedTask(thirds(clips), grain="frame")
    given, ready = group_cell(name, task), prepared(task, tmp_path / "audio", settings, quiet)
    changed = settings.with_(budget_gb=budget)
    shelf = extract(given, ready, changed, settings.cache, quiet)
    frames = frames_of(shelf, clips, given.device)
    batch, lengths = next(frames.batches([[0, 1]], given.device))
    assert isinstance(frames, Streamed) == (budget < 1)
    assert frames.shape == (layers, width)
    assert batch.shape == (2, layers, round(0.4 / hop), width)
    assert lengths.tolist() == [round(0.4 / hop)] * 2
    assert shelf.times() == (hop, 0.005)
    assert estimate_bytes(given.upstream, "frame", distinct(ready)) == int(3 * (0.4 / hop + 1)) * layers * width * 2


def test_a_group_runs_through_the_whole_line(run):
    own, slow, wide = run(), run("slow"), run("wide")
    assert len({one.facts["plan"]["id"] for one in (own, slow, wide)}) == 3
    assert len({one.facts["upstream"]["digest"] for one in (own, slow, wide)}) == 1
    sizes = [tuple(one.facts["upstream"][key] for key in ("layers", "width", "hop")) for one in (own, slow, wide)]
    assert sizes == [(2, 3, 0.01), (2, 3, 0.04), (1, 7, 0.01)]
    assert [one.facts["layers"]["choice"] for one in (own, slow, wide)] == ["mix", "slow", "wide"]
    assert len(slow.facts["layers"]["weights"][0][0]) == 2
    assert [one.facts["cost"]["feature_rate"] for one in (own, slow)] == [100, 25]
    assert slow.facts["scores"] != own.facts["scores"]
    assert run("slow").facts == slow.facts
    assert any(text.startswith("layers-slow: ") for text in slow.facts["deviations"])
    json.dumps(slow.facts)


def test_records_of_a_group_stay_off_boards_and_comparisons(run, settings):
    run("slow", effort="standard")
    with pytest.raises(RequestError, match="layers-slow"):
        compare("grouped", "grouped", records.every(settings.results))


def test_each_layer_of_a_group_has_a_score(run):
    found = run("slow.each")
    assert [layer["layer"] for layer in found.facts["layers"]["each"]] == [0, 1]


def test_a_hear_module_shows_the_last_of_the_encoders_own_layers():
    upstream = Grouped().eval()
    model, waves = HearModel(upstream), torch.randn(1, 16_000)
    assert model.timestamp_embedding_size == 3
    shown, _ = model.timestamps(waves)
    assert torch.equal(shown, upstream.encode(waves, torch.tensor([16_000])).frames[:, -1])
