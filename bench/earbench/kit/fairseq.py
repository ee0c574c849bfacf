"""Checkpoints of fairseq, unilm and s3prl in the terms of transformers (protocol sheet §2.5, §7.3, §9.1, §10.6).

fairseq and unilm write `model` beside `cfg` (in parts, or flat as unilm's) or, in old files, `args`. s3prl's converted
files hold the same tensors as `model_weight`, beside `model_cfg` and `task_cfg`; its distilled ones as `Distiller`,
beside `Config`. Sizes are read off the tensors; the settings say what no shape shows: strides, heads, where the norms
sit, how the waves of training were scaled.

Where they were normalised, features are those of transformers, which adds 1e-7 to the variance. fairseq adds 1e-5: its
waves are 5 % smaller for a clip at -40 dB, which a Large model with biased convolutions hears.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from earbench.errors import BadCheckpoint
from earbench.kit.hub import CONFIG
from earbench.kit.unpickle import Bag
from earbench.kit.weights import file_digest, read_state

PRETRAINING = {
    "wav2vec2": r"mask_emb|quantizer\..+|project_q\..+|final_proj\..+|target_glu\..+",
    "hubert": r"mask_emb|label_embs_concat|final_proj\..+|target_glu\..+|output_layer\..+",
    "wavlm": r"mask_emb",
}
"""By kind, the tensors that only pre-training needs; the kinds are those that `read_checkpoint` knows."""

BLOCK = r"encoder\.layers\.(\d+)\."
NAMES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.(weight|bias)", r"feature_extractor.conv_layers.\1.conv.\2"),
    (
        r"feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.(weight|bias)",
        r"feature_extractor.conv_layers.\1.layer_norm.\2",
    ),
    (r"layer_norm\.(weight|bias)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.(.+)", r"encoder.pos_conv_embed.conv.\1"),
    (BLOCK + r"self_attn\.([qkv]|out)_proj\.(weight|bias)", r"encoder.layers.\1.attention.\2_proj.\3"),
    (BLOCK + r"self_attn\.grep_a", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    (BLOCK + r"self_attn\.grep_linear\.(weight|bias)", r"encoder.layers.\1.attention.gru_rel_pos_linear.\2"),
    (BLOCK + r"self_attn\.relative_attention_bias\.weight", r"encoder.layers.\1.attention.rel_attn_embed.weight"),
    (BLOCK + r"self_attn_layer_norm\.(weight|bias)", r"encoder.layers.\1.layer_norm.\2"),
    (BLOCK + r"fc1\.(weight|bias)", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (BLOCK + r"fc2\.(weight|bias)", r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (BLOCK + r"final_layer_norm\.(weight|bias)", r"encoder.layers.\1.final_layer_norm.\2"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
)

# Settings that no tensor shows and that transformers' classes have in one value only; the files' own defaults.
FIXED = {"activation_fn": "gelu", "layer_type": "transformer", "crop_seq_to_multiple": 1, "sample_rate": 16_000}
# What the tensors show already, by the name of the files; a file that contradicts itself is refused.
SHOWN = {
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "conv_bias": "conv_bias",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "num_buckets": "num_buckets",
}
PLAIN = (str, bool, int, float, type(None))
CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
TERM = re.compile(r"\[((?:\(\d{1,5},\d{1,5},[1-9]\d{0,4}\),?)+)\](?:\*(\d{1,2}))?")


@dataclass(frozen=True)
class Checkpoint:
    """One file, to be asked like a model folder (`earbench.kit.hub.Snapshot`).

    `normalise` is whether training gave its waves zero mean and unit variance; None where the file does not say.
    """

    name: str
    config: Mapping[str, Any]
    normalise: bool | None
    state: Mapping[str, Tensor]
    source: Mapping[str, str]

    def facts(self, name: str) -> dict[str, Any]:
        return dict(self.config) if name == CONFIG else {}

    def weights(self) -> tuple[dict[str, Any], dict[str, str]]:
        return dict(self.state), dict(self.source)


@dataclass(frozen=True)
class Parts:
    """What a file holds, in terms of fairseq: weights, and the settings of model and task in one dictionary."""

    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    source: Mapping[str, str]


def read_checkpoint(path: Path, kind: str) -> Checkpoint:
    """The file at `path` as the model of transformers that `kind` ("wav2vec2", "hubert", "wavlm") is."""
    found = read_parts(path)
    with naming(path.name):
        state = _renamed(found.weights, kind)
        config = _config(kind, found.weights, found.settings)
        normalise = flag(found.settings, "normalize") if "normalize" in found.settings else None
    return Checkpoint(path.name, config, normalise, state, found.source)


def read_parts(path: Path) -> Parts:
    """The file at `path`, whichever of fairseq, unilm and s3prl wrote it; `source` names it for the record."""
    found = read_state(path)
    with naming(path.name):
        weights, settings, layout = _parts(found)
    return Parts(weights, settings, {"file": path.name, "file_sha256": file_digest(path), "layout": layout})


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts `name` before what is wrong with a checkpoint."""
    try:
        yield
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{name}: {error.args[0]}", *error.hints) from error


