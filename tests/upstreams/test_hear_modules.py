"""`hear:MODULE[@PATH]`. The toy modules are written here, after HEAR's API; their answers are what they say."""

import itertools
import sys

import pytest
import torch
from fakes import ListedTask, noise_clips, thirds
from fitting import Dropping

from earbench import clips, forward, line
from earbench.checks import upstream as check_upstream
from earbench.contract import Recipe
from earbench.errors import BenchError, RequestError
from earbench.kit.classification import hits
from earbench.kit.heads.diarisation import hop_of
from earbench.plan import Request, load_upstream, upstream_digest
from earbench_upstreams.hear import NOISE_SECONDS, spacing

TOY = """
from pathlib import Path
import torch

class Model(torch.nn.Module):
    sample_rate, timestamp_embedding_size, scene_embedding_size = {rate}, 3, {scene}

    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

def load_model(model_file_path="", **options):
    return Model(float(Path(model_file_path).read_text()) if model_file_path else 1.0)

def times(audio):
    ends = audio.shape[1] * 1000 / {rate}
    return {times}

def get_timestamp_embeddings(audio, model):
    at = times(audio)
    power = audio.square().mean(1)[:, None, None].expand(-1, at.shape[-1], -1)
    frames = torch.cat((power, power + 1, at.expand(len(audio), -1)[:, :, None]), 2).float() * model.scale
    {change}
    return frames, at.expand(len(audio), -1)

def get_scene_embeddings(audio, model):
    scene = audio.abs().amax(1, keepdim=True) * torch.arange(1, {scene} + 1) * model.scale
    {scene_change}
    return scene
"""
EVERY_5_MS = "torch.arange(2.5, ends, 5.0)"
EVERY_50_MS = "torch.arange(0.0, ends, 50.0)"
ROUNDED = "(torch.arange(0, int(audio.shape[1]), 512) * 1000 / 44100).round().long()"
IRREGULAR = "torch.arange(1.0, ends**0.5).square()"
numbers = itertools.count()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Writes a HEAR module that can be imported, and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(times=EVERY_50_MS, rate=16_000, scene=5, change="", scene_change=""):
        name = f"hear_toy_{next(numbers)}"
        source = TOY.format(times=times, rate=rate, scene=scene, change=change, scene_change=scene_change)
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("hear_toy_")]:
        del sys.modules[name]


def noise(upstream, seconds, clips=2):
    waves = torch.randn(clips, round(seconds * upstream.sample_rate), generator=torch.Generator().manual_seed(0)) * 0.1
    return waves, torch.full((clips,), waves.shape[1])


@pytest.mark.parametrize(("times", "hop", "first"), [(EVERY_5_MS, 0.005, 0.0025), (EVERY_50_MS, 0.05, 0.0)])
@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000, 44_100, 48_000])
def test_regular_timestamps_become_hop_and_first_at_any_rate(toy, times, hop, first, rate):
    upstream = load_upstream(f"hear:{toy(times, rate)}")
    features = upstream.encode(*noise(upstream, 0.7))
    assert upstream.sample_rate == rate
    assert features.times is None
    assert (features.hop, features.first) == pytest.approx((hop, first))
    assert features.lengths.tolist() == [round(0.7 / hop)] * 2


def test_frames_and_embeddings_are_the_modules_own_answers(toy):
    name = toy(EVERY_5_MS, scene=5)
    upstream = load_upstream(f"hear:{name}")
    waves, lengths = noise(upstream, 0.5)
    module = sys.modules[name]
    frames, _ = module.get_timestamp_embeddings(waves, upstream.model)
    assert torch.equal(upstream.encode(waves, lengths).frames, frames[:, None])
    assert torch.equal(upstream.embed(waves, lengths), module.get_scene_embeddings(waves, upstream.model)[:, None])


def test_scene_embeddings_may_be_of_another_width(toy):
    upstream = load_upstream(f"hear:{toy(scene=5)}")
    assert upstream.encode(*noise(upstream, 0.5)).frames.shape == (2, 1, 10, 3)
    assert upstream.embed(*noise(upstream, 0.5)).shape == (2, 1, 5)
    assert (upstream.width, upstream.card.widths) == (3, (3, 5))


