"""`earbench.hear_api`: an upstream as a HEAR module. What HEAR's validator says of it: test_hear_validator.py."""

import importlib.util
import sys
from dataclasses import replace

import pytest
import torch

import earbench
import earbench.hear_view
from earbench.contract import Features
from earbench.errors import RequestError
from earbench.hear_view import HearModel
from earbench.plan import load_upstream
from earbench_upstreams.fbank import FbankNoCmvn
from earbench_upstreams.hear_naive import HearNaive

MODULE = """import earbench
load_model, get_scene_embeddings, get_timestamp_embeddings = earbench.hear_api("{spec}")
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The two lines that make a HEAR module, in a file that can be imported; gives its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(spec):
        name = f"hear_view_of_{spec.partition('~')[0]}"
        (tmp_path / f"{name}.py").write_text(MODULE.format(spec=spec))
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("hear_view_of_")]:
        del sys.modules[name]


@pytest.mark.parametrize("spec", ["fbank_no_cmvn", "hear_naive", "cpc~random"])
def test_what_we_export_we_read_back(spec, written):
    original, back = load_upstream(spec), load_upstream(f"hear:{written(spec)}")
    waves = torch.randn(2, original.sample_rate, generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = torch.full((2,), waves.shape[1])
    with torch.no_grad():  # recurrent kernels differ with and without
        ours, theirs = original.encode(waves, lengths), back.encode(waves, lengths)
        our_scenes, their_scenes = original.embed(waves, lengths), back.embed(waves, lengths)
    assert torch.equal(theirs.frames[:, 0], ours.frames[:, -1])
    assert torch.equal(their_scenes[:, 0], our_scenes[:, -1])
    assert theirs.times is None
    assert (theirs.hop, theirs.first) == pytest.approx((ours.hop, ours.first), abs=1e-7)


def test_timestamps_are_frame_centres_in_milliseconds():
    load_model, _, get_timestamp_embeddings = earbench.hear_api("fbank_no_cmvn")
    _, times = get_timestamp_embeddings(torch.zeros(2, 16_000), load_model())
    assert times[0, :3].tolist() == [12.5, 22.5, 32.5]
    assert times.shape == (2, 98)


class Squares(FbankNoCmvn):
    """Frames at irregular times."""

    def encode(self, waves, lengths) -> Features:
        found = super().encode(waves, lengths)
        return replace(found, times=(torch.arange(found.frames.shape[2]) / 100).square().expand(len(waves), -1))


def test_irregular_times_are_given_as_they_are():
    _, times = HearModel(Squares()).timestamps(torch.zeros(1, 16_000))
    assert times[0, [0, 10, 50]].tolist() == pytest.approx([0.0, 10.0, 250.0])


class WideScenes(HearNaive):
    """Clip embeddings of another width than the frames."""

    def embed(self, waves, lengths):
        return super().embed(waves, lengths)[:, :, :100]


def test_the_scene_size_is_that_of_the_clip_embedding():
    model = HearModel(WideScenes())
    assert (model.timestamp_embedding_size, model.scene_embedding_size) == (4096, 100)


def test_a_clip_of_a_few_samples_is_heard():
    load_model, get_scene_embeddings, _ = earbench.hear_api("fbank_no_cmvn")
    assert get_scene_embeddings(torch.zeros(1, 10), load_model()).isfinite().all()


def test_a_file_given_to_load_model_is_the_checkpoint(tmp_path):
    with pytest.raises(RequestError, match="takes no checkpoint"):
        earbench.hear_api("fbank_no_cmvn").load_model(str(tmp_path / "weights"))
    with pytest.raises(RequestError, match="names its weights already"):
        earbench.hear_api(f"cpc@{tmp_path}").load_model(str(tmp_path / "weights"))


def test_a_rate_that_hear_does_not_know_is_refused():
    other = FbankNoCmvn()
    other.sample_rate = 8_000
    with pytest.raises(RequestError, match="8000 Hz"):
        HearModel(other)


def test_the_door_stays_a_function_whatever_was_imported():
    assert callable(earbench.hear_api)
    assert importlib.util.find_spec("earbench.hear_api") is None
