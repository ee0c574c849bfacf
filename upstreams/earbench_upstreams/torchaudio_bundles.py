"""`torchaudio:BUNDLE[@FILE]`: the wav2vec 2.0, HuBERT and WavLM bundles of torchaudio (protocol sheet upstreams, §2.4).

The bundle gives the architecture and says whether waves are normalised. The weights are those of FILE, else what
torch's hub folder has under the bundle's own name, else fetched there; they are read as data. Of a bundle tuned to
transcripts, the encoder is used and the letters are not.

State 0 is the input of block 1, state N the encoder output after its last norm, which torchaudio's own
`extract_features` leaves out for networks with the norm first (sheet §1). Padding is exact, as in `earbench.kit.exact`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.attention import LONGEST, PAIRED
from earbench.kit.exact import Extent, frame_counts, mask_padding, receptive_field
from earbench.kit.torchaudio_guard import shield
from earbench.kit.weights import file_digest, load_strict, modern_weight_norm, read_state

SERVER = "https://download.pytorch.org/torchaudio/models/"
FAMILIES = {"WAV2VEC2": "wav2vec 2.0", "VOXPOPULI": "wav2vec 2.0", "MMS": "wav2vec 2.0", "HUBERT": "HuBERT"}
LETTERS = ("aux.*",)


class Bundle(Upstream):
    """One bundle as an upstream."""

    card = UpstreamCard(
        "torchaudio",
        family="wav2vec 2.0, HuBERT, WavLM",
        licence="that of the bundle",
        weights="torchaudio:BUNDLE[@FILE]",
        sample_rate=16_000,
        hop=0.02,
        parity="run",
    )

    def __init__(self, model: Any, bundle: Any, card: UpstreamCard, source: Mapping[str, str]) -> None:
        super().__init__()
        self.model, self.source = model, source
        self.normalise = bool(bundle._normalize_waveform)
        self.options = {"type": bundle._model_type, **bundle._params}
        shapes = bundle._params["extractor_conv_layer_config"]
        self.kernels, self.strides = tuple(shape[1] for shape in shapes), tuple(shape[2] for shape in shapes)
        step, seen = receptive_field(self.kernels, self.strides)
        self.sample_rate = int(bundle.sample_rate)
        self.hop, self.first = step / self.sample_rate, seen / 2 / self.sample_rate
        self.relative = bundle._model_type == "WavLM"
        self.longest = PAIRED * self.hop if self.relative else LONGEST
        transformer = model.encoder.transformer
        self.layers, self.width = len(transformer.layers) + 1, bundle._params["encoder_embed_dim"]
        self.extent = Extent()
        mask_padding(SimpleNamespace(feature_extractor=model.feature_extractor, encoder=transformer), self.extent)
        self.card = replace(
            card,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            sample_rate=self.sample_rate,
            hop=self.hop,
            layers=self.layers,
            widths=(self.width,),
            normalise=self.normalise,
        )
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, spec: Spec) -> Upstream:
        """The bundle that the spec names; with `~random` its architecture with fresh weights, without a network.

        A file is read in either case, so that one which is not there or does not fit is never passed over.
        """
        name, _, file = (spec.argument or "").partition("@")
        bundle = find(name)
        tuned = hasattr(bundle, "get_labels")
        card = replace(
            cls.card,
            family=FAMILIES.get(name.partition("_")[0], "WavLM"),
            licence=_licence(bundle),
            pretraining="supervised" if tuned else "self-supervised",
        )
        path = Path(file).expanduser() if file else None if spec.random else fetch(name, bundle)
        model = filled(bundle, path, name) if path else None
        if model is None or spec.random:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(spec.seed)
                twin = build(bundle)
            return cls(twin, bundle, card, {"weights": "random", "seed": str(spec.seed)})
        return cls(model, bundle, card, {"torchaudio": name, "file": path.name, "file_sha256": file_digest(path)})

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        if self.normalise:
            waves = normalised(waves, lengths)
        counts = frame_counts(lengths, self.kernels, self.strides)
        if bool((lengths < waves.shape[1]).any()):
            with self.extent.set(lengths, counts):
                states = self._states(waves, counts)
        else:
            states = self._states(waves, None)
        return Features(torch.stack(states, 1), counts, self.hop, self.first)

    def _states(self, waves: Tensor, counts: Tensor | None) -> list[Tensor]:
        transformer = self.model.encoder.transformer
        features, _ = self.model.feature_extractor(waves, None)
        hidden = self.model.encoder.feature_projection(features)
        masks: dict[str, Tensor] = {}
        if counts is not None:
            beyond = torch.arange(hidden.shape[1], device=hidden.device) >= counts[:, None]
            hidden = hidden.masked_fill(beyond[..., None], 0.0)
            masks = self._masks(beyond, hidden)
        states, bias = [transformer._preprocess(hidden)], None
        for layer in transformer.layers:
            hidden, bias = layer(states[-1], position_bias=bias, **masks)
            states.append(hidden)
        if not transformer.layer_norm_first:  # torchaudio's name for a norm before all blocks; here it comes last
            states[-1] = transformer.layer_norm(states[-1])
        return states

    def _masks(self, beyond: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        """What keeps attention away from frames `beyond` the end of a clip, as the two kinds of network want it."""
        low = torch.zeros_like(beyond, dtype=hidden.dtype).masked_fill(beyond, float("-inf"))
        if self.relative:
            return {"key_padding_mask": low}
        return {"attention_mask": low[:, None, None].expand(-1, 1, beyond.shape[1], -1)}


def _licence(bundle: Any) -> str:
    """As torchaudio states it, except for WavLM, where the sources disagree (sheet §9.1)."""
    if bundle._model_type == "WavLM":
        return "unclear"
    return "CC-BY-NC-4.0" if "BY-NC 4" in (bundle.__doc__ or "") else "MIT"


def find(name: str) -> Any:
    """The bundle called `name`."""
    why = shield()
    if why or sys.modules.get("torchaudio") is None:
        raise RequestError(f"'torchaudio:{name}' needs torchaudio, which does not import here: {why}", "`bench doctor`")
    from torchaudio import pipelines

    known = [key for key, value in vars(pipelines).items() if isinstance(value, pipelines.Wav2Vec2Bundle)]
    if name not in known:
        raise RequestError(f"torchaudio has no encoder bundle called '{name}'", f"known: {', '.join(sorted(known))}")
    return getattr(pipelines, name)


def build(bundle: Any) -> Any:
    """The network of a bundle without its letters, with the weights torchaudio begins with."""
    from torchaudio import models

    maker = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}[bundle._model_type]
    return maker(**{**bundle._params, "aux_num_out": None})


def filled(bundle: Any, path: Path, name: str) -> Any:
    """The network of a bundle with the weights of a file, which must fit exactly but for the letters."""
    with torch.device("meta"):
        model = build(bundle)
    try:
        load_strict(model, modern_weight_norm(read_state(path)), ignore=LETTERS)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path.name} as torchaudio's {name}: {error.args[0]}", *error.hints) from error
    return model


def fetch(name: str, bundle: Any) -> Path:
    """The bundle's file in torch's hub folder, fetched into it if it is not there."""
    address = bundle._path if bundle._path.startswith("https") else SERVER + bundle._path
    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(address)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path))
    except Exception as error:  # no network, no space, no such file
        raise BadCheckpoint(
            f"the weights of torchaudio's {name} are not there and cannot be fetched ({error})",
            f"fetch {address} where there is a network, and use `--upstream torchaudio:{name}@FILE`",
        ) from error
    return path


def normalised(waves: Tensor, lengths: Tensor) -> Tensor:
    """`waves` as torchaudio normalises them: a layer norm over the true samples of each clip, with its epsilon."""
    clips = [functional.layer_norm(wave[:end], (end,)) for wave, end in zip(waves, lengths.tolist(), strict=True)]
    return torch.stack([functional.pad(clip, (0, waves.shape[1] - len(clip))) for clip in clips])
