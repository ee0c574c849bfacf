"""APC and VQ-APC (Chung et al. 2019, 2020): recurrent networks that predict frames to come.

Written after s3prl's upstream/apc, whose checkpoints these are. Layers are the outputs of the recurrent layers, from
the second on with their input added; they look back only, so that no padding ever reaches them. VQ-APC chooses a code
for each frame of its last layer; s3prl trains with them and exposes none, here they are the group "codes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import FromFile, depth, setting, size, without
from earbench.kit.predictive import PREDICTION, Codebooks, books_of, read_predictive, with_codes
from earbench.kit.spectra import SAMPLE_RATE, Spectra, Spectrogram

RECURRENCE = ".weight_hh_l0"


@dataclass(frozen=True)
class ApcShape:
    """`books` are the size and the width of each codebook; with `residual` layers add their input."""

    spectra: Spectra = Spectra("hamming")
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
    published: ClassVar[ApcShape] = ApcShape()
    build = ApcNet

    def __init__(self, net: nn.Module, shape: ApcShape, source: Mapping[str, str]) -> None:
        super().__init__(net, shape, source)
        self.spectrogram = Spectrogram(shape.spectra)

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[ApcShape, dict[str, Tensor]]:
        spectra, settings, state = read_predictive(file)
        layers = depth(state, "rnn_layers.", RECURRENCE)
        width = size(state, f"rnn_layers.0{RECURRENCE}")[1]
        shape = ApcShape(spectra, width, layers, setting(settings, "residual", bool), books_of(state))
        if bool(shape.books) != bool(cls.published.books):
            raise BadCheckpoint(
                f"it has {len(shape.books)} codebooks, '{cls.card.name}' {len(cls.published.books)}",
                "apc@FILE takes files without, vq_apc@FILE those with codebooks",
            )
        return shape, without(state, PREDICTION)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        frames, counts = self.spectrogram(waves, lengths)
        return with_codes(self.net(frames), counts, self.net.vq_layers, self.shape.spectra)


class VqApc(Apc):
    """The same with one codebook of 512, behind the last layer."""

    card = replace(
        Apc.card,
        name="vq_apc",
        family="VQ-APC",
        weights="https://huggingface.co/leo19941227/apc_series/resolve/main/vq_apc_360hr.ckpt",
        parameters=4_589_056,
    )
    published = ApcShape(books=((512, 512),))
