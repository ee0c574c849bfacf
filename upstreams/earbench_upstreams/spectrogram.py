"""Kaldi log power spectrogram, normalised per clip."""

from __future__ import annotations

from torch import Tensor

from earbench.kit.frontends import cmvn, fitting_frames, kaldi_spectrogram, povey_window
from earbench.kit.handmade import HandMade, computed_card


class Spectrogram(HandMade):
    """257 log powers of 25 ms frames every 10 ms, bin 0 being the log energy, then CMVN (upstreams sheet, 4)."""

    sample_rate, hop, width, first = 16_000, 0.010, 257, 0.0125
    card = computed_card("spectrogram", sample_rate, hop, width)
    window, step = 400, 160
    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", povey_window(self.window))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        counts = fitting_frames(lengths, self.window, self.step)
        return cmvn(kaldi_spectrogram(waves, self.taper, self.step), counts), counts
