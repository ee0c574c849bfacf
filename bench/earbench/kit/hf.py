"""Every wave-to-features speech encoder of transformers behind one class, with exact padding (design §4).

State 0 is the input of block 1, state N the encoder output after its last layer norm (protocol sheet §1). Padding is
exact for the families in `EXACT`: the mask reaches attention, the first group norm and every positional convolution.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from earbench.contract import Features, Spec, Upstream, UpstreamCard
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.exact import Extent, frame_counts, mask_padding, receptive_field, unit_variance
from earbench.kit.fairseq import PRETRAINING, Checkpoint, read_checkpoint
from earbench.kit.hub import CONFIG, PREPROCESSOR, Snapshot, fetch, local
from earbench.kit.torchaudio_guard import shield
from earbench.kit.weights import load_strict, modern_weight_norm, strip_prefix

EXACT = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")
CLASSES = {
    "wav2vec2": "Wav2Vec2",
    "hubert": "Hubert",
    "wavlm": "WavLM",
    "data2vec-audio": "Data2VecAudio",
    "unispeech": "UniSpeech",
    "unispeech-sat": "UniSpeechSat",
    "sew": "SEW",
    "sew-d": "SEWD",
    "wav2vec2-conformer": "Wav2Vec2Conformer",
}
SPECTROGRAMS = (
    "audio-spectrogram-transformer",
    "whisper",
    "wav2vec2-bert",
    "clap",
    "clap_audio_model",
    "speech_to_text",
)

# Settings that only training reads. Without masking there is no mask vector, which a checkpoint may lack.
FROZEN = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
# Settings that say how to load or train, not what the network is.
LOADING = ("attn_implementation", "auto_map", "dtype", "torch_dtype", "quantization_config", "gradient_checkpointing")

# Settings that no feature depends on; all others belong to the encoder's digest.
UNHEARD = (*FROZEN, *LOADING, "architectures", "transformers_version", "_name_or_path", "id2label", "label2id")

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
"""What the Large models of the family share (protocol sheet §7.3); the defaults of the classes are Base."""

SUPERVISED = ("lm_head.*", "projector.*", "classifier.*", "layer_weights")
SPEAKER = ("tdnn.*", "objective.*", "feature_extractor.weight", "feature_extractor.bias")
CONTRASTIVE = ("quantizer.*", "project_q.*", "project_hid.*")
SAT = ("speaker_proj.*", "label_embeddings_concat", "layer_norm_for_extract.*")
HEADS = {
    "wav2vec2": (*SUPERVISED, *SPEAKER, *CONTRASTIVE, "adapter.*"),
    "hubert": (*SUPERVISED, "final_proj.*", "label_embs_concat"),
    "wavlm": (*SUPERVISED, *SPEAKER, "adapter.*"),
    "data2vec-audio": (*SUPERVISED, *SPEAKER, "adapter.*", "final_proj.*"),
    "unispeech": (*SUPERVISED, *CONTRASTIVE, "ctc_proj.*"),
    "unispeech-sat": (*SUPERVISED, *SPEAKER, *CONTRASTIVE, *SAT),
    "sew": SUPERVISED,
    "sew-d": SUPERVISED,
    "wav2vec2-conformer": (*SUPERVISED, *SPEAKER, *CONTRASTIVE, "adapter.*"),
}


class SpeechTransformer(Upstream):
    """One of the `CLASSES` as an upstream: frozen, in eval mode, without masking, adapter or head."""

    def __init__(
        self, model: Any, card: UpstreamCard, normalise: bool, source: Mapping[str, str], notes: Sequence[str]
    ) -> None:
        super().__init__()
        config = model.config
        self.model = model
        self.normalise, self.source, self.notes = normalise, dict(source), list(notes)
        self.options = {key: value for key, value in config.to_diff_dict().items() if key not in UNHEARD}
        self.squeeze = getattr(config, "squeeze_factor", 1)  # SEW: the encoder runs at half the frame rate
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        self.sample_rate = card.sample_rate or 16_000
        step, seen = receptive_field(self.kernels, self.strides)
        self.hop = step * self.squeeze / self.sample_rate
        self.first = (seen + step * (self.squeeze - 1)) / 2 / self.sample_rate
        self.layers, self.width = config.num_hidden_layers + 1, config.hidden_size
        self.extent = Extent()
        self.batching = "any" if config.model_type in EXACT else "equal"
        if self.batching == "any":
            mask_padding(model, self.extent)
        self.card = replace(
            card,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            sample_rate=self.sample_rate,
            hop=self.hop,
            layers=self.layers,
            widths=(self.width,),
            normalise=normalise,
        )
        self.eval().requires_grad_(False)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        if self.normalise:
            waves = unit_variance(waves, lengths)
        frames = frame_counts(lengths, self.kernels, self.strides)
        if self.batching == "any" and bool((lengths < waves.shape[1]).any()):
            mask = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
            with self.extent.set(lengths, frames), _without_mask_warning():
                output = self.model(waves, attention_mask=mask, output_hidden_states=True)
        else:
            output = self.model(waves, output_hidden_states=True)
        states = list(output.hidden_states)
        if self.squeeze == 1:  # transformers 5 records the last block before the final norm; SEW's output is upsampled
            states[-1] = output.last_hidden_state
        return Features(torch.stack(states, 1), frames // self.squeeze, self.hop, self.first)


@dataclass(frozen=True)
class Pretrained:
    """An upstream plugin: a published model of the hub, described well enough to build its untrained twin offline.

    `kind` is the library's model type, and `facts` are the settings in which the published config differs from the
    defaults of its class. The card's `normalise` is the setting of training (protocol sheet §3); a preprocessor file
    that says otherwise earns a note.
    """

    card: UpstreamCard
    hub: str
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def load(self, spec: Spec) -> Upstream:
        name = self.card.name
        if spec.random and not spec.checkpoint:
            model = fresh(settings({"model_type": self.kind, **self.facts}, name), spec.seed)
            return SpeechTransformer(model, self.card, bool(self.card.normalise), random_source(spec), [])
        place = self._place(spec)
        found = open_encoder(place, self.card, spec)
        kind = found.model.config.model_type
        if (kind, found.layers, (found.width,)) != (self.kind, self.card.layers, self.card.widths):
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
    normalise: bool,
    facts: Mapping[str, Any] | None = None,
) -> Pretrained:
    """The plugin for a self-supervised 16 kHz model of the wav2vec 2.0 family, 320 samples to a frame.

    `parameters` counts what features depend on: no heads, no mask vector. `layers` counts states, one more than blocks.
    """
    card = UpstreamCard(
        name,
        family,
        licence,
        weights=f"hub: {hub}",
        parameters=parameters,
        sample_rate=16_000,
        hop=0.02,
        layers=layers,
        widths=(width,),
        normalise=normalise,
        parity="run",
    )
    return Pretrained(card, hub, kind, facts or {})


def open_encoder(place: Snapshot | Checkpoint, card: UpstreamCard, spec: Spec) -> SpeechTransformer:
    """The encoder in a model folder or checkpoint, or its twin with fresh weights if the spec says so."""
    config = settings(place.facts(CONFIG), place.name)
    preprocessor = place.facts(PREPROCESSOR)
    if card.sample_rate is None:
        card = replace(card, sample_rate=preprocessor.get("sampling_rate", 16_000))
    model, source = (fresh(config, spec.seed), random_source(spec)) if spec.random else trained(config, place)
    used = place.normalise if isinstance(place, Checkpoint) else None
    normalise, notes = decide_normalisation(card, config, preprocessor, used)
    return SpeechTransformer(model, card, normalise, source, notes)


def settings(facts: Mapping[str, Any], name: str) -> Any:
    """The transformers config object for the contents of a config.json, with what only training reads switched off.

    The class is chosen from `CLASSES` by `model_type`; code that comes with a model is never run.
    """
    kind = facts.get("model_type")
    if kind in SPECTROGRAMS:
        raise RequestError(f"{name} is a '{kind}' model: it takes spectrograms, which are not supported yet")
    if kind not in CLASSES:
        own = ["its classes come with the model, and code from a model is never run"] if "auto_map" in facts else []
        raise RequestError(
            f"{name} is a {kind!r} model, not a known speech encoder", *own, f"known: {', '.join(CLASSES)}"
        )
    shield()
    import transformers

    network = {key: value for key, value in facts.items() if not key.startswith("_") and key not in LOADING}
    try:
        config = getattr(transformers, CLASSES[kind] + "Config")(**{**network, **FROZEN})
        if getattr(config, "add_adapter", False):  # a speech-to-text bridge behind the encoder, at another rate
            config.add_adapter = False
    except Exception as error:  # the library's validation raises several kinds
        raise BadCheckpoint(f"{CONFIG} of {name} describes no {CLASSES[kind]} encoder: {error}") from error
    return config


def fresh(config: Any, seed: int) -> Any:
    """The architecture of `config` with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed the GPUs
        return _without_mask_vector(_class(config)(config))


