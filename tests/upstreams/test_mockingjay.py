"""The upstreams `mockingjay`, `tera` and `audio_albert`: s3prl's checkpoints load, with the features that s3prl gives.

`layout` and `CONFIG` are what s3prl 0.4.18 writes: the names of upstream/mockingjay/model.py, the settings of
pretrain/{mockingjay,tera,audio_albert}/config_model*.yaml, the parts of pretrain/runner.py and pretrain_expert.py.
"""

import argparse
import copy
import os

import pytest
import torch
from beside_s3prl import count, drawn, expert, farthest, floats, linear, module, norm, shapes, states

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench.kit.masked import MaskedNet
from earbench_upstreams.mockingjay import AudioAlbert, Mockingjay, Tera, levelled

WIDTH, INNER, BLOCKS, HEADS = 24, 40, 3, 3


def layout(inputs, width=WIDTH, inner=INNER, blocks=BLOCKS):
    found = linear("input_representations.spec_transform", inputs, width) | norm(
        "input_representations.LayerNorm", width
    )
    for number in range(blocks):
        block = f"encoder.layer.{number}"
        for name in ("query", "key", "value"):
            found |= linear(f"{block}.attention.self.{name}", width, width)
        found |= linear(f"{block}.attention.output.dense", width, width)
        found |= norm(f"{block}.attention.output.LayerNorm", width)
        found |= linear(f"{block}.intermediate.dense", width, inner) | linear(f"{block}.output.dense", inner, width)
        found |= norm(f"{block}.output.LayerNorm", width)
    return found


def head(target, width=WIDTH):
    return linear("dense", width, width) | norm("LayerNorm", width) | linear("output", width, target)


MEL = {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True}
ONLINE = {
    "target_level": -25,
    "win_ms": 25,
    "hop_ms": 10,
    "n_freq": 201,
    "n_mels": 80,
    "n_mfcc": 13,
    "input": MEL,
    "target": {**MEL, "channel": 1},
}
KALDI = {
    "kaldi": {
        "feat_type": "fbank",
        "spectrogram": {"frame_length": 25.0, "frame_shift": 10.0},
        "fbank": {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True},
        "mfcc": {"num_ceps": 13, "frame_length": 25.0, "frame_shift": 10.0},
    },
    "delta": {"order": 2, "win_length": 5},
    "cmvn": {"use_cmvn": True},
}
CONFIG = {
    "transformer": {
        "input_dim": -1,
        "hidden_size": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "share_layer": False,
        "pre_layer_norm": False,
    },
    "task": {"loss": "L1", "sequence_length": 1500, "position_encoding_size": WIDTH, "mask_proportion": 0.15},
    "audio": ONLINE,
}


def changed(**paths):
    """CONFIG with `audio__input__delta=1` and the like."""
    found = copy.deepcopy(CONFIG)
    for path, value in paths.items():
        *above, last = path.split("__")
        inner = found
        for key in above:
            inner = inner[key]
        inner[last] = value
    return found


def weights(inputs, shared=False):
    state = drawn(layout(inputs))
    if shared:
        state = {name: state[name.replace("layer.1", "layer.0").replace("layer.2", "layer.0")] for name in state}
    return state


