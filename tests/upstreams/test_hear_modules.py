"""`hear:MODULE[@PATH]`. The toy modules are written here, after HEAR's API; their answers are what they say."""

import itertools
import sys

import pytest
import torch

from earbench import forward
from earbench.checks import upstream as check_upstream
from earbench.errors import BenchError, RequestError
from earbench.plan import load_upstream, upstream_digest
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


def test_timestamps_rounded_to_milliseconds_are_regular_however_long_the_clip(toy):
    upstream = load_upstream(f"hear:{toy(ROUNDED, 44_100)}")
    assert upstream.hop == 512 / 44_100
    assert upstream.encode(*noise(upstream, 60, clips=1)).times is None


def test_an_even_grid_that_is_no_whole_number_of_samples_stays_as_it_is():
    seconds = torch.arange(80, dtype=torch.float64) * 0.025
    assert spacing(seconds, 44_100) == 0.025  # 1102.5 samples


def test_irregular_timestamps_come_along_in_seconds(toy):
    upstream = load_upstream(f"hear:{toy(IRREGULAR)}")
    features = upstream.encode(*noise(upstream, 0.5))
    count = int(features.lengths[0])
    assert torch.allclose(features.times, (torch.arange(1.0, count + 1).square() / 1000).double().expand(2, -1))


def test_irregular_timestamps_serve_whole_clips_and_are_refused_for_frames(toy):
    upstream = load_upstream(f"hear:{toy(IRREGULAR)}")
    wave = noise(upstream, 0.5)[0][0].numpy()
    assert forward.encode(upstream, [wave], "mean", "fp32", torch.device("cpu")).rows[0].shape == (1, 1, 3)
    with pytest.raises(BenchError, match="irregular"):
        forward.encode(upstream, [wave], "frame", "fp32", torch.device("cpu"))


def test_a_module_with_one_timestamp_per_clip_loads(toy):
    upstream = load_upstream(f"hear:{toy('torch.tensor([ends / 2])')}")
    assert upstream.hop == NOISE_SECONDS
    assert upstream.encode(*noise(upstream, 0.5)).times.tolist() == [[0.25], [0.25]]


@pytest.mark.parametrize("times", [EVERY_5_MS, EVERY_50_MS, IRREGULAR])
def test_toy_modules_pass_every_check(toy, times):
    findings = check_upstream.run(load_upstream(f"hear:{toy(times)}"))
    assert [finding for finding in findings if not finding.ok] == []


@pytest.mark.parametrize("where", ["change", "scene_change"])
def test_a_module_whose_results_change_in_a_batch_hears_one_clip_at_a_time(toy, where):
    kind = "frames" if where == "change" else "scene"
    upstream = load_upstream(f"hear:{toy(**{where: f'{kind} = {kind} - {kind}.mean(0) * (len({kind}) > 1)'})}")
    assert "one clip at a time" in upstream.notes[0]
    findings = check_upstream.run(upstream)
    assert [finding for finding in findings if not finding.ok] == []


def test_a_module_that_ignores_batch_mates_hears_a_batch_at_once(toy):
    upstream = load_upstream(f"hear:{toy()}")
    assert not upstream.alone
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
        ({"rate": 8_000}, "8000 Hz"),
        ({"scene": "5.0"}, "scene_embedding_size is 5.0"),
    ],
)
def test_a_broken_module_is_refused_with_the_reason(toy, broken, reason):
    with pytest.raises(BenchError, match=reason):
        load_upstream(f"hear:{toy(**broken)}")


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
