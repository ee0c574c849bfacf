"""What `--layers` names: the encoder's own layers, a named group of others or a single one, each seen as an encoder."""

import re
from dataclasses import replace

from torch import Tensor

from earbench.contract import Features, Group, Upstream
from earbench.errors import BenchError, RequestError

CHOICE = re.compile("mix|last|each|0|[1-9][0-9]*")


def split_layers(layers: str) -> tuple[str | None, str | None]:
    """The group that `layers` names, None for the encoder's own layers; and which of them, None if it says nothing.

    >>> split_layers("mix"), split_layers("3"), split_layers("stage_1"), split_layers("stage_1.last")
    ((None, 'mix'), (None, '3'), ('stage_1', None), ('stage_1', 'last'))
    """
    if CHOICE.fullmatch(layers):
        return None, layers
    group, _, choice = layers.partition(".")
    return group, choice or None


def check_layers(layers: str, upstream: Upstream) -> None:
    """`layers` must be mix, last, each, or the number of a layer that the upstream has; or so of one of its groups."""
    group, choice = split_layers(layers)
    if (group is not None and group not in upstream.groups) or not CHOICE.fullmatch(choice or "mix"):
        raise RequestError(f"--layers '{layers}' is not mix, last, each or a layer number", *_groups(upstream))
    count = upstream.layers if group is None else upstream.groups[group].layers
    if choice and choice.isdigit() and int(choice) >= count:
        whose = f"upstream '{upstream.card.name}'" + (f", group '{group}'," if group else "")
        raise RequestError(f"--layers {layers}: {whose} has layers 0 to {count - 1}", *_groups(upstream))


def _groups(upstream: Upstream) -> list[str]:
    """A hint with the groups that there are."""
    if not upstream.groups:
        return []
    sizes = (f"{name} ({size.layers} of width {size.width})" for name, size in upstream.groups.items())
    return [f"groups of layers besides: {', '.join(sizes)}; NAME for all of one, NAME.last or NAME.0 for one of them"]


class View(Upstream):
    """Some layers of an encoder as an encoder, with its weights, sample rate, batching, limit, source and notes."""

    def __init__(self, upstream: Upstream, size: Group) -> None:
        super().__init__()
        self.upstream = upstream
        self.sample_rate, self.batching, self.longest = upstream.sample_rate, upstream.batching, upstream.longest
        self.options, self.source, self.notes = upstream.options, upstream.source, upstream.notes
        self.layers, self.width, self.hop = size.layers, size.width, size.hop
        self.card = replace(upstream.card, hop=size.hop, layers=size.layers, widths=(size.width,), groups=())
        self.train(upstream.training)


class GroupView(View):
    """The named group of an encoder: its layers, width, hop and frame times; one embedding a layer, their time mean."""

    def __init__(self, upstream: Upstream, name: str) -> None:
        super().__init__(upstream, upstream.groups[name])
        self.name = name

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        found = self.upstream.encode(waves, lengths).groups
        if self.name not in found:
            raise BenchError(
                f"upstream '{self.card.name}' declares a group '{self.name}' that its features lack",
                f"`bench check --upstream {self.card.name}` compares the two",
            )
        return found[self.name]


class LayerView(View):
    """One layer of an encoder, for tasks on its frames alone: of thirteen layers' frames, the disk need hold one's."""

    def __init__(self, upstream: Upstream, number: int) -> None:
        super().__init__(upstream, Group(1, upstream.width, upstream.hop))
        self.number = number

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        return layer_of(self.upstream.encode(waves, lengths), self.number)


def layer_of(features: Features, number: int) -> Features:
    """The same features with this layer alone."""
    return replace(features, frames=features.frames[:, number : number + 1], groups={})
