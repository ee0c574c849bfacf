"""The upstream `npc`: s3prl's checkpoints load, with the features that s3prl gives.

`layout` and `file` are what s3prl 0.4.18 writes and reads: the names of upstream/npc/{npc,vq}.py, the settings of
pretrain/npc/config_model.yaml, the parts of pretrain/runner.py and pretrain/npc/pretrain_expert.py.
"""

import copy

import pytest
import torch
from beside_s3prl import count, drawn, expert, farthest, farthest_codes, floats, linear, module, shapes, states

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench_upstreams.npc import Npc, NpcNet

WIDTH, BANDS, KERNEL = 24, 80, 15
AUDIO = {"feat_type": "fbank", "feat_dim": BANDS, "frame_length": 25, "frame_shift": 10, "cmvn": True}


def layout(width=WIDTH, blocks=4, batch_norm=True):
    """What layers depend on. The masks are stored beside the weights that they mask."""
    found = {}
    for number in range(blocks):
        block = f"blocks.{number}"
        found[f"{block}.conv.weight"] = (width, width if number else BANDS, 3)
        found |= {f"{block}.conv.bias": (width,), f"{block}.linear.weight": (width, width, 1)}
        found[f"{block}.linear.bias"] = (width,)
        for name in ("bn1", "bn2") if batch_norm else ():
            parts = ("weight", "bias", "running_mean", "running_var")
            found |= {f"{block}.{name}.{part}": (width,) for part in parts}
            found[f"{block}.{name}.num_batches_tracked"] = ()
        around = f"masked_convs.{number}"
        found[f"{around}.conv_mask"] = found[f"{around}.conv.weight"] = (width, width, KERNEL)
        found[f"{around}.conv.bias"] = (width,)
    return found


