"""Checkpoints of fairseq, unilm and s3prl: the features of s3prl's own modules, and of the same tensors elsewhere.

Tiny models with random weights, in the published kernels and strides. The keys and shapes of the files are written out
in `layout` from the protocol sheet (§10.6) and compared with the modules of s3prl 0.4.18, which are copies of fairseq's
and unilm's.
"""

import argparse
import math
import re
import sys
import types
import warnings
from typing import ClassVar

import pytest
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from earbench import registry
from earbench.contract import Spec, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.fairseq import PRETRAINING, convolutions, read_checkpoint
from earbench.kit.hf import Pretrained
from earbench.kit.hf_models import CLASSES
from earbench.kit.hub import CONFIG
from earbench.kit.weights import load_strict, modern_weight_norm
from earbench_upstreams.hf import HF

HIDDEN, HEADS, INNER, WIDTH, KERNEL, GROUPS, BLOCKS, BUCKETS = 32, 4, 48, 16, 16, 4, 2, 320
STRIDES = (5, 2, 2, 2, 2, 2, 2)
KERNELS = (10, 3, 3, 3, 3, 2, 2)
VARIANTS = [(kind, large) for kind in ("wav2vec2", "hubert", "wavlm") for large in (False, True)]
each_variant = pytest.mark.parametrize(
    ("kind", "large"), VARIANTS, ids=[f"{kind}{' large' * large}" for kind, large in VARIANTS]
)


# ---- the files -------------------------------------------------------------------------------------------------------


