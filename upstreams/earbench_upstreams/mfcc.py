"""Kaldi cepstra with deltas, normalised per clip."""

from __future__ import annotations

from torch import Tensor

from earbench.kit.frontends import (
    cepstral_matrix,
    cmvn,
    fitting_frames,
    kaldi_fbank,
    kaldi_mel_bank,
    povey_window,
    with_deltas,
)
from earbench.kit.handmade import HandMade, computed_card


class Mfcc(HandMade):
    """13 liftered cepstra (the first is C0, not the energy) of 23 mel bands, Δ, ΔΔ, then CMVN (upstreams sheet, 4)."""

    sample_rate, hop, width, first = 16_000, 0.010, 39, 0.0125
    card = computed_card("mfcc", sample_rate, hop, width)
    window, step = 400, 160
    taper: Tensor
    bank: Tensor
    cosines: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", povey_window(self.window))
        self.constant("bank", kaldi_mel_bank(23, 512, self.sample_rate))
        self.constant("cosines", cepstral_matrix(23, 13))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        counts = fitting_frames(lengths, self.window, self.step)
        cepstra = kaldi_fbank(waves, self.taper, self.step, self.bank) @ self.cosines
        return cmvn(with_deltas(cepstra, counts), counts), counts
