"""The front-end functions against torchaudio, librosa, torch.stft and numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from earbench.kit.frontends import (
    cepstral_matrix,
    cmvn,
    deltas,
    htk_mel_bank,
    kaldi_fbank,
    kaldi_mel_bank,
    kaldi_spectrogram,
    log_above,
    povey_window,
    reflected_power,
    slaney_mel_bank,
    with_deltas,
    zero_padded_power,
)

LENGTHS = [400, 1_600, 16_000, 16_123]


@pytest.fixture(scope="module")
def torchaudio():
    try:
        import torchaudio
        import torchaudio.compliance.kaldi
    except (ImportError, OSError) as problem:  # OSError: a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"torchaudio does not import here ({problem}); tests/golden/hand_made.json still speaks for it")
    return torchaudio


def wave(length: int, seed: int = 3) -> Tensor:
    """Two swelling tones over noise, loud and soft parts in turn."""
    noise = torch.from_numpy(np.random.RandomState(seed).randn(length).astype("float32"))
    time = torch.arange(length) / 16_000
    tones = 0.3 * torch.sin(2 * torch.pi * 130 * time) + 0.1 * torch.sin(2 * torch.pi * 2_700 * time)
    return tones * torch.sin(11 * time).abs() + 0.003 * noise


def farthest(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("bands", [80, 128])
def test_fbank_equals_torchaudio(torchaudio, length, bands):
    ours = kaldi_fbank(wave(length)[None], povey_window(400), 160, kaldi_mel_bank(bands, 512, 16_000))[0]
    assert farthest(ours, torchaudio.compliance.kaldi.fbank(wave(length)[None], num_mel_bins=bands)) < 1e-4


@pytest.mark.parametrize("length", LENGTHS)
def test_mfcc_equals_torchaudio(torchaudio, length):
    bands = kaldi_fbank(wave(length)[None], povey_window(400), 160, kaldi_mel_bank(23, 512, 16_000))[0]
    assert farthest(bands @ cepstral_matrix(23, 13), torchaudio.compliance.kaldi.mfcc(wave(length)[None])) < 1e-4


@pytest.mark.parametrize("loudness", [0.01, 1.0])
@pytest.mark.parametrize("length", LENGTHS)
def test_kaldi_spectrogram_equals_torchaudio(torchaudio, length, loudness):
    samples = loudness * wave(length)[None]
    ours = kaldi_spectrogram(samples, povey_window(400), 160)[0]
    assert farthest(ours, torchaudio.compliance.kaldi.spectrogram(samples)) < 1e-4


def test_kaldi_bank_equals_torchaudio(torchaudio):
    for bands, size, rate, low in [(80, 512, 16_000, 20.0), (128, 512, 16_000, 20.0), (40, 256, 8_000, 60.0)]:
        theirs, _ = torchaudio.compliance.kaldi.get_mel_banks(bands, size, rate, low, 0.0, 100.0, -500.0, 1.0)
        ours = kaldi_mel_bank(bands, size, rate, low)
        assert farthest(ours[:-1], theirs.T) < 1e-6
        assert not ours[-1].any()


def test_htk_bank_equals_torchaudio(torchaudio):
    for bands, size, rate in [(80, 400, 16_000), (64, 1_024, 22_050)]:
        theirs = torchaudio.functional.melscale_fbanks(size // 2 + 1, 0.0, rate / 2, bands, rate)
        assert farthest(htk_mel_bank(bands, size, rate), theirs) < 1e-6


@pytest.mark.parametrize(("bands", "size", "rate"), [(256, 4_096, 44_100), (64, 1_024, 22_050), (40, 512, 16_000)])
def test_slaney_bank_equals_librosa(bands, size, rate):
    librosa = pytest.importorskip("librosa")
    theirs = torch.from_numpy(librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands)).T
    assert farthest(slaney_mel_bank(bands, size, rate), theirs) < 1e-6 * float(theirs.max())


@pytest.mark.parametrize("length", [1, 2, 50])
def test_deltas_equal_torchaudio(torchaudio, length):
    frames = torch.from_numpy(np.random.RandomState(0).randn(length, 7).astype("float32"))
    slopes = torchaudio.functional.compute_deltas(frames.T, win_length=5)
    theirs = torch.cat([frames.T, slopes, torchaudio.functional.compute_deltas(slopes, win_length=5)]).T
    assert farthest(with_deltas(frames[None], torch.tensor([length]))[0], theirs) < 1e-5


def test_cmvn_equals_numpy_with_unbiased_deviation():
    frames = np.random.RandomState(1).randn(30, 5) * 3 + 7
    expected = (frames - frames.mean(0)) / (frames.std(0, ddof=1) + 1e-10)
    ours = cmvn(torch.from_numpy(frames).float()[None], torch.tensor([30]))[0]
    assert farthest(ours.double(), torch.from_numpy(expected)) < 1e-5


@pytest.mark.parametrize("along_time", [deltas, with_deltas, cmvn])
def test_what_lies_beyond_the_last_true_frame_is_not_seen(along_time):
    frames = torch.from_numpy(np.random.RandomState(2).randn(3, 20, 4).astype("float32"))
    counts = torch.tensor([20, 11, 1])
    batched = along_time(frames, counts)
    for index, count in enumerate(counts.tolist()):
        alone = along_time(frames[index : index + 1, :count], counts[index : index + 1])
        assert farthest(batched[index, :count], alone[0]) < 1e-6


def test_a_feature_that_never_changes_becomes_zero():
    # In float32 the mean of many log(eps) misses log(eps), and dividing by 1e-10 turns that into thousands.
    floor = float(log_above(torch.tensor(0.0)))
    frames = torch.full((1, 998, 3), floor)
    assert frames[0, :, 0].mean() != floor
    assert not cmvn(frames, torch.tensor([998])).any()


def test_a_clip_of_one_frame_is_zero_after_normalisation_not_nan():
    assert not cmvn(torch.full((1, 1, 4), 3.7), torch.tensor([1])).any()


@pytest.mark.parametrize(("window", "step"), [(400, 160), (512, 320)])
def test_centred_power_equals_torch_stft_of_the_unpadded_clip(window, step):
    taper, lengths = torch.hann_window(window), torch.tensor([5_000, 1_600, 4_001])
    waves = torch.stack([torch.nn.functional.pad(wave(length), (0, 6_000 - length)) for length in lengths.tolist()])
    ours = reflected_power(waves, lengths, taper, step)
    for index, length in enumerate(lengths.tolist()):
        theirs = torch.stft(wave(length), window, step, window=taper, pad_mode="reflect", return_complex=True)
        power = theirs.abs().square().T
        assert farthest(ours[index, : len(power)], power) < 1e-5 * float(power.max())


def test_zero_padded_power_equals_torch_stft_with_constant_padding():
    taper = torch.hann_window(512)
    theirs = torch.stft(wave(3_000), 512, 100, window=taper, pad_mode="constant", return_complex=True).abs().square().T
    assert farthest(zero_padded_power(wave(3_000)[None], taper, 100)[0], theirs) < 1e-5 * float(theirs.max())
