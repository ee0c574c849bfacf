"""The eight encoders without learned weights: published shapes, golden numbers, and the promises of the contract."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from earbench.contract import Features, Upstream
from earbench.errors import BadCheckpoint
from earbench_upstreams import hear_naive
from earbench_upstreams.fbank import Fbank, FbankNoCmvn
from earbench_upstreams.hear_naive import HearNaive
from earbench_upstreams.linear import Linear
from earbench_upstreams.log_stft import LogStft
from earbench_upstreams.mel import Mel
from earbench_upstreams.mfcc import Mfcc
from earbench_upstreams.spectrogram import Spectrogram

ALL = {kind.card.name: kind for kind in (Fbank, FbankNoCmvn, Mfcc, Mel, Linear, Spectrogram, LogStft, HearNaive)}
NORMALISED = ["fbank", "mfcc", "mel", "linear", "spectrogram"]
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "hand_made.json").read_text())


@pytest.fixture(scope="module", params=ALL)
def upstream(request) -> Upstream:
    return ALL[request.param]().eval()


def golden_wave(sample_rate: int) -> Tensor:
    """One second: a rising swelling tone, a second tone from 0.4 s on, and noise. (RandomState's stream is frozen.)"""
    t = np.arange(sample_rate) / sample_rate
    rising = 0.3 * np.sin(2 * np.pi * (150 * t + 40 * t**2)) * np.abs(np.sin(9 * t))
    second = 0.1 * np.sin(2 * np.pi * 2100 * t) * (t > 0.4)
    return torch.from_numpy((rising + second + 0.01 * np.random.RandomState(7).randn(sample_rate)).astype("float32"))


def clips(sample_rate: int) -> list[Tensor]:
    """Loud, soft, tonal, half silent and silent clips between 0.1 and 1.3 s, none of the others' length."""
    noise = torch.from_numpy(np.random.RandomState(5).randn(2 * sample_rate).astype("float32"))
    tone = torch.sin(2 * torch.pi * 1003 * torch.arange(sample_rate) / sample_rate)
    half_silent = torch.cat([torch.zeros(sample_rate // 3), 0.1 * noise[: sample_rate // 4]])
    seconds = {0.1: 0.2 * noise, 0.7123: 0.1 * noise, 1.3: 1e-4 * noise, 0.2: torch.zeros(sample_rate), 0.9: 0.8 * tone}
    return [golden_wave(sample_rate), half_silent, *(wave[: round(s * sample_rate)] for s, wave in seconds.items())]


def alone(upstream: Upstream, wave: Tensor) -> Features:
    return upstream.encode(wave[None], torch.tensor([len(wave)]))


# ---- published sizes and numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fbank", (98, 240)),
        ("fbank_no_cmvn", (98, 240)),
        ("mfcc", (98, 39)),
        ("mel", (101, 80)),
        ("linear", (101, 201)),
        ("spectrogram", (98, 257)),
        ("log_stft", (51, 257)),
        ("hear_naive", (21, 4096)),
    ],
)
def test_one_second_gives_the_published_shape(name, shape):
    encoder = ALL[name]()
    features = alone(encoder, golden_wave(encoder.sample_rate))
    assert features.frames.shape == (1, 1, *shape)
    assert features.lengths.tolist() == [shape[0]]


@pytest.mark.parametrize("name", ALL)
def test_features_equal_the_reference_implementation(name):
    """Golden numbers of s3prl 0.4.18 and hearbaseline 2021.1.1 themselves; the file names the versions they ran on."""
    encoder, golden = ALL[name](), GOLDEN[name]
    frames = alone(encoder, golden_wave(encoder.sample_rate)).frames[0, 0]
    assert list(frames.shape) == golden["shape"]
    ours = frames[golden["frames"]][:, golden["columns"]]
    assert torch.allclose(ours, torch.tensor(golden["values"]), rtol=0, atol=1e-4)


def test_the_scene_embedding_equals_hears():
    encoder, golden = HearNaive(), GOLDEN["hear_naive_scene"]
    scene = encoder.embed(golden_wave(44_100)[None], torch.tensor([44_100]))
    assert scene.shape == (1, 1, 4096)
    assert torch.allclose(scene[0][:, golden["columns"]], torch.tensor(golden["values"]), rtol=0, atol=1e-4)


# ---- promises of the contract ----------------------------------------------------------------------------------------


def test_features_do_not_depend_on_batch_mates_or_padding(upstream):
    waves = clips(upstream.sample_rate)
    lengths = torch.tensor([len(wave) for wave in waves])
    padded = torch.nn.functional.pad(pad_sequence(waves, batch_first=True), (0, 777))
    batched, embedded = upstream.encode(padded, lengths), upstream.embed(padded, lengths)
    for index, wave in enumerate(waves):
        single, count = alone(upstream, wave), int(batched.lengths[index])
        assert single.frames.shape[2] == int(single.lengths[0]) == count
        scale = max(1.0, float(single.frames.abs().max()))
        assert (batched.frames[index, :, :count] - single.frames[0]).abs().max() < 1e-5 * scale
        assert not batched.frames[index, :, count:].any()
        assert (embedded[index] - upstream.embed(wave[None], lengths[index : index + 1])[0]).abs().max() < 1e-5 * scale


def test_features_are_finite_on_silence_and_very_short_clips(upstream):
    shortest = upstream.sample_rate // 10
    waves = torch.stack([torch.zeros(shortest), golden_wave(upstream.sample_rate)[:shortest], torch.ones(shortest)])
    features = upstream.encode(waves, torch.full((3,), shortest))
    assert features.lengths.min() >= 1
    assert features.frames.isfinite().all()


def test_features_are_repeatable_and_leave_the_input_untouched(upstream):
    wave = golden_wave(upstream.sample_rate)
    kept = wave.clone()
    assert torch.equal(alone(upstream, wave).frames, alone(type(upstream)(), wave).frames)
    assert torch.equal(wave, kept)


def test_frame_times_lie_inside_the_clip(upstream):
    for wave in clips(upstream.sample_rate):
        features = alone(upstream, wave)
        last = features.first + (int(features.lengths[0]) - 1) * features.hop
        assert 0 <= features.first <= last <= len(wave) / upstream.sample_rate + 1e-9


def test_the_card_tells_the_sizes_of_the_features(upstream):
    card, features = upstream.card, alone(upstream, golden_wave(upstream.sample_rate))
    assert (card.layers, card.widths) == (features.frames.shape[1], (features.frames.shape[3],))
    assert (upstream.layers, upstream.width) == (card.layers, *card.widths)
    assert (card.sample_rate, card.hop) == (upstream.sample_rate, upstream.hop) == (upstream.sample_rate, features.hop)
    assert sum(weight.numel() for weight in upstream.parameters()) == card.parameters == 0


def test_autocasting_does_not_reach_the_features(upstream):
    waves, lengths = golden_wave(upstream.sample_rate)[None], torch.tensor([upstream.sample_rate])
    full, scene = upstream.encode(waves, lengths), upstream.embed(waves, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(upstream.encode(waves, lengths).frames, full.frames)
        assert torch.equal(upstream.embed(waves, lengths), scene)


@pytest.mark.parametrize("name", NORMALISED)
def test_silence_is_zero_after_normalisation(name):
    assert not alone(ALL[name](), torch.zeros(16_000)).frames.any()


@pytest.mark.parametrize("name", NORMALISED)
def test_a_band_below_the_floor_does_not_blow_up(name):
    quiet = 1e-4 * torch.from_numpy(np.random.RandomState(0).randn(16_000).astype("float32"))
    assert alone(ALL[name](), quiet).frames.abs().max() < 98**0.5 + 3


# ---- the naive HEAR baseline -----------------------------------------------------------------------------------------


def test_a_scene_is_the_mean_of_every_fifth_timestamp():
    encoder, wave = HearNaive(), golden_wave(44_100)
    expected = alone(encoder, wave).frames[0, :, ::5].mean(1)
    assert torch.allclose(encoder.embed(wave[None], torch.tensor([len(wave)]))[0], expected, atol=1e-4)


def test_frame_starts_need_no_rounding_at_44100_hertz():
    assert [round(n * HearNaive.hop * HearNaive.sample_rate) for n in range(24_000)] == [
        n * HearNaive.step for n in range(24_000)
    ]


def test_another_projection_is_refused_and_both_torch_versions_are_named(monkeypatch):
    monkeypatch.setattr(hear_naive, "PROJECTION_SHA256", "0" * 64)
    with pytest.raises(BadCheckpoint) as refusal:
        HearNaive()
    assert torch.__version__ in str(refusal.value)
    assert hear_naive.MADE_BY in str(refusal.value)
