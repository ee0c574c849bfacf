"""`hf:ORG/MODEL[@REVISION]` and `hf:DIR`: any audio encoder of the transformers library."""

from __future__ import annotations

import re
from pathlib import Path

from earbench.contract import Spec, Upstream, UpstreamCard
from earbench.errors import RequestError
from earbench.kit.hf import open_encoder
from earbench.kit.hub import Snapshot, fetch, local

HUB_NAME = re.compile(r"(?P<model>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")


class HF:
    """The scheme `hf:`. Facts of the card come from the loaded model; input is normalised as its files say."""

    card = UpstreamCard(
        "hf",
        family="transformers",
        licence="that of the model",
        weights="hf:ORG/MODEL[@REVISION] or hf:DIR",
        pretraining="unknown",
        parity="run",
    )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        return open_encoder(find(spec.argument or "", weights=not spec.random), cls.card, spec)


def find(argument: str, weights: bool) -> Snapshot:
    """The model folder that the argument of `hf:` names: a folder on disk first, else a hub name."""
    folder = Path(argument).expanduser()
    if argument and folder.is_dir():
        return local(folder)
    match = HUB_NAME.fullmatch(argument)
    if match is None:
        raise RequestError(
            f"'hf:{argument}' is neither a folder nor a name on the hub",
            "use `hf:DIR`, `hf:ORG/MODEL` or `hf:ORG/MODEL@REVISION`",
        )
    return fetch(match["model"], match["revision"], "hf:DIR", weights)
