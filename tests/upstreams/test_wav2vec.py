"""The upstreams `wav2vec`, `vq_wav2vec_gumbel` and `vq_wav2vec_kmeans`: features, units and files.

The reference is s3prl 0.4.18: its `wav2vec_model` is fairseq's `models/wav2vec/wav2vec.py` without fairseq. The names
and shapes of the public files are written out in `manifest` from the protocol sheet (§10.4) and compared with it.
"""

import argparse
import math
import os
from dataclasses import replace

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from earbench import forward
from earbench.checks import upstream as check_upstream
from earbench.contract import Group, Spec
from earbench.errors import BadCheckpoint
from earbench.kit.wav2vec import Codebook, Shape, Wav2vecNet
from earbench.kit.weights import file_digest
from earbench.layers import GroupView
from earbench_upstreams.wav2vec import VqWav2vecGumbel, VqWav2vecKmeans, Wav2vec

WIDTH, CODES, STEPS = 16, 6, 12
FRONT = [(10, 5), (8, 4), (4, 2), (4, 2), (4, 2), (1, 1), (1, 1)]
CONTEXT = range(2, 14)
PLUGINS = {"none": Wav2vec, "gumbel": VqWav2vecGumbel, "kmeans": VqWav2vecKmeans}


# ---- the files -------------------------------------------------------------------------------------------------------


def manifest(kind, width=512, codes=320, shared=False, depth=2):
    """The name and shape of every tensor in a public file."""
    found, books = {}, 1 if shared else 2
    for i, (kernel, _) in enumerate(FRONT if kind == "none" else [*FRONT, (1, 1)]):
        found[f"feature_extractor.conv_layers.{i}.0.weight"] = (width, width if i else 1, kernel)
        found |= {f"feature_extractor.conv_layers.{i}.2.{part}": (width,) for part in ("weight", "bias")}
    for i, kernel in enumerate(CONTEXT):
        block = f"feature_aggregator.conv_layers.{i}"
        found[f"{block}.1.weight"] = (width, width, kernel)
        found |= {f"{block}.{part}": (width,) for part in ("1.bias", "3.weight", "3.bias")}
    if kind == "gumbel":
        found["vector_quantizer.vars"] = (1, books * codes, width // 2)
        scores = "vector_quantizer.weight_proj" + (".1" if depth == 2 else "")
        inner = 2 * width if depth == 2 else width
        if depth == 2:
            first = "vector_quantizer.weight_proj.0.0"
            found |= {f"{first}.weight": (inner, width), f"{first}.bias": (inner,)}
        found |= {f"{scores}.weight": (2 * codes, inner), f"{scores}.bias": (2 * codes,)}
    if kind == "kmeans":
        found["vector_quantizer.embedding"] = (codes, books, width // 2)
        found["vector_quantizer.projection.0.weight"] = (width, width // 2, 1)
        found |= {f"vector_quantizer.projection.1.{part}": (width,) for part in ("weight", "bias")}
    found["wav2vec_predictions.project_to_steps.weight"] = (width, width, 1, STEPS)
    found["wav2vec_predictions.project_to_steps.bias"] = (width,)
    return found


def tensors(kind, **more):
    """Random tensors by the names of the manifest, at a small width; no norm is the identity, no bias is zero."""
    draw = torch.Generator().manual_seed(4)
    found = {}
    for name, shape in manifest(kind, WIDTH, CODES, **more).items():
        norm = len(shape) == 1 and name.endswith("weight")
        spread = 0.2 if norm or len(shape) == 1 else 1 if "vector_q" in name else 1.5 / math.prod(shape[1:]) ** 0.5
        found[name] = spread * torch.randn(shape, generator=draw) + (1.0 if norm else 0.0)
    return found


def settings(kind, **more):
    """What the published commands say of these networks (fairseq, examples/wav2vec/README.md)."""
    front = FRONT if kind == "none" else [*FRONT, (1, 1)]
    found = {
        "conv_feature_layers": str([(WIDTH, *layer) for layer in front]),
        "conv_aggregator_layers": str([(WIDTH, kernel, 1) for kernel in CONTEXT]),
        "skip_connections_agg": True,
        "skip_connections_feat": False,
        "residual_scale": 0.5,
        "log_compression": kind == "none",
        "aggregator": "cnn",
        "agg_zero_pad": False,
        "prediction_steps": STEPS,
        "offset": "auto",
        "activation": "relu" if kind == "none" else "gelu",
        "vq_type": kind,
        "vq_vars": CODES,
        "vq_groups": 2,
        "vq_depth": 2,
        "combine_groups": False,
    }
    return found | more


def old(model, state):
    """As fairseq wrote the public files: an `argparse.Namespace` of everything."""
    return {"args": argparse.Namespace(arch="wav2vec", lr=[0.005], **model), "model": state, "optimizer_history": []}


def new(model, state):
    return {"args": None, "cfg": {"model": {"_name": "wav2vec", **model}, "task": {"data": "/x"}}, "model": state}


def converted(model, state):
    return {
        "task_cfg": {"data": "/x", "sample_rate": 16_000},
        "model_cfg": {"_name": "wav2vec", **model},
        "model_weight": state,
    }


LAYOUTS = {"args": old, "cfg": new, "s3prl": converted}


@pytest.fixture
def saved(tmp_path):
    def write(content, zipped=True):
        torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=zipped)
        return tmp_path / "file.pt"

    return write


def load(kind, path=None, **more):
    plugin = PLUGINS[kind]
    found = plugin.load(Spec("", plugin.card.name, checkpoint=path and str(path), **more))
    return found.eval().requires_grad_(False)


def clips(*seconds):
    """Clips of noise as a padded batch: waves, lengths."""
    draw = torch.Generator().manual_seed(3)
    waves = [0.1 * torch.randn(round(16_000 * length), generator=draw) for length in seconds]
    return pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves])


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shared", "parameters"),
    [("none", False, 32_537_088), ("gumbel", False, 34_145_408), ("gumbel", True, 34_063_488)],
)
def test_files_have_the_published_parameter_counts_and_encoders_all_but_the_prediction_head(kind, shared, parameters):
    """Protocol sheet upstreams §7.1, §7.2, §12."""
    whole = {name: math.prod(shape) for name, shape in manifest(kind, shared=shared).items()}
    assert sum(whole.values()) == parameters
    head = sum(count for name, count in whole.items() if name.startswith("wav2vec_predictions"))
    shape = PLUGINS[kind].published
    if shared:
        shape = replace(shape, codebook=Codebook("gumbel", shared=True))
    with torch.device("meta"):
        ours = sum(weight.numel() for weight in Wav2vecNet(shape).parameters())
    assert ours == parameters - head
    assert shared or ours == PLUGINS[kind].card.parameters