def new_file(config, inputs=80):
    """As pretrain/runner.py writes it; the optimiser as an object, which is how old files have it."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    shared = config["transformer"]["share_layer"]
    return {
        "Optimizer": optimiser,
        "Step": 1_000_000,
        "Args": argparse.Namespace(seed=1337, expdir="result"),
        "Config": {"runner": {"n_epochs": -1}, "optimizer": {"name": "AdamW_with_schedule"}},
        "SpecHead": drawn(head(80)),
        "Transformer": weights(inputs, shared),
        "Upstream_Config": config,
    }


def old_file(config, inputs=80):
    kept = new_file(config, inputs)
    return {**kept, "Config": kept.pop("Upstream_Config"), "Runner": kept["Config"]}


@pytest.fixture
def saved(tmp_path):
    def write(content, new=True):
        torch.save(content, tmp_path / "states-1000000.ckpt", _use_new_zipfile_serialization=new)
        return tmp_path / "states-1000000.ckpt"

    return write


def load(path, plugin=Tera, **more):
    spec = Spec("", plugin.card.name, checkpoint=str(path), **more)
    return plugin.load(spec).eval().requires_grad_(False)


# ---- the published networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugin", "blocks", "parameters"),
    [(Tera, 3, 21_327_360), (Mockingjay, 12, 85_118_208), (AudioAlbert, 3, 7_151_616)],
)
def test_networks_have_the_published_names_shapes_and_counts(plugin, blocks, parameters):
    """Counts: protocol sheet upstreams §12. Audio ALBERT stores its one block under three names: 52 keys."""
    with torch.device("meta"):
        net = MaskedNet(plugin.public_shape)
    published = layout(80, 768, 3072, blocks)
    assert shapes(net.state_dict()) == floats(published)
    assert sum(parameter.numel() for parameter in net.parameters()) == plugin.card.parameters == parameters
    if plugin is AudioAlbert:
        assert len(published) == 52
    else:
        assert count(published) == parameters


@pytest.mark.parametrize("shared", [False, True])
def test_the_layout_of_these_tests_is_that_of_s3prls_network(shared):
    model = module("mockingjay.model")
    config = {**CONFIG["transformer"], "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    with torch.device("meta"):
        settings = model.TransformerConfig({**config, "share_layer": shared})
        theirs, top = model.TransformerModel(settings, 80), model.TransformerSpecPredictionHead(settings, 201)
    assert shapes(theirs.state_dict()) == floats(layout(80, 768, 3072))
    assert shapes(top.state_dict()) == floats(head(201, 768))


# ---- the same features -----------------------------------------------------------------------------------------------

FRONT_ENDS = {
    "mel": (CONFIG, 80),
    "mel with slopes": (changed(audio__input__delta=1, audio__n_mels=40), 80),
    "mel as it comes, louder": (changed(audio__input__cmvn=False, audio__target_level=-20.5), 80),
    "linear": (changed(audio__input__feat_type="linear"), 201),
    "Kaldi": (changed(audio=KALDI), 240),
    "Kaldi, slopes once": (changed(audio={**KALDI, "delta": {"order": 1, "win_length": 5}}), 160),
    "in pieces": (changed(task__sequence_length=30), 80),
    "in one piece": (changed(task__sequence_length=0), 80),
    "settings as they used to be written": (
        changed(transformer__layer_norm_eps="1e-12", transformer__downsample_rate=1),
        80,
    ),
    "another bend": (changed(transformer__hidden_act="swish", transformer__num_attention_heads=4), 80),
    "one block": (changed(transformer__share_layer=True), 80),
}


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_every_layer_is_that_of_s3prl_whatever_the_padding(saved, name):
    config, inputs = FRONT_ENDS[name]
    path = saved(new_file(config, inputs))
    ours = load(path, AudioAlbert if config["transformer"]["share_layer"] else Tera)
    assert farthest(ours, states(expert("mockingjay", path))) < 1e-4


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("write", [new_file, old_file])
def test_files_of_all_ages_load(saved, write, new):
    found = load(saved(write(CONFIG), new))
    assert all(torch.equal(value, weights(80)[name]) for name, value in found.net.state_dict().items())
    assert found.card.parameters == count(layout(80))
    assert [one for one in check_upstream.run(found) if not one.ok] == []


@pytest.mark.parametrize("audio", [ONLINE, KALDI], ids=["mel", "Kaldi"])
def test_a_frame_stands_where_its_window_does(saved, audio):
    found = load(saved(new_file(changed(audio=audio), 240 if audio is KALDI else 80)))
    features = found.encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert (int(features.lengths[0]), features.first) == ((98, 0.0125) if audio is KALDI else (101, 0.0))
    assert features.hop == found.hop == 0.01
    assert found.card.normalise is (audio is ONLINE)


def test_loudness_does_not_matter_where_waves_are_levelled():
    waves = torch.randn(1, 4_000, generator=torch.Generator().manual_seed(0))
    level = levelled(0.01 * waves, torch.tensor([4_000]), -25.0)
    assert float(level.square().mean().sqrt()) == pytest.approx(10 ** (-25 / 20))
    torch.testing.assert_close(level, levelled(waves, torch.tensor([4_000]), -25.0))


# ---- what does not load ----------------------------------------------------------------------------------------------

WRONG = {
    "pre_layer_norm=True": changed(transformer__pre_layer_norm=True),
    "downsample_rate=3": changed(transformer__downsample_rate=3),
    "share_layer=None": changed(transformer__share_layer=None),
    "no network": changed(transformer__num_attention_heads=5),
    "num_attention_heads='3'": changed(transformer__num_attention_heads="3"),
    "no network: .*__import__": changed(transformer__hidden_act="__import__('os')"),
    "'mfcc' features": changed(audio__input__feat_type="mfcc"),
    "log=False": changed(audio__input__log=False),
    "n_freq=257": changed(audio__n_freq=257),
    "spectrogram that no encoder": changed(audio__win_ms=0.1, audio__n_freq=2),
    "settings make 40 bands, its .* takes 80": changed(audio__n_mels=40),
    "feat_type='mfcc'": changed(audio={**KALDI, "kaldi": {**KALDI["kaldi"], "feat_type": "mfcc"}}),
    "not known here: dither": changed(audio={**KALDI, "kaldi": {**KALDI["kaldi"], "fbank": {"dither": 1.0}}}),
    "no 'audio'": {key: value for key, value in CONFIG.items() if key != "audio"},
    "neither its Config nor its Upstream_Config": {"transformers": {}, "transformer_": {}},
}


@pytest.mark.parametrize("said", WRONG)
def test_other_settings_are_refused_with_what_does_not_fit(saved, said):
    with pytest.raises(BadCheckpoint, match=f"states-1000000.ckpt: .*{said}"):
        load(saved({**new_file(CONFIG), "Upstream_Config": WRONG[said]}))


def test_other_weights_are_refused(saved):
    kept = new_file(CONFIG)
    with pytest.raises(BadCheckpoint, match="no 'Transformer' in it, but model"):
        load(saved({"model": {}}))
    with pytest.raises(BadCheckpoint, match=r"left over \(1\): head"):
        load(saved({**kept, "Transformer": {**kept["Transformer"], "head": torch.ones(1)}}))
    with pytest.raises(BadCheckpoint, match=r"missing \(1\): encoder\.layer\.1\.output\.dense\.bias"):
        load(saved({**kept, "Transformer": {k: v for k, v in weights(80).items() if "1.output.dense.b" not in k}}))
    with pytest.raises(BadCheckpoint, match=r"expected weights called .* which is str"):
        load(saved({**kept, "Transformer": {"input_representations.spec_transform.weight": "text"}}))


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_an_optimiser_in_a_file_does_not_run(saved, tmp_path, new):
    found = load(saved({**new_file(CONFIG), "Optimizer": Trap(tmp_path / "marker")}, new))
    assert found.layers == BLOCKS + 1
    assert not (tmp_path / "marker").exists()


def test_one_block_and_several_are_told_apart(saved):
    shared = changed(transformer__share_layer=True)
    with pytest.raises(BadCheckpoint, match=r"blocks are one, those of 'tera' are not(.|\n)*audio_albert@FILE"):
        load(saved(new_file(shared)))
    with pytest.raises(BadCheckpoint, match="blocks are distinct"):
        load(saved(new_file(CONFIG)), AudioAlbert)
    with pytest.raises(BadCheckpoint, match="differ from block to block"):
        load(saved({**new_file(shared), "Transformer": weights(80)}), AudioAlbert)


def test_one_block_is_counted_once(saved):
    found = load(saved(new_file(changed(transformer__share_layer=True))), AudioAlbert)
    assert found.card.parameters == count(layout(80, blocks=1))
    assert len(list(found.parameters())) == len(layout(80, blocks=1))