def test_timestamps_rounded_to_milliseconds_stay_as_they_are_beside_a_hop_of_whole_samples(toy):
    """However long the clip, they are where that hop has them, to the rounding."""
    upstream = load_upstream(f"hear:{toy(ROUNDED, 44_100)}")
    assert upstream.hop == 512 / 44_100
    (times,) = upstream.encode(*noise(upstream, 60, clips=1)).times
    assert torch.equal(times, (torch.arange(len(times), dtype=torch.float64) * 512000 / 44_100).round() / 1000)


def test_an_even_grid_that_is_no_whole_number_of_samples_stays_as_it_is():
    seconds = torch.arange(80, dtype=torch.float64) * 0.025
    assert spacing(seconds, 44_100) == 0.025  # 1102.5 samples


def test_irregular_timestamps_come_along_in_seconds(toy):
    upstream = load_upstream(f"hear:{toy(IRREGULAR)}")
    features = upstream.encode(*noise(upstream, 0.5))
    count = int(features.lengths[0])
    assert torch.allclose(features.times, (torch.arange(1.0, count + 1).square() / 1000).double().expand(2, -1))


def test_irregular_timestamps_come_along_with_frames_and_not_with_their_mean(toy):
    upstream = load_upstream(f"hear:{toy(IRREGULAR)}")
    wave = noise(upstream, 0.5)[0][0].numpy()
    mean, frames = (forward.encode(upstream, [wave], grain, "fp32", torch.device("cpu")) for grain in ("mean", "frame"))
    assert (mean.rows[0].shape, mean.times) == ((1, 1, 3), [None])
    assert frames.times[0].tolist() == [number * number / 1000 for number in range(1, len(frames.rows[0]) + 1)]


class Early(ListedTask):
    """Of every frame: is it in the first 120 ms, both ends included? Remembers the times it was asked about."""

    example = "frame"

    def __init__(self, *folds):
        super().__init__(*folds, grain="frame")
        self.asked = {}

    def recipes(self, effort, demo):
        return [Recipe(lr=3e-2, batch=16, steps=40, every=10, unit="epoch")]

    def target(self, clip, times, space):
        self.asked[clip.id] = times.tolist()
        return (times <= 0.12).float()[:, None]

    def head(self, width, space, recipe):
        return SaysWhen(width)

    def rows(self, split, predictions):
        right = {id: 0.05 < when <= 0.12 for id, when in predictions.items()}
        return hits(split, {clip.id: clip.label if right[clip.id] else "" for clip in split.clips})

    def ideal(self, split):
        return {clip.id: 0.1 for clip in split.clips}


class SaysWhen(Dropping):
    """Normalised, linear; says when the last frame was that it took for early, in seconds."""

    def __init__(self, width):
        super().__init__(width, ("early",))
        self.norm = torch.nn.BatchNorm1d(width)

    def forward(self, x, lengths):
        return self.classify(self.norm(x.flatten(0, -2)).reshape(x.shape))

    def loss(self, output, lengths, targets, target_lengths):
        return torch.nn.functional.binary_cross_entropy_with_logits(output, targets)

    def predict(self, output, lengths, times, **decoding):
        found = zip(output[..., 0], lengths.tolist(), times, strict=True)
        return [max(at[:count][row[:count] > 0].tolist(), default=0.0) for row, count, at in found]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (EVERY_5_MS, [0.0025 + 0.005 * number for number in range(60)]),
        (EVERY_50_MS, [0.05 * number for number in range(6)]),
        (IRREGULAR, [number * number / 1000 for number in range(1, 18)]),
    ],
)
def test_a_task_of_frames_runs_to_the_end_whatever_the_timestamps(
    toy, times, expected, tmp_path, settings, quiet, monkeypatch
):
    """The toy's third feature is the time itself, so a head that is told the right times finds the last early frame."""
    task = Early(thirds(noise_clips(tmp_path / "audio", [0.3] * 24)))
    monkeypatch.setattr("earbench.plan.load_task", lambda _: task)
    request = Request(f"hear:{toy(times)}", "ks", data=str(tmp_path), partial=True)
    record = line.run(request, settings, quiet)
    assert task.asked.keys() == {clip.id for clip in (*task.listed[0].train.clips, *task.listed[0].valid.clips)}
    assert all(asked == pytest.approx(expected, abs=1e-12) for asked in task.asked.values())
    assert record.facts["scores"]["accuracy"]["value"] == 100
    assert record.facts["cost"]["features"] == "resident"


