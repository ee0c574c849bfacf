"""The upstreams `pase` and `pase_plus`: every layer is what the port's own front end gave, and only its files load."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench.kit.pase import PASE, QrnnLayer, Shape, fresh, grouped, mirrored
from earbench_upstreams.pase import Pase, PasePlus

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "pase.json").read_text("utf-8"))
PLUGINS = {"pase": Pase, "pase_plus": PasePlus}
SMALL = Shape(channels=(4, 4, 6, 6, 8, 8, 10, 10), width=5, hidden=7)
SMALL_PASE = Shape(channels=SMALL.channels, width=5, hidden=0, depth=0, skips=False)
SETTINGS = {
    "kwidths": [251, 20, 11, 11, 11, 11, 11, 11],
    "strides": [1, 10, 2, 1, 2, 1, 2, 2],
    "fmaps": list(SMALL.channels),
    "emb_dim": 5,
    "rnn_dim": 7,
    "denseskips": True,
    "norm_out": True,
    "rnn_pool": True,
    "rnn_layers": 1,
}


def public_layout(name):
    """What santi-pdp/pase (commit 2a41e63) builds from cfg/frontend/PASE.cfg and PASE+.cfg; sheet upstreams §10.3."""
    channels, kernels = (1, 64, 64, 128, 128, 256, 256, 512, 512), (251, 20, 11, 11, 11, 11, 11, 11)
    plus, width = name == "pase_plus", {"pase": 100, "pase_plus": 256}[name]
    shapes = {f"blocks.0.conv.{part}": (64, 1) for part in ("low_hz_", "band_hz_")}
    for block, kernel in enumerate(kernels):
        inputs, outputs = channels[block : block + 2]
        if block > 0:
            shapes[f"blocks.{block}.conv.weight"] = (outputs, inputs, kernel)
            shapes[f"blocks.{block}.conv.bias"] = (outputs,)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"blocks.{block}.norm.{part}"] = (outputs,)
        shapes[f"blocks.{block}.norm.num_batches_tracked"] = ()
        shapes[f"blocks.{block}.act.weight"] = (outputs,)
        if plus and block < 7:
            shapes[f"denseskips.{block}.weight"] = (width, outputs, 1)
    if plus:
        shapes |= {"rnn.layers.0.linear.weight": (1536, 1024), "rnn.layers.0.linear.bias": (1536,)}
    shapes |= {"W.weight": (width, 512, 1), "W.bias": (width,)}
    shapes |= {"norm_out.running_mean": (width,), "norm_out.running_var": (width,)}
    return shapes | {"norm_out.num_batches_tracked": ()}


def weights_of_the_golden_outputs(name):
    """Uniform numbers in the order of the names, scaled so that every layer is about as wide as its input."""
    rng, state = np.random.default_rng(66), {}
    for key, shape in sorted(public_layout(name).items()):
        drawn = rng.random(shape)
        if key.endswith("_tracked"):
            state[key] = torch.tensor(7)
        elif key.endswith("_hz_"):
            state[key] = torch.from_numpy(drawn * 1_000).float()
        elif key.endswith("_var"):
            state[key] = torch.from_numpy(0.5 + drawn).float()
        else:
            reach = (6 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.5
            state[key] = torch.from_numpy((2 * drawn - 1) * reach).float()
    return state


def waves_of_the_golden_outputs():
    """Two clips of noise; the second is 5 samples short of 40 frames, where the port's averages drift."""
    rng = np.random.default_rng(67)
    return [torch.from_numpy(rng.random(samples) - 0.5).float() for samples in (4_005, 6_395)]


def load(path, plugin=PasePlus, **more):
    return plugin.load(Spec("", plugin.card.name, checkpoint=str(path), **more)).eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path):
    """Writes weights, and settings beside them, and gives the path."""

    def write(content, settings=None, beside="file.cfg"):
        torch.save(content, tmp_path / "file.ckpt")
        if settings is not None:
            (tmp_path / beside).write_text(json.dumps(settings), "utf-8")
        return tmp_path / "file.ckpt"

    return write


# ---- the features ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=PLUGINS)
def golden(request, tmp_path_factory):
    """What was stored of a network, and our features of the same clips from the same weights, in one padded batch."""
    path = tmp_path_factory.mktemp("pase") / "FE_e199.ckpt"
    torch.save(weights_of_the_golden_outputs(request.param), path)
    waves = waves_of_the_golden_outputs()
    with torch.no_grad():
        lengths = torch.tensor([len(wave) for wave in waves])
        features = load(path, PLUGINS[request.param]).encode(pad_sequence(waves, batch_first=True), lengths)
    return GOLDEN[request.param], features


