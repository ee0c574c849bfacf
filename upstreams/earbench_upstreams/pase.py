"""PASE (Pascual et al. 2019) and PASE+ (Ravanelli et al. 2020): one encoder, many small self-supervised workers.

Protocol sheet upstreams §6.6 (network), §10.3 (names). The layers of PASE+ are those of s3prl: the seven projected
blocks, averaged down to 100 frames a second, what the recurrent layer makes of the last block (W), and the output, the
normalised sum of all. PASE has its output alone. The blocks themselves, of 64 to 512 channels, are the groups `block1`
to `block8`, averaged in the same way.

The tensors do not say how far the convolutions step. A file of eight blocks is taken to step as the published ones do,
unless the configuration of the port lies beside it: `FILE` with the ending `.cfg`, or `PASE.cfg`, `PASE+.cfg`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from earbench.contract import Features, Group, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.from_file import given_file
from earbench.kit.pase import PASE, SAMPLE_RATE, PaseNet, Shape, fresh
from earbench.kit.weights import file_digest, load_strict, read_state, strip_prefix

PLUS = Shape()
CORNERS, OUTPUT = "blocks.0.conv.low_hz_", "W.weight"
LAYOUT = f"expected the public layout: {CORNERS}, blocks.1.conv.weight, …, {OUTPUT}, bare or below 'state_dict'"
SETTINGS = {
    "kwidths": [251, 10, 5, 5, 5, 5, 5, 5],
    "strides": [1, 10, 2, 1, 2, 1, 2, 2],
    "fmaps": [64, 64, 128, 128, 256, 256, 512, 512],
    "emb_dim": 256,
    "rnn_dim": None,
    "rnn_pool": False,
    "rnn_layers": 1,
    "denseskips": False,
    "norm_out": False,
}
"""What the port's configuration may say, with the values of what it leaves out."""
FIXED = {
    "num_inputs": 1,
    "sincnet": True,
    "dilations": [1] * 8,
    "norm_type": "bnorm",
    "pad_mode": "reflect",
    "sr": SAMPLE_RATE,
    "activation": None,
    "rnn_dropout": 0,
    "rnn_type": "qrnn",
    "vq_K": None,
    "tanh_out": False,
    "resblocks": False,
    "densemerge": "sum",
}
"""What it may say as well, but not otherwise: no published file does."""


