"""`features:DIR`: arrays that any program computed from the clips that `bench clips` lists (layout: kit/arrays.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from earbench.contract import Features, Grain, Spec, Supplied, Upstream, UpstreamCard
from earbench.errors import RequestError
from earbench.kit.arrays import FOLDERS, Stated, frames_in, stated, vectors_in

UNHEARD = ("licence", "family", "pretraining", "parameters")
"""What features.json states without telling one encoder from another."""


class FeaturesFolder(Supplied):
    """The arrays of a folder. Everything but the name of the scheme is as its features.json states."""

    card = UpstreamCard(
        "features",
        family="computed anywhere",
        licence="as features.json states",
        weights="features:DIR, filled by any program from the list of `bench clips`",
        pretraining="unknown",
    )

    def __init__(self, folder: Path, facts: Stated) -> None:
        super().__init__()
        self.folder = folder
        self.sample_rate, self.hop, self.first = facts.sample_rate, facts.hop, facts.first
        self.layers, self.width = facts.layers, facts.width
        self.options = {key: value for key, value in asdict(facts).items() if key not in UNHEARD}
        self.source = {"weights": facts.weights}
        self.card = UpstreamCard(
            facts.name,
            facts.family,
            facts.licence,
            weights=facts.weights,
            pretraining=facts.pretraining,
            parameters=facts.parameters,
            sample_rate=facts.sample_rate,
            hop=facts.hop,
            layers=facts.layers,
            widths=(facts.width,),
        )

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        if not spec.argument:
            raise RequestError(f"'{spec.text}' names no folder", "use `features:DIR`")
        if spec.random:
            raise RequestError(
                f"'{spec.text}': arrays have no untrained twin, for there is no network here to draw weights for",
                "let the program that made them run with fresh weights, into a folder of its own",
            )
        folder = Path(spec.argument).expanduser()
        return cls(folder, stated(folder))

    def path(self, key: str, grain: Grain) -> Path:
        """A clip's own embedding if the folder has embeddings at all, else its mean if it has one, else its frames."""
        frames, mean = (self.folder / FOLDERS[kind] / f"{key}.npy" for kind in ("frame", "mean"))
        if grain == "clip" and (self.folder / FOLDERS["clip"]).is_dir():
            return self.folder / FOLDERS["clip"] / f"{key}.npy"
        return mean if grain != "frame" and mean.is_file() else frames

    def read(self, key: str, grain: Grain) -> Features:
        path = self.path(key, grain)
        if path.parent.name == FOLDERS["frame"]:
            frames = torch.from_numpy(frames_in(path, self.layers, self.width))
            return Features(frames[None], torch.tensor([frames.shape[1]]), self.hop, self.first)
        width = None if path.parent.name == FOLDERS["clip"] else self.width
        return Features(torch.from_numpy(vectors_in(path, self.layers, width))[None, :, None], torch.tensor([1]))

    def keys(self, grain: Grain) -> Sequence[str]:
        return sorted(path.stem for path in (self.folder / FOLDERS[grain]).glob("*.npy"))
