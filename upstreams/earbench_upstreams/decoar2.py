"""DeCoAR 2.0 (Ling and Liu 2020): a transformer over log mel frames, trained to restore masked stretches from codes.

Written after s3prl's upstream/decoar2, which loads the published file loosely and keeps what lies below
`post_extract_proj` and `encoder`: here that part must fit exactly, and the rest (codebooks, heads, whatever it is) is
dropped. Front end: Kaldi's 80 log mel energies under a Hamming window, normalised per clip, of which every second
frame goes on. Layers are the input of block 1 and the output of each of twelve blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.attention import attend, draw_as_bert
from earbench.kit.from_file import FromFile, depth, section, size
from earbench.kit.frontends import zeroed
from earbench.kit.spectra import HAMMING, SAMPLE_RATE, Spectrogram
from earbench.kit.weights import modern_weight_norm

HEAD, EVERY = 64, 2
"""The width of an attention head, which no file states, and which frames of the front end go on."""
KEPT = ("post_extract_proj.", "encoder.")
INPUT, POSITIONS, INNER = "post_extract_proj.weight", "encoder.pos_conv.0.weight_v", ".fc1.weight"


@dataclass(frozen=True)
class DecoarShape:
    """`kernel` is how many frames the positional convolution sees, in `groups` of channels."""

    width: int = 768
    inner: int = 3072
    blocks: int = 12
    kernel: int = 128
    groups: int = 16

    @property
    def layers(self) -> int:
        return self.blocks + 1

    @property
    def hop(self) -> float:
        return 0.02


class Block(nn.Module):
    """A transformer block of fairseq, normalised after each sum."""

    def __init__(self, shape: DecoarShape) -> None:
        super().__init__()
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(shape.width, shape.width) for name in names})
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.fc1, self.fc2 = nn.Linear(shape.width, shape.inner), nn.Linear(shape.inner, shape.width)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        query, key, value = (self.self_attn[name](x) for name in ("q_proj", "k_proj", "v_proj"))
        heard = attend(query, key, value, x.shape[2] // HEAD, counts)
        x = self.self_attn_layer_norm(x + self.self_attn["out_proj"](heard))
        return self.final_layer_norm(x + self.fc2(functional.gelu(self.fc1(x))))


class DecoarNet(nn.Module):
    """Frames [clip, time, 80] to all states [clip, state, time, width]."""

    def __init__(self, shape: DecoarShape) -> None:
        super().__init__()
        self.post_extract_proj = nn.Linear(HAMMING.width, shape.width)
        around = nn.Conv1d(shape.width, shape.width, shape.kernel, padding=shape.kernel // 2, groups=shape.groups)
        nn.init.normal_(around.weight, std=(4 / (shape.kernel * shape.width)) ** 0.5)
        nn.init.zeros_(around.bias)
        parts = {"pos_conv": nn.ModuleList([weight_norm(around, dim=2)]), "layer_norm": nn.LayerNorm(shape.width)}
        self.encoder = nn.ModuleDict({**parts, "layers": nn.ModuleList(Block(shape) for _ in range(shape.blocks))})
        self.apply(draw_as_bert)

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """What lies beyond a clip's `counts` is zero where the convolution looks, as beyond the end of the batch."""
        x = zeroed(self.post_extract_proj(frames), counts)
        around = self.encoder["pos_conv"][0](x.transpose(1, 2))[..., : x.shape[1]]
        states = [self.encoder["layer_norm"](x + functional.gelu(around).transpose(1, 2))]
        for block in self.encoder["layers"]:
            states.append(block(states[-1], counts))
        return torch.stack(states, 1)


class Decoar2(FromFile):
    """13 states, 49 frames for a second."""

    card = UpstreamCard(
        "decoar2",
        "DeCoAR 2.0",
        "Apache-2.0",
        weights="https://huggingface.co/s3prl/converted_ckpts/resolve/main/checkpoint_decoar2.pt",
        parameters=89_837_696,
        sample_rate=SAMPLE_RATE,
        hop=0.02,
        layers=13,
        widths=(768,),
        normalise=False,
        parity="run",
    )
    public_shape: ClassVar[DecoarShape] = DecoarShape()
    build = DecoarNet

    def __init__(self, net: nn.Module, shape: DecoarShape, source: Mapping[str, str]) -> None:
        super().__init__(net, shape, source)
        self.spectrogram = Spectrogram(HAMMING)

    @classmethod
    def read(cls, file: Mapping[str, Any]) -> tuple[DecoarShape, dict[str, Tensor]]:
        state = {key: value for key, value in section(file, "model").items() if key.startswith(KEPT)}
        width, inputs = size(state, INPUT)
        if inputs != HAMMING.width or width % HEAD:
            raise BadCheckpoint(
                f"its {INPUT} is {(width, inputs)}; expected {HAMMING.width} bands and heads {HEAD} wide"
            )
        _, per_group, kernel = size(state, POSITIONS, 3)
        blocks = depth(state, "encoder.layers.", INNER)
        shape = DecoarShape(width, size(state, f"encoder.layers.0{INNER}")[0], blocks, kernel, width // per_group)
        return shape, modern_weight_norm(state)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        frames, counts = self.spectrogram(waves, lengths)
        counts = (counts + EVERY - 1) // EVERY
        states = self.net(frames[:, ::EVERY], counts)
        return Features(states, counts, hop=self.hop, first=self.spectrogram.spectra.first)