def test_irregular_frames_are_refused_where_turns_are_stated_in_stretches_of_the_hop(toy):
    upstream = load_upstream(f"hear:{toy(IRREGULAR)}")
    times = upstream.encode(*noise(upstream, 0.5)).times[0].tolist()
    with pytest.raises(BenchError, match="needs frames at regular times"):
        hop_of(times)
    rounded = [round(number * 512_000 / 44_100) / 1000 for number in range(1000)]
    assert hop_of(rounded) == pytest.approx(512 / 44_100, rel=1e-4)


@pytest.mark.parametrize("budget", [50, 1e-9], ids=["stored", "streamed"])
def test_irregular_frames_are_refused_by_a_folder_of_features_which_states_one_hop(
    toy, budget, tmp_path, settings, quiet, monkeypatch
):
    task = ListedTask(thirds(noise_clips(tmp_path / "audio", [0.3] * 3)), grain="frame")
    monkeypatch.setattr("earbench.plan.load_task", lambda _: task)
    chosen = settings.with_(budget_gb=budget)
    rounded, irregular = (
        Request(f"hear:{toy(times, 44_100)}", "ks", data=str(tmp_path), partial=True) for times in (ROUNDED, IRREGULAR)
    )
    assert clips.write_features(rounded, tmp_path / "rounded", chosen, quiet)["clips"] == 3
    with pytest.raises(BenchError, match=r"the frames of clip-\d are at irregular times(?s:.*)`bench run`"):
        clips.write_features(irregular, tmp_path / "irregular", chosen, quiet)


def test_a_module_with_one_timestamp_per_clip_loads(toy):
    upstream = load_upstream(f"hear:{toy('torch.tensor([ends / 2])')}")
    assert upstream.hop == NOISE_SECONDS
    assert upstream.encode(*noise(upstream, 0.5)).times.tolist() == [[0.25], [0.25]]


@pytest.mark.parametrize("times", [EVERY_5_MS, EVERY_50_MS, IRREGULAR])
def test_toy_modules_pass_every_check(toy, times):
    findings = check_upstream.run(load_upstream(f"hear:{toy(times)}"))
    assert [finding for finding in findings if not finding.ok] == []


@pytest.fixture(params=["change", "scene_change"])
def mixing(toy, request):
    """A module whose frames or scenes depend on the batch, and the grain at which they do."""
    kind, grain = ("frames", "frame") if request.param == "change" else ("scene", "clip")
    return toy(**{request.param: f"{kind} = {kind} - {kind}.mean(0) * (len({kind}) > 1)"}), grain


def test_a_module_whose_results_change_in_a_batch_is_refused_and_told_the_way(mixing):
    name, _ = mixing
    with pytest.raises(BenchError, match=r"when other clips are in the batch(?s:.*)hear_alone:MODULE"):
        load_upstream(f"hear:{name}")


def test_such_a_module_hears_one_clip_at_a_time_where_that_is_asked_for_and_fails_the_check(mixing):
    """So that what a run says of a clip does not depend on which clips it was batched with."""
    name, grain = mixing
    upstream = load_upstream(f"hear_alone:{name}")
    (failed,) = [finding for finding in check_upstream.run(upstream) if not finding.ok]
    assert failed.name == "alone equals batched"
    assert "batch mates change features" in failed.detail
    waves = [wave.numpy() for wave in noise(upstream, 0.5, clips=3)[0]]
    together = forward.encode(upstream, waves, grain, "fp32", torch.device("cpu")).rows
    alone = [forward.encode(upstream, [wave], grain, "fp32", torch.device("cpu")).rows[0] for wave in waves]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_a_module_that_ignores_batch_mates_hears_a_batch_at_once(toy):
    upstream = load_upstream(f"hear:{toy()}")
    assert upstream.batching == "equal"
    assert upstream.notes == ()


