"""The networks of transformers that are audio encoders: which there are, and one of them from settings or from files.

The library's classes do the arithmetic; reading is ours, so that no code of a model and no pickle ever runs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from earbench.contract import Spec
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.fairseq import Checkpoint
from earbench.kit.hub import CONFIG, Snapshot
from earbench.kit.torchaudio_guard import shield
from earbench.kit.weights import load_strict, modern_weight_norm, strip_prefix

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
    "wav2vec2-bert": "Wav2Vec2Bert",
    "whisper": "Whisper",
    "audio-spectrogram-transformer": "AST",
    "clap_audio_model": "ClapAudio",
}
"""How the names of a kind's classes begin, by the `model_type` of its settings."""

# Settings that only training reads. Without masking there is no mask vector, which a checkpoint may lack.
FROZEN = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
# Settings that say how to load or train, not what the network is.
LOADING = ("attn_implementation", "auto_map", "dtype", "torch_dtype", "quantization_config", "gradient_checkpointing")

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
    "wav2vec2-bert": (*SUPERVISED, *SPEAKER, "adapter.*", "intermediate_ffn.*"),
    "whisper": (*SUPERVISED, "decoder.*", "proj_out.*"),
    "audio-spectrogram-transformer": SUPERVISED,
    "clap_audio_model": ("text_model.*", "text_projection.*", "audio_projection.*", "logit_scale_*"),
}
"""By kind, what the files hold besides the encoder: other parts of the model, and what it was trained with."""

INSIDE = {"whisper": ("encoder.",), "clap_audio_model": ("audio_model.",)}
"""By kind, what else the encoder's keys begin with in the files of a larger model."""

VIT = (
    (r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"layers.\1.attention.\2_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.attention.o_proj."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.mlp.fc1."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.mlp.fc2."),
    (r"encoder\.layer\.(\d+)\.", r"layers.\1."),
    (r"\.query_proj\.", ".q_proj."),
    (r"\.key_proj\.", ".k_proj."),
    (r"\.value_proj\.", ".v_proj."),
)
RENAMED = {"audio-spectrogram-transformer": VIT}
"""By kind, how keys of the files, all in the names of transformers 4, are spelled in the classes of version 5."""


def settings(facts: Mapping[str, Any], name: str) -> Any:
    """The transformers config object for the contents of a config.json, with what only training reads switched off.

    The class is chosen from `CLASSES` by `model_type`; code that comes with a model is never run. Of CLAP's two
    encoders it is the one for audio.
    """
    if facts.get("model_type") == "clap":
        facts = {**facts.get("audio_config", {}), "model_type": "clap_audio_model"}
    kind = facts.get("model_type")
    if kind not in CLASSES:
        own = ["its classes come with the model, and code from a model is never run"] if "auto_map" in facts else []
        raise RequestError(
            f"{name} is a {kind!r} model, not a known audio encoder", *own, f"known: {', '.join(CLASSES)}"
        )
    shield()
    import transformers

    network = {key: value for key, value in facts.items() if not key.startswith("_") and key not in LOADING}
    try:
        config = getattr(transformers, CLASSES[kind] + "Config")(**{**network, **FROZEN})
        if getattr(config, "add_adapter", False):  # a speech-to-text bridge behind the encoder, at another rate
            config.add_adapter = config.use_intermediate_ffn_before_adapter = False
    except Exception as error:  # the library's validation raises several kinds
        raise BadCheckpoint(f"{CONFIG} of {name} describes no {CLASSES[kind]} encoder: {error}") from error
    return config


def fresh(config: Any, seed: int) -> Any:
    """The architecture of `config` with weights drawn from `seed`; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed the GPUs
        return _without_mask_vector(encoder_class(config.model_type)(config))


def trained(config: Any, place: Snapshot | Checkpoint) -> tuple[Any, dict[str, str]]:
    """The architecture of `config` with the weights of `place`, which must fit exactly, and where they came from."""
    kind = config.model_type
    try:
        with torch.device("meta"):
            model = _without_mask_vector(encoder_class(kind)(config))
    except Exception as error:  # sizes that do not divide, unknown activations
        raise BadCheckpoint(f"{CONFIG} of {place.name} describes no network: {error}") from error
    state, source = place.weights()
    state = _spelled(state, kind, model.base_model_prefix)
    for key, value in model.named_buffers():
        if key.endswith("num_batches_tracked"):  # a training counter that older files lack
            state.setdefault(key, torch.zeros(value.shape, dtype=value.dtype))
    try:
        load_strict(model, state, ignore=(*HEADS[kind], "masked_spec_embed"))
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{place.name}: {error.args[0]}", *error.hints) from error
    return _with_tables(model, config), source


def encoder_class(kind: str) -> type[nn.Module]:
    """The library's class of the encoder alone."""
    import transformers

    if kind == "whisper":
        module = importlib.import_module("transformers.models.whisper.modeling_whisper")
        return module.WhisperEncoder  # type: ignore[no-any-return]
    return getattr(transformers, CLASSES[kind] + "Model")  # type: ignore[no-any-return]


def random_source(spec: Spec) -> dict[str, str]:
    return {"weights": "random", "seed": str(spec.seed)}


def _spelled(state: Mapping[str, Tensor], kind: str, prefix: str) -> dict[str, Any]:
    """The tensors of a file under the names that the encoder's class has for them."""
    prefixes = (f"{prefix}.", f"{prefix.replace('-', '_')}.", *INSIDE.get(kind, ()))
    known = modern_weight_norm(strip_prefix(state, prefixes))
    for pattern, name in RENAMED.get(kind, ()):
        known = {re.sub(pattern, name, key): value for key, value in known.items()}
    return known


def _with_tables(model: Any, config: Any) -> Any:
    """The model with the tables that files lack, of positions, which are worked out: the meta device has none."""
    for name, module in list(model.named_modules()):
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            model.set_submodule(name, type(module)(config))
    return model


def _without_mask_vector(model: Any) -> Any:
    if hasattr(model, "masked_spec_embed"):  # UniSpeech-SAT has one even if nothing is ever masked
        del model.masked_spec_embed
    return model
