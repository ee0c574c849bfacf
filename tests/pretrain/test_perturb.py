"""Perturbing a batch: as long as asked, the same for all its stretches, and by just as much as was drawn."""

import numpy as np
import pytest

from earbench.pretrain import perturb

WINDOW = 8_000
PLAIN = {"speed": 1.0, "tilt": 0.0, "snr": np.inf, "slope": 0.0}


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(factors, rows=3, seed=0):
    found = 0.1 * rng(seed).standard_normal((rows, perturb.needed(WINDOW, factors)))
    return found.astype(np.float32)


def tone(frequency, factors):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(perturb.needed(WINDOW, factors)) / 16_000))[None]


def level(waves):
    """Root mean square of the inner half, where no edge is felt."""
    return float(np.sqrt((waves[:, WINDOW // 4 : -WINDOW // 4].astype(float) ** 2).mean()))


def test_what_is_drawn_lies_where_it_is_declared():
    drawn = [perturb.draw(rng(seed)) for seed in range(400)]
    assert all(0.8 <= one["speed"] <= 1.25 and -6 <= one["tilt"] <= 6 and 0 <= one["slope"] <= 2 for one in drawn)
    noisy = [one["snr"] for one in drawn if np.isfinite(one["snr"])]
    assert len(noisy) / len(drawn) == pytest.approx(0.7, abs=0.07)
    assert 5 <= min(noisy) < max(noisy) <= 40
    assert np.median([one["speed"] for one in drawn]) == pytest.approx(1.0, abs=0.03)  # as often slower as faster


def test_every_draw_gives_the_window_and_needs_no_more_than_the_longest():
    for seed in range(40):
        factors = perturb.draw(rng(seed))
        waves = noise(factors)
        found = perturb.perturb(waves, WINDOW, factors, rng(seed))
        assert waves.shape[1] <= perturb.longest(WINDOW)
        assert found.shape == (3, WINDOW)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert found[:, -20:].std() > 0.01  # and is filled to its end


def test_the_same_draw_does_the_same():
    factors = perturb.draw(rng(3))
    first, second = (perturb.perturb(noise(factors), WINDOW, factors, rng(9)) for _ in range(2))
    assert np.array_equal(first, second)


def test_all_stretches_of_a_batch_are_changed_alike():
    factors = {"speed": 1.13, "tilt": 4.0, "snr": np.inf, "slope": 1.0}
    waves = np.repeat(noise(factors, rows=1), 3, axis=0)
    found = perturb.perturb(waves, WINDOW, factors, rng())
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_nothing_drawn_changes_nothing():
    waves = noise(PLAIN)
    assert np.abs(perturb.perturb(waves, WINDOW, PLAIN, rng()) - waves).max() < 1e-6


@pytest.mark.parametrize("factors", [PLAIN, PLAIN | {"snr": 5.0}, PLAIN | {"snr": 5.0, "speed": 1.2, "tilt": -6.0}])
def test_silence_stays_silent_and_finite(factors):
    silence = np.zeros((2, perturb.needed(WINDOW, factors)), np.float32)
    assert not perturb.perturb(silence, WINDOW, factors, rng()).any()


@pytest.mark.parametrize("snr", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_noise_is_as_loud_as_drawn(snr, slope):
    factors = PLAIN | {"tilt": 3.0, "slope": slope}
    clean = perturb.perturb(noise(factors), WINDOW, factors, rng())
    added = perturb.perturb(noise(factors), WINDOW, factors | {"snr": snr}, rng(1)) - clean
    found = 10 * np.log10((clean.astype(float) ** 2).mean() / (added.astype(float) ** 2).mean())
    assert found == pytest.approx(snr, abs=0.05)


def test_the_noise_has_the_slope_that_was_drawn():
    factors = PLAIN | {"slope": 2.0, "snr": 0.0}
    waves = noise(factors, rows=20)
    added = perturb.perturb(waves, WINDOW, factors, rng(1)) - waves
    power = (np.abs(np.fft.rfft(added)) ** 2).mean(0)
    octaves = [power[low : 2 * low].mean() for low in (250, 500, 1_000, 2_000)]  # 500 Hz and up
    assert np.diff(10 * np.log10(octaves)) == pytest.approx(np.full(3, -6.02), abs=0.5)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_playing_faster_raises_the_pitch(speed):
    factors = PLAIN | {"speed": speed}
    found = perturb.perturb(tone(1_000, factors), WINDOW, factors, rng())
    assert np.abs(np.fft.rfft(found[0])).argmax() * 16_000 / WINDOW == pytest.approx(1_000 * speed, abs=2)


@pytest.mark.parametrize(("frequency", "decibels"), [(100, 0.0), (4_000, 5.05), (7_900, 5.98)])
def test_the_microphone_lifts_high_tones_by_the_tilt(frequency, decibels):
    """A straight line over the logarithm of the frequency, 0 dB at 100 Hz and 6 dB at 8 kHz."""
    found = perturb.perturb(tone(frequency, PLAIN), WINDOW, PLAIN | {"tilt": 6.0}, rng())
    assert 20 * np.log10(level(found) / level(tone(frequency, PLAIN))) == pytest.approx(decibels, abs=0.05)
