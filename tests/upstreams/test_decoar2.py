"""The upstream `decoar2`: the published layout loads, with the features that s3prl gives.

`layout` is what s3prl 0.4.18 reads of the file: the names of upstream/decoar2/decoar2.py, the sizes of its `args`. It
loads loosely, so what else the file holds is not known. The networks of these tests are that module's, made small.
"""

import pytest
import torch
from beside_s3prl import count, drawn, expert, farthest, floats, linear, module, norm, shapes, states

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench.kit.weights import modern_weight_norm
from earbench_upstreams.decoar2 import Decoar2, DecoarNet

WIDTH, INNER, BLOCKS, KERNEL, GROUPS = 128, 48, 2, 16, 4
SMALL = {
    "encoder_embed_dim": WIDTH,
    "encoder_ffn_embed_dim": INNER,
    "encoder_layers": BLOCKS,
    "encoder_attention_heads": 2,
    "conv_pos": KERNEL,
    "conv_pos_groups": GROUPS,
}


def layout(width=WIDTH, inner=INNER, blocks=BLOCKS, kernel=KERNEL, groups=GROUPS):
    found = linear("post_extract_proj", 80, width) | norm("encoder.layer_norm", width)
    found |= {
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, kernel),
        "encoder.pos_conv.0.weight_v": (width, width // groups, kernel),
    }
    for number in range(blocks):
        block = f"encoder.layers.{number}"
        for name in ("k", "v", "q", "out"):
            found |= linear(f"{block}.self_attn.{name}_proj", width, width)
        found |= linear(f"{block}.fc1", width, inner) | linear(f"{block}.fc2", inner, width)
        found |= norm(f"{block}.self_attn_layer_norm", width) | norm(f"{block}.final_layer_norm", width)
    return found


PUBLISHED = layout(768, 3072, 12, 128, 16)


def weights():
    state = drawn(layout())
    return {name: value.abs() + 1.0 if name.endswith("weight_g") else value for name, value in state.items()}


@pytest.fixture
def saved(tmp_path):
    def write(state, **more):
        torch.save({"model": state, **more}, tmp_path / "checkpoint_decoar2.pt")
        return tmp_path / "checkpoint_decoar2.pt"

    return write


def load(path, **more):
    return Decoar2.load(Spec("", "decoar2", checkpoint=str(path), **more)).eval().requires_grad_(False)


def test_the_network_has_the_published_names_shapes_and_count():
    """Size: SUPERB's table, 89.84 million."""
    with torch.device("meta"):
        net = DecoarNet(Decoar2.public_shape)
    assert shapes(net.state_dict()) == floats(modern_weight_norm(PUBLISHED))
    assert count(PUBLISHED) == Decoar2.card.parameters == 89_837_696


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
def test_the_layout_of_these_tests_is_that_of_s3prls_network():
    with torch.device("meta"):
        theirs = module("decoar2.decoar2").Decoar2()
    assert shapes(theirs.state_dict()) == floats(PUBLISHED)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_every_layer_is_that_of_s3prl_whatever_the_padding(saved, monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setitem(module("decoar2.decoar2").args, name, value)
    path = saved(weights())
    assert farthest(load(path), states(expert("decoar2", path))) < 1e-4


def test_the_shape_of_the_file_is_that_of_the_encoder(saved):
    found = load(saved(weights()))
    features = found.encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, BLOCKS + 1, 49, WIDTH)
    assert (features.hop, features.first) == (0.02, 0.0125)
    assert found.card.parameters == count(layout())
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_what_only_training_needs_is_dropped(saved):
    found = load(saved({**weights(), "quantizer.vars": torch.ones(1, 4, 2), "mask_emb": torch.ones(3)}, args=None))
    assert shapes(found.net.state_dict()) == floats(modern_weight_norm(layout()))


def test_other_files_are_refused(saved):
    with pytest.raises(BadCheckpoint, match=r"left over \(1\): encoder\.more"):
        load(saved({**weights(), "encoder.more": torch.ones(1)}))
    with pytest.raises(BadCheckpoint, match=r"missing \(1\): encoder\.layers\.1\.fc2\.bias"):
        load(saved({name: value for name, value in weights().items() if name != "encoder.layers.1.fc2.bias"}))
    with pytest.raises(BadCheckpoint, match=r"post_extract_proj\.weight is \(128, 512\); expected 80 bands"):
        load(saved({**weights(), "post_extract_proj.weight": torch.ones(128, 512)}))
    with pytest.raises(BadCheckpoint, match="with 2 axes, which is missing"):
        load(saved({}))
