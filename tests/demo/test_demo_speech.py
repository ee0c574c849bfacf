"""What is done to a recording, measured on signals whose answer is known."""

import numpy as np
import pytest

from earbench.demo import speech
from earbench.demo.noise import NOISES, noise
from earbench.kit.seeds import generator

SECOND = np.arange(16_000) / 16_000


def loudest_hertz(wave):
    return np.fft.rfftfreq(len(wave), 1 / 16_000)[np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax()]


@pytest.mark.parametrize("factor", [0.82, 1.14])
def test_a_scaled_tract_moves_frequencies_and_time_by_its_factor(factor):
    moved = speech.scale_tract(np.sin(2 * np.pi * 1000 * SECOND), factor)
    assert loudest_hertz(moved) == pytest.approx(1000 * factor, rel=0.005)
    assert len(moved) == pytest.approx(16_000 / factor, abs=2)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
def test_another_pace_changes_the_duration_and_not_the_pitch(factor):
    tone = np.sin(2 * np.pi * 220 * SECOND)
    spoken = speech.change_pace(tone, factor)
    assert len(spoken) == pytest.approx(16_000 / factor, abs=500)
    assert loudest_hertz(spoken) == pytest.approx(220, abs=3)
    middle = spoken[len(spoken) // 4 : -len(spoken) // 4]
    assert np.abs(middle).max() == pytest.approx(1.0, abs=0.05)
    assert np.square(middle).mean() == pytest.approx(0.5, abs=0.03)


def test_a_room_has_unit_energy_and_falls_by_sixty_decibels_in_its_echo_time():
    response = speech.room(generator("test room"), echo=0.3, direct=0.5)
    assert np.square(response).sum() == pytest.approx(1.0)
    assert response[0] ** 2 == pytest.approx(0.5)
    left = 10 * np.log10(np.cumsum(np.square(response[1:])[::-1])[::-1])
    slope = np.polyfit(np.arange(400, 2400) / 16_000, left[400:2400], 1)[0]
    assert slope == pytest.approx(-60 / 0.3, rel=0.1)


def test_a_microphone_tilts_evenly_per_octave_and_leaves_a_hundred_hertz_alone():
    impulse = np.eye(1, 1600)[0]
    heard = np.abs(np.fft.rfft(speech.tilt(impulse, 6.0)))
    level = 20 * np.log10(heard[[10, 100, 400, 800]])  # 100, 1000, 4000, 8000 Hz
    assert level[1] - level[0] == pytest.approx(6 * np.log(10) / np.log(80), abs=0.3)
    assert level[2] - level[1] == pytest.approx(6 * np.log(4) / np.log(80), abs=0.3)


def test_convolution_equals_numpys():
    rng = np.random.default_rng(0)
    wave, response = rng.standard_normal(301), rng.standard_normal(17)
    np.testing.assert_allclose(speech.convolve(wave, response), np.convolve(wave, response), atol=1e-12)


@pytest.mark.parametrize("snr", [0.0, 17.0])
def test_noise_is_added_at_the_stated_level_below_the_speech(snr):
    rng = np.random.default_rng(1)
    spoken, background = 3 * rng.standard_normal(4000), 0.1 * rng.standard_normal(16_000)
    clip = speech.place(spoken, 16_000, 2000)
    added = speech.add_noise(clip, background, snr, speech=spoken) - clip
    assert 10 * np.log10(np.square(spoken).mean() / np.square(added).mean()) == pytest.approx(snr)


def test_a_wave_too_long_for_its_place_is_cut_at_the_end():
    np.testing.assert_array_equal(speech.place(np.arange(1.0, 6.0), 4, 2), [0, 0, 1, 2])


def test_each_noise_has_unit_power_and_a_colour_of_its_own():
    centroids = {}
    for name in NOISES:
        wave = noise(name, 2.0, generator("test noise", name), ["en-US"])
        assert len(wave) == 32_000
        assert np.square(wave).mean() == pytest.approx(1.0)
        power = np.abs(np.fft.rfft(wave)) ** 2
        centroids[name] = (np.fft.rfftfreq(len(wave), 1 / 16_000) * power).sum() / power.sum()
    assert 2 * centroids["exercise_bike"] < centroids["pink_noise"] < 2000
    assert centroids["dude_miaowing"] < 2000 < centroids["white_noise"] < centroids["running_tap"]


@pytest.mark.parametrize("name", list(NOISES))
def test_the_same_seed_gives_the_same_noise_and_another_seed_another(name):
    first, again, other = (noise(name, 0.5, generator("test seed", seed), ["de-DE"]) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other)
