"""Log power spectrogram from centred frames, normalised per clip."""

from __future__ import annotations

import torch
from torch import Tensor

from earbench.kit.frontends import centred_frames, cmvn, reflected_power
from earbench.kit.handmade import HandMade, computed_card


class Linear(HandMade):
    """ln(x + 1e-10) of the 201 powers of a Hann-400 frame every 10 ms, then CMVN (upstreams sheet, 4).

    Each clip is mirrored at its own end, as s3prl does for a batch of one.
    """

    sample_rate, hop, width = 16_000, 0.010, 201
    card = computed_card("linear", sample_rate, hop, width)
    window, step = 400, 160
    taper: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", torch.hann_window(self.window))

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        counts = centred_frames(lengths, self.step)
        powers = reflected_power(waves, lengths, self.taper, self.step)
        return cmvn((powers + 1e-10).log(), counts), counts
