"""Mel banks between two frequencies, on either scale; `frontends` has those that span the whole band."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from earbench.kit.frontends import frequencies, triangles

Scale = Literal["slaney", "htk"]
KNEE, SLOPE = 1000.0, 27.0 / math.log(6.4)
"""Slaney's scale: 200/3 Hz to the mel up to the knee, then 27 mels for a factor of 6.4."""


def mel_bank(
    bands: int, size: int, sample_rate: int, low: float, high: float, scale: Scale = "slaney", area: bool = False
) -> Tensor:
    """Triangles from `low` to `high` hertz, [frequency, band], corners evenly spaced in mels of `scale`.

    They are straight on the *hertz* axis. Peaks are near 1, or with `area` every triangle has an area of 1 hertz
    (librosa's `norm="slaney"`). Worked out in float64, as librosa does.

    >>> tuple(mel_bank(96, 2048, 22_050, 50.0, 10_500.0).shape)
    (1025, 96)
    """
    lowest, highest = (mels(hertz, scale) for hertz in (low, high))
    corners = hertz_of(torch.linspace(lowest, highest, bands + 2, dtype=torch.float64), scale)
    bank = triangles(frequencies(size, sample_rate).double(), corners)
    return (bank * 2.0 / (corners[2:] - corners[:-2]) if area else bank).float()


def mels(hertz: float, scale: Scale) -> float:
    """Where a frequency lies on a mel scale.

    >>> mels(1000.0, "slaney"), round(mels(1000.0, "htk"))
    (15.0, 1000)
    """
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hertz / 700.0)
    return hertz * 3.0 / 200.0 if hertz < KNEE else 15.0 + SLOPE * math.log(hertz / KNEE)


def hertz_of(mels: Tensor, scale: Scale) -> Tensor:
    if scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    return torch.where(mels < 15.0, mels * 200.0 / 3.0, KNEE * ((mels - 15.0) / SLOPE).exp())
