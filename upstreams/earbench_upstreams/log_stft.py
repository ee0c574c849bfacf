"""Log magnitude spectrogram at 50 frames a second, not normalised: the baseline of speech enhancement tasks."""

from __future__ import annotations

import torch
from torch import Tensor

from earbench.kit.frontends import centred_frames, log_above, reflected_power
from earbench.kit.handmade import HandMade, computed_card


class LogStft(HandMade):
    """ln(max(|X|, 1e-8)) of the 257 bins of a centred Hann-512 frame every 20 ms (upstreams sheet, 4)."""

    sample_rate, hop, width = 16_000, 0.020, 257
    card = computed_card("log_stft", sample_rate, hop, width)
    window, step = 512, 320
    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", torch.hann_window(self.window))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        powers = reflected_power(waves, lengths, self.taper, self.step)
        return log_above(powers, 1e-16) / 2, centred_frames(lengths, self.step)
