"""Log-mel spectrogram from centred frames, normalised per clip."""

from __future__ import annotations

import torch
from torch import Tensor

from earbench.kit.frontends import centred_frames, cmvn, htk_mel_bank, reflected_power
from earbench.kit.handmade import HandMade, computed_card


class Mel(HandMade):
    """ln(x + 1e-10) of 80 HTK mel bands of the power spectrum, Hann 400, then CMVN (upstreams sheet, 4).

    Each clip is mirrored at its own end, as s3prl does for a batch of one.
    """

    sample_rate, hop, width = 16_000, 0.010, 80
    card = computed_card("mel", sample_rate, hop, width)
    window, step = 400, 160
    taper: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", torch.hann_window(self.window))
        self.constant("bank", htk_mel_bank(80, self.window, self.sample_rate))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        counts = centred_frames(lengths, self.step)
        energies = reflected_power(waves, lengths, self.taper, self.step) @ self.bank
        return cmvn((energies + 1e-10).log(), counts), counts