def test_clips_of_different_lengths_are_refused(toy):
    upstream = load_upstream(f"hear:{toy()}")
    waves, lengths = noise(upstream, 0.5)
    with pytest.raises(BenchError, match="one length"):
        upstream.encode(waves, lengths - torch.tensor([0, 100]))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"change": "frames = frames / 0 * 0"}, "NaN or infinite"),
        ({"scene_change": "scene = scene * float('nan')"}, "NaN or infinite"),
        ({"change": "frames = frames[:, :, :2]"}, r"timestamp embeddings \[2, 40, 2\], declared are \[2, time, 3\]"),
        ({"change": "frames = frames[:, 0]"}, r"timestamp embeddings \[2, 3\], declared"),
        ({"change": "frames = frames[:1]"}, r"timestamp embeddings \[1, 40, 3\], declared"),
        ({"scene_change": "scene = scene[:, :2]"}, r"scene embeddings \[2, 2\], declared are \[2, 5\]"),
        ({"change": "frames = frames[:, 1:]"}, r"timestamps \[2, 40\] for embeddings \[2, 39, 3\]"),
        ({"change": "frames = frames.double()"}, "float64"),
        ({"scene_change": "scene = scene.half()"}, "float16"),
        ({"scene_change": "scene = scene.numpy(force=True)"}, "ndarray"),
        ({"change": "return frames"}, "two tensors"),
        ({"times": "torch.arange(0.0, ends, 50.0).flip(0)"}, "do not increase"),
        ({"times": "torch.arange(0.0, ends, 50.0) * 0"}, "do not increase"),
        ({"times": "torch.arange(0.0, ends, 50.0) * float('nan')"}, "do not increase"),
        ({"times": "torch.zeros(0)"}, "no timestamp"),
        ({"change": "frames = frames * torch.rand_like(frames)"}, "something else of the same clips"),
        ({"scene_change": "scene = scene * torch.rand_like(scene)"}, "something else of the same clips"),
        ({"change": "frames = frames / (len(frames) - 1)"}, "NaN or infinite"),
        ({"rate": 8_000}, "8000 Hz"),
        ({"scene": "5.0"}, "scene_embedding_size is 5.0"),
        ({"times": "torch.arange(-50.0, ends, 50.0)"}, "timestamps from -50 to 1950 ms for a clip of 2000 ms"),
        ({"times": "torch.arange(0.0, ends + 51, 50.0)"}, "timestamps from 0 to 2050 ms for a clip of 2000 ms"),
        ({"change": "raise ValueError('no')"}, r"^get_timestamp_embeddings of the HEAR module 'hear_toy_\d+' fails: V"),
        (
            {"scene_change": "raise ValueError('no')"},
            r"^get_scene_embeddings of .* 'hear_toy_\d+' fails: ValueError: no",
        ),
        ({"scene_change": "raise BaseException('odd')"}, r"^get_scene_embeddings of .* fails: BaseException: odd"),
        ({"change": "raise SystemExit(3)"}, r"^get_timestamp_embeddings of .* fails: SystemExit: 3"),
    ],
)
def test_a_broken_module_is_refused_with_the_reason(toy, broken, reason):
    with pytest.raises(BenchError, match=reason):
        load_upstream(f"hear:{toy(**broken)}")


@pytest.mark.parametrize("failing", ["raise SystemExit(3)", "def load_model(path=''):\n    raise SystemExit(3)"])
def test_a_module_that_exits_on_import_or_in_its_loader_is_told(toy, tmp_path, failing):
    name = toy()
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write(f"\n{failing}\n")
    with pytest.raises(BenchError, match=rf"(importing|load_model of) the HEAR module '{name}' fails: SystemExit: 3"):
        load_upstream(f"hear:{name}")


@pytest.mark.parametrize("place", ["change", "scene_change", "times"])
def test_an_interrupt_is_the_users_and_no_failure_of_the_module(toy, place):
    name = toy(**{place: "raise KeyboardInterrupt" if place != "times" else "(_ for _ in ()).throw(KeyboardInterrupt)"})
    with pytest.raises(KeyboardInterrupt):
        load_upstream(f"hear:{name}")