def layout(kind, large):
    """The name and shape of every tensor in a public file of these sizes. "Large": pre-norm, layer norms, biases."""
    bias = large and kind != "wavlm"  # WavLM Large has layer norms behind its convolutions, but no biases
    found = {"mask_emb": (HIDDEN,), "layer_norm.weight": (WIDTH,), "layer_norm.bias": (WIDTH,)}
    for i, kernel in enumerate(KERNELS):
        convolution = f"feature_extractor.conv_layers.{i}"
        found[f"{convolution}.0.weight"] = (WIDTH, WIDTH if i else 1, kernel)
        if bias:
            found[f"{convolution}.0.bias"] = (WIDTH,)
        if large or i == 0:
            norm = f"{convolution}.2.1" if large else f"{convolution}.2"
            found |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    found |= linear("post_extract_proj", WIDTH, HIDDEN)
    found |= {
        "encoder.pos_conv.0.bias": (HIDDEN,),
        "encoder.pos_conv.0.weight_g": (1, 1, KERNEL),
        "encoder.pos_conv.0.weight_v": (HIDDEN, HIDDEN // GROUPS, KERNEL),
    }
    for i in range(BLOCKS):
        block = f"encoder.layers.{i}"
        for name in ("k", "v", "q", "out"):
            found |= linear(f"{block}.self_attn.{name}_proj", HIDDEN, HIDDEN)
        if kind == "wavlm":
            found[f"{block}.self_attn.grep_a"] = (1, HEADS, 1, 1)
            found |= linear(f"{block}.self_attn.grep_linear", HIDDEN // HEADS, 8)
            if i == 0:
                found[f"{block}.self_attn.relative_attention_bias.weight"] = (BUCKETS, HEADS)
        found |= linear(f"{block}.fc1", HIDDEN, INNER) | linear(f"{block}.fc2", INNER, HIDDEN)
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            found |= {f"{block}.{norm}.weight": (HIDDEN,), f"{block}.{norm}.bias": (HIDDEN,)}
    found |= {"encoder.layer_norm.weight": (HIDDEN,), "encoder.layer_norm.bias": (HIDDEN,)}
    if kind == "wav2vec2":
        found["quantizer.vars"] = (1, 2 * 5, 4)
        found |= linear("quantizer.weight_proj", WIDTH, 2 * 5) | linear("project_q", 8, 8)
    if kind == "hubert":
        found["label_embs_concat"] = (3, 8)
    return found if kind == "wavlm" else found | linear("final_proj", HIDDEN, 8)


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def tensors(kind, large):
    """Random tensors in that layout, so that no norm is the identity and no bias zero."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for name, shape in layout(kind, large).items():
        norm = (len(shape) == 1 and name.endswith("weight")) or name.endswith(("weight_g", "grep_a"))
        found[name] = 0.2 * torch.randn(shape, generator=generator) + (1.0 if norm else 0.0)
    return found


def model_settings(kind, large):
    found = {
        "extractor_mode": "layer_norm" if large else "default",
        "encoder_layers": BLOCKS,
        "encoder_embed_dim": HIDDEN,
        "encoder_ffn_embed_dim": INNER,
        "encoder_attention_heads": HEADS,
        "activation_fn": "gelu",
        "layer_norm_first": large,
        "conv_feature_layers": f"[({WIDTH},10,5)] + [({WIDTH},3,2)] * 4 + [({WIDTH},2,2)] * 2",
        "conv_bias": large and kind != "wavlm",
        "conv_pos": KERNEL,
        "conv_pos_groups": GROUPS,
        "final_dim": 8,
    }
    if kind == "wav2vec2":
        found |= {"quantize_targets": True, "latent_vars": 5, "latent_groups": 2}
    if kind == "hubert":
        found |= {"label_rate": 50.0}
    if kind == "wavlm":
        found |= {"relative_position_embedding": True, "gru_rel_pos": True, "num_buckets": BUCKETS, "max_distance": 90}
    return found


def task_settings(large):
    return {"data": "/data", "sample_rate": 16_000, "normalize": large}


def fairseq_file(kind, large, state):
    """As the authors publish it: nested settings, flat ones for WavLM."""
    model, task = model_settings(kind, large), task_settings(large)
    if kind == "wavlm":
        return {"cfg": {**model, "normalize": large}, "model": state}
    return {"args": None, "cfg": {"_name": None, "model": {"_name": kind, **model}, "task": task}, "model": state}


def old_file(kind, large, state):
    """As fairseq wrote it before it had nested settings."""
    flat = argparse.Namespace(arch=kind, **model_settings(kind, large), **task_settings(large))
    return {"args": flat, "model": state, "optimizer_history": [], "last_optimizer_state": None}


def s3prl_file(kind, large, state):
    if kind == "wavlm":  # s3prl takes unilm's files as they are
        return fairseq_file(kind, large, state)
    symbols = {"dictionaries_symbols": [["<s>", "a", "b"]]} if kind == "hubert" else {}
    parts = {"task_cfg": task_settings(large), "model_cfg": model_settings(kind, large), "model_weight": state}
    return {**parts, **symbols}


RENAMED = (
    (".0.weight", ".conv.weight"),
    (".0.bias", ".conv.bias"),
    (".2.1.", ".layer_norm."),
    (".2.weight", ".layer_norm.weight"),
    (".2.bias", ".layer_norm.bias"),
)
IN_BLOCKS = (
    ("self_attn_layer_norm", "layer_norm"),
    ("self_attn", "attention"),
    ("fc1", "feed_forward.intermediate_dense"),
    ("fc2", "feed_forward.output_dense"),
    ("grep_a", "gru_rel_pos_const"),
    ("grep_linear", "gru_rel_pos_linear"),
    ("relative_attention_bias", "rel_attn_embed"),
)
ELSEWHERE = (
    ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
    ("post_extract_proj", "feature_projection.projection"),
    ("mask_emb", "masked_spec_embed"),
)


def transformers_folder(folder, kind, large, state):
    """The same tensors as transformers itself saves them."""
    renamed = {}
    for name, value in state.items():
        table = RENAMED if name.startswith("feature_") else IN_BLOCKS if ".layers." in name else ELSEWHERE
        for theirs, library in table:
            name = name.replace(theirs, library)
        renamed["feature_projection." + name if name.startswith("layer_norm.") else name] = value
    facts = {"hidden_size": HIDDEN, "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS}
    facts |= {"intermediate_size": INNER, "conv_dim": [WIDTH] * 7, "conv_bias": large and kind != "wavlm"}
    facts |= {"num_conv_pos_embeddings": KERNEL, "num_conv_pos_embedding_groups": GROUPS}
    facts |= {"feat_extract_norm": "layer" if large else "group", "do_stable_layer_norm": large}
    facts |= {"max_bucket_distance": 90} if kind == "wavlm" else {}
    name = CLASSES[kind]
    made = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**facts))
    heads = ("quantizer.*", "project_q.*", "final_proj.*", "label_embs_concat")
    load_strict(made, modern_weight_norm(renamed), ignore=heads)
    made.save_pretrained(folder)
    return folder


def plugin(kind, **facts):
    card = {"family": "test", "licence": "x", "weights": "x", "layers": BLOCKS + 1, "widths": (HIDDEN,), **facts}
    return Pretrained(UpstreamCard(kind, **card), "a/b", kind)


def opened(kind, path, random=False, **facts):
    return plugin(kind, **facts).load(Spec(kind, kind, checkpoint=str(path), random=random, seed=1))


def saved(path, content, new=True):
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


def public(path, kind, large=False):
    return saved(path, fairseq_file(kind, large, tensors(kind, large)))


def clips(*seconds):
    generator = torch.Generator().manual_seed(3)
    return [0.1 * torch.randn(int(16_000 * length), generator=generator) + 0.02 for length in seconds]


@torch.no_grad()
def states(upstream, wave):
    return upstream.encode(wave[None], torch.tensor([len(wave)])).frames[0]


# ---- the same features -----------------------------------------------------------------------------------------------


@pytest.fixture
def s3prl():
    """s3prl's own experts, by kind."""
    try:
        from s3prl.upstream.hubert.expert import UpstreamExpert as Hubert
        from s3prl.upstream.wav2vec2.expert import UpstreamExpert as Wav2vec2
        from s3prl.upstream.wavlm.expert import UpstreamExpert as WavLM
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")

    def load(kind, path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's old weight norm
            return {"hubert": Hubert, "wav2vec2": Wav2vec2, "wavlm": WavLM}[kind](str(path)).eval()

    return load


@each_variant
def test_the_keys_and_shapes_of_these_tests_are_those_of_the_reference(s3prl, tmp_path, kind, large):
    path = saved(tmp_path / "converted.pt", s3prl_file(kind, large, tensors(kind, large)))
    theirs = s3prl(kind, path).model.state_dict()
    assert {name: tuple(value.shape) for name, value in theirs.items()} == layout(kind, large)
    assert {value.dtype for value in theirs.values()} == {torch.float32}


BASE = {"HIDDEN": 768, "HEADS": 12, "INNER": 3072, "BLOCKS": 12}
LARGE = {"HIDDEN": 1024, "HEADS": 16, "INNER": 4096, "BLOCKS": 24}


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2_large", "hubert", "hubert_large", "wavlm", "wavlm_large"])
def test_that_layout_has_the_published_number_of_parameters_at_the_published_size(monkeypatch, name):
    large = name.endswith("_large")
    for constant, value in {**(LARGE if large else BASE), "WIDTH": 512, "KERNEL": 128, "GROUPS": 16}.items():
        monkeypatch.setattr(sys.modules[__name__], constant, value)
    published, kind = registry.load("upstream", name), name.removesuffix("_large")
    shapes = [shape for key, shape in layout(kind, large).items() if not re.fullmatch(PRETRAINING[kind], key)]
    assert published.kind == kind
    assert sum(map(math.prod, shapes)) == published.card.parameters


@pytest.mark.filterwarnings("ignore:Support for mismatched:UserWarning")  # s3prl's WavLM hands torch two mask types
@each_variant
def test_every_layer_is_that_of_the_reference(s3prl, tmp_path, kind, large):
    path = saved(tmp_path / "converted.pt", s3prl_file(kind, large, tensors(kind, large)))
    theirs, ours = s3prl(kind, path), opened(kind, path)
    assert ours.normalise is large
    for wave in clips(0.1, 0.7, 1.0):
        # fairseq adds 1e-5 to the variance, transformers and we 1e-7: no difference for a wave as loud as this one.
        wave = 10 * wave
        with torch.no_grad():
            expected = theirs([wave])["hidden_states"]
        found = states(ours, wave)
        assert found.shape[0] == len(expected) == BLOCKS + 1
        torch.testing.assert_close(found, torch.cat(list(expected)), atol=1e-4, rtol=0)


@each_variant
def test_one_set_of_tensors_gives_the_same_features_in_every_layout(tmp_path, kind, large):
    state = tensors(kind, large)
    folder = transformers_folder(tmp_path / "folder", kind, large, state)
    expected = HF.load(Spec(f"hf:{folder}", "hf", argument=str(folder)))
    for write in (fairseq_file, old_file, s3prl_file):
        for new in (True, False):
            found = opened(kind, saved(tmp_path / "file.pt", write(kind, large, state), new))
            assert found.options == expected.options
            for wave in clips(0.1, 0.7):
                torch.testing.assert_close(states(found, wave), states(expected, wave), atol=1e-4, rtol=0)


def test_a_checkpoint_gives_the_same_features_alone_and_in_a_batch(tmp_path):
    upstream, waves = opened("hubert", public(tmp_path / "file.pt", "hubert")), clips(0.1, 0.25, 0.7)
    with torch.no_grad():
        together = upstream.encode(pad_sequence(waves, batch_first=True), torch.tensor([len(w) for w in waves]))
    for index, wave in enumerate(waves):
        torch.testing.assert_close(
            together.frames[index, :, : together.lengths[index]], states(upstream, wave), atol=2e-5, rtol=0
        )


def test_half_precision_weights_are_used_in_single_precision(tmp_path):
    state = {name: value.half() for name, value in tensors("wavlm", True).items()}
    found = opened("wavlm", saved(tmp_path / "file.pt", fairseq_file("wavlm", True, state)))
    assert {parameter.dtype for parameter in found.parameters()} == {torch.float32}


# ---- settings --------------------------------------------------------------------------------------------------------


class DictConfig:
    """As omegaconf pickles one: boxed values, and a way back to the parent."""

    def __init__(self, content, parent=None):
        boxes = {k: DictConfig(v, self) if isinstance(v, dict) else AnyNode(v, self) for k, v in content.items()}
        self.__dict__.update(_metadata=None, _parent=parent, _content=boxes)


class AnyNode:
    def __init__(self, value, parent):
        self.__dict__.update(_metadata=None, _parent=parent, _val=Choice(value) if value == "default" else value)


class Choice:
    """As a member of an enumeration is pickled: a call with its value."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return Choice, (self.value,)


class Dictionary:
    symbols: ClassVar[list[str]] = ["<s>"]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_settings_in_objects_of_packages_that_are_not_here_are_read(tmp_path, monkeypatch, new):
    for name in (DictConfig, AnyNode, Choice, Dictionary):
        monkeypatch.setattr(name, "__module__", "package_that_is_not_here")
    package = types.ModuleType("package_that_is_not_here")
    package.__dict__.update(DictConfig=DictConfig, AnyNode=AnyNode, Choice=Choice, Dictionary=Dictionary)
    monkeypatch.setitem(sys.modules, package.__name__, package)
    content = fairseq_file("hubert", False, tensors("hubert", False))
    boxed = {**content, "cfg": DictConfig(content["cfg"]), "task_state": {"dictionaries": [Dictionary()]}}
    saved(tmp_path / "boxed.pt", boxed, new)
    monkeypatch.delitem(sys.modules, package.__name__)
    plain = read_checkpoint(saved(tmp_path / "plain.pt", content), "hubert")
    found = read_checkpoint(tmp_path / "boxed.pt", "hubert")
    assert (found.facts(CONFIG), found.normalise) == (plain.facts(CONFIG), plain.normalise)
    assert found.normalise is False


def test_the_file_says_whether_waves_are_normalised_and_a_name_that_says_otherwise_earns_a_note(tmp_path):
    for large in (False, True):
        path = public(tmp_path / "file.pt", "wav2vec2", large)
        assert opened("wav2vec2", path, normalise=large).notes == []
        found = opened("wav2vec2", path, normalise=not large)
        assert found.normalise is found.card.normalise is large
        assert f"normalise={large} as its own training settings say" in found.notes[0]
        assert f"has {not large}" in found.notes[0]


def test_a_file_that_does_not_say_follows_the_name(tmp_path):
    content = fairseq_file("wavlm", False, tensors("wavlm", False))
    del content["cfg"]["normalize"]
    path = saved(tmp_path / "file.pt", content)
    assert [opened("wavlm", path, normalise=stated).normalise for stated in (False, True)] == [False, True]


def test_the_record_says_which_file_it_was_and_not_where(tmp_path):
    found = opened("hubert", public(tmp_path / "file.pt", "hubert"))
    assert found.source["file"] == "file.pt"
    assert found.source["layout"] == "fairseq"
    assert len(found.source["file_sha256"]) == 64
    assert str(tmp_path) not in str(found.source)


def test_the_untrained_twin_of_a_file_has_its_shape_and_other_weights(tmp_path):
    path = public(tmp_path / "file.pt", "wavlm", large=True)
    trained, twin, again = opened("wavlm", path), opened("wavlm", path, True), opened("wavlm", path, True)
    (wave,) = clips(0.7)
    assert twin.source == {"weights": "random", "seed": "1"}
    assert twin.options == trained.options
    assert torch.equal(states(twin, wave), states(again, wave))
    assert not torch.allclose(states(twin, wave), states(trained, wave), atol=0.1)


def test_convolutions_are_read_as_the_published_files_spell_them():
    base = [(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512, 2, 2)] * 2
    for text in (
        "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        str(base),
    ):
        assert convolutions(text) == base


@pytest.mark.parametrize("text", ["", "[]", "exit()", "[(512,10,5)] * 999", "[(512,10,0)]", "[(512,10)]", None, 7])
def test_what_is_no_list_of_convolutions_is_refused_and_not_evaluated(text):
    with pytest.raises(BadCheckpoint, match="conv_feature_layers"):
        convolutions(text)


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        (
            "hubert",
            {"encoder.layers.1.fc2.bias": None},
            r"missing \(1\): .*layers\.1\.feed_forward\.output_dense\.bias",
        ),
        ("hubert", {"encoder.layers.0.fc1.weight": None}, "fc1.weight"),
        ("hubert", {"encoder.pos_conv.0.weight_v": None}, "weight_v"),
        (
            "hubert",
            {"encoder.pos_conv.0.weight_g": torch.ones(HIDDEN, 1, 1)},
            r"is \(32, 1, 1\), expected \(1, 1, 16\)",
        ),
        ("hubert", {"encoder.extra.weight": torch.ones(1)}, "no hubert encoder has the weights encoder.extra.weight"),
        ("hubert", {"quantizer.vars": torch.ones(1)}, "no hubert encoder has the weights quantizer.vars"),
        ("wav2vec2", {"label_embs_concat": torch.ones(1)}, "no wav2vec2 encoder has the weights label_embs_concat"),
        ("wav2vec2", {"input_quantizer.vars": torch.ones(1)}, "no wav2vec2 encoder has the weights input_quantizer"),
        ("wav2vec2", {"classifier.weight": torch.ones(1)}, "no wav2vec2 encoder has the weights classifier.weight"),
        ("wav2vec2", {"encoder.layers.0.self_attn.grep_a": torch.ones(1, 4, 1, 1)}, "left over .*gru_rel_pos_const"),
        ("wavlm", {"final_proj.weight": torch.ones(1)}, "no wavlm encoder has the weights final_proj.weight"),
        ("wavlm", {"encoder.layers.1.self_attn.grep_a": None}, r"missing \(1\): .*gru_rel_pos_const"),
        ("wavlm", {"encoder.layers.1.self_attn.grep_a": "text"}, "is no tensor"),
    ],
)
def test_weights_that_do_not_fit_exactly_are_refused(tmp_path, kind, change, named):
    state = {name: value for name, value in {**tensors(kind, False), **change}.items() if value is not None}
    with pytest.raises(BadCheckpoint, match=named) as caught:
        opened(kind, saved(tmp_path / "file.pt", fairseq_file(kind, False, state)))
    assert str(caught.value).startswith("file.pt: ")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder_layers": 3}, "encoder_layers=3, its weights 2"),
        ({"encoder_embed_dim": 64}, "encoder_embed_dim=64, its weights 32"),
        ({"conv_bias": True}, "conv_bias=True, its weights False"),
        ({"conv_pos_groups": 8}, "conv_pos_groups=8, its weights 4"),
        ({"conv_feature_layers": "[(16,10,5)] * 7"}, "conv_feature_layers"),
        ({"extractor_mode": "layer_norm"}, "extractor_mode='layer_norm'"),
        ({"encoder_attention_heads": 5}, "describes no"),
        ({"encoder_attention_heads": -4}, "encoder_attention_heads=-4"),
        ({"encoder_attention_heads": "4"}, "encoder_attention_heads='4'"),
        ({"layer_norm_first": "False"}, "layer_norm_first='False'"),
        ({"layer_type": "conformer"}, "layer_type='conformer'"),
        ({"activation_fn": "relu"}, "activation_fn='relu'"),
    ],
)
def test_settings_that_contradict_the_weights_or_mean_another_network_are_refused(tmp_path, change, named):
    content = fairseq_file("hubert", False, tensors("hubert", False))
    content["cfg"]["model"] |= change
    with pytest.raises(BadCheckpoint, match=named):
        opened("hubert", saved(tmp_path / "file.pt", content))


def test_settings_that_are_no_plain_values_are_not_looked_into(tmp_path):
    """Doubled sixty times, a list is small to store and endless to print or compare."""
    endless = []
    for _ in range(60):
        endless = [endless, endless]
    content = fairseq_file("hubert", False, tensors("hubert", False))
    content["cfg"]["model"] |= {"activation_fn": endless, "encoder_layers": {"a": endless}, "label": torch.ones(2)}
    assert opened("hubert", saved(tmp_path / "file.pt", content)).layers == BLOCKS + 1


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"model": {"w": torch.ones(1)}},
        {"model": {"w": torch.ones(1)}, "cfg": None, "args": None},
        {"model_weight": {"w": torch.ones(1)}, "task_cfg": {"normalize": True}},
        {"model": 7, "cfg": {"encoder_layers": 2}},
        {"encoder.layer_norm.weight": torch.ones(32)},
    ],
)
def test_files_in_no_known_layout_are_refused(tmp_path, content):
    with pytest.raises(BadCheckpoint, match=r"file\.pt: no checkpoint of fairseq, unilm or s3prl"):
        opened("hubert", saved(tmp_path / "file.pt", content))


def test_another_architecture_under_a_published_name_is_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"file\.pt is a hubert with 3 of width 32"):
        opened("hubert", public(tmp_path / "file.pt", "hubert"), layers=13)


def test_other_kinds_still_want_a_folder(tmp_path):
    with pytest.raises(BadCheckpoint, match="expected a folder"):
        opened("data2vec-audio", public(tmp_path / "file.pt", "hubert"))