@pytest.mark.parametrize("kind", PLUGINS)
def test_networks_have_the_keys_and_shapes_of_the_public_files(kind):
    with torch.device("meta"):
        state = Wav2vecNet(PLUGINS[kind].published).state_dict()
    wanted = {name: shape for name, shape in manifest(kind).items() if not name.startswith("wav2vec_predictions")}
    assert {name: tuple(value.shape) for name, value in state.items()} == wanted


def test_wav2vec_without_its_head_has_the_published_size():
    assert Wav2vec.card.parameters == 29_390_848  # protocol sheet upstreams §12


@pytest.mark.parametrize(("samples", "frames"), [(1_600, 8), (16_000, 98), (16_145, 99)])
def test_frames_are_those_wholly_inside_the_clip(saved, samples, frames):
    found = load("none", saved(old(settings("none"), tensors("none"))))
    features = found.encode(torch.zeros(1, samples), torch.tensor([samples]))
    assert features.frames.shape == (1, 13, frames, WIDTH)
    assert features.lengths.tolist() == [frames]
    assert (features.hop, features.first) == (0.01, 465 / 2 / 16_000)


@pytest.mark.parametrize("group", [None, "quantised", "units"])
def test_stretches_of_a_long_clip_give_as_many_frames_at_the_same_times(saved, group):
    upstream = load("gumbel", saved(old(settings("gumbel"), tensors("gumbel"))))
    found, wave = [], clips(2.4013)[0][0].numpy()
    for longest in (upstream.longest, 1.0):
        upstream.longest = longest
        view = GroupView(upstream, group) if group else upstream
        found.append(forward.encode(view, [wave], "frame", "fp32", torch.device("cpu")))
    whole, parts = found
    assert parts.rows[0].shape == whole.rows[0].shape
    assert (parts.hop, parts.first) == (whole.hop, whole.first)