SECONDS = "torch.arange(0.0, ends, 50.0) / 1000"
HALF = "torch.arange(0.0, ends / 2, 50.0)"


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (SECONDS, ["from 0 to 1.95 ms for a clip of 2000 ms: are they in seconds? HEAR's API has milliseconds"]),
        (HALF, ["from 0 to 950 ms for a clip of 2000 ms"]),
        (EVERY_50_MS, []),
        ("torch.arange(0.0, ends - 40, 10.0)", []),
        ("torch.arange(0.0, ends, 600.0)", []),
        ("torch.zeros(1)", []),
    ],
)
def test_times_that_end_far_before_the_clip_are_noted(toy, times, said):
    """Further from the end than 50 ms and than their spacing (HEAR sheet 7, row 7). One time alone says nothing."""
    name = toy(times)
    expected = [f"the HEAR module '{name}' gives timestamps {span}" for span in said]
    assert list(load_upstream(f"hear:{name}").notes) == expected


def test_the_path_goes_to_the_modules_own_loader_and_into_the_digest_but_not_into_the_record(toy, tmp_path):
    name = toy()
    (tmp_path / "two.txt").write_text("2")
    (tmp_path / "copy.txt").write_text("2")
    plain, two, copy = (
        load_upstream(f"hear:{name}{path}") for path in ("", f"@{tmp_path / 'two.txt'}", f"@{tmp_path / 'copy.txt'}")
    )
    assert torch.equal(two.embed(*noise(two, 0.5)), 2 * plain.embed(*noise(plain, 0.5)))
    assert upstream_digest(two) == upstream_digest(copy) != upstream_digest(plain)
    assert two.source["file"] == "two.txt"
    assert str(tmp_path) not in repr(two.source)


def test_edited_code_is_another_encoder(toy, tmp_path):
    name = toy()
    before = upstream_digest(load_upstream(f"hear:{name}"))
    del sys.modules[name]
    with (tmp_path / f"{name}.py").open("a") as file:
        file.write("\n# a change\n")
    assert upstream_digest(load_upstream(f"hear:{name}")) != before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hear:", "is not an upstream"),
        ("hear", "names no HEAR module"),
        ("hear@x.pt", "names no HEAR module"),
        ("hear:no_such_module_anywhere", "no module called 'no_such_module_anywhere'"),
        ("hear:json", "has no load_model, get_scene_embeddings, get_timestamp_embeddings"),
        ("hear:json~random", "fresh weights"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(text, reason):
    with pytest.raises(RequestError, match=reason):
        load_upstream(text)


def test_a_loader_that_fails_and_a_model_of_another_framework_are_told(toy, tmp_path):
    with pytest.raises(BenchError, match=r"load_model .* fails: FileNotFoundError"):
        load_upstream(f"hear:{toy()}@{tmp_path / 'absent'}")
    name = toy()
    (tmp_path / f"{name}.py").write_text(
        (tmp_path / f"{name}.py").read_text() + "\ndef load_model(path=''):\n    return 1\n"
    )
    with pytest.raises(BenchError, match=r"gives a int, no torch.nn.Module"):
        load_upstream(f"hear:{name}")


def test_a_module_of_another_framework_is_told_what_it_lacks_and_where_it_can_run(toy, tmp_path):
    name = toy()
    (tmp_path / f"{name}.py").write_text("import tensorflow_of_nobody as tf\n")
    with pytest.raises(BenchError, match=r"needs 'tensorflow_of_nobody'(.|\n)*features:DIR"):
        load_upstream(f"hear:{name}")


def test_a_path_in_the_users_home_is_found(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "two.txt").write_text("2")
    assert float(load_upstream(f"hear:{toy()}@~/two.txt").model.scale) == 2.0


def test_another_file_is_another_encoder_even_if_no_tensor_tells(toy, tmp_path):
    name = toy()
    digests = set()
    for text in ("1", "1.0"):
        (tmp_path / "scale.txt").write_text(text)
        digests.add(upstream_digest(load_upstream(f"hear:{name}@{tmp_path / 'scale.txt'}")))
    assert len(digests) == 2
