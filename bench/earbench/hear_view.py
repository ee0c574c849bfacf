"""Any upstream as a HEAR module (protocol sheet hear §1), for the kits that take one.

They import a module by its name. This file, say `my_cpc.py`, is one, and is all that it takes:

    import earbench
    load_model, get_scene_embeddings, get_timestamp_embeddings = earbench.hear_api("cpc")

(A module of this package called `hear_api` would, once imported, stand where that function is.)
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from earbench import registry
from earbench.contract import Upstream
from earbench.errors import RequestError
from earbench.forward import SHORTEST
from earbench.kit.hear_layout import RATES
from earbench.plan import load_upstream


class HearModel(nn.Module):
    """The last layer of an upstream, with the attributes that HEAR asks a model for."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        if upstream.sample_rate not in RATES:
            raise RequestError(
                f"upstream '{upstream.card.name}' wants audio at {upstream.sample_rate} Hz",
                f"HEAR knows {', '.join(map(str, RATES))}",
            )
        self.upstream = upstream
        self.sample_rate = upstream.sample_rate
        self.timestamp_embedding_size = upstream.width
        self.scene_embedding_size = self.scenes(torch.zeros(1, self.sample_rate)).shape[1]

    def scenes(self, audio: Tensor) -> Tensor:
        """One vector per clip, [clip, width]: the upstream's own clip embedding, else its time mean."""
        with torch.no_grad():
            return self.upstream.embed(*self._heard(audio))[:, -1].float()

    def timestamps(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [clip, time, width] and their centres in milliseconds, [clip, time]."""
        with torch.no_grad():
            features = self.upstream.encode(*self._heard(audio))
        count = int(features.lengths.max())  # the same for all clips: they are equally long
        frames = features.frames[:, -1, :count].float()
        if features.times is not None:
            return frames, features.times[:, :count].float() * 1000
        steps = torch.arange(count, dtype=torch.float64)  # fp32 steps would drift over long audio
        centres = ((features.first + features.hop * steps) * 1000).float()
        return frames, centres.to(frames.device).expand(len(frames), -1)

    def _heard(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Clips and their lengths, as the engine hands them over: never less than 0.1 s."""
        missing = max(0, round(SHORTEST * self.sample_rate) - audio.shape[1])
        waves = nn.functional.pad(audio, (0, missing))
        return waves, torch.full((len(waves),), waves.shape[1], device=waves.device)


class HearApi(NamedTuple):
    """The functions of a HEAR module, in the order `load_model, get_scene_embeddings, get_timestamp_embeddings`."""

    load_model: Callable[..., HearModel]
    get_scene_embeddings: Callable[[Tensor, HearModel], Tensor]
    get_timestamp_embeddings: Callable[[Tensor, HearModel], tuple[Tensor, Tensor]]


def view(spec: str) -> HearApi:
    """The upstream that `spec` names as a HEAR module; a file given to its `load_model` is the spec's checkpoint."""
    parts = registry.split_spec(spec)

    def load_model(model_file_path: str = "") -> HearModel:
        if not model_file_path:
            return HearModel(load_upstream(spec)).eval()
        if parts["argument"] or parts["checkpoint"]:
            raise RequestError(f"'{spec}' names its weights already, got '{model_file_path}' besides")
        twin = "~random" if parts["random"] else ""
        return HearModel(load_upstream(f"{parts['name']}@{model_file_path}{twin}")).eval()

    return HearApi(load_model, _scenes, _timestamps)


def _scenes(audio: Tensor, model: HearModel) -> Tensor:
    return model.scenes(audio)


def _timestamps(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    return model.timestamps(audio)