# ---- the reference implementation ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    """s3prl's own module of the network, and its expert."""
    try:
        from s3prl.upstream.wav2vec import expert, wav2vec_model
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl does not import here: {problem}")
    return wav2vec_model, expert


@pytest.mark.parametrize(
    ("kind", "more"),
    [("none", {}), ("gumbel", {}), ("gumbel", {"shared": True}), ("kmeans", {}), ("kmeans", {"shared": True})],
)
def test_the_manifest_is_that_of_the_reference(reference, kind, more):
    model, _ = reference
    published = {"vq_vars": 320, "combine_groups": bool(more)}
    for key in ("conv_feature_layers", "conv_aggregator_layers"):
        published[key] = settings(kind)[key].replace(f"({WIDTH},", "(512,")
    with torch.device("meta"):
        state = model.Wav2VecModel(model.Wav2VecConfig(infonce=False, **{**settings(kind), **published})).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == manifest(kind, **more)


VARIANTS = {
    "wav2vec": ("none", {}, {}),
    "without log": ("none", {}, {"log_compression": False}),
    "GELU": ("none", {}, {"activation": "gelu"}),
    "no skips": ("none", {}, {"skip_connections_agg": False}),
    "another residual scale": ("none", {}, {"residual_scale": 0.3}),
    "Gumbel": ("gumbel", {}, {}),
    "Gumbel, shared": ("gumbel", {"shared": True}, {"combine_groups": True}),
    "Gumbel, one layer": ("gumbel", {"depth": 1}, {"vq_depth": 1}),
    "Gumbel, ReLU": ("gumbel", {}, {"activation": "relu", "log_compression": True}),
    "k-means": ("kmeans", {}, {}),
    "k-means, shared": ("kmeans", {"shared": True}, {"combine_groups": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_and_all_units_are_those_of_the_reference_whatever_the_padding(reference, saved, variant):
    kind, made, said = VARIANTS[variant]
    path = saved(converted(settings(kind, infonce=False, **said), tensors(kind, **made)))
    waves, lengths = clips(0.7, 0.1, 0.4321)
    features = load(kind, path).encode(waves, lengths)
    theirs = reference[1].UpstreamExpert(str(path)).eval()
    for number, length in enumerate(lengths):
        with torch.no_grad():
            expected = theirs([waves[number, :length]])
        count = int(features.lengths[number])
        states = torch.cat(expected["hidden_states"])
        assert states.shape == (13, count, WIDTH)
        assert float((features.frames[number, :, :count] - states).abs().max()) < 1e-5
        assert torch.equal(expected["z"], expected["hidden_states"][0])
        if kind != "none":
            vectors, units = (features.groups[name].frames[number, 0, :count] for name in ("quantised", "units"))
            assert float((vectors - expected["codewords"][0]).abs().max()) < 1e-5
            assert torch.equal(units.unflatten(-1, (2, CODES)).argmax(-1), expected["codeids"][0])


# ---- units -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gumbel", "kmeans"])
def coded(request, saved):
    """An encoder with a codebook, and its vectors as [group, code, own]."""
    state = tensors(request.param)
    found = load(request.param, saved(old(settings(request.param), state)))
    if request.param == "gumbel":
        return found, state["vector_quantizer.vars"].reshape(2, CODES, WIDTH // 2)
    return found, state["vector_quantizer.embedding"].transpose(0, 1)


def test_units_are_one_hot_in_each_group_and_name_the_vectors(coded):
    encoder, book = coded
    features = encoder.encode(*clips(1.5))
    units = features.groups["units"].frames[0, 0].unflatten(-1, (2, CODES))
    assert torch.equal(units.sum(-1), torch.ones(len(units), 2))
    assert torch.equal(units.amax(-1), torch.ones(len(units), 2))
    ids = units.argmax(-1)
    assert all(len(ids[:, group].unique()) > 1 for group in range(2))
    vectors = torch.cat([book[group][ids[:, group]] for group in range(2)], 1)
    assert torch.equal(features.groups["quantised"].frames[0, 0], vectors)


def test_groups_are_declared_with_their_sizes(coded):
    encoder, _ = coded
    assert encoder.groups == {"quantised": Group(1, WIDTH, 0.01), "units": Group(1, 2 * CODES, 0.01)}
    assert encoder.card.groups == ("quantised", "units")
    assert encoder.card.widths == (WIDTH, 2 * CODES)
    assert [one for one in check_upstream.run(encoder) if not one.ok] == []


def test_the_context_hears_nothing_but_units(coded):
    encoder, _ = coded
    features = encoder.encode(*clips(0.5))
    quantised = features.groups["quantised"].frames[:, 0].transpose(1, 2)
    (*_, last) = encoder.net.feature_aggregator(quantised, [quantised.shape[2]])
    assert torch.equal(features.frames[:, -1], last.transpose(1, 2))


# ---- what loads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", PLUGINS)
def test_every_public_layout_loads(saved, kind, layout, zipped):
    state = tensors(kind)
    path = saved(LAYOUTS[layout](settings(kind), state), zipped)
    found = load(kind, path)
    assert all(torch.equal(value, state[name]) for name, value in found.net.state_dict().items())
    assert len(found.net.state_dict()) == len(state) - 2
    assert found.source == {
        "file": "file.pt",
        "file_sha256": file_digest(path),
        "layout": "s3prl" if layout == "s3prl" else "fairseq",
    }
    assert found.card.licence == "that of the file"


def test_settings_that_no_tensor_shows_are_those_of_the_file_and_on_record(saved):
    path = saved(old(settings("none", residual_scale=0.25, activation="gelu"), tensors("none")))
    assert load("none", path).options == {
        "strides": [5, 4, 2, 2, 2, 1, 1],
        "activation": "gelu",
        "log_compression": True,
        "skip_connections_agg": True,
        "residual_scale": 0.25,
    }


@pytest.mark.parametrize("key", ["activation", "residual_scale", "aggregator", "agg_zero_pad", "vq_type", "vq_vars"])
def test_settings_that_older_files_lack_are_what_fairseq_makes_of_that(saved, key):
    state = tensors("none")
    facts = settings("none")
    whole = load("none", saved(old(facts, state))).encode(*clips(0.3)).frames
    del facts[key]
    assert torch.equal(load("none", saved(old(facts, state))).encode(*clips(0.3)).frames, whole)


def test_a_projection_of_targets_is_left_out(saved):
    state = tensors("none")
    state |= {
        name.replace("feature_agg", "project_features.x"): value for name, value in state.items() if "agg" in name
    }
    assert load("none", saved(old(settings("none", project_features="new"), state))).layers == 13


# ---- what does not ---------------------------------------------------------------------------------------------------


def without(name):
    return {key: value for key, value in tensors("none").items() if key != name}


CONVOLUTION = "feature_extractor.conv_layers.1.0.weight"
OTHERS = {
    "do not say log_compression": (
        "none",
        {key: v for key, v in settings("none").items() if key[:3] != "log"},
        tensors("none"),
    ),
    "aggregator='gru'": ("none", settings("none", aggregator="gru"), tensors("none")),
    "agg_zero_pad=True": ("none", settings("none", agg_zero_pad=True), tensors("none")),
    "skip_connections_feat=True": ("none", settings("none", skip_connections_feat=True), tensors("none")),
    "activation='tanh'": ("none", settings("none", activation="tanh"), tensors("none")),
    "residual_scale='much'": ("none", settings("none", residual_scale="much"), tensors("none")),
    "log_compression='yes'": ("none", settings("none", log_compression="yes"), tensors("none")),
    "several widths": ("none", settings("none", conv_aggregator_layers="[(24, 2, 1)] * 12"), tensors("none")),
    "strides behind": ("none", settings("none", conv_aggregator_layers=f"[({WIDTH}, 2, 2)] * 12"), tensors("none")),
    "no list of": ("none", settings("none", conv_feature_layers="print(1)"), tensors("none")),
    "see 2125 samples": (
        "none",
        settings("none", conv_feature_layers=f"[({WIDTH}, 10, 5), ({WIDTH}, 8, 4)] * 2 + [({WIDTH}, 4, 2)]"),
        tensors("none"),
    ),
    "not as expected": ("none", settings("none"), tensors("none") | {CONVOLUTION: torch.ones(WIDTH, WIDTH, 4)}),
    r"missing \(1\): feature_extractor.conv_layers.1.0.weight": ("none", settings("none"), without(CONVOLUTION)),
    r"left over \(1\): head": ("none", settings("none"), tensors("none") | {"head": torch.ones(1)}),
    "say vq_type='gumbel', its weights 'none'": ("none", settings("none", vq_type="gumbel"), tensors("none")),
    "vq_type='kmeans', its weights 'gumbel'": ("gumbel", settings("gumbel", vq_type="kmeans"), tensors("gumbel")),
    "vq_vars=320, its weights 6": ("kmeans", settings("kmeans", vq_vars=320), tensors("kmeans")),
    "vq_groups=1, its weights 2": ("gumbel", settings("gumbel", vq_groups=1), tensors("gumbel")),
    "are 0 wide": (
        "kmeans",
        settings("kmeans"),
        tensors("kmeans") | {"vector_quantizer.embedding": torch.ones(6, 2, 0)},
    ),
}


@pytest.mark.parametrize("said", OTHERS)
@pytest.mark.parametrize("random", [False, True])
def test_other_networks_are_refused_with_what_does_not_fit(saved, said, random):
    kind, facts, state = OTHERS[said]
    with pytest.raises(BadCheckpoint, match=said) as caught:
        load(kind, saved(old(facts, state)), random=random)
    assert str(caught.value).startswith("file.pt: ")


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_file_for_another_name_is_refused_with_that_name(saved, kind):
    other = {"none": "gumbel", "gumbel": "kmeans", "kmeans": "none"}[kind]
    name = PLUGINS[kind].card.name
    with pytest.raises(BadCheckpoint, match=f"holds a network for '{name}'") as caught:
        load(other, saved(old(settings(kind), tensors(kind))))
    assert f"--upstream {name}@file.pt" in str(caught.value)


def test_weights_without_settings_are_refused(saved):
    with pytest.raises(BadCheckpoint, match="no checkpoint of fairseq"):
        load("none", saved(tensors("none")))


@pytest.mark.parametrize("kind", PLUGINS)
def test_without_a_file_the_error_says_where_it_is_from(kind):
    name = PLUGINS[kind].card.name
    with pytest.raises(BadCheckpoint, match=f"'{name}' brings no weights") as caught:
        load(kind)
    assert PLUGINS[kind].card.weights in str(caught.value)
    assert f"{name}~random" in str(caught.value)


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_does_not_run(saved, tmp_path, zipped):
    content = old(settings("none"), tensors("none")) | {"criterion": Trap(tmp_path / "marker")}
    assert load("none", saved(content, zipped)).layers == 13
    with pytest.raises(BadCheckpoint, match="no list of"):
        load(
            "none", saved(old(settings("none", conv_feature_layers=Trap(tmp_path / "marker")), tensors("none")), zipped)
        )
    assert not (tmp_path / "marker").exists()


# ---- the untrained twin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLUGINS)
def test_the_untrained_twin_is_drawn_from_the_seed_and_has_the_shape_of_the_file(saved, kind):
    path = saved(old(settings(kind, residual_scale=0.3), tensors(kind)))
    before = torch.get_rng_state()
    one, again, other = (load(kind, path, random=True, seed=seed).net for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.shape == load(kind, path).net.shape
    pairs = [(one.state_dict()[name], again.state_dict()[name], value) for name, value in other.state_dict().items()]
    assert all(torch.equal(mine, same) for mine, same, _ in pairs)
    assert not any(torch.equal(mine, drawn) for mine, _, drawn in pairs if mine.dim() > 1)


def test_the_untrained_twin_of_the_published_network_has_its_card(monkeypatch):
    small = replace(Shape(), width=WIDTH)
    monkeypatch.setattr(Wav2vec, "published", small)
    twin = load("none", random=True)
    assert twin.net.shape == small
    assert twin.source == {"weights": "random", "seed": "0"}
    assert (twin.card.licence, twin.card.layers, twin.card.hop) == ("MIT", 13, 0.01)