class Pase(Upstream):
    """PASE: 100 wide, no recurrence, no skips."""

    card = UpstreamCard(
        "pase",
        "PASE",
        "MIT",
        weights="https://github.com/santi-pdp/pase (none published: train it, or bring yours)",
        parameters=5_818_020,
        sample_rate=SAMPLE_RATE,
        hop=PASE.step / SAMPLE_RATE,
        layers=1,
        widths=(100, 64, 128, 256, 512),
        normalise=False,
        parity="run",
        groups=tuple(f"block{number}" for number in range(1, 9)),
    )
    shape: ClassVar[Shape] = PASE
    settings: ClassVar[str] = "PASE.cfg"
    sample_rate = SAMPLE_RATE

    def __init__(self, net: PaseNet, source: Mapping[str, str]) -> None:
        super().__init__()
        self.net, self.source, shape = net, source, net.shape
        self.width, self.hop = shape.width, shape.step / SAMPLE_RATE
        self.layers = len(shape.channels) + 1 if shape.skips else 1
        self.groups = {
            f"block{number}": Group(layers=1, width=width, hop=self.hop)
            for number, width in enumerate(shape.channels, start=1)
        }
        self.options = {"strides": list(shape.strides), "filter": shape.kernels[0]}
        self.card = replace(
            type(self).card,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            hop=self.hop,
            layers=self.layers,
            widths=tuple(dict.fromkeys((shape.width, *shape.channels))),
            groups=tuple(self.groups),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of `spec.checkpoint`; with `~random` a fresh one of its shape, or of the published one."""
        random = {"weights": "random", "seed": str(spec.seed)}
        path = given_file(spec, cls.card)
        if path is None:
            return cls(fresh(cls.shape, spec.seed), random)
        state = public_weights(read_state(path), path.name)
        shape = shape_of(state, settings_beside(path, cls.settings), path.name)
        if shape.skips != cls.shape.skips:
            other = "pase" if cls.shape.skips else "pase_plus"
            raise BadCheckpoint(f"{path.name} does not hold the network of '{spec.name}'", f"write {other}@{path.name}")
        net = fresh(shape, spec.seed)
        if spec.random:
            return cls(net, random)
        load_strict(net, state)
        found = cls(net, {"weights": path.name, "sha256": file_digest(path)})
        found.card = replace(found.card, licence="that of the file")
        return found

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        blocks, layers = self.net(waves, lengths)
        counts, centres = self.net.shape.counts(lengths)[-1], self.net.shape.centres()
        groups = {
            name: Features(block.transpose(1, 2)[:, None], counts, hop=self.hop, first=centre / SAMPLE_RATE)
            for name, block, centre in zip(self.groups, blocks, centres, strict=True)
        }
        frames = torch.stack(layers[-self.layers :], 1).transpose(2, 3)
        return Features(frames, counts, hop=self.hop, first=centres[-1] / SAMPLE_RATE, groups=groups)


class PasePlus(Pase):
    """PASE+: seven skips, a recurrent layer, 256 wide."""

    card = replace(
        Pase.card,
        name="pase_plus",
        family="PASE+",
        weights="https://github.com/santi-pdp/pase (FE_e199.ckpt, linked from its README)",
        parameters=7_832_896,
        layers=9,
        widths=(256, 64, 128, 512),
    )
    shape, settings = PLUS, "PASE+.cfg"


def public_weights(file: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The weights by their public names: bare (published), or below "state_dict" as the port's trainer saves them."""
    inner = file.get("state_dict")
    state = strip_prefix(dict(inner if isinstance(inner, Mapping) else file), ("module.",))
    if not all(isinstance(state.get(key), Tensor) and state[key].dim() > 1 for key in (CORNERS, OUTPUT)):
        raise BadCheckpoint(f"{name} holds no PASE encoder", LAYOUT, f"found: {', '.join(list(state)[:4])}, …")
    return state


def shape_of(state: Mapping[str, Any], settings: Shape | None, name: str) -> Shape:
    """What the tensors say of the network, with the steps of `settings`, or else the published ones."""
    weights = [state[key] for number in range(1, 100) if (key := f"blocks.{number}.conv.weight") in state]
    if any(not isinstance(weight, Tensor) or weight.dim() != 3 for weight in weights):
        raise BadCheckpoint(f"{name} holds no PASE encoder: its blocks are no convolutions", LAYOUT)
    steps = settings or PLUS
    if len(weights) + 1 != len(steps.strides):
        raise BadCheckpoint(
            f"{name} has {len(weights) + 1} blocks, where {len(steps.strides)} were expected",
            "how far each steps is not in the file: put the port's configuration beside it, under its name with .cfg",
        )
    recurrence = [state[key] for number in range(100) if (key := f"rnn.layers.{number}.linear.weight") in state]
    found = Shape(
        kernels=(steps.kernels[0], *(weight.shape[2] for weight in weights)),
        strides=steps.strides,
        channels=(len(state[CORNERS]), *(len(weight) for weight in weights)),
        width=len(state[OUTPUT]),
        hidden=len(recurrence[0]) // 3 if recurrence else 0,
        depth=len(recurrence),
        skips=any(key.startswith("denseskips.") for key in state),
        normed="norm_out.running_mean" in state,
    )
    if settings and found != settings:
        pairs = ((key, value, asdict(found)[key]) for key, value in asdict(settings).items())
        differing = [f"{key}: {said} beside it, {true} in it" for key, said, true in pairs if said != true]
        raise BadCheckpoint(f"{name} is no network of the configuration beside it", *differing)
    return found


def settings_beside(path: Path, usual: str) -> Shape | None:
    """The shape that the port's configuration beside `path` describes; None where there is none."""
    found = next((file for file in (path.with_suffix(".cfg"), path.with_name(usual)) if file.is_file()), None)
    if found is None:
        return None
    try:
        said = json.loads(found.read_text("utf-8"))
        other = [key for key, value in said.items() if key not in SETTINGS and FIXED.get(key, key) != value]
        facts = SETTINGS | said
        hidden = facts["rnn_dim"] or facts["emb_dim"]
        shape = Shape(
            # The port makes the filters' length odd.
            kernels=(facts["kwidths"][0] // 2 * 2 + 1, *facts["kwidths"][1:]),
            strides=tuple(facts["strides"]),
            channels=tuple(facts["fmaps"]),
            width=facts["emb_dim"],
            hidden=hidden if facts["rnn_pool"] else 0,
            depth=facts["rnn_layers"] if facts["rnn_pool"] else 0,
            skips=facts["denseskips"],
            normed=facts["norm_out"],
        )
        sizes = (*shape.kernels, *shape.strides, *shape.channels, shape.width)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError(f"not all of {sizes} are sizes")
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise BadCheckpoint(f"{found.name} is no configuration of PASE: {error}") from error
    if other:
        raise BadCheckpoint(f"{found.name} asks for what is not known here: {', '.join(other)}")
    return shape
