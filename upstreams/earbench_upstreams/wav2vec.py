"""wav2vec (Schneider et al. 2019) and vq-wav2vec (Baevski et al. 2020), from fairseq's files or as s3prl converts them.

Protocol sheet upstreams §7.1, §7.2 (networks), §10.4 (names). Layer 0 is z, what the convolutions see of 29 ms; then
comes what each causal convolution makes of everything up to there, 100 times a second. The last layer is c.

Between the two, vq-wav2vec replaces each frame by discrete units, a code of each of two groups. They are layers of
their own: `--layers quantised` is the vectors of the codes side by side, `--layers units` is the codes themselves, one
hot and side by side. One-hot codes suit whatever looks at them: their mean over a clip counts units, the cosine of two
frames is the share of groups that agree, a linear probe has a weight for every code. The number of the code is
`units.unflatten(-1, (groups, codes)).argmax(-1)`.

Settings that no tensor shows (strides, activation, log compression, skip connections) are those of the file. `offset`
and the rest that only pre-training uses is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from earbench.contract import Features, Group, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.attention import LONGEST
from earbench.kit.exact import frame_counts, receptive_field
from earbench.kit.fairseq import Parts, naming, read_parts
from earbench.kit.from_file import given_file
from earbench.kit.wav2vec import SAMPLE_RATE, TRAINING, Codebook, Shape, Units, Wav2vecNet, fresh, shape_of
from earbench.kit.weights import load_strict

ORIGIN = "https://dl.fbaipublicfiles.com/fairseq/wav2vec/"
NAMES = {None: "wav2vec", "gumbel": "vq_wav2vec_gumbel", "kmeans": "vq_wav2vec_kmeans"}


class Wav2vec(Upstream):
    """z and the states of the context; `published` is the network of the public file, and of the untrained twin."""

    published: ClassVar[Shape] = Shape()
    card = UpstreamCard(
        "wav2vec",
        "wav2vec",
        "MIT",
        weights=f"{ORIGIN}wav2vec_large.pt",
        parameters=29_390_848,
        sample_rate=SAMPLE_RATE,
        hop=0.01,
        layers=13,
        widths=(512,),
        normalise=False,
        parity="run",
    )
    sample_rate, longest = SAMPLE_RATE, LONGEST

    def __init__(self, net: Wav2vecNet, source: Mapping[str, str], licence: str) -> None:
        super().__init__()
        self.net, self.source, shape = net, source, net.shape
        step, seen = receptive_field(shape.kernels, shape.strides)
        self.hop, self.first = step / SAMPLE_RATE, seen / 2 / SAMPLE_RATE
        self.layers, self.width = len(shape.context) + 1, shape.width
        self.options = {
            "strides": list(shape.strides),
            "activation": shape.activation,
            "log_compression": shape.log,
            "skip_connections_agg": shape.skip,
            "residual_scale": shape.scale,
        }
        if shape.codebook:
            coded = shape.codebook.groups * shape.codebook.codes
            self.groups = {"quantised": Group(1, self.width, self.hop), "units": Group(1, coded, self.hop)}
        widths = dict.fromkeys([self.width, *(group.width for group in self.groups.values())])
        self.card = replace(
            type(self).card,
            licence=licence,
            parameters=sum(parameter.numel() for parameter in net.parameters()),
            hop=self.hop,
            layers=self.layers,
            widths=tuple(widths),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The network of `spec.checkpoint`; with `~random` a fresh one of its shape, or of the published one's."""
        path = given_file(spec, cls.card)
        shape = cls.published
        if path is not None:
            found = read_parts(path)
            net = cls.trained(found)
            if not spec.random:
                return cls(net, found.source, "that of the file")
            shape = net.shape
        return cls(fresh(shape, spec.seed), {"weights": "random", "seed": str(spec.seed)}, cls.card.licence)

    @classmethod
    def trained(cls, found: Parts) -> Wav2vecNet:
        """The network of a file; a file for another of these upstreams is refused."""
        with naming(found.source["file"]):
            shape = shape_of(found)
            if (name := NAMES[kind_of(shape)]) != cls.card.name:
                raise BadCheckpoint(f"it holds a network for '{name}'", f"--upstream {name}@{found.source['file']}")
            with torch.device("meta"):
                net = Wav2vecNet(shape)
            load_strict(net, found.weights, ignore=TRAINING)
        return net

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        states, units = self.net(waves, lengths)
        counts = frame_counts(lengths, self.net.shape.kernels, self.net.shape.strides)
        groups = self.discrete(units, counts) if units else {}
        return Features(states, counts, hop=self.hop, first=self.first, groups=groups)

    def discrete(self, units: Units, counts: Tensor) -> dict[str, Features]:
        """The units as layers, by the names of `groups`."""
        codes = self.groups["units"].width // units.ids.shape[2]
        frames = {
            "quantised": units.vectors.transpose(1, 2),
            "units": functional.one_hot(units.ids, codes).flatten(2).to(units.vectors.dtype),
        }
        return {
            name: Features(values[:, None], counts, hop=self.hop, first=self.first) for name, values in frames.items()
        }


def kind_of(shape: Shape) -> str | None:
    return shape.codebook.kind if shape.codebook else None


# The published training command has one 1x1 convolution more, GELU, and no log compression. It shares the vectors among
# the groups; the parameters that SUPERB counts are those of a network that does not.
VQ = replace(
    Wav2vec.published, kernels=(10, 8, 4, 4, 4, 1, 1, 1), strides=(5, 4, 2, 2, 2, 1, 1, 1), activation="gelu", log=False
)


class VqWav2vecGumbel(Wav2vec):
    """The units have the highest of learned scores."""

    published = replace(VQ, codebook=Codebook("gumbel"))
    card = replace(
        Wav2vec.card,
        name="vq_wav2vec_gumbel",
        family="vq-wav2vec",
        weights=f"{ORIGIN}vq-wav2vec.pt",
        parameters=30_999_168,
        widths=(512, 640),
        groups=("quantised", "units"),
    )


class VqWav2vecKmeans(Wav2vec):
    """The units lie nearest. Whether the public file shares its codebook is not known, so neither is the count."""

    published = replace(VQ, codebook=Codebook("kmeans"))
    card = replace(
        VqWav2vecGumbel.card, name="vq_wav2vec_kmeans", weights=f"{ORIGIN}vq-wav2vec_kmeans.pt", parameters=None
    )