def trained(config: Any, place: Snapshot | Checkpoint) -> tuple[Any, dict[str, str]]:
    """The architecture of `config` with the weights of `place`, which must fit exactly, and where they came from."""
    try:
        with torch.device("meta"):
            model = _without_mask_vector(_class(config)(config))
    except Exception as error:  # sizes that do not divide, unknown activations
        raise BadCheckpoint(f"{CONFIG} of {place.name} describes no network: {error}") from error
    state, source = place.weights()
    prefix = model.base_model_prefix
    state = modern_weight_norm(strip_prefix(state, (f"{prefix}.", f"{prefix.replace('-', '_')}.")))
    for key, value in model.named_buffers():
        if key.endswith("num_batches_tracked"):  # a training counter that older files lack
            state.setdefault(key, torch.zeros(value.shape, dtype=value.dtype))
    try:
        load_strict(model, state, ignore=(*HEADS[config.model_type], "masked_spec_embed"))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{place.name}: {error.args[0]}", *error.hints) from error
    return model, source


def decide_normalisation(
    card: UpstreamCard, config: Any, preprocessor: Mapping[str, Any], used: bool | None = None
) -> tuple[bool, list[str]]:
    """Whether waves get zero mean and unit variance, and what the user should know about how that was decided.

    `used` is what a checkpoint says of its own training, which goes before everything else.
    """
    if used is not None:
        other = [f"normalise={used} as its own training settings say; the published model has {card.normalise}"]
        return used, other if card.normalise not in (None, used) else []
    stated = preprocessor.get("do_normalize")
    if card.normalise is not None:
        if stated in (None, card.normalise):
            return card.normalise, []
        return card.normalise, [
            f"normalise={card.normalise} as in the published training, although its preprocessor file says "
            f"do_normalize={stated}; `hf:` follows the file"
        ]
    if stated is not None:
        return bool(stated), [f"normalise={bool(stated)}: its preprocessor file says so"]
    guess = getattr(config, "feat_extract_norm", "layer") == "layer"
    return guess, [f"normalise={guess}: no preprocessor file says, so by its {'layer' if guess else 'group'} norm"]


def random_source(spec: Spec) -> dict[str, str]:
    return {"weights": "random", "seed": str(spec.seed)}


def _class(config: Any) -> type[nn.Module]:
    import transformers

    return getattr(transformers, CLASSES[config.model_type] + "Model")  # type: ignore[no-any-return]


def _without_mask_vector(model: Any) -> Any:
    if hasattr(model, "masked_spec_embed"):  # UniSpeech-SAT has one even if nothing is ever masked
        del model.masked_spec_embed
    return model


@contextmanager
def _without_mask_warning() -> Iterator[None]:
    with warnings.catch_warnings():  # WavLM hands torch a boolean and a float mask side by side
        warnings.filterwarnings("ignore", message="Support for mismatched", category=UserWarning)
        yield
