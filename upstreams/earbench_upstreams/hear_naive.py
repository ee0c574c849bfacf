"""HEAR's naive baseline: a log-mel spectrum times a fixed random matrix."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from earbench.contract import Features
from earbench.errors import BadCheckpoint
from earbench.kit.frontends import centred_frames, slaney_mel_bank, zero_padded_power
from earbench.kit.handmade import HandMade, computed_card

PROJECTION_SHA256 = "20e99150139e1b13ca16625824f227953bdc706454697f43dbf861acd49690ac"
MADE_BY = "torch 2.14.1"


class HearNaive(HandMade):
    """ln(x + 1e-4) of 256 Slaney mel bands of a Hann-4096 frame, projected to 4096 (HEAR sheet, 8).

    Timestamps every 50 ms, a scene is the mean of frames every 250 ms; beyond its ends a clip is silent. Both hops
    are whole samples at 44.1 kHz, so the sheet's rounding of frame starts has nothing to round.
    """

    sample_rate, hop, width = 44_100, 0.050, 4096
    card = computed_card("hear_naive", sample_rate, hop, width)
    window, step, scene_step = 4096, 2_205, 11_025
    taper: Tensor
    bank: Tensor
    projection: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.constant("taper", torch.hann_window(self.window))
        self.constant("bank", slaney_mel_bank(256, self.window, self.sample_rate))
        self.register_buffer("projection", random_projection())

    def compute(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.bands(waves, self.step) @ self.projection, centred_frames(lengths, self.step)

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        with torch.autocast(waves.device.type, enabled=False):
            scene = Features(
                self.bands(waves.float(), self.scene_step)[:, None], centred_frames(lengths, self.scene_step)
            )
            return scene.pooled() @ self.projection

    def bands(self, waves: Tensor, step: int) -> Tensor:
        return (zero_padded_power(waves, self.taper, step) @ self.bank + 1e-4).log()


def random_projection() -> Tensor:
    """The uniform matrix [256, 4096] / 16 of seed 0, on the CPU.

    torch does not promise the same draws in every version, and other draws would be another encoder, so they are
    compared with a checksum.
    """
    matrix = torch.rand(256, 4096, generator=torch.Generator().manual_seed(0), device="cpu") / 16
    found = hashlib.sha256(matrix.numpy().tobytes()).hexdigest()
    if found != PROJECTION_SHA256:
        raise BadCheckpoint(
            f"the random projection of 'hear_naive' came out differently under torch {torch.__version__}",
            f"expected sha256 {PROJECTION_SHA256[:12]}…, as made by {MADE_BY}; found {found[:12]}…",
            f"run this encoder under {MADE_BY}",
        )
    return matrix
