"""`kit.bands` against librosa, which made the features of the encoders that use it."""

import librosa
import pytest
import torch

from earbench.kit.bands import mel_bank
from earbench.kit.frontends import htk_mel_bank, slaney_mel_bank


@pytest.mark.parametrize("area", [False, True])
@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("sizes", [(96, 2048, 22_050, 50.0, 10_500.0), (64, 1024, 16_000, 60.0, 7_800.0)])
def test_banks_are_those_of_librosa(sizes, scale, area):
    bands, size, rate, low, high = sizes
    theirs = librosa.filters.mel(
        sr=rate, n_fft=size, n_mels=bands, fmin=low, fmax=high, htk=scale == "htk", norm="slaney" if area else None
    )
    ours = mel_bank(*sizes, scale=scale, area=area)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, torch.from_numpy(theirs).T.float(), atol=1e-6)


def test_over_the_whole_range_they_are_those_of_the_front_ends():
    whole = (80, 400, 16_000)
    assert torch.allclose(mel_bank(*whole, 0.0, 8_000.0, "htk"), htk_mel_bank(*whole), atol=1e-4)
    assert torch.allclose(mel_bank(*whole, 0.0, 8_000.0, area=True), slaney_mel_bank(*whole), atol=1e-6)