def books(width=WIDTH, codes=8, books=4):
    found = {}
    for number in range(books):
        found |= linear(f"vq_layers.{number}.vq_logits", width // books, codes)
        found[f"vq_layers.{number}.codebook_CxE.weight"] = (width // books, codes)
    return found


def behind(width=WIDTH, codes=8):
    return books(width, codes) | linear("postnet", width, BANDS)


def typed(names):
    """Names, shapes and types: a batch norm counts its batches in whole numbers."""
    counter = "num_batches_tracked"
    return {k: (shape, torch.int64 if k.endswith(counter) else kind) for k, (shape, kind) in floats(names).items()}


def parameters(names):
    stored = ("conv_mask", "running_mean", "running_var", "num_batches_tracked")
    return count({name: shape for name, shape in names.items() if not name.endswith(stored)})


def mask(width, kernel, hole):
    found = torch.ones(width, width, kernel)
    found[:, :, (kernel - hole) // 2 : (kernel + hole) // 2] = 0.0
    return found


def file(names=None, **settings):
    names = names or layout()
    paras = {
        "kernel_size": KERNEL,
        "mask_size": 5,
        "n_blocks": 4,
        "hidden_size": WIDTH,
        "dropout": 0.1,
        "residual": True,
        "batch_norm": True,
        "activate": "relu",
        "disable_cross_layer": False,
        "vq": {"codebook_size": [8] * 4, "code_dim": [WIDTH // 4] * 4, "gumbel_temperature": 1.0},
        **settings,
    }
    state = drawn({name: shape for name, shape in (names | behind()).items() if shape})
    state |= {name: value.abs() + 0.5 for name, value in state.items() if name.endswith("running_var")}
    for name in names:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        if name.endswith("conv_mask"):
            state[name] = mask(WIDTH, KERNEL, paras["mask_size"] + 2 * int(name.split(".")[1]) + 2)
    config = {"data": {"audio": dict(AUDIO)}, "model": {"paras": paras}, "task": {"sequence_length": 1500}}
    return {"Optimizer": {"state": {}}, "Step": 5, "config": config, "model": state, "Upstream_Config": config}


@pytest.fixture
def saved(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "npc.ckpt")
        return tmp_path / "npc.ckpt"

    return write


def load(path, **more):
    return Npc.load(Spec("", "npc", checkpoint=str(path), **more)).eval().requires_grad_(False)


def test_the_network_has_the_published_names_shapes_and_count():
    """Sizes: SUPERB's table, which counts the prediction too: 19.38 million."""
    with torch.device("meta"):
        net = NpcNet(Npc.public_shape)
    assert shapes(net.state_dict()) == typed(layout(512) | books(512, 64))
    assert parameters(layout(512) | books(512, 64)) == Npc.card.parameters == 19_339_520
    assert parameters(layout(512) | behind(512, 64)) == 19_380_560


def test_the_layout_of_these_tests_is_that_of_s3prls_network():
    paras = file()["config"]["model"]["paras"]
    vq = {"codebook_size": [64] * 4, "code_dim": [128] * 4, "gumbel_temperature": 1.0}
    with torch.device("meta"):
        theirs = module("npc.npc").NPC(BANDS, **{**paras, "hidden_size": 512, "vq": vq})
    assert shapes(theirs.state_dict()) == typed(layout(512) | behind(512, 64))


def test_fresh_masks_are_those_of_s3prls_network():
    for number, around in enumerate(NpcNet(Npc.public_shape).masked_convs):
        theirs = module("npc.npc").MaskConvBlock(512, 512, KERNEL, 5 + 2 * number + 2)
        assert torch.equal(around.conv_mask, theirs.conv_mask)


VARIANTS = {
    "published": file(),
    "without residual": file(residual=False),
    "without batch norm": file(layout(batch_norm=False), batch_norm=False),
    "tanh": file(activate="tanh"),
    "two blocks, a small hole": file(layout(blocks=2), n_blocks=2, mask_size=1),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_layer_is_that_of_s3prl_whatever_the_padding(saved, name):
    path = saved(copy.deepcopy(VARIANTS[name]))
    assert farthest(load(path), states(expert("npc", path))) < 1e-4


def test_codes_are_those_of_s3prl(saved):
    path = saved(file())
    assert farthest_codes(load(path), expert("npc", path)) < 1e-6


def test_a_network_trained_without_codebooks_has_no_codes(saved):
    content = file(vq=None)
    content["model"] = {name: value for name, value in content["model"].items() if not name.startswith("vq_layers")}
    found = load(saved(content))
    assert found.card.groups == ()
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_the_shape_of_the_file_is_that_of_the_encoder(saved):
    found = load(saved(file()))
    features = found.encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, 9, 98, WIDTH)
    assert (features.hop, features.first) == (0.01, 0.0125)
    assert found.card.parameters == parameters(layout() | books())
    assert found.card.groups == ("codes",)
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_the_twin_of_a_file_is_masked_as_the_file_is(saved):
    path = saved(file(layout(blocks=2), n_blocks=2, mask_size=1))
    trained, twin = (load(path, random=random).net.masked_convs for random in (False, True))
    assert [torch.equal(a.conv_mask, b.conv_mask) for a, b in zip(trained, twin, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"disable_cross_layer": True}, "disable_cross_layer=True"),
        ({"dim_bottleneck": 8}, "dim_bottleneck=8"),
        ({"activate": "gelu"}, "no network: .*gelu"),
        ({"mask_size": 9}, "no network: .*mask=9"),
        ({"residual": 1}, "residual=1"),
    ],
)
def test_other_settings_are_refused(saved, settings, said):
    content = file()
    content["config"]["model"]["paras"] |= settings
    with pytest.raises(BadCheckpoint, match=f"npc.ckpt: .*{said}"):
        load(saved(content))


def test_other_weights_are_refused(saved):
    with pytest.raises(BadCheckpoint, match=r"left over \(1\): head"):
        load(saved({**file(), "model": {**file()["model"], "head": torch.ones(1)}}))
    with pytest.raises(BadCheckpoint, match=r"masked_convs\.0\.conv\.weight with 3 axes, which is missing"):
        load(saved({**file(), "model": {}}))