def picked(part, clip):
    """The stored corner of a clip's layer: first, middle and last frame, four channels; and the sum of all of it."""
    frames = part[clip]
    count, width = frames.shape
    corner = frames[[0, count // 2, count - 1]][:, [0, 1, width // 2, width - 1]]
    return corner, float(frames.double().sum())


def test_every_layer_is_that_of_the_port(golden):
    stored, features = golden
    assert features.lengths.tolist() == stored["frames"]
    assert len(stored["layers"]) == features.frames.shape[1]
    for layer, clips in enumerate(stored["layers"]):
        for clip, (corner, total) in enumerate(clips):
            found, sum_ = picked(features.frames[:, layer, : stored["frames"][clip]], clip)
            assert torch.allclose(found, torch.tensor(corner), atol=1e-4)
            assert sum_ == pytest.approx(total, abs=1e-5 * features.frames[0, 0].numel())


def test_every_block_is_that_of_the_port_at_the_rate_of_the_output(golden):
    stored, features = golden
    assert list(features.groups) == [f"block{number}" for number in range(1, 9)]
    for group, clips in zip(features.groups.values(), stored["blocks"], strict=True):
        assert group.lengths.tolist() == stored["frames"]
        for clip, (corner, total) in enumerate(clips):
            found, sum_ = picked(group.frames[:, 0, : stored["frames"][clip]], clip)
            assert torch.allclose(found, torch.tensor(corner), atol=1e-4)
            assert sum_ == pytest.approx(total, abs=1e-5 * group.frames[0].numel())


def test_the_recurrence_is_the_formula_of_the_paper():
    """Bradbury et al. 2017: z, f, o from x_t and x_{t-1}; c = f z + (1 - f) c, h = o c, from zero."""
    layer = QrnnLayer(3, 2)
    x, before, state, expected = torch.randn(7, 3), torch.zeros(3), torch.zeros(2), []
    weight, bias = layer.linear.weight, layer.linear.bias
    for now in x:
        z, f, o = (weight[:, :3] @ now + weight[:, 3:] @ before + bias).split(2)
        state = f.sigmoid() * z.tanh() + (1 - f.sigmoid()) * state
        expected.append(o.sigmoid() * state)
        before = now
    assert torch.allclose(layer(x[None])[0], torch.stack(expected), atol=1e-6)


@pytest.mark.parametrize(("samples", "frames"), [(1_600, 10), (1_601, 10), (1_759, 11), (16_000, 100), (16_159, 101)])
def test_frames_are_counted_as_the_port_gives_them(samples, frames):
    features = load_small(SMALL).encode(torch.zeros(1, samples), torch.tensor([samples]))
    assert features.frames.shape == (1, 9, frames, 5)
    assert features.lengths.tolist() == [frames]


def load_small(shape):
    plugin = PasePlus if shape.skips else Pase
    return plugin(fresh(shape, 3), {}).eval().requires_grad_(False)


def test_frames_are_centred_in_the_middle_of_what_they_see():
    """A click in the middle of frame 50 reaches as many frames before it as behind it."""
    encoder = load_small(SMALL)
    for block in encoder.net.blocks:
        block.act.weight.fill_(0.5)
    waves, lengths = torch.zeros(2, 16_000), torch.tensor([16_000, 16_000])
    last = encoder.encode(waves, lengths).groups["block8"]
    waves[1, round((last.first + 50 * last.hop) * 16_000)] = 1.0
    silent, heard = encoder.encode(waves, lengths).groups["block8"].frames[:, 0]
    reached = (heard != silent).any(1).nonzero().flatten()
    assert abs(float(reached[0] + reached[-1]) / 2 - 50) <= 0.5


def test_layers_stand_where_the_last_block_does_and_averages_in_their_middle():
    features = load_small(SMALL).encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    firsts = [group.first * 16_000 for group in features.groups.values()]
    assert firsts == pytest.approx([79.5, 75.5, 80.5, 80.5, 90.5, 90.5, 110.5, 150.5])
    assert features.first * 16_000 == pytest.approx(150.5)


def test_mirrors_stand_at_the_true_end_of_each_clip():
    x = torch.randn(2, 3, 20)
    padded = mirrored(x, torch.tensor([20, 12]), 4, 5)
    for clip, length in enumerate((20, 12)):
        alone = torch.nn.functional.pad(x[clip : clip + 1, :, :length], (4, 5), "reflect")
        assert torch.equal(padded[clip, :, : length + 9], alone[0])


def test_groups_leave_out_what_does_not_fill_one():
    x = torch.arange(11.0)[None, None]
    assert grouped(x, torch.tensor([11]), torch.tensor([3])).tolist() == [[[1.0, 4.0, 7.0]]]


# ---- sizes and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape", "size"), [("pase", PASE, 5_818_020), ("pase_plus", Shape(), 7_832_896)])
def test_networks_have_the_published_sizes_keys_and_shapes(name, shape, size):
    """Protocol sheet upstreams §12."""
    net = fresh(shape, 0)
    assert sum(parameter.numel() for parameter in net.parameters()) == size == PLUGINS[name].card.parameters
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == public_layout(name)


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "state_dict"])
@pytest.mark.parametrize("shape", [SMALL, SMALL_PASE], ids=["plus", "first"])
def test_files_load_bare_or_as_the_trainer_saves_them_and_keep_the_contract(saved, shape, wrapped):
    state = fresh(shape, 5).state_dict()
    found = load(saved({"step": 3, "state_dict": state} if wrapped else state), PasePlus if shape.skips else Pase)
    assert found.net.shape == shape
    assert all(torch.equal(value, state[key]) for key, value in found.net.state_dict().items())
    assert found.card.licence == "that of the file"
    assert [one for one in check_upstream.run(found) if not one.ok] == []


