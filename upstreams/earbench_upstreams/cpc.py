"""Modified CPC (Rivière et al. 2020), our own: trained here on real speech, or any file in the public layout.

Protocol sheet upstreams §6.7 (network), §10.1 (names). Two layers at 100 frames a second: z, what the convolutions see
of 29 ms, and c, what the recurrent context makes of everything up to there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.cpc import FIRST, SAMPLE_RATE, STEP, CpcNet, Shape, frame_counts, fresh
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

OURS = Path(__file__).parent / "weights" / "cpc.safetensors"
LAYOUT = "expected the public layout: gEncoder.conv0.weight, gAR.baseNet.weight_ih_l0, …, bare or below 'weights'"


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

    def __init__(self, net: CpcNet, source: Mapping[str, str]) -> None:
        super().__init__()
        self.net = net
        self.width = net.shape.width
        self.source = source

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
        return cls(net, {"weights": path.name, "sha256": file_digest(path)})

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        counts = frame_counts(lengths)
        frames = torch.stack(self.net(waves, lengths), dim=1)
        return Features(frames, counts, hop=self.hop, first=FIRST)


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by their public names: bare, below "weights" (published) or "gEncoder" (a training checkpoint)."""
    for key in ("weights", "gEncoder"):
        if isinstance(file.get(key), Mapping):
            file = file[key]
            break
    state = strip_prefix(file, ("module.",))
    if not {"gEncoder.conv0.weight", "gAR.baseNet.weight_ih_l0"} <= state.keys():
        raise BadCheckpoint(f"{name} holds no CPC network", LAYOUT, f"found: {', '.join(list(state)[:4])}, …")
    return state


def shape_of(state: Mapping[str, Any], name: str) -> Shape:
    """What the tensors say of the network: width, recurrent layers, LSTM or GRU, which norm."""
    width = len(state["gEncoder.conv0.weight"])
    hidden = state["gAR.baseNet.weight_hh_l0"].shape[1]
    gates = len(state["gAR.baseNet.weight_hh_l0"]) // hidden
    if hidden != width or gates not in (3, 4):
        raise BadCheckpoint(f"{name}: a context of width {hidden} with {gates} gates over frames of width {width}")
    depth = sum(key.startswith("gAR.baseNet.weight_hh_l") for key in state)
    batch = "gEncoder.batchNorm0.running_mean" in state
    return Shape(width, depth, "LSTM" if gates == 4 else "GRU", "batch" if batch else "channel")
