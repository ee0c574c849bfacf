"""Modified CPC (Rivière et al. 2020), our own: trained here on real speech, or any file in the public layout.

Protocol sheet upstreams §6.7 (networks), §10.1 (names). Layers at 100 frames a second: z, what the convolutions see of
29 ms, then each layer of the recurrent context, which has heard everything up to there. The last is c.

CPC2 (Kharitonov et al. 2020) has two recurrent layers. So has CPC-big, ZeroSpeech 2021's baseline, as it was used: its
published features are `--layers 2`, whatever the file has above. `cpc@FILE` takes it as ZeroSpeech released it (a
training checkpoint) and as https://github.com/bshall/cpc did (v0.1, cut to two layers, under names of its own).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, MissingWeights
from earbench.kit.cpc import FIRST, KERNELS, SAMPLE_RATE, STEP, CpcNet, Shape, frame_counts, fresh
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

OURS = Path(__file__).parent / "weights" / "cpc.safetensors"
FIRST_CONVOLUTION, RECURRENCE = "gEncoder.conv0.weight", "gAR.baseNet.weight_hh_l0"
RELEASED = {"encoder.conv": "gEncoder.conv", "encoder.norm": "gEncoder.batchNorm", "context.lstm.": "gAR.baseNet."}
TRAINING = ("mask_emb",)
"""CPC2's repository can train with masked frames; an encoder masks none."""
WHOLE, PIECE = 300.0, 30.0
"""Seconds: clips up to `WHOLE` are heard at once, longer ones in pieces, whose features are the same: convolutions see
29 ms, and the recurrence goes on where it was. So memory hardly grows with a clip.
"""
LAYOUT = f"expected the public layout: {FIRST_CONVOLUTION}, {RECURRENCE}, …, bare or below 'weights' or 'gEncoder'"


class Cpc(Upstream):
    """z and the recurrent layers of a CPC network; by default ours, see `weights/cpc.md`."""

    published: ClassVar[Shape] = Shape()
    any_shape: ClassVar[bool] = True
    ours: ClassVar[Path | None] = OURS
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
        corpora=("asterisk_prompts", "demo"),
    )
    sample_rate, hop = SAMPLE_RATE, STEP / SAMPLE_RATE

    def __init__(self, net: CpcNet, source: Mapping[str, str], licence: str | None = None) -> None:
        super().__init__()
        self.net = net
        self.layers, self.width = net.shape.depth + 1, net.shape.width
        self.source = source
        self.card = replace(
            type(self).card,
            licence=licence or type(self).card.licence,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            layers=self.layers,
            widths=(self.width,),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """Our weights, or those of `spec.checkpoint`; with `~random` a network of the same shape with fresh ones."""
        spec.refuse_argument()
        if spec.random and not spec.checkpoint:
            return cls(fresh(cls.published, spec.seed), {"weights": "random", "seed": str(spec.seed)})
        path = Path(spec.checkpoint).expanduser() if spec.checkpoint else cls.ours
        if path is None:
            raise MissingWeights(
                f"'{spec.name}' brings no weights",
                f"{cls.card.weights}; with a file in the layout of CPC_audio, write",
                f"--upstream {spec.name}@FILE, or {spec.name}~random for the untrained twin",
            )
        state = public_weights(read_state(path), path.name)
        shape = shape_of(state, path.name)
        if not cls.any_shape and shape != cls.published:
            raise BadCheckpoint(
                f"{path.name} holds {shape}, not {cls.published}", f"--upstream cpc@{path.name} takes it"
            )
        if spec.random:
            return cls(fresh(shape, spec.seed), {"weights": "random", "seed": str(spec.seed)})
        net = CpcNet(shape)
        load_strict(net, state, ignore=TRAINING)
        licence = "that of the file" if spec.checkpoint else cls.card.licence
        return cls(net, {"weights": path.name, "sha256": file_digest(path)}, licence)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        counts = frame_counts(lengths)
        if waves.shape[1] <= WHOLE * SAMPLE_RATE:
            frames = torch.stack(self.net.states(waves, lengths), dim=1)
        else:
            frames = self.net.states_in_pieces(waves, lengths, round(PIECE / self.hop))
        return Features(frames, counts, hop=self.hop, first=FIRST)


class Cpc2(Cpc):
    """CPC2: two recurrent layers, and no weights of ours."""

    published, any_shape, ours = Shape(depth=2), False, None
    card = replace(
        Cpc.card,
        name="cpc2",
        family="CPC2",
        licence="MIT",
        weights="https://github.com/MarvinLvn/CPC2 trains it and links no file",
        parameters=2_369_792,
        layers=3,
        corpora=None,
    )


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by their public names: bare, below "weights" (published) or "gEncoder" (a training checkpoint)."""
    config = file.get("config")
    if isinstance(config, Mapping) and config.get("cpc_mode") == "reverse":
        raise BadCheckpoint(f"{name} holds a network that listens backwards", "only forward ones are known here")
    for key in ("weights", "gEncoder"):
        if isinstance(file.get(key), Mapping):
            file = file[key]
            break
    state = strip_prefix({public_name(str(key)): value for key, value in file.items()}, ("module.",))
    if not all(isinstance(state.get(key), Tensor) for key in (FIRST_CONVOLUTION, RECURRENCE)):
        raise BadCheckpoint(f"{name} holds no CPC network", LAYOUT, f"found: {', '.join(list(state)[:4])}, …")
    return state


def public_name(key: str) -> str:
    """The name in CPC_audio's files of what bshall's release of CPC-big calls `key`; other names stay.

    >>> public_name("encoder.norm0.weight"), public_name("gEncoder.conv0.bias")
    ('gEncoder.batchNorm0.weight', 'gEncoder.conv0.bias')
    """
    for theirs, public in RELEASED.items():
        if key.startswith(theirs):
            return public + key.removeprefix(theirs)
    return key


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
