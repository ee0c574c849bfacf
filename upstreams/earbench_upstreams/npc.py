"""NPC (Liu et al. 2021): each frame is predicted from those around it, without seeing itself.

Written after s3prl's upstream/npc, whose checkpoints these are. Layers as s3prl exposes them, in the order in which
they come about: the output of a convolution block, then what the masked convolution makes of it, and so on upwards;
last the sum of all masked ones. It is trained to predict from codes of that sum, which are a group here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import FromFile, depth, only, setting, size
from earbench.kit.frontends import zeroed
from earbench.kit.predictive import CODES, Codebooks, books_of, code_groups, read_predictive, with_codes
from earbench.kit.spectra import HAMMING, SAMPLE_RATE, Spectra, Spectrogram

ACTIVATIONS = {"relu": functional.relu, "tanh": torch.tanh}
CONVOLUTION = ".conv.weight"


@dataclass(frozen=True)
class NpcShape:
    """A masked convolution looks at `kernel` frames except those in its middle: `mask` and two for each block below.

    So no masked layer hears the `mask` frames around its own, however far its block spreads them.
    """

    spectra: Spectra = HAMMING
    width: int = 512
    blocks: int = 4
    kernel: int = 15
    mask: int = 5
    residual: bool = True
    batch_norm: bool = True
    activation: str = "relu"
    books: tuple[tuple[int, int], ...] = ((64, 128),) * 4

    @property
    def layers(self) -> int:
        return 2 * self.blocks + 1

    @property
    def hop(self) -> float:
        return self.spectra.step / SAMPLE_RATE


class Block(nn.Module):
    """Three frames in view, [clip, channel, time]; the input is added where `residual`."""

    def __init__(self, inputs: int, shape: NpcShape, residual: bool) -> None:
        super().__init__()
        self.residual, self.bend = residual, ACTIVATIONS[shape.activation]
        self.conv = nn.Conv1d(inputs, shape.width, 3, padding=1)
        self.linear = nn.Conv1d(shape.width, shape.width, 1)
        if shape.batch_norm:
            self.bn1, self.bn2 = nn.BatchNorm1d(shape.width), nn.BatchNorm1d(shape.width)
        self.batch_norm = shape.batch_norm

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv(x)
        inner = self.linear(self.bend(self.bn1(inner) if self.batch_norm else inner))
        inner = self.bn2(inner) if self.batch_norm else inner
        return self.bend(inner + x if self.residual else inner)


class MaskedConvolution(nn.Module):
    """Frames around a hole of `mask` frames, [clip, channel, time] to [clip, time, channel]."""

    conv_mask: Tensor

    def __init__(self, width: int, kernel: int, mask: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        before = (kernel - mask) // 2
        seen = torch.ones(width, width, kernel)
        seen[:, :, before : before + mask] = 0.0
        self.register_buffer("conv_mask", seen)  # a file has it beside its weights

    def forward(self, x: Tensor) -> Tensor:
        weight, padding = self.conv_mask * self.conv.weight, self.conv.padding
        return functional.conv1d(x, weight, self.conv.bias, padding=padding).transpose(1, 2).tanh()


class NpcNet(nn.Module):
    """Frames [clip, time, band] to the layers [clip, layer, time, width]; `vq_layers` makes codes of the last."""

    def __init__(self, shape: NpcShape) -> None:
        super().__init__()
        inputs = [shape.spectra.width] + [shape.width] * (shape.blocks - 1)
        self.blocks = nn.ModuleList(
            Block(width, shape, shape.residual and number > 0) for number, width in enumerate(inputs)
        )
        self.masked_convs = nn.ModuleList(
            MaskedConvolution(shape.width, shape.kernel, shape.mask + 2 * number)
            for number in range(1, shape.blocks + 1)
        )
        self.vq_layers = Codebooks(shape.books)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """What lies beyond a clip's `counts` is made zero wherever a convolution looks: its own padding, alone."""
        layers, masked = [], []
        x = zeroed(frames, counts)
        for block, around in zip(self.blocks, self.masked_convs, strict=True):
            x = zeroed(block(x.transpose(1, 2)).transpose(1, 2), counts)
            masked.append(around(x.transpose(1, 2)))
            layers += [x, masked[-1]]
        return torch.stack([*layers, sum(masked)], 1)


class Npc(FromFile):
    """Nine layers of the published network of four blocks, 98 frames for a second."""

    card = UpstreamCard(
        "npc",
        "NPC",
        "Apache-2.0",
        weights="https://huggingface.co/leo19941227/apc_series/resolve/main/npc_360hr.ckpt",
        parameters=19_339_520,
        sample_rate=SAMPLE_RATE,
        hop=0.01,
        layers=9,
        widths=(512,),
        normalise=False,
        parity="run",
        groups=(CODES,),
    )
    public_shape: ClassVar[NpcShape] = NpcShape()
    build = NpcNet

    def __init__(self, net: nn.Module, shape: NpcShape, source: Mapping[str, str]) -> None:
        super().__init__(net, shape, source)
        self.spectrogram = Spectrogram(shape.spectra)
        self.groups = code_groups(shape.books, self.hop)
        self.card = replace(self.card, groups=tuple(self.groups))

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[NpcShape, dict[str, Tensor]]:
        spectra, settings, state = read_predictive(file)
        only(settings, disable_cross_layer=False, dim_bottleneck=None)
        width, _, kernel = size(state, f"masked_convs.0{CONVOLUTION}", 3)
        shape = NpcShape(
            spectra,
            width,
            depth(state, "blocks.", CONVOLUTION),
            kernel,
            setting(settings, "mask_size", int),
            setting(settings, "residual", bool),
            "blocks.0.bn1.weight" in state,
            setting(settings, "activate", str, "relu"),
            books_of(state),
        )
        if shape.activation not in ACTIVATIONS or not 0 < shape.mask + 2 * shape.blocks < kernel:
            raise BadCheckpoint(f"its settings describe no network: {shape}")
        return shape, state

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        frames, counts = self.spectrogram(waves, lengths)
        return with_codes(self.net(frames, counts), counts, self.net.vq_layers, self.shape.spectra)
