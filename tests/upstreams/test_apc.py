"""The upstreams `apc` and `vq_apc`: s3prl's checkpoints load, with the features that s3prl gives.

`layout` and `file` are what s3prl 0.4.18 writes and reads: the names of upstream/apc/{apc,vq}.py, the settings of
pretrain/{apc,vq_apc}/config_model.yaml, the parts of pretrain/runner.py and pretrain/apc/pretrain_expert.py.
"""

import argparse
import copy

import pytest
import torch
from beside_s3prl import count, drawn, expert, farthest, farthest_codes, floats, linear, module, shapes, states

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench_upstreams.apc import Apc, ApcNet, VqApc

WIDTH, BANDS = 24, 80
AUDIO = {"feat_type": "fbank", "feat_dim": BANDS, "frame_length": 25, "frame_shift": 10, "decode_wav": False}


def layout(width=WIDTH, layers=3, bands=BANDS):
    found = {}
    for number in range(layers):
        inputs = width if number else bands
        found[f"rnn_layers.{number}.weight_ih_l0"] = (3 * width, inputs)
        found[f"rnn_layers.{number}.weight_hh_l0"] = (3 * width, width)
        found[f"rnn_layers.{number}.bias_ih_l0"] = found[f"rnn_layers.{number}.bias_hh_l0"] = (3 * width,)
    return found


def prediction(width=WIDTH, bands=BANDS):
    return linear("postnet", width, bands)


def codes(count=16, width=WIDTH):
    return linear("vq_layers.0.vq_logits", width, count) | {"vq_layers.0.codebook_CxE.weight": (width, count)}


def file(quantised=False, audio=AUDIO, **settings):
    names = layout(bands=audio["feat_dim"]) | prediction(bands=audio["feat_dim"]) | (codes() if quantised else {})
    vq = {"vq": {"codebook_size": [16], "code_dim": [WIDTH], "gumbel_temperature": 0.5}} if quantised else {}
    paras = {"num_layers": 3, "hidden_size": WIDTH, "dropout": 0.1, "residual": True, **vq, **settings}
    config = {"data": {"audio": dict(audio)}, "model": {"paras": paras}, "task": {"sequence_length": 1500}}
    return {
        "Optimizer": {"state": {}, "param_groups": []},
        "Step": 5,
        "Config": {"runner": {"n_epochs": 100}},
        "config": config,
        "model": drawn(names),
        "Upstream_Config": config,
    }


@pytest.fixture
def saved(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "apc.ckpt")
        return tmp_path / "apc.ckpt"

    return write


def load(path, plugin=Apc, **more):
    return plugin.load(Spec("", plugin.card.name, checkpoint=str(path), **more)).eval().requires_grad_(False)


@pytest.mark.parametrize("plugin", [Apc, VqApc])
def test_networks_have_the_published_names_shapes_and_counts(plugin):
    """Sizes: SUPERB's table, which counts the prediction too: 4.11 and 4.63 million."""
    with torch.device("meta"):
        net = ApcNet(plugin.public_shape)
    published = layout(512) | (codes(512, 512) if plugin is VqApc else {})
    assert shapes(net.state_dict()) == floats(published)
    assert count(published) == plugin.card.parameters == (4_589_056 if plugin is VqApc else 4_064_256)
    assert count(published | prediction(512)) == (4_630_096 if plugin is VqApc else 4_105_296)


@pytest.mark.parametrize("quantised", [False, True])
def test_the_layout_of_these_tests_is_that_of_s3prls_network(quantised):
    vq = {"codebook_size": [512], "code_dim": [512], "gumbel_temperature": 0.5} if quantised else None
    with torch.device("meta"):
        theirs = module("apc.apc").APC(80, hidden_size=512, num_layers=3, dropout=0.1, residual=True, vq=vq)
    assert shapes(theirs.state_dict()) == floats(layout(512) | prediction(512) | (codes(512, 512) if quantised else {}))


VARIANTS = {
    "published": (Apc, file()),
    "without residual": (Apc, file(residual=False)),
    "40 bands, other frames": (Apc, file(audio={**AUDIO, "feat_dim": 40, "frame_length": 20, "frame_shift": 12.5})),
    "as they come": (Apc, file(audio={**AUDIO, "cmvn": False})),
    "with a codebook": (VqApc, file(True)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_layer_is_that_of_s3prl_whatever_the_padding(saved, name):
    plugin, content = VARIANTS[name]
    path = saved(copy.deepcopy(content))
    assert farthest(load(path, plugin), states(expert("apc", path))) < 1e-4


def test_codes_are_those_of_s3prl(saved):
    path = saved(file(True))
    assert farthest_codes(load(path, VqApc), expert("apc", path)) < 1e-6


@pytest.mark.parametrize("plugin", [Apc, VqApc])
def test_the_shape_of_the_file_is_that_of_the_encoder(saved, plugin):
    found = load(saved({**file(plugin is VqApc), "Args": argparse.Namespace(seed=1337)}), plugin)
    features = found.encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, 3, 98, WIDTH)
    assert (features.hop, features.first) == (0.01, 0.0125)
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_other_files_are_refused(saved):
    with pytest.raises(BadCheckpoint, match=r"with a codebook, unlike 'apc'(.|\n)*vq_apc@FILE"):
        load(saved(file(True)))
    with pytest.raises(BadCheckpoint, match="without a codebook, unlike 'vq_apc'"):
        load(saved(file()), VqApc)
    with pytest.raises(BadCheckpoint, match=r"no 'config\.data\.audio' in it"):
        load(saved({**file(), "config": {"data": {}}}))
    with pytest.raises(BadCheckpoint, match="feat_type='mfcc'"):
        load(saved(file(audio={**AUDIO, "feat_type": "mfcc"})))
    with pytest.raises(BadCheckpoint, match="not known here: dither"):
        load(saved(file(audio={**AUDIO, "dither": 1.0})))
    with pytest.raises(BadCheckpoint, match="residual='yes'"):
        load(saved(file(residual="yes")))
    with pytest.raises(BadCheckpoint, match=r"left over \(1\): head"):
        load(saved({**file(), "model": {**file()["model"], "head": torch.ones(1)}}))
    with pytest.raises(BadCheckpoint, match=r"rnn_layers\.0\.weight_hh_l0 with 2 axes, which is missing"):
        load(saved({**file(), "model": {}}))
