"""Frames from memory, from the store or from the encoder: the same bits, the same record, in bounded batches."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds
from fitting import CPU, Colours, Recurrent, plan, rates, split
from safetensors.torch import load_file
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

from earbench import commands, examples, extract, fit, line
from earbench.contract import Features, Labels
from earbench.errors import BenchError
from earbench.examples import EVALUATE_FRAMES, Framed
from earbench.fit import grid, predict
from earbench.frames import Resident, frames_of
from earbench.kit.heads.pooled import mean_over_time
from earbench.plan import ENGINE, Cell, Request, load_upstream
from earbench.search import open_fold

WAYS = ("resident", "mapped", "streamed")
DURATIONS = [0.4, 0.31, 0.5, 0.8, 0.123, 1.0, 0.5, 0.77, 0.31, 0.64, 0.2, 2.5] * 2
LOUD = Labels(("soft", "loud"))


class PerFrame(Recurrent):
    """A recurrent head that is asked at every frame, and says what most frames say."""

    def forward(self, x, lengths):
        return self.classify(self.over_time(x, lengths))

    def loss(self, output, lengths, targets, target_lengths):
        true = torch.arange(output.shape[1]) < lengths[:, None]
        return functional.cross_entropy(output[true], targets[true])

    def predict(self, output, lengths, times, turn=False, **decoding):
        chosen = [row[:length].mean(0).argmax() for row, length in zip(output, lengths.tolist(), strict=True)]
        return [self.labels[int(one) ^ turn] for one in chosen]


class PerClip(PerFrame):
    """The same, with a loss in which every clip counts alike."""

    def __init__(self, width, labels, _):
        super().__init__(width, labels)

    def loss(self, output, lengths, targets, _):
        each = functional.cross_entropy(output.transpose(1, 2), targets, reduction="none")
        return mean_over_time(each[..., None], lengths).mean()


class Loudness(ListedTask):
    """Is the noise soft or loud? Asked frame by frame."""

    decodings = ({"turn": False}, {"turn": True})
    grid = rates(3e-2, 1e-3, batch=4, steps=24, every=8)

    def __init__(self, *folds):
        super().__init__(*folds, grain="frame")

    def space(self, fold):
        return LOUD

    def recipes(self, effort, demo):
        return self.grid

    def target(self, clip, times, space):
        return torch.full((len(times),), space.index(clip.label))

    def head(self, width, space, recipe):
        return PerFrame(width, space)


@pytest.fixture
def task(tmp_path):
    clips = noise_clips(tmp_path / "audio", DURATIONS)
    gains = np.random.default_rng(0).normal(0, 6, len(clips)) + [-2.0, 2.0] * (len(clips) // 2)
    named = (
        replace(clip, label=LOUD[number % 2], effects=(("gain_db", float(gain)),))
        for number, (clip, gain) in enumerate(zip(clips, gains, strict=True))
    )
    return Loudness(thirds(tuple(named)))


@pytest.fixture
def ways(settings, monkeypatch):
    """Settings under which frames come about in the way that is asked for."""

    def choose(way):
        monkeypatch.setattr(extract, "memory", lambda _: 0.0 if way == "mapped" else math.inf)
        return settings.with_(budget_gb=1e-9 if way == "streamed" else 50, cache=settings.cache / way)

    return choose


@pytest.fixture
def opened(ways, quiet):
    """A fold of a task whose frames come about in some way: what fits it, and its shelf."""

    def opened(task, way, upstream=None, recipes=Loudness.grid):
        settings = ways(way)
        one = cell(upstream or CountingUpstream(), task)
        found = prepared(task, Path("unused"), settings, quiet)
        shelf = extract.extract(one, found, settings, settings.cache, quiet)
        assert shelf.features == way
        return open_fold(one, plan(recipes), found.folds[0], shelf, settings.cache / "fits"), shelf

    return opened


@pytest.fixture(scope="module")
def small_wav2vec2(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "small_wav2vec2"
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    torch.manual_seed(0)
    config = Wav2Vec2Config(**sizes, conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4)
    Wav2Vec2Model(config).save_pretrained(folder)
    return f"hf:{folder}"


# ---- the same whatever there is room for -----------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["mix", "each"])
@pytest.mark.parametrize("upstream", ["fbank_no_cmvn", "wav2vec2"])
def test_stored_and_streamed_frames_give_the_same_record(
    upstream, layers, task, ways, quiet, tmp_path, monkeypatch, small_wav2vec2
):
    """Every digit of scores, search, layer weights, heads, predictions and replicates; a real encoder, a BiLSTM."""
    if (upstream, layers) == ("fbank_no_cmvn", "each"):
        pytest.skip("one layer only")
    monkeypatch.setattr("earbench.plan.load_task", lambda _: task)
    spec = small_wav2vec2 if upstream == "wav2vec2" else upstream
    request = Request(spec, "ks", data=str(tmp_path), partial=True, layers=layers, again=True)
    found = {way: line.run(request, ways(way), quiet) for way in WAYS}
    assert [one.facts["cost"]["features"] for one in found.values()] == list(WAYS)
    first = found["resident"]
    assert first.facts["scores"]["accuracy"]["value"] not in (0, 100), "scores that could not differ show nothing"
    for other in found.values():
        for part in ("plan", "scores", "search", "recipe", "layers", "decoding", "columns", "deviations"):
            assert other.facts[part] == first.facts[part]
        assert other.rows() == first.rows()
        assert all(np.array_equal(one, first.replicates()[name]) for name, one in other.replicates().items())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_frames_are_the_same_bits_in_any_company(dtype, task, settings, quiet, small_wav2vec2):
    """Of the encoder in whatever batch, and of a store that was filled in another order."""
    one = cell(load_upstream(small_wav2vec2), task)
    chosen, clips = settings.with_(dtype=dtype), task.listed[0].train.clips
    found = prepared(task, Path("unused"), chosen, quiet)
    stored = extract.extract(one, found, chosen, chosen.cache, quiet)
    part = prepared(Loudness(thirds(clips)), Path("unused"), chosen, quiet)
    other = extract.extract(one, part, chosen, chosen.cache / "other", quiet)
    streamed = extract.extract(one, found, chosen.with_(budget_gb=1e-9), chosen.cache / "none", quiet)
    order = [[3, 0, 3], [5], [1, 2, 4, 6, 7]]
    sources = [frames_of(shelf, clips, CPU) for shelf in (stored, other, streamed)]
    for (x, lengths), *rest in zip(*(source.batches(order, CPU) for source in sources), strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(x, x.half().float())
        for y, others in rest:
            assert torch.equal(x, y)
            assert torch.equal(lengths, others)


@pytest.mark.parametrize("way", WAYS)
def test_one_layer_is_seen_as_a_slice_of_all(way, task, opened):
    bench, _ = opened(task, way)
    order = [[2, 0], [1]]
    assert bench.train.layer(1).shape == (1, 3)
    for (whole, *_), (one, *_) in zip(bench.train.batches(order), bench.train.layer(1).batches(order), strict=True):
        assert torch.equal(one, whole[:, 1:2])


@pytest.mark.parametrize("way", WAYS)
def test_heads_are_told_the_times_of_frames(way, task, opened):
    bench, shelf = opened(task, way)
    assert shelf.times() == (0.01, 0.005)
    (lengths,) = [batch[1] for batch in bench.valid.batches([[1, 0]])]
    times = bench.valid.times([1, 0], lengths)
    assert times.dtype == torch.float64
    assert times[1, :3].tolist() == pytest.approx([0.005, 0.015, 0.025], abs=1e-12)


# ---- one layer of all ------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(task, tmp_path, monkeypatch):
    """A request for the counting encoder on the task, at a choice of layers."""
    monkeypatch.setattr("earbench.plan.load_task", lambda _: task)
    monkeypatch.setattr("earbench.plan.load_upstream", lambda _: CountingUpstream().eval())
    return lambda layers: Request("counting", "ks", data=str(tmp_path), partial=True, layers=layers, again=True)


def shards(settings):
    """The rows of every shard, by the folder that it is in."""
    found = (settings.cache / "features").rglob("*.safetensors")
    return {path.parent.name: load_file(path)["rows"] for path in found}


@pytest.mark.parametrize("layers", ["last", "0"])
@pytest.mark.parametrize("way", WAYS)
def test_frames_of_one_layer_alone_give_the_record_of_all_layers_seen_through_it(
    way, layers, asked, ways, quiet, monkeypatch
):
    alone = line.run(asked(layers), ways(way), quiet)
    with monkeypatch.context() as patch:
        patch.setattr(Cell, "kept", None)
        among = line.run(asked(layers), ways(way), quiet)
    assert alone.facts["layers"]["best"] == (1 if layers == "last" else 0)
    assert alone.facts["cost"]["feature_bytes"] * 2 == pytest.approx(among.facts["cost"]["feature_bytes"], abs=2)
    for part in ("plan", "upstream", "scores", "search", "recipe", "layers", "decoding", "columns", "deviations"):
        assert alone.facts[part] == among.facts[part]
    assert alone.rows() == among.rows()
    assert all(np.array_equal(one, alone.replicates()[name]) for name, one in among.replicates().items())


def test_layers_kept_alone_have_shelves_of_their_own(asked, ways, quiet):
    for layers in ("mix", "last", "0"):
        line.run(asked(layers), ways("resident"), quiet)
    found = shards(ways("resident"))
    whole, last, first = (found.pop(f"frame-fp32-e{ENGINE}{tail}") for tail in ("", ".1", ".0"))
    assert not found
    assert torch.equal(torch.cat([first, last], 1), whole)
    assert not torch.equal(first, last)


def test_a_plan_shows_the_disk_of_the_layer_that_is_asked_for(asked, ways, quiet):
    settings = ways("resident")
    mix, each, last, first = (
        line.forecast(asked(one), settings, quiet).disk_bytes for one in ("mix", "each", "last", "0")
    )
    assert mix == each == pytest.approx(2 * last, abs=2)
    assert last == first


# ---- one pass feeds all ----------------------------------------------------------------------------------------------


def test_one_pass_over_the_encoder_feeds_every_recipe(task, opened, quiet):
    seen = []
    for count in (1, 3):
        upstream = CountingUpstream()
        bench, _ = opened(task, "streamed", upstream, rates(*(0.01 * 0.5**n for n in range(count)), steps=10, every=5))
        before = len(upstream.clips)
        grid(bench, list(range(count)), 0, None, quiet)
        seen.append(len(upstream.clips) - before)
    assert seen == [10 * 8 + 2 * 8] * 2


def test_one_pass_over_the_encoder_serves_every_decoding(task, opened, quiet):
    upstream = CountingUpstream()
    bench, _ = opened(task, "streamed", upstream)
    (fitted,) = grid(bench, [0], 0, None, quiet)
    before = len(upstream.clips)
    said, turned = predict(bench, fitted, bench.valid, task.decodings)
    assert len(upstream.clips) - before == len(bench.valid.split.clips)
    assert all(said[name] != turned[name] for name in said)


def test_the_encoder_streams_clip_by_clip(task, opened):
    upstream = CountingUpstream()
    bench, _ = opened(task, "streamed", upstream)
    list(bench.train.batches([[0, 1, 2]]))
    assert {shape[0] for shape, _ in upstream.shapes} == {1}


def test_a_streamed_run_says_what_its_passes_took(task, opened, capsys):
    bench, shelf = opened(task, "streamed")
    before = shelf.cost()["audio_seconds"]
    list(bench.train.batches([[0, 1], [0]]))
    seconds = bench.train.split.seconds
    assert shelf.cost()["audio_seconds"] - before == pytest.approx(2 * seconds[0] + seconds[1], abs=1e-3)
    assert shelf.cost()["extracted_on"] == ["cpu"]
    assert "the encoder runs in every epoch" in capsys.readouterr().err
    assert not list(shelf.store.folder.glob("*"))


# ---- judging ---------------------------------------------------------------------------------------------------------


def test_no_clip_is_padded_to_a_giant_when_judged():
    seconds = [1.0] * 2_000 + [30.0, 400.0] + [1.1] * 2_000
    part = replace(split("valid", len(seconds)), seconds=tuple(seconds))
    nothing = Resident((1, 1), torch.zeros(1, 1, 1), [0])
    batches = Framed(part, nothing, Colours(grain="frame"), None, 0.02, 0.0, CPU).order()
    assert sorted(number for numbers in batches for number in numbers) == list(range(len(seconds)))
    padded = [len(numbers) * (max(seconds[number] for number in numbers) / 0.02 + 1) for numbers in batches]
    assert all(frames <= EVALUATE_FRAMES for frames, numbers in zip(padded, batches, strict=True) if len(numbers) > 1)
    assert sum(padded) < 1.1 * sum(one / 0.02 + 1 for one in seconds)
    assert len(batches) < 40


def test_predictions_come_back_by_clip_however_clips_are_judged_together(task, opened, quiet, monkeypatch):
    bench, _ = opened(task, "resident")
    (fitted,) = grid(bench, [0], 0, None, quiet)
    (whole,) = predict(bench, fitted, bench.valid, [{}])
    assert list(whole) == [clip.id for clip in bench.valid.split.clips]
    monkeypatch.setattr(examples, "EVALUATE_FRAMES", 1)
    assert predict(bench, fitted, bench.valid, [{}]) == [whole]
    assert len(bench.valid.order()) == len(whole)


def test_the_loss_on_valid_is_the_mean_over_clips_however_they_are_judged_together(task, opened, quiet, monkeypatch):
    task.select, task.decodings, task.head, scores = "loss", ({},), PerClip, []
    for frames in (1, 8192):
        monkeypatch.setattr(examples, "EVALUATE_FRAMES", frames)
        bench, _ = opened(task, "resident", recipes=[Loudness.grid[0].with_(steps=8)])
        scores.append(fit.grid(replace(bench, folder=bench.folder / str(frames)), [0], 0, None, quiet)[0].valid)
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_answers_are_padded_within_a_batch_only(task, opened):
    bench, _ = opened(task, "resident")
    seconds = bench.train.split.seconds
    for one in ([0, 1], [3], [2, 1, 0]):
        ((x, lengths, targets, target_lengths),) = bench.train.batches([one])
        assert targets.shape == (len(one), x.shape[2])
        assert lengths.tolist() == target_lengths.tolist() == [round(seconds[number] * 16_000) // 160 for number in one]


# ---- what does not fit, and what cannot be ---------------------------------------------------------------------------


def test_frames_that_are_all_stored_are_used_though_the_budget_has_shrunk(task, settings, quiet):
    found = prepared(task, Path("unused"), settings, quiet)
    one, tight = cell(CountingUpstream(), task), settings.with_(budget_gb=1e-9)
    extract.extract(one, found, settings, settings.cache, quiet)
    forwarded = len(one.upstream.clips)
    assert extract.extract(one, found, tight, settings.cache, quiet).features == "resident"
    assert len(one.upstream.clips) == forwarded


def test_a_plan_says_that_frames_will_be_streamed_and_in_how_many_passes(task, ways, quiet, tmp_path, monkeypatch):
    monkeypatch.setattr("earbench.plan.load_task", lambda _: task)
    request = Request("mfcc", "ks", data=str(tmp_path), partial=True)
    streamed, stored = (line.forecast(request, ways(way), quiet) for way in ("streamed", "resident"))
    assert streamed.disk_bytes == stored.disk_bytes > 1e4
    assert (streamed.streams, stored.streams, stored.passes) == (True, False, 1.0)
    assert streamed.plan == stored.plan
    assert streamed.passes == (24 * 4 + 3 * 8 + 8) / 24, "both recipes share the passes over train and valid"
    said = [commands._disk(one) for one in (streamed, stored)]
    assert "over budget_gb: streamed in up to 5 passes" in said[0]
    assert "budget" not in said[1]


class Spoiled(CountingUpstream):
    """Gives NaN for clips of 0.8 s."""

    def encode(self, waves, lengths):
        features = super().encode(waves, lengths)
        features.frames[lengths == 12_800] = float("nan")
        return features


def test_a_streamed_clip_without_finite_frames_is_named(task, opened):
    bench, _ = opened(task, "streamed", Spoiled())
    with pytest.raises(BenchError, match=r"'counting' gives NaN or infinite .* for 1 clips, the first: clip-3"):
        list(bench.train.batches(bench.train.order()))


class Irregular(CountingUpstream):
    """Frames come later and later, in clips of more than half a second."""

    def encode(self, waves, lengths):
        found = super().encode(waves, lengths)
        if waves.shape[1] <= 8_000:
            return found
        steps = torch.arange(found.frames.shape[2])
        return replace(found, times=(steps / 400).square().expand(len(waves), -1))


def at(frames):
    """When so many frames of an irregular clip are: single precision squares, as the encoder says them."""
    return (torch.arange(frames) / 400).square().tolist()


class Answers(Loudness):
    """Remembers the times that its targets were asked for, by clip."""

    def __init__(self, *folds):
        super().__init__(*folds)
        self.asked = {}

    def target(self, clip, times, space):
        self.asked[clip.id] = times.tolist()
        return super().target(clip, times, space)


@pytest.mark.parametrize("way", WAYS)
def test_answers_and_heads_are_given_a_clips_own_times_where_these_are_irregular(way, task, opened):
    answers = Answers(*task.listed)
    bench, _ = opened(answers, way, Irregular())
    one, other = 1, 0  # of 0.8 and of 0.4 s
    ((_, lengths, *_),) = bench.train.batches([[other, one]])
    clips, times = bench.train.split.clips, bench.train.times([other, one], lengths)
    assert lengths.tolist() == [40, 80]
    assert answers.asked[clips[one].id] == times[1].tolist() == at(80)
    assert answers.asked[clips[other].id] == times[0, :40].tolist() == pytest.approx(np.arange(40) / 100 + 0.005)
    ((_, lengths, *_),) = bench.train.batches([[3, one]])  # of 0.64 and of 0.8 s
    times = bench.train.times([3, one], lengths)
    assert times[0, :64].tolist() == at(64)
    assert times[0, 63:66].tolist() == pytest.approx([0.024806, 0.034806, 0.044806], abs=1e-6), "then on at the hop"


class NotRising(CountingUpstream):
    def encode(self, waves, lengths):
        found = super().encode(waves, lengths)
        return Features(found.frames, found.lengths, times=torch.zeros(found.frames.shape[::2]))


@pytest.mark.parametrize("way", ["resident", "streamed"])
def test_times_that_do_not_rise_are_refused(way, task, opened):
    with pytest.raises(BenchError, match=r"'counting' gives clip 'clip-\d+' frame times that do not rise"):
        opened(task, way, NotRising())


def test_frames_that_go_away_in_the_midst_of_a_run_are_an_error_that_says_so(task, opened):
    bench, shelf = opened(task, "mapped")
    for path in shelf.store.folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(BenchError, match="went away while they were in use"):
        list(bench.train.batches([[0]]))
