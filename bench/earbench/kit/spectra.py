"""The log spectrograms in front of the older speech encoders, as plain data that their files state.

Protocol sheet upstreams §4 (recipes), §6.4. Everything is of the clip alone: deltas and normalisation know its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from earbench.errors import BadCheckpoint
from earbench.kit.frontends import (
    centred_frames,
    cmvn,
    fitting_frames,
    htk_mel_bank,
    kaldi_fbank,
    kaldi_mel_bank,
    povey_window,
    reflected_power,
    with_deltas,
)

SAMPLE_RATE, SHORTEST = 16_000, 1_600
"""Hertz, and samples that every clip has."""


@dataclass(frozen=True)
class Spectra:
    """Which spectrogram. `window` and `step` count samples at 16 kHz.

    "povey" and "hamming" are Kaldi's log mel energies under that window, of frames that fit into the clip. "mel" and
    "linear" are ln(power + 1e-10) of centred Hann frames, in HTK's mel bands or bin by bin. `deltas` is how many times
    slopes are set beside them.
    """

    kind: Literal["povey", "hamming", "mel", "linear"]
    bands: int = 80
    window: int = 400
    step: int = 160
    deltas: int = 0
    cmvn: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.step <= self.window <= SHORTEST and self.window > 1 < self.bands and 0 <= self.deltas <= 2):
            raise BadCheckpoint(f"its settings ask for a spectrogram that no encoder known here has: {self}")

    @property
    def width(self) -> int:
        return (self.window // 2 + 1 if self.kind == "linear" else self.bands) * (1 + self.deltas)

    @property
    def centred(self) -> bool:
        return self.kind in ("mel", "linear")

    @property
    def first(self) -> float:
        """The centre of frame 0 in seconds."""
        return 0.0 if self.centred else self.window / 2 / SAMPLE_RATE


MEL, HAMMING = Spectra("mel"), Spectra("hamming")
"""What the published Mockingjay family hears; what APC, NPC and DeCoAR 2.0 do."""


class Spectrogram(nn.Module):
    """Waves to frames [clip, time, width] and how many are true. Its tables are computed, so they are no weights."""

    taper: Tensor
    bank: Tensor

    def __init__(self, spectra: Spectra) -> None:
        super().__init__()
        self.spectra = spectra
        self.register_buffer("taper", _taper(spectra), persistent=False)
        self.register_buffer("bank", _bank(spectra), persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectra = self.spectra
        with torch.autocast(waves.device.type, enabled=False):
            waves = waves.float()
            if spectra.centred:
                counts = centred_frames(lengths, spectra.step)
                power = reflected_power(waves, lengths, self.taper, spectra.step)
                frames = ((power if spectra.kind == "linear" else power @ self.bank) + 1e-10).log()
            else:
                counts = fitting_frames(lengths, spectra.window, spectra.step)
                frames = kaldi_fbank(waves, self.taper, spectra.step, self.bank)
            frames = with_deltas(frames, counts, spectra.deltas)
            return cmvn(frames, counts) if spectra.cmvn else frames, counts


def _taper(spectra: Spectra) -> Tensor:
    if spectra.kind == "povey":
        return povey_window(spectra.window)
    if spectra.kind == "hamming":
        return torch.hamming_window(spectra.window, periodic=False)
    return torch.hann_window(spectra.window)


def _bank(spectra: Spectra) -> Tensor:
    if spectra.centred:
        return htk_mel_bank(spectra.bands, spectra.window, SAMPLE_RATE)
    return kaldi_mel_bank(spectra.bands, 1 << (spectra.window - 1).bit_length(), SAMPLE_RATE)
