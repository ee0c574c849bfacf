"""The upstream `distilhubert` from s3prl's own checkpoint: the features of s3prl's distiller.

`layout`, `CONFIG` and `file` are what s3prl 0.4.18 writes: the names of upstream/distiller/{model,module}.py, the
settings of pretrain/distiller/config_model.yaml, the parts of pretrain/runner.py and its pretrain_expert.py.
"""

import argparse
from dataclasses import replace

import pytest
import torch
from beside_s3prl import count, drawn, expert, farthest, floats, linear, module, norm, shapes

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench_upstreams.distilhubert import DISTILHUBERT
from earbench_upstreams.hubert import HUBERT

WIDTH, INNER, CHANNELS, HEADS, KERNEL, GROUPS, TASKS = 32, 48, 16, 4, 16, 4, 3
SMALL = replace(DISTILHUBERT, card=replace(DISTILHUBERT.card, widths=(WIDTH,), parameters=None))

CONFIG = {
    "distiller": {
        "extractor_mode": "default",
        "extractor_conv_feature_layers": f"[({CHANNELS},10,5)] + [({CHANNELS},3,2)] * 4 + [({CHANNELS},2,2)] * 2",
        "extractor_dropout": 0.0,
        "feature_grad_mult": 0.1,
        "conv_pos": KERNEL,
        "conv_pos_groups": GROUPS,
        "encoder_layers": 2,
        "encoder_embed_dim": WIDTH,
        "encoder_ffn_embed_dim": INNER,
        "encoder_attention_heads": HEADS,
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "attention_type": "original",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "activation_dropout": 0.1,
        "encoder_layerdrop": 0.0,
        "final_dim": WIDTH,
        "out_layer_type": "expand-last",
        "n_tasks": TASKS,
        "task_emb_type": "expand-last",
        "loss_type": "l1",
        "feat_pen_loss": 0.0,
        "cosine_loss": 1.0,
        "pred_layer_id": [4, 8, 12],
        "init_teacher_conv_layers": True,
        "init_teacher_encoder_layers": True,
    },
    "teacher": {"model": "hubert_base", "n_layers": 12},
    "task": {"sequence_length": 250_000},
    "audio": {"target_level": "None"},
}


def layout(channels=CHANNELS, width=WIDTH, inner=INNER, kernel=KERNEL, groups=GROUPS):
    found = norm("feature_extractor.conv_layers.0.2", channels)
    for number, size in enumerate((10, 3, 3, 3, 3, 2, 2)):
        found[f"feature_extractor.conv_layers.{number}.0.weight"] = (channels, channels if number else 1, size)
    found |= linear("post_extract_proj", channels, width) | norm("encoder.layer_norm", width)
    found |= {
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, kernel),
        "encoder.pos_conv.0.weight_v": (width, width // groups, kernel),
    }
    for number in range(2):
        block = f"encoder.layers.{number}"
        for name in ("k", "v", "q", "out"):
            found |= linear(f"{block}.self_attn.{name}_proj", width, width)
        found |= linear(f"{block}.fc1", width, inner) | linear(f"{block}.fc2", inner, width)
        found |= norm(f"{block}.self_attn_layer_norm", width) | norm(f"{block}.final_layer_norm", width)
    return found


def heads(width=WIDTH, tasks=TASKS):
    last = {"output_layer.2.weight": (tasks, width, width), "output_layer.2.bias": (1, 1, tasks, width)}
    return linear("output_layer.0", width, tasks * width) | last


def file(**settings):
    return {
        "Optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]),
        "Step": 200_000,
        "Args": argparse.Namespace(seed=1337, expdir="result"),
        "Config": {**CONFIG, "distiller": {**CONFIG["distiller"], **settings}},
        "Distiller": drawn(layout() | heads()),
    }


@pytest.fixture
def saved(tmp_path):
    def write(content, new=True):
        torch.save(content, tmp_path / "distilhubert.ckpt", _use_new_zipfile_serialization=new)
        return tmp_path / "distilhubert.ckpt"

    return write


def load(path, plugin=SMALL, **more):
    return plugin.load(Spec("", plugin.card.name, checkpoint=str(path), **more)).eval()


def test_the_published_network_has_the_published_counts():
    """Protocol sheet upstreams §9.1, §12."""
    published = layout(512, 768, 3072, 128, 16)
    assert count(published) == DISTILHUBERT.card.parameters == 23_491_200
    assert count(published | heads(768)) == 27_034_752
    assert heads(768)["output_layer.0.weight"] == (2304, 768)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_the_layout_of_these_tests_is_that_of_s3prls_network(capsys):
    model = module("distiller.model")
    theirs = model.DistillerModel(model.DistillerConfig(CONFIG["distiller"]))
    assert shapes(theirs.state_dict()) == floats(layout() | heads())
    assert "expand" in capsys.readouterr().out


@pytest.mark.parametrize("settings", [{}, {"layer_norm_first": True}], ids=["post-norm", "pre-norm"])
def test_every_state_is_that_of_s3prl_whatever_the_padding(saved, settings):
    """State 0 is what their first block gets; theirs of that number is what the positional convolution gets."""
    path = saved(file(**settings))
    theirs = expert("distiller", path)
    entered = []
    theirs.model.model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0][:, 0]))

    def states(clip):
        hidden = theirs([clip])["hidden_states"]
        assert len(hidden) == 1 + 2 + TASKS
        blocks = [hidden[1][0], hidden[2][0]]
        if settings:  # transformers and we end with the last norm, s3prl leaves it to its heads
            blocks[-1] = theirs.model.model.encoder.layer_norm(blocks[-1])
        return torch.stack([entered[-1], *blocks])

    assert farthest(load(path), states) < 1e-4


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_the_checkpoint_loads_without_running_what_is_in_it(saved, new):
    found = load(saved(file(), new))
    assert found.source["layout"] == "s3prl distiller"
    assert found.card.parameters == count(layout())
    assert (found.layers, found.normalise) == (3, False)
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_the_twin_of_the_checkpoint_has_its_shape(saved):
    twin = load(saved(file()), random=True, seed=1)
    assert twin.card.parameters == count(layout())
    assert twin.source == {"weights": "random", "seed": "1"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attention_type": "sparse"}, "attention_type='sparse'"),
        ({"task_emb_type": "concat"}, "task_emb_type='concat'"),
        ({"encoder_layers": 3}, "encoder_layers=3, its weights 2"),
        ({"activation_fn": "relu"}, "activation_fn='relu'"),
        ({"extractor_conv_feature_layers": "__import__('os')"}, "no list of"),
    ],
)
def test_distillers_of_another_kind_are_refused(saved, settings, said):
    with pytest.raises(BadCheckpoint, match=said):
        load(saved(file(**settings)))


def test_a_checkpoint_without_settings_is_refused(saved):
    with pytest.raises(BadCheckpoint, match="no checkpoint of fairseq"):
        load(saved({**file(), "Config": {"runner": {}}}))


def test_it_is_no_hubert(saved):
    with pytest.raises(BadCheckpoint, match="'hubert' is a hubert with 13 states"):
        load(saved(file()), HUBERT)
