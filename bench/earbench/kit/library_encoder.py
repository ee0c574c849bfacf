"""What every network of transformers has in common, once it is an upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from earbench.contract import Upstream, UpstreamCard
from earbench.kit.hf_models import FROZEN, LOADING

# Settings that no feature depends on; all others belong to the encoder's digest.
UNHEARD = (*FROZEN, *LOADING, "architectures", "transformers_version", "_name_or_path", "id2label", "label2id")


class LibraryEncoder(Upstream):
    """A `model` of the library. A subclass says its sizes and then calls `declare`."""

    def __init__(self, model: Any, source: Mapping[str, str], notes: Sequence[str]) -> None:
        super().__init__()
        self.model, self.source, self.notes = model, dict(source), list(notes)
        self.options = {key: value for key, value in model.config.to_diff_dict().items() if key not in UNHEARD}

    def declare(self, card: UpstreamCard, normalise: bool | None = None) -> None:
        """The card with what the loaded network shows, and the network frozen."""
        self.card = replace(
            card,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            sample_rate=self.sample_rate,
            hop=self.hop,
            layers=self.layers,
            widths=(self.width, *(size.width for size in self.groups.values())),
            groups=tuple(self.groups),
            normalise=normalise,
        )
        self.eval().requires_grad_(False)
