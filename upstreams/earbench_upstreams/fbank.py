"""Kaldi log-mel energies with deltas, with and without normalisation: SUPERB's floor."""

from __future__ import annotations

from torch import Tensor

from earbench.kit.frontends import cmvn, fitting_frames, kaldi_fbank, kaldi_mel_bank, povey_window, with_deltas
from earbench.kit.handmade import HandMade, computed_card


class FbankNoCmvn(HandMade):
    """80 log-mel energies of 25 ms frames every 10 ms, their slopes and the slopes of these (upstreams sheet, 4).

    Mean-pooling heads need this one: with the mean removed they see a constant (SUPERB sheet, 1.7).
    """

    sample_rate, hop, width, first = 16_000, 0.010, 240, 0.0125
    card = computed_card("fbank_no_cmvn", sample_rate, hop, width)
    window, step = 400, 160
    taper: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", povey_window(self.window))
        self.constant("bank", kaldi_mel_bank(80, 512, self.sample_rate))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        counts = fitting_frames(lengths, self.window, self.step)
        return with_deltas(kaldi_fbank(waves, self.taper, self.step, self.bank), counts), counts


class Fbank(FbankNoCmvn):
    """The same, each feature then brought to mean 0 and deviation 1 over the clip."""

    card = computed_card("fbank", FbankNoCmvn.sample_rate, FbankNoCmvn.hop, FbankNoCmvn.width)

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames, counts = super().compute(waves, lengths)
        return cmvn(frames, counts), counts
