"""Constant-Q transforms are what their definition says, for clips of any length and whatever they are padded to."""

import numpy as np
import pytest
import torch

from earbench.kit.cqt import ConstantQ, bounced, filters

RATE, STEP = 16_000, 160


def by_definition(wave, hertz, frame, gamma, per_octave=12):
    """|sum of x w exp(-2 pi i f t)| sqrt(n), with a Hann window of area 1 over n = Q rate / (f + gamma / alpha)."""
    alpha = 2 ** (1 / per_octave) - 1
    count = int(np.ceil(RATE / alpha / (hertz + gamma / alpha)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(count) / count)
    steps = np.arange(count) - (count + 1) // 2
    heard = wave[frame * STEP + steps] * window / window.sum()
    return abs(np.sum(heard * np.exp(-2j * np.pi * hertz * steps / RATE))) * np.sqrt(count)


@pytest.mark.parametrize("gamma", [0.0, 7.0])
def test_bins_are_those_of_the_definition(gamma):
    wave = np.random.default_rng(1).random(16_000) - 0.5
    transform = ConstantQ(40, 220.0, 12, RATE, STEP, gamma)
    found = transform(torch.from_numpy(wave).float()[None], torch.tensor([16_000]))[0]
    assert found.shape == (101, 40)
    for bin_ in (0, 11, 12, 25, 39):
        assert float(found[50, bin_]) == pytest.approx(by_definition(wave, 220 * 2 ** (bin_ / 12), 50, gamma), rel=1e-4)


def test_a_tone_is_strongest_in_its_bin():
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / RATE)[None]
    found = ConstantQ(36, 110.0, 12, RATE, STEP)(tone, torch.tensor([16_000]))
    assert found.argmax(2)[0, 30:70].unique().tolist() == [24]


def test_filters_stand_in_the_middle_with_phase_zero():
    bank = filters(torch.tensor([0.05, 0.1], dtype=torch.float64), torch.tensor([9, 4]))
    assert bank.shape == (10, 4)
    real, imaginary = bank.chunk(2, 1)
    assert imaginary[5].tolist() == [0.0, 0.0]
    assert (real[:, 1] != 0).nonzero().flatten().tolist() == [4, 5, 6]  # the window begins with a zero


def test_mirrors_bounce_at_both_true_ends_like_those_of_numpy():
    wave = np.arange(1.0, 6.0)
    found = bounced(torch.tensor([[*wave, 0.0, 0.0]]), torch.tensor([5]), 11)[0]
    assert found[: 5 + 2 * 11].tolist() == np.pad(wave, 11, mode="reflect").tolist()


def test_clips_do_not_depend_on_how_far_they_are_padded():
    waves = torch.randn(2, 8_000, generator=torch.Generator().manual_seed(2))
    waves[1, 1_600:] = 0.0
    transform = ConstantQ(36, 55.0, 12, RATE, STEP)
    together = transform(waves, torch.tensor([8_000, 1_600]))[1, :11]
    alone = transform(waves[1:, :1_600], torch.tensor([1_600]))[0]
    assert torch.allclose(together, alone, atol=1e-5)