def _parts(found: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """Weights, settings of model and task in one dictionary, and the name of the layout."""
    if "model_weight" in found:
        layout, weights = "s3prl", found["model_weight"]
        model, task = _fields(found.get("model_cfg")), _fields(found.get("task_cfg"))
    elif "Distiller" in found:
        layout, weights = "s3prl distiller", found["Distiller"]
        model, task = _distilled(_fields(_fields(found.get("Config")).get("distiller"))), {}
    else:
        layout, weights = "fairseq", found.get("model")
        whole = _fields(found.get("cfg")) or _fields(found.get("args"))
        model, task = _fields(whole.get("model")) or whole, _fields(whole.get("task"))
    if not isinstance(weights, Mapping) or not model:
        raise BadCheckpoint(
            f"no checkpoint of fairseq, unilm or s3prl; it holds {', '.join(map(str, list(found)[:4])) or 'nothing'}",
            "expected `model` with `cfg` or `args`, or `model_weight` with `model_cfg` and `task_cfg`,",
            "or `Distiller` with `Config`",
            "a model of transformers is given by its folder",
        )
    if strangers := [str(key) for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise BadCheckpoint(f"{strangers[0]} is no tensor")
    settings = {key: value for key, value in {**model, **task}.items() if isinstance(value, PLAIN)}
    return {str(key): value for key, value in weights.items()}, settings, layout


def _distilled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a distiller by fairseq's names; empty if there are none. It has no norm before its projection."""
    if (attention := settings.get("attention_type", "original")) != "original":
        raise BadCheckpoint(f"another network than those of transformers: attention_type={attention!r}")
    if (tasks := settings.get("task_emb_type")) in ("add", "concat"):
        raise BadCheckpoint(f"task_emb_type={tasks!r}: each teacher layer would have features of its own")
    stated = {"conv_feature_layers": settings.get("extractor_conv_feature_layers", CONVOLUTIONS)}
    return {**settings, **stated, "feat_proj_layer_norm": False} if settings else {}


def _fields(value: Any) -> dict[str, Any]:
    """The entries of a dictionary, an `argparse.Namespace` or an omegaconf container; empty for anything else."""
    if isinstance(value, Bag):
        value = vars(value).get("_content", vars(value))
    return {str(key): _leaf(entry) for key, entry in value.items()} if isinstance(value, Mapping) else {}


def _leaf(value: Any) -> Any:
    """A setting as plain data: omegaconf boxes values, and an enumeration's member is a call with its value."""
    if isinstance(value, Bag):
        value = vars(value).get("_val", value)
    if isinstance(value, Bag) and len(arguments := vars(value).get("arguments", ())) == 1:
        (value,) = arguments
    return value


def _renamed(weights: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    dropped = re.compile(PRETRAINING[kind])
    names = {key: _renamed_key(key) for key in weights if not dropped.fullmatch(key)}
    if unknown := sorted(key for key, name in names.items() if name is None):
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise BadCheckpoint(f"no {kind} encoder has the weights {', '.join(unknown[:5])}{more}")
    return {name: weights[key] for key, name in names.items() if name}


def _renamed_key(key: str) -> str | None:
    for pattern, name in NAMES:
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    return None


def _config(kind: str, weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of a config.json for these weights; `settings` that contradict them are refused."""
    if other := [f"{key}={settings[key]!r}" for key, only in FIXED.items() if settings.get(key, only) != only]:
        raise BadCheckpoint(f"another network than those of transformers: {', '.join(other)}")
    layered = "feature_extractor.conv_layers.0.2.1.weight" in weights
    if (mode := settings.get("extractor_mode", "default")) != ("layer_norm" if layered else "default"):
        raise BadCheckpoint(f"its settings say extractor_mode={mode!r}, its convolutions have the other norm")
    hidden, per_group, width = tensor_shape(
        weights, "encoder.pos_conv.0.", ("weight_v", "parametrizations.weight.original1")
    )
    sizes, strides = _convolutions(weights, settings.get("conv_feature_layers", CONVOLUTIONS))
    found = {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": _count(weights, r"encoder\.layers\.(\d+)\.fc1\.weight"),
        "num_attention_heads": _whole(settings, "encoder_attention_heads", 12),
        "intermediate_size": tensor_shape(weights, "encoder.layers.0.fc1.", ("weight",), 2)[0],
        "conv_dim": [size[0] for size in sizes],
        "conv_kernel": [size[2] for size in sizes],
        "conv_stride": strides,
        "conv_bias": "feature_extractor.conv_layers.0.0.bias" in weights,
        "feat_extract_norm": "layer" if layered else "group",
        "do_stable_layer_norm": flag(settings, "layer_norm_first"),
        "num_conv_pos_embeddings": width,
        "num_conv_pos_embedding_groups": hidden // max(per_group, 1),
    }
    if kind == "wavlm":
        table = tensor_shape(weights, "encoder.layers.0.self_attn.relative_attention_bias.", ("weight",), 2)
        found |= {"num_buckets": table[0], "max_bucket_distance": _whole(settings, "max_distance", 1280)}
    if kind == "hubert" and settings.get("feat_proj_layer_norm") is False:
        found["feat_proj_layer_norm"] = False
    for key, name in SHOWN.items():
        if name in found and settings.get(key, found[name]) != found[name]:
            raise BadCheckpoint(f"its settings say {key}={settings[key]!r}, its weights {found[name]}")
    return found


def _convolutions(weights: Mapping[str, Tensor], text: Any) -> tuple[list[tuple[int, ...]], list[int]]:
    """The shape of each convolution, and the strides that `text`, the source of a Python list, gives them."""
    count = _count(weights, r"feature_extractor\.conv_layers\.(\d+)\.0\.weight")
    sizes = [tensor_shape(weights, f"feature_extractor.conv_layers.{layer}.0.", ("weight",)) for layer in range(count)]
    stated = convolutions(text)
    if [(width, kernel) for width, kernel, _ in stated] != [(size[0], size[2]) for size in sizes]:
        raise BadCheckpoint(f"its settings say conv_feature_layers={text!r}, its weights {sizes}")
    return sizes, [stride for _, _, stride in stated]


def convolutions(text: Any) -> list[tuple[int, int, int]]:
    """(width, kernel, stride) of each layer, from the list that fairseq writes as Python source. Nothing is evaluated.

    >>> convolutions("[(512, 10, 5)] + [(512, 3, 2)] * 2")
    [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    """
    found = []
    for term in re.sub(r"\s", "", text).split("+") if isinstance(text, str) else [""]:
        match = TERM.fullmatch(term)
        if match is None:
            raise BadCheckpoint(f"conv_feature_layers is no list of (width, kernel, stride): {text!r:.100}")
        numbers = [int(number) for number in re.findall(r"\d+", match[1])]
        layers = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
        found += layers * int(match[2] or 1)
    return found


def tensor_shape(weights: Mapping[str, Tensor], prefix: str, names: tuple[str, ...], axes: int = 3) -> tuple[int, ...]:
    for name in names:
        if prefix + name in weights and weights[prefix + name].ndim == axes:
            return tuple(weights[prefix + name].shape)
    raise BadCheckpoint(f"it has no {prefix}{names[0]} of {axes} axes")


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in weights)


def _whole(settings: Mapping[str, Any], key: str, usual: int) -> int:
    value = settings.get(key, usual)
    if type(value) is not int or value < 1:
        raise BadCheckpoint(f"its settings say {key}={value!r}, which is no number of things")
    return value


def flag(settings: Mapping[str, Any], key: str) -> bool:
    value = settings.get(key, False)
    if not isinstance(value, bool):
        raise BadCheckpoint(f"its settings say {key}={value!r}, which is neither true nor false")
    return value
