"""Modified CPC (Rivière et al. 2020), our own: trained here on real speech, or any file in the public layout.

Protocol sheet upstreams §6.7 (network), §10.1 (names). Two layers at 100 frames a second: z, what the convolutions see
of 29 ms, and c, what the recurrent context makes of everything up to there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.cpc import FIRST, KERNELS, SAMPLE_RATE, STEP, CpcNet, Shape, frame_counts, fresh
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

OURS = Path(__file__).parent / "weights" / "cpc.safetensors"
FIRST_CONVOLUTION, RECURRENCE = "gEncoder.conv0.weight", "gAR.baseNet.weight_hh_l0"
LAYOUT = f"expected the public layout: {FIRST_CONVOLUTION}, {RECURRENCE}, …, bare or below 'weights' or 'gEncoder'"


class Cpc(Upstream):
    """Layers z and c of a CPC network; by default ours, see `weights/cpc.md`."""

    card = UpstreamCard(
        "cpc",
        "CPC",
        "CC-BY-SA-3.0",
        weights="shipped",
        parameters=1_843_456,
        sample_rate=SAMPLE_RATE,
        hop=STEP / SAMPLE_RATE,
        layers=2,
        widths=(256,),
        normalise=False,
        parity="run",
    )
    sample_rate, hop, layers = SAMPLE_RATE, STEP / SAMPLE_RATE, 2

    def __init__(self, net: CpcNet, source: Mapping[str, str], licence: str = card.licence) -> None:
        super().__init__()
        self.net = net
        self.width = net.shape.width
        self.source = source
        parameters = sum(parameter.numel() for parameter in net.parameters())
        self.card = replace(type(self).card, licence=licence, parameters=parameters, widths=(self.width,))

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """Our weights, or those of `spec.checkpoint`; with `~random` a network of the same shape with fresh ones."""
        if spec.random and not spec.checkpoint:
            return cls(fresh(Shape(), spec.seed), {"weights": "random", "seed": str(spec.seed)})
        path = Path(spec.checkpoint).expanduser() if spec.checkpoint else OURS
        state = public_weights(read_state(path), path.name)
        shape = shape_of(state, path.name)
        if spec.random:
            return cls(fresh(shape, spec.seed), {"weights": "random", "seed": str(spec.seed)})
        net = CpcNet(shape)
        load_strict(net, state)
        licence = "that of the file" if spec.checkpoint else cls.card.licence
        return cls(net, {"weights": path.name, "sha256": file_digest(path)}, licence)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        counts = frame_counts(lengths)
        frames = torch.stack(self.net(waves, lengths), dim=1)
        return Features(frames, counts, hop=self.hop, first=FIRST)


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by their public names: bare, below "weights" (published) or "gEncoder" (a training checkpoint)."""
    config = file.get("config")
    if isinstance(config, Mapping) and config.get("cpc_mode") == "reverse":
        raise BadCheckpoint(f"{name} holds a network that listens backwards", "only forward ones are known here")
    for key in ("weights", "gEncoder"):
        if isinstance(file.get(key), Mapping):
            file = file[key]
            break
    state = strip_prefix({str(key): value for key, value in file.items()}, ("module.",))
    if not all(isinstance(state.get(key), Tensor) for key in (FIRST_CONVOLUTION, RECURRENCE)):
        raise BadCheckpoint(f"{name} holds no CPC network", LAYOUT, f"found: {', '.join(list(state)[:4])}, …")
    return state


def shape_of(state: Mapping[str, Any], name: str) -> Shape:
    """What the tensors say of the network: width, recurrent layers, LSTM or GRU, which norm."""
    first, recurrence = (tuple(state[key].shape) for key in (FIRST_CONVOLUTION, RECURRENCE))
    width = first[0] if first[1:] == (1, KERNELS[0]) else 0
    if not width or recurrence not in ((4 * width, width), (3 * width, width)):
        raise BadCheckpoint(
            f"{name} holds another network: {FIRST_CONVOLUTION} is {first}, {RECURRENCE} is {recurrence}",
            f"expected (W, 1, {KERNELS[0]}), and (4 W, W) for an LSTM or (3 W, W) for a GRU",
        )
    depth = sum(key.startswith("gAR.baseNet.weight_hh_l") for key in state)
    batch = "gEncoder.batchNorm0.running_mean" in state
    return Shape(width, depth, "LSTM" if recurrence[0] == 4 * width else "GRU", "batch" if batch else "channel")
