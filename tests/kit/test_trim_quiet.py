"""Trimming of what is quiet against SoX 14.4.2: the program itself where it is installed, numbers it gave elsewhere."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from earbench.kit.effects import apply, crop_8s, seconds_after, split_at_unknown

RATE = 16_000
GAIN = 10 ** (-3 / 20)
SOX = ["channels", "1", "rate", "16000", "gain", "-3.0", "silence", "1", "0.1", "0.1%", "-1", "0.1", "0.1%"]
LEVELS = (0, 1e-4, 1e-3, 1.3e-3, 1.4e-3, 1.42e-3, 1.5e-3, 2e-3, 1e-2, 0.3)
"""Around the threshold, which is 0.001 / GAIN = 0.00141 before the gain."""

GOLDEN = {
    0: (27_380, "6df957dc7a9d"),
    1: (3_391, "82663988e95e"),
    2: (16_839, "c7287811a99f"),
    3: (21_180, "d9ebf45c5957"),
    4: (16_590, "5eb1153c9619"),
    5: (16_200, "d615ea432c01"),
}
"""Samples that Debian's sox 14.4.2+git20190427-3.5 kept of `speech(seed)`, and the start of their digest."""


def speech(seed):
    """Sixteen-bit samples: bursts of noise and tones, pauses, and lengths at the edge of a tenth of a second."""
    rng = np.random.default_rng(seed)
    pieces, left = [], int(rng.integers(1, 50_000))
    while left > 0:
        kinds = [rng.integers(1, 400), rng.integers(1, 2_500), 1_599, 1_600, 1_601, rng.integers(1_600, 8_000)]
        length = int(kinds[rng.integers(6)])
        level = LEVELS[rng.integers(len(LEVELS))]
        tone = np.sin(np.arange(length) * rng.uniform(0.01, 1))
        pieces.append(level * (tone if rng.uniform() < 0.3 else rng.standard_normal(length)))
        left -= length
    return np.clip(np.round(np.concatenate(pieces) * 32_768), -32_768, 32_767).astype(np.int16)


def ours(pcm):
    samples = pcm.astype(np.float32) / np.float32(32_768)
    return apply(samples, RATE, [("gain_db", -3.0), ("trim_quiet", 0.001)])


def of_sox(pcm, folder):
    """SoX's samples, from -1 to 1; 32-bit output, so that nothing is dithered."""
    if not shutil.which("sox"):
        pytest.skip("the program sox is not installed (Debian's package sox)")
    soundfile.write(folder / "in.wav", pcm, RATE, subtype="PCM_16")
    command = ["sox", "-D", folder / "in.wav", "-b", "32", "-e", "signed", folder / "out.wav", *SOX]
    subprocess.run(command, check=True)
    return soundfile.read(folder / "out.wav", dtype="int32")[0] / 2.0**31


def digest(kept):
    """Of the sixteen-bit samples as they were before the gain."""
    return hashlib.sha256(np.round(kept / GAIN * 32_768).astype("<i2").tobytes()).hexdigest()[:12]


@pytest.mark.parametrize("seed", sorted(GOLDEN))
def test_what_is_kept_is_what_sox_kept_elsewhere(seed):
    kept = ours(speech(seed))
    assert (len(kept), digest(kept)) == GOLDEN[seed]


def test_what_is_kept_is_what_sox_keeps_sample_by_sample(tmp_path):
    lengths = []
    for seed in range(40):
        pcm = speech(seed)
        expected, found = of_sox(pcm, tmp_path), ours(pcm)
        assert len(found) == len(expected), seed
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
        lengths.append((len(expected), len(pcm)))
    assert sum(0 < kept < all_ for kept, all_ in lengths) > 20
    assert any(kept == 0 for kept, _ in lengths)


def test_the_golden_numbers_are_soxs(tmp_path):
    for seed, golden in GOLDEN.items():
        kept = of_sox(speech(seed), tmp_path)
        assert (len(kept), digest(kept)) == golden


def test_pauses_far_apart_are_cut_as_well(tmp_path):
    """Longer than the few seconds that are looked at first."""
    rng = np.random.default_rng(1)
    pcm = (1_000 * rng.standard_normal(30 * RATE)).astype(np.int16)
    for second in (1, 12, 13, 29):
        pcm[second * RATE : second * RATE + 4_000] = 0
    found = ours(pcm)
    assert len(pcm) - 4 * 4_000 <= len(found) <= len(pcm) - 4 * 3_200
    expected = of_sox(pcm, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("length", [0, 1, 319, 320, 1_599, 30_000])
def test_silence_leaves_nothing(length):
    kept = apply(np.zeros(length, np.float32), RATE, [("trim_quiet", 0.001)])
    assert kept.shape == (0,)
    assert kept.dtype == np.float32


def test_less_than_a_tenth_of_a_second_is_lost_and_a_tenth_is_kept():
    for length, kept in ((1_599, 0), (1_600, 1_600)):
        assert len(apply(np.full(length, 0.5, np.float32), RATE, [("trim_quiet", 0.001)])) == kept


def test_the_given_samples_stay_as_they_are():
    samples = np.concatenate([np.zeros(2_000), np.full(3_000, 0.5)]).astype(np.float32)
    before = samples.copy()
    assert len(apply(samples, RATE, [("trim_quiet", 0.001)])) == 3_000
    np.testing.assert_array_equal(samples, before)


# ---- eight seconds of it ---------------------------------------------------------------------------------------------


def test_crops_are_eight_seconds_and_reach_both_ends():
    samples = np.arange(8 * RATE + 10, dtype=np.float32)
    starts = [int(crop_8s(samples, RATE, fraction)[0]) for fraction in (0.0, 0.5, np.nextafter(1.0, 0.0))]
    assert starts == [0, 5, 10]
    assert all(len(crop_8s(samples, RATE, fraction)) == 8 * RATE for fraction in (0.0, 0.5, 0.999))


def test_every_offset_is_as_likely():
    samples = np.arange(8 * RATE + 3, dtype=np.float32)
    drawn = [int(crop_8s(samples, RATE, fraction)[0]) for fraction in np.random.default_rng(0).random(4_000)]
    assert np.bincount(drawn, minlength=4) == pytest.approx(np.full(4, 1_000), abs=120)


@pytest.mark.parametrize("length", [0, 1, 8 * RATE - 1, 8 * RATE])
def test_what_is_not_longer_stays_whole(length):
    samples = np.arange(length, dtype=np.float32)
    np.testing.assert_array_equal(crop_8s(samples, RATE, 0.7), samples)


def test_lengths_are_told_as_the_samples_will_have_them():
    for length in (3 * RATE, 11 * RATE):
        cropped = crop_8s(np.zeros(length, np.float32), RATE, 0.3)
        assert seconds_after(length / RATE, [("gain_db", -3.0), ("crop_8s", 0.3)]) == len(cropped) / RATE


def test_only_trimming_has_to_be_listened_to():
    assert split_at_unknown([("gain_db", -3.0), ("crop_8s", 0.1)])[0] == ()
    heard, rest = split_at_unknown([("trim_quiet", 0.1), ("gain_db", -3.0), ("trim_quiet", 0.2), ("crop_8s", 0.1)])
    assert len(heard) == 3
    assert rest == (("crop_8s", 0.1),)
