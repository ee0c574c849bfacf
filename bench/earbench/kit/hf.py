"""Published audio encoders of transformers as upstream plugins, and any of its model folders as an upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earbench.contract import Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.ast_encoder import SpectrogramTransformer
from earbench.kit.clap import Clap
from earbench.kit.fairseq import PRETRAINING, Checkpoint, read_checkpoint
from earbench.kit.hf_models import fresh, random_source, settings, trained
from earbench.kit.hf_waves import SpeechTransformer, decide_normalisation
from earbench.kit.hub import CONFIG, PREPROCESSOR, Snapshot, fetch, local
from earbench.kit.w2v_bert import W2vBert
from earbench.kit.whisper import Whisper

Encoder = SpeechTransformer | Whisper | SpectrogramTransformer | Clap | W2vBert
SPECTROGRAMS: Mapping[str, Callable[..., Encoder]] = {
    "whisper": Whisper,
    "audio-spectrogram-transformer": SpectrogramTransformer,
    "clap_audio_model": Clap,
    "wav2vec2-bert": W2vBert,
}
"""By kind, the encoders that begin with a log-mel spectrogram; all others take waves."""

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
"""What the Large models of the wav2vec 2.0 family share (protocol sheet §7.3); the defaults of the classes are Base."""
XLARGE = {**LARGE, "hidden_size": 1280, "num_hidden_layers": 48, "intermediate_size": 5120}


@dataclass(frozen=True)
class Pretrained:
    """An upstream plugin: a published model of the hub, described well enough to build its untrained twin offline.

    `kind` is the library's model type, `facts` are the settings in which the published config differs from the
    defaults of its class, and `heard` those of its preprocessor that change features. They and the card's `normalise`
    are as in training (protocol sheet §3); a preprocessor file that says otherwise earns a note.
    """

    card: UpstreamCard
    hub: str
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    heard: Mapping[str, Any] = field(default_factory=dict)

    def load(self, spec: Spec) -> Upstream:
        spec.refuse_argument()
        name = self.card.name
        if spec.random and not spec.checkpoint:
            model = fresh(settings({"model_type": self.kind, **self.facts}, name), spec.seed)
            return upstream_of(model, self.card, self.heard, random_source(spec), bool(self.card.normalise))
        place = self._place(spec)
        found = open_encoder(place, self.card, spec, self.heard)
        kind = found.model.config.model_type
        if (kind, found.layers, found.width) != (self.kind, self.card.layers, self.card.widths[0]):
            raise BadCheckpoint(
                f"'{name}' is a {self.kind} with {self.card.layers} states of width {self.card.widths[0]}; "
                f"{place.name} is a {kind} with {found.layers} of width {found.width}",
                "`bench list upstreams` shows the others; `hf:DIR` takes any model folder of transformers",
            )
        return found

    def _place(self, spec: Spec) -> Snapshot | Checkpoint:
        if spec.checkpoint is None:
            return fetch(self.hub, None, f"{self.card.name}@DIR")
        path = Path(spec.checkpoint).expanduser()
        return read_checkpoint(path, self.kind) if path.is_file() and self.kind in PRETRAINING else local(path)


def published(
    name: str,
    hub: str,
    kind: str,
    *,
    family: str,
    licence: str,
    parameters: int,
    layers: int,
    width: int,
    normalise: bool | None = None,
    facts: Mapping[str, Any] | None = None,
    heard: Mapping[str, Any] | None = None,
    pretraining: str = "self-supervised",
    hop: float = 0.02,
    corpora: tuple[str, ...] | None = None,
) -> Pretrained:
    """The plugin for a published model at 16 kHz.

    `parameters` counts what features depend on: no heads, no mask vector. `layers` counts states, one more than blocks.
    """
    card = UpstreamCard(
        name,
        family,
        licence,
        weights=f"hub: {hub}",
        pretraining=pretraining,
        parameters=parameters,
        sample_rate=16_000,
        hop=hop,
        layers=layers,
        widths=(width,),
        normalise=normalise,
        parity="run",
        corpora=corpora,
    )
    return Pretrained(card, hub, kind, facts or {}, heard or {})


def open_encoder(
    place: Snapshot | Checkpoint, card: UpstreamCard, spec: Spec, heard: Mapping[str, Any] | None = None
) -> Encoder:
    """The encoder in a model folder or checkpoint, or its twin with fresh weights if the spec says so.

    What is in `heard` goes before the preprocessor file, with a note where the two differ.
    """
    config = settings(place.facts(CONFIG), place.name)
    stated = place.facts(PREPROCESSOR)
    if card.sample_rate is None and config.model_type not in SPECTROGRAMS:
        card = replace(card, sample_rate=stated.get("sampling_rate", 16_000))
    model, source = (fresh(config, spec.seed), random_source(spec)) if spec.random else trained(config, place)
    if config.model_type in SPECTROGRAMS:
        preprocessor, notes = settled(stated, heard or {})
        return upstream_of(model, card, preprocessor, source, False, notes)
    used = place.normalise if isinstance(place, Checkpoint) else None
    normalise, notes = decide_normalisation(card, config, stated, used)
    return upstream_of(model, card, stated, source, normalise, notes)


def settled(stated: Mapping[str, Any], heard: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A preprocessor's settings with those of training in the place of others, and a note for each that differed."""
    notes = [
        f"{key}={value} as in the published training, although its preprocessor file says {key}={stated[key]}; "
        "`hf:` follows the file"
        for key, value in heard.items()
        if stated.get(key, value) != value
    ]
    missing = [] if stated or heard else ["no preprocessor file says how spectrograms are made: the library's defaults"]
    return {**stated, **heard}, notes + missing


def upstream_of(
    model: Any,
    card: UpstreamCard,
    preprocessor: Mapping[str, Any],
    source: Mapping[str, str],
    normalise: bool,
    notes: Sequence[str] = (),
) -> Encoder:
    """The library's `model` as an upstream."""
    kind = model.config.model_type
    if kind in SPECTROGRAMS:
        return SPECTROGRAMS[kind](model, card, preprocessor, source, notes)
    return SpeechTransformer(model, card, normalise, source, notes)
