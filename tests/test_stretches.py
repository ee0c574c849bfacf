"""Clips longer than an encoder takes: the frames of the whole clip, of no more than a stretch at a time."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import CARD, CountingUpstream, ListedTask, cell, noise_clips, prepared, thirds
from hypothesis import given
from hypothesis import strategies as any_
from torch import nn

from earbench.contract import Features, Upstream
from earbench.errors import BenchError
from earbench.extract import extract, store_of
from earbench.forward import encode
from earbench.layers import LayerView
from earbench.plan import ENGINE, deviations, freeze
from earbench.stretches import cut, cuts, needed

RATE, HOP, WINDOW = 16_000, 160, 400
CPU = torch.device("cpu")
LENGTHS = [16_001, 16_159, 16_161, 24_000, 37_391, 113_968]
"""Samples: just above a second, odd, and many stretches."""


class Sliding(Upstream):
    """Windows of 25 ms in layer 0; what five of them say together in layer 1. Remembers how much it was given."""

    card = CARD
    sample_rate, hop, layers, width = RATE, HOP / RATE, 2, 4
    batching = "equal"

    def __init__(self, longest=1.0):
        super().__init__()
        self.longest, self.given = longest, []
        torch.manual_seed(0)
        self.near, self.wide = nn.Conv1d(1, 4, WINDOW, HOP), nn.Conv1d(4, 4, 5, padding=2)
        self.eval().requires_grad_(False)

    def encode(self, waves, lengths):
        self.given += lengths.tolist()
        near = self.near(waves[:, None])
        frames = torch.stack([near, self.wide(near)], 1).transpose(2, 3)
        return Features(frames, (lengths - WINDOW) // HOP + 1, self.hop, WINDOW / 2 / RATE)


class Loudest(Sliding):
    """Has an embedding of its own."""

    def embed(self, waves, lengths):
        return self.encode(waves, lengths).frames.amax(2)


class Uneven(Sliding):
    """Says of every frame when it was."""

    def encode(self, waves, lengths):
        found = super().encode(waves, lengths)
        return replace(found, times=torch.arange(found.frames.shape[2]).expand(len(waves), -1) / 100)


class FarSighted(Sliding):
    """Gives a frame only where the 0.4 s behind it are there as well."""

    def encode(self, waves, lengths):
        return replace(super().encode(waves, lengths), lengths=(lengths - 6400) // HOP)


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, samples).astype(np.float32)


def said(upstream, samples, grain="frame", dtype="fp32"):
    return encode(upstream, [noise(samples)], grain, dtype, CPU)


# ---- the same features -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", LENGTHS)
def test_where_a_frame_hears_less_than_half_an_overlap_frames_are_those_of_the_whole_clip(samples):
    whole, parts = said(Sliding(math.inf), samples), said(Sliding(), samples)
    assert parts.rows[0].shape == whole.rows[0].shape == ((samples - WINDOW) // HOP + 1, 2, 4)
    torch.testing.assert_close(parts.rows[0].float(), whole.rows[0].float(), atol=1e-3, rtol=1e-3)  # half precision
    assert (parts.hop, parts.first) == (whole.hop, whole.first)


@pytest.mark.parametrize("grain", ["mean", "clip"])
@pytest.mark.parametrize("samples", LENGTHS)
def test_means_are_over_the_frames_of_the_whole_clip(grain, samples):
    whole, parts = said(Sliding(math.inf), samples, grain), said(Sliding(), samples, grain)
    assert parts.rows[0].shape == (1, 2, 4)
    torch.testing.assert_close(parts.rows[0], whole.rows[0], atol=1e-6, rtol=1e-5)


def test_one_layer_in_stretches_is_that_layer_of_all():
    alone = said(LayerView(Sliding(), 1), 37_391).rows[0]
    assert torch.equal(alone, said(Sliding(), 37_391).rows[0][:, 1:])


@pytest.mark.parametrize("grain", ["mean", "frame"])
def test_long_clips_among_short_ones_are_heard_as_if_alone(grain):
    upstream = Sliding()
    waves = [noise(samples, seed) for seed, samples in enumerate([8_000, 37_391, 16_000, 16_001])]
    together = encode(upstream, waves, grain, "fp32", CPU).rows
    for wave, rows in zip(waves, together, strict=True):
        assert torch.equal(rows, encode(upstream, [wave], grain, "fp32", CPU).rows[0])


# ---- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grain", ["frame", "mean", "clip"])
def test_the_encoder_never_hears_more_than_it_takes_nor_a_scrap(grain):
    for samples in LENGTHS:
        upstream = Sliding()
        said(upstream, samples, grain)
        assert len(upstream.given) > 1
        assert RATE / 10 < min(upstream.given) <= max(upstream.given) <= RATE


def test_a_clip_that_is_just_as_long_as_the_encoder_takes_is_heard_whole():
    upstream = Sliding()
    said(upstream, RATE)
    assert upstream.given == [RATE]


def test_an_embedding_of_the_encoders_own_is_of_the_whole_clip():
    upstream = Loudest()
    whole = said(Loudest(math.inf), 37_391, "clip").rows[0]
    assert torch.equal(said(upstream, 37_391, "clip").rows[0], whole)
    assert upstream.given == [37_391]
    assert not needed(upstream, "clip", 37_391)
    assert needed(upstream, "mean", 37_391)


@given(
    longest=any_.floats(0.4, 9.0),
    hop=any_.sampled_from([160, 320, 640]),
    beyond=any_.integers(1, 1_000_000),
)
def test_stretches_tile_the_clip_and_every_frame_hears_half_an_overlap(longest, hop, beyond):
    upstream = Sliding(longest)
    upstream.hop = hop / RATE
    samples = math.floor(longest * RATE) + beyond
    parts = cut(upstream, samples)
    half = round(longest / 4 * RATE) // hop
    ends = [part.samples.start // hop + part.last for part in parts[:-1]]
    assert [part.samples.start % hop for part in parts] == [0] * len(parts)
    assert [part.samples.start // hop + part.first for part in parts] == [0, *ends]
    assert [part.first for part in parts[1:]] == [half] * (len(parts) - 1)
    assert all(part.last + half == (part.samples.stop - part.samples.start) // hop for part in parts[:-1])
    sizes = [part.samples.stop - part.samples.start for part in parts]
    assert max(sizes) <= longest * RATE
    assert min(sizes) > max(2 * half * hop, RATE / 10) - hop
    assert max(sizes) - min(sizes) <= 2 * hop
    assert (parts[-1].samples.stop, parts[-1].last) == (samples, None)


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "value", "reason"),
    [("hop", 0.01001, "every 160.16 samples"), ("longest", 0.3, "takes 0.3 s at once")],
)
def test_an_encoder_whose_stretches_would_not_fit_together_is_refused(changed, value, reason):
    upstream = Sliding()
    setattr(upstream, changed, value)
    with pytest.raises(BenchError, match=reason):
        said(upstream, 37_391)


def test_irregular_frames_are_not_put_together():
    with pytest.raises(BenchError, match=r"of a stretch that gave 97 frames, .* evenly spaced"):
        said(Uneven(), 31_840)


def test_frames_that_see_more_than_half_an_overlap_are_not_put_together():
    with pytest.raises(BenchError, match=r"those from 0 to 74 were wanted(?s:.*)seeing less than half an overlap"):
        said(FarSighted(), 31_840)


# ---- the record ------------------------------------------------------------------------------------------------------


@pytest.fixture
def planned(tmp_path, settings, quiet):
    """The plan of an encoder on noise of these seconds at some grain, and its deviations."""

    def planned(upstream, seconds=(0.3, 0.4, 1.7), grain="mean"):
        clips = noise_clips(tmp_path / str(seconds), seconds)
        given = cell(upstream, ListedTask(thirds(clips), grain=grain))
        found = prepared(given.task, Path("unused"), settings, quiet)
        plan = freeze(given, found, settings)
        return plan, deviations(given, plan, found, settings)

    return planned


@pytest.mark.parametrize("grain", ["mean", "frame", "clip"])
def test_a_plan_says_that_clips_are_heard_in_stretches(grain, planned):
    plan, named = planned(Sliding(), grain=grain)
    assert plan.facts["stretches"] == {"longest": 1.0, "overlap": 0.5}
    said = "clips of more than 1 s are heard in stretches of at most that, neighbours sharing 0.5 s"
    assert named["long-clips-in-stretches"] == said
    assert plan.id != planned(Sliding(math.inf), grain=grain)[0].id
    assert plan.id != planned(Sliding(1.5), grain=grain)[0].id


def test_without_a_long_clip_the_plan_is_that_of_an_encoder_without_a_limit(planned):
    (limited, named), (free, _) = (planned(Sliding(longest), (0.3, 0.4, 1.0)) for longest in (1.0, math.inf))
    assert limited.id == free.id
    assert "long-clips-in-stretches" not in named
    assert planned(Loudest(), grain="clip")[0].id == planned(Loudest(math.inf), grain="clip")[0].id


def test_no_clip_is_too_long_for_an_encoder_that_says_nothing():
    assert not cuts(CountingUpstream(), "frame", [1e9])


def test_whole_and_cut_clips_do_not_share_a_shelf(tmp_path, settings, quiet):
    clips = noise_clips(tmp_path / "audio", [0.3, 0.4, 1.7])
    task, upstreams = ListedTask(thirds(clips)), [Sliding(longest) for longest in (1.0, 1.5, math.inf)]
    found = prepared(task, Path("unused"), settings, quiet)
    for upstream in upstreams:
        extract(cell(upstream, task), found, settings, settings.cache, quiet)
        assert len(upstream.given) == {1.0: 5, 1.5: 4, math.inf: 3}[upstream.longest]
    names = [store_of(cell(upstream, task), settings, settings.cache).folder.name for upstream in upstreams]
    assert names == [f"mean-fp32-e{ENGINE}{tail}" for tail in ("-1s", "-1.5s", "")]