@pytest.mark.parametrize("beside", ["file.cfg", "PASE+.cfg"])
def test_steps_and_filters_are_those_of_the_configuration_beside_the_file(saved, beside):
    shape = Shape(**{**vars(SMALL), "strides": (1, 10, 2, 1, 2, 1, 2, 1), "kernels": (101, *SMALL.kernels[1:])})
    settings = SETTINGS | {"strides": list(shape.strides), "kwidths": [100, *SMALL.kernels[1:]]}
    found = load(saved(fresh(shape, 5).state_dict(), settings, beside))
    assert found.net.shape == shape
    assert found.hop == 0.005
    assert found.options == {"strides": list(shape.strides), "filter": 101}
    assert [one for one in check_upstream.run(found) if not one.ok] == []


WRONG_SETTINGS = {
    r"channels: \(4, 4, 6, 6, 8, 8, 10, 12\) beside it, \(4, .* 10\) in it": {"fmaps": [*SMALL.channels[:-1], 12]},
    "width: 256 beside it, 5 in it": {"emb_dim": 256},
    "skips: False beside it, True in it": {"denseskips": False},
    "asks for what is not known here: densemerge": {"densemerge": "concat"},
    "asks for what is not known here: name": {"name": "asppRes"},
    "are sizes": {"strides": [1, 10, 2, 1, 2, 1, 2, 0]},
}


@pytest.mark.parametrize("said", WRONG_SETTINGS)
def test_a_configuration_that_does_not_fit_is_refused_with_both_values(saved, said):
    with pytest.raises(BadCheckpoint) as caught:
        load(saved(fresh(SMALL, 5).state_dict(), SETTINGS | WRONG_SETTINGS[said]))
    assert caught.match(said)


def test_settings_that_the_configuration_leaves_out_are_those_of_the_port(saved):
    settings = {key: value for key, value in SETTINGS.items() if key != "rnn_layers"} | {"norm_type": "bnorm"}
    assert load(saved(fresh(SMALL, 5).state_dict(), settings)).net.shape == SMALL


STATE = fresh(SMALL, 5).state_dict()
OTHERS = {
    "no PASE encoder": {"model": {"encoder.weight": torch.ones(3)}},
    r"missing \(1\): blocks.3.norm.bias": {key: value for key, value in STATE.items() if key != "blocks.3.norm.bias"},
    r"left over \(1\): quantizer.embedding": STATE | {"quantizer.embedding": torch.ones(1)},
    "blocks are no convolutions": STATE | {"blocks.2.conv.weight": torch.ones(2)},
    "has 7 blocks": {key: value for key, value in STATE.items() if not key.startswith("blocks.7")},
    "write pase@file.ckpt": fresh(SMALL_PASE, 5).state_dict(),
}


@pytest.mark.parametrize("said", OTHERS)
def test_other_networks_are_refused_with_what_does_not_fit(saved, said):
    with pytest.raises(BadCheckpoint) as caught:
        load(saved(OTHERS[said]))
    assert caught.match(said)


@pytest.mark.parametrize("name", PLUGINS)
def test_without_a_file_the_error_says_where_it_is_from(name):
    with pytest.raises(BadCheckpoint, match=r"github\.com/santi-pdp/pase") as caught:
        PLUGINS[name].load(Spec(name, name))
    assert f"{name}@FILE" in str(caught.value)


def test_the_untrained_twin_has_the_shape_of_the_file_and_is_drawn_from_the_seed_alone(saved):
    path = saved(STATE)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (load(path, random=True, seed=seed).net for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.shape == SMALL
    assert torch.equal(one.W.weight, again.W.weight)
    assert not torch.equal(one.W.weight, other.W.weight)
