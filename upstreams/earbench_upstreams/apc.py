"""APC and VQ-APC (Chung et al. 2019, 2020): recurrent networks that predict frames to come.

Written after s3prl's upstream/apc, whose checkpoints these are. Layers are the outputs of the recurrent layers, from
the second on with their input added; they look back only, so that no padding ever reaches them. VQ-APC predicts from
codes of its last layer: s3prl exposes that layer before the codes are chosen, and so do we; the codes are a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import FromFile, depth, setting, size
from earbench.kit.predictive import CODES, Codebooks, books_of, code_groups, read_predictive, with_codes
from earbench.kit.spectra import HAMMING, SAMPLE_RATE, Spectra, Spectrogram

RECURRENCE = ".weight_hh_l0"


@dataclass(frozen=True)
class ApcShape:
    """With `residual`, layers from the second on add their input. `books`: size and width of each codebook."""

    spectra: Spectra = HAMMING
    width: int = 512
    layers: int = 3
    residual: bool = True
    books: tuple[tuple[int, int], ...] = ()

    @property
    def hop(self) -> float:
        return self.spectra.step / SAMPLE_RATE


class ApcNet(nn.Module):
    """Frames [clip, time, band] to the layers [clip, layer, time, width]; `vq_layers` makes codes of the last."""

    def __init__(self, shape: ApcShape) -> None:
        super().__init__()
        self.residual = shape.residual
        inputs = [shape.spectra.width] + [shape.width] * (shape.layers - 1)
        self.rnn_layers = nn.ModuleList(nn.GRU(width, shape.width, batch_first=True) for width in inputs)
        self.vq_layers = Codebooks(shape.books)

    def forward(self, frames: Tensor) -> Tensor:
        layers: list[Tensor] = []
        for recurrent in self.rnn_layers:
            heard = recurrent(layers[-1] if layers else frames)[0]
            layers.append(heard + layers[-1] if layers and self.residual else heard)
        return torch.stack(layers, 1)


class Apc(FromFile):
    """Layers of the published network: three, 98 frames for a second."""

    card = UpstreamCard(
        "apc",
        "APC",
        "Apache-2.0",
        weights="https://huggingface.co/leo19941227/apc_series/resolve/main/apc_360hr.ckpt",
        parameters=4_064_256,
        sample_rate=SAMPLE_RATE,
        hop=0.01,
        layers=3,
        widths=(512,),
        normalise=False,
        parity="run",
    )
    public_shape: ClassVar[ApcShape] = ApcShape()
    build = ApcNet

    def __init__(self, net: nn.Module, shape: ApcShape, source: Mapping[str, str]) -> None:
        super().__init__(net, shape, source)
        self.spectrogram = Spectrogram(shape.spectra)
        self.groups = code_groups(shape.books, self.hop)

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[ApcShape, dict[str, Tensor]]:
        spectra, settings, state = read_predictive(file)
        layers = depth(state, "rnn_layers.", RECURRENCE)
        width = size(state, f"rnn_layers.0{RECURRENCE}")[1]
        shape = ApcShape(spectra, width, layers, setting(settings, "residual", bool), books_of(state))
        if bool(shape.books) != bool(cls.public_shape.books):
            raise BadCheckpoint(
                f"it was trained {'with' if shape.books else 'without'} a codebook, unlike '{cls.card.name}'",
                "apc@FILE takes files without, vq_apc@FILE those with a codebook",
            )
        return shape, state

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        frames, counts = self.spectrogram(waves, lengths)
        return with_codes(self.net(frames), counts, self.net.vq_layers, self.shape.spectra)


class VqApc(Apc):
    """The same network, trained with a codebook of 512 behind its last layer."""

    card = replace(
        Apc.card,
        name="vq_apc",
        family="VQ-APC",
        weights="https://huggingface.co/leo19941227/apc_series/resolve/main/vq_apc_360hr.ckpt",
        parameters=4_589_056,
        groups=(CODES,),
    )
    public_shape = ApcShape(books=((512, 512),))
