"""The log-mel spectrograms that published encoders were trained on, each with the tables that it takes.

Every one equals the feature extractor that transformers has for the model, in a batch and on the device of the waves.
Quiet bands lie 70 dB below loud ones, where float32 transforms begin to round, so those that the library works out in
float64 are worked out in float64 here (not on mps, which has none). Autocasting is off inside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from earbench.errors import BadCheckpoint
from earbench.kit.bands import Scale, mel_bank
from earbench.kit.frontends import kaldi_fbank, kaldi_mel_bank, reflected_power, zeroed

FLOOR = 1e-10
"""The floor below the decimal logarithms."""


class LogMel(ABC):
    """Waves [clip, sample] and their true samples to log energies [clip, frame, band] in float32."""

    def __init__(self, window: Tensor, step: int, bank: Tensor) -> None:
        self.window, self.step, self.bank = window, step, bank

    def __call__(self, waves: Tensor, lengths: Tensor) -> Tensor:
        with torch.autocast(waves.device.type, enabled=False):
            return self.compute(waves.float(), lengths).float()

    def tables(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Window and bank where the waves are, and as precise."""
        return self.window.to(waves), self.bank.to(waves)

    @abstractmethod
    def compute(self, waves: Tensor, lengths: Tensor) -> Tensor: ...


class WhisperMel(LogMel):
    """Decimal logarithms, at most 8 below the clip's largest, plus 4, over 4 (protocol sheet §3): a frame every 10 ms.

    The frame that is centred on the very end is left out. Clips are of one length, padding being part of the model.
    """

    def __init__(self, bands: int) -> None:
        super().__init__(torch.hann_window(400), 160, mel_bank(bands, 400, 16_000, 0.0, 8_000.0, area=True))

    def compute(self, waves: Tensor, lengths: Tensor) -> Tensor:
        window, bank = self.tables(waves)
        power = reflected_power(waves, torch.full_like(lengths, waves.shape[1]), window, self.step)[:, :-1]
        levels = (power @ bank).clamp_min(FLOOR).log10()
        return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


class DecibelMel(LogMel):
    """Decibels of centred frames of 1024 samples, as CLAP takes them (protocol sheet §9.2); clips are of one length."""

    def __init__(
        self, bands: int, step: int, size: int, sample_rate: int, low: float, high: float, scale: Scale
    ) -> None:
        bank = mel_bank(bands, size, sample_rate, low, high, scale, area=scale == "slaney")
        super().__init__(torch.hann_window(size, dtype=torch.float64), step, bank)

    def compute(self, waves: Tensor, lengths: Tensor) -> Tensor:
        waves = precise(waves)
        window, bank = self.tables(waves)
        power = reflected_power(waves, torch.full_like(lengths, waves.shape[1]), window, self.step)
        return 10.0 * (power @ bank).clamp_min(FLOOR).log10()


class AstFbank(LogMel):
    """Kaldi's log energies of waves in [-1, 1] under a Hann window, as AST takes them (protocol sheet §9.2)."""

    def __init__(self, bands: int, sample_rate: int) -> None:
        super().__init__(torch.hann_window(400, periodic=False), 160, kaldi_mel_bank(bands, 512, sample_rate))

    def compute(self, waves: Tensor, lengths: Tensor) -> Tensor:
        window, bank = self.tables(waves)
        return kaldi_fbank(waves, window, self.step, bank)


class SeamlessFbank(LogMel):
    """Kaldi's log energies of waves in 16 bits, each band with zero mean and unit variance over the clip's true frames.

    Frames beyond a clip's end are zero.
    """

    def __init__(self, bands: int) -> None:
        super().__init__(
            torch.hann_window(400, periodic=False, dtype=torch.float64).pow(0.85),
            160,
            kaldi_mel_bank(bands, 512, 16_000, dtype=torch.float64),
        )

    def compute(self, waves: Tensor, lengths: Tensor) -> Tensor:
        waves = precise(waves) * 2.0**15
        window, bank = self.tables(waves)
        return standardised(kaldi_fbank(waves, window, self.step, bank), (lengths - 400) // self.step + 1)


def standardised(frames: Tensor, counts: Tensor) -> Tensor:
    """Each band less its mean, over the root of its unbiased variance + 1e-7, over true frames; zeros beyond them."""
    total = counts[:, None, None].to(frames.dtype)
    centred = zeroed(frames - zeroed(frames, counts).sum(1, keepdim=True) / total, counts)
    return centred / (centred.square().sum(1, keepdim=True) / (total - 1.0) + 1e-7).sqrt()


def precise(waves: Tensor) -> Tensor:
    """The waves in float64, where the device has it."""
    return waves if waves.device.type == "mps" else waves.double()


def demand(preprocessor: Mapping[str, Any], wanted: Mapping[str, Any], kind: str) -> None:
    """A preprocessor file must agree with what a front end of this kind always does."""
    for key, value in wanted.items():
        if preprocessor.get(key, value) != value:
            raise BadCheckpoint(
                f"a preprocessor file with {key} = {preprocessor[key]!r}: {kind} is known with {value!r} only"
            )
