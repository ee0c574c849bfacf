"""The upstream `cpc`: every file of the public layouts loads, and no other file does."""

import argparse
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils.rnn import pad_sequence

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench.kit.cpc import FIRST, Shape, fresh
from earbench.kit.weights import file_digest
from earbench.plan import load_upstream
from earbench_upstreams import cpc
from earbench_upstreams.cpc import OURS, Cpc, Cpc2

SMALL = Shape(width=16)
VARIANTS = {
    "modified CPC": SMALL,
    "CPC2": Shape(width=16, depth=2),
    "GRU": Shape(width=16, cell="GRU"),
    "batch norm": Shape(width=16, norm="batch"),
    "wide GRU with batch norm": Shape(width=24, depth=3, cell="GRU", norm="batch"),
}


def trained(shape=SMALL):
    """Weights that stand for trained ones."""
    state = fresh(shape, 11).state_dict()
    return {name: value + 1 if name.endswith("running_var") else value for name, value in state.items()}


def under_data_parallel(state):
    return {f"module.{name}": value for name, value in state.items()}


def training_checkpoint(state):
    """What CPC_audio saves while it trains (protocol sheet upstreams §6.7)."""
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict()
    criterion = {"wPrediction.predictors.0.weight": torch.ones(4, 4)}
    return {"gEncoder": state, "cpcCriterion": criterion, "optimizer": optimiser, "best": state}


def cut_release(state):
    """What bshall released of CPC-big: the names of its cpc/cpc.py at v0.1, written out."""
    renamed = {
        f"encoder.norm{i}.{part}": f"gEncoder.batchNorm{i}.{part}" for i in range(5) for part in ("weight", "bias")
    }
    renamed |= {f"encoder.conv{i}.{part}": f"gEncoder.conv{i}.{part}" for i in range(5) for part in ("weight", "bias")}
    parts = [f"{kind}_{way}_l0" for kind in ("weight", "bias") for way in ("ih", "hh")]
    renamed |= {f"context.lstm.{part}": f"gAR.baseNet.{part}" for part in parts}
    return {name: state[public] for name, public in renamed.items()}


LAYOUTS = {
    "bare": lambda state: state,
    "published": lambda state: {"config": {"hiddenEncoder": 256, "arMode": "LSTM"}, "weights": state},
    "training": training_checkpoint,
    "bare, DataParallel": under_data_parallel,
    "published, DataParallel": lambda state: {"config": {}, "weights": under_data_parallel(state)},
    "cut release": cut_release,
    "trained with masks": lambda state: training_checkpoint(state | {"mask_emb": torch.ones(16)}),
    "training, DataParallel": lambda state: training_checkpoint(under_data_parallel(state)),
    "unknown classes beside the weights": lambda state: {
        "config": argparse.Namespace(hiddenEncoder=256),
        "weights": state,
        "where": Path("/somewhere"),
    },
}


@pytest.fixture
def saved(tmp_path):
    """Writes `content` with torch, in the new or the legacy format, and gives the path."""

    def write(content, new=True):
        torch.save(content, tmp_path / "file.pt", _use_new_zipfile_serialization=new)
        return tmp_path / "file.pt"

    return write


def load(path, **more):
    return Cpc.load(Spec(f"cpc@{path}", "cpc", checkpoint=str(path), **more)).eval().requires_grad_(False)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# ---- what loads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_public_layout_loads(saved, layout, new):
    path = saved(LAYOUTS[layout](trained()), new)
    assert same(load(path).net.state_dict(), trained())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_shape_of_the_network_is_read_from_the_tensors(tmp_path, variant):
    state = trained(VARIANTS[variant])
    save_file(state, tmp_path / "file.safetensors")
    found = load(tmp_path / "file.safetensors")
    assert found.net.shape == VARIANTS[variant]
    assert same(found.net.state_dict(), state)
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_half_precision_files_are_computed_in_single_precision(tmp_path):
    state = {name: value.half() for name, value in trained().items()}
    save_file(state, tmp_path / "file.safetensors")
    assert {weight.dtype for weight in load(tmp_path / "file.safetensors").parameters()} == {torch.float32}


# ---- what does not ---------------------------------------------------------------------------------------------------


def without(name):
    return {key: value for key, value in trained().items() if key != name}


OTHERS = {
    "no CPC network": {"model": {"encoder.weight": torch.ones(3)}},
    "holds no CPC network": without("gAR.baseNet.weight_hh_l0"),
    "found: gEncoder.conv0.weight": {"gEncoder.conv0.weight": "text"} | without("gEncoder.conv0.weight"),
    r"gEncoder.conv0.weight is \(16, 1, 11\)": trained() | {"gEncoder.conv0.weight": torch.ones(16, 1, 11)},
    r"gEncoder.conv0.weight is \(\)": trained() | {"gEncoder.conv0.weight": torch.ones(())},
    r"gAR.baseNet.weight_hh_l0 is \(16, 16\)": trained() | {"gAR.baseNet.weight_hh_l0": torch.ones(16, 16)},
    r"gAR.baseNet.weight_hh_l0 is \(128, 32\)": trained() | {"gAR.baseNet.weight_hh_l0": torch.ones(128, 32)},
    r"missing \(1\): gEncoder.conv3.bias": without("gEncoder.conv3.bias"),
    r"left over \(1\): gEncoder.conv5.weight": trained() | {"gEncoder.conv5.weight": torch.ones(1)},
    r"gEncoder.conv1.weight is \(16, 16, 9\)": trained() | {"gEncoder.conv1.weight": torch.ones(16, 16, 9)},
    "listens backwards": {"config": {"cpc_mode": "reverse"}, "weights": trained()},
}


@pytest.mark.parametrize("said", OTHERS)
def test_other_networks_are_refused_with_what_does_not_fit(saved, said):
    with pytest.raises(BadCheckpoint, match=said):
        load(saved(OTHERS[said]))


@pytest.mark.parametrize("random", [False, True])
def test_a_file_that_is_not_there_is_named(tmp_path, random):
    with pytest.raises(BadCheckpoint, match=r"no weight file at .*gone\.pt"):
        load(tmp_path / "gone.pt", random=random)


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_does_not_run(saved, tmp_path, new):
    path = saved({"config": Trap(tmp_path / "marker"), "weights": trained()}, new)
    assert same(load(path).net.state_dict(), trained())
    with pytest.raises(BadCheckpoint, match="holds no CPC network"):
        load(saved({"config": {}, "weights": Trap(tmp_path / "marker")}, new))
    assert not (tmp_path / "marker").exists()


# ---- the untrained twin ----------------------------------------------------------------------------------------------


def test_the_untrained_twin_is_drawn_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (load_upstream("cpc~random", seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one, again)
    assert not same(one, other)


def test_the_untrained_twin_of_a_file_has_its_shape_and_none_of_its_weights(saved):
    shape = VARIANTS["wide GRU with batch norm"]
    path = saved({"config": {}, "weights": trained(shape)})
    twin, file = load(path, random=True, seed=1), load(path)
    assert twin.net.shape == shape
    assert not torch.equal(twin.net.gEncoder.conv1.weight, file.net.gEncoder.conv1.weight)


# ---- what is said of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])
def test_the_card_is_that_of_the_network_that_was_loaded(saved, depth):
    """Parameters: protocol sheet upstreams §12."""
    found = load(saved({"weights": trained(Shape(depth=depth))}))
    assert found.card.parameters == {1: 1_843_456, 2: 2_369_792}[depth]
    features = found.encode(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, depth + 1, 100, 256)
    assert (found.card.layers, found.card.widths) == (found.layers, (found.width,)) == (depth + 1, (256,))
    assert (found.card.hop, found.card.sample_rate) == (features.hop, 16_000) == (0.01, 16_000)
    assert features.first == FIRST


def test_the_source_names_the_file_by_name_and_digest_and_claims_no_licence_for_it(saved):
    path = saved({"weights": trained()})
    assert load(path).source == {"weights": "file.pt", "sha256": file_digest(path)}
    assert load(path).card.licence == "that of the file"
    assert load_upstream("cpc~random").source == {"weights": "random", "seed": "0"}


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_layers_are_z_and_what_a_network_cut_behind_each_recurrent_layer_says(tmp_path, cell):
    """So are ZeroSpeech 2021's features of CPC-big: the network is built with fewer layers than its file has."""
    whole = trained(Shape(width=16, depth=3, cell=cell))
    save_file(whole, tmp_path / "file.safetensors")
    found = load(tmp_path / "file.safetensors")
    waves, lengths = torch.randn(2, 3_000, generator=torch.Generator().manual_seed(0)), torch.tensor([3_000, 3_000])
    frames = found.encode(waves, lengths).frames
    assert torch.equal(frames[:, 0], found.net(waves)[0])
    for depth in (1, 2, 3):
        cut = fresh(Shape(width=16, depth=depth, cell=cell), 0).requires_grad_(False)
        cut.load_state_dict(whole, strict=False)
        assert float((frames[:, depth] - cut(waves)[1]).abs().max()) < 1e-6


# ---- CPC2 ------------------------------------------------------------------------------------------------------------


def load2(path=None, **more):
    return Cpc2.load(Spec("", "cpc2", checkpoint=path and str(path), **more)).eval().requires_grad_(False)


@pytest.mark.parametrize("layout", ["published", "training", "training, DataParallel"])
def test_cpc2_loads_its_own_layout_under_both_names(saved, layout):
    state = trained(Shape(depth=2))
    path = saved(LAYOUTS[layout](state))
    assert same(load2(path).net.state_dict(), state)
    assert same(load(path).net.state_dict(), state)
    assert load2(path).card.name == "cpc2"
    assert (load2(path).card.layers, load2(path).card.parameters) == (3, 2_369_792)


def test_cpc2_refuses_another_network_and_says_what_takes_it(saved):
    with pytest.raises(BadCheckpoint, match=r"file\.pt holds Shape\(width=16, depth=1.*\n.*cpc@file\.pt takes it"):
        load2(saved({"weights": trained()}))


def test_cpc2_without_a_file_says_that_none_is_published():
    with pytest.raises(BadCheckpoint, match=r"'cpc2' brings no weights") as caught:
        load2()
    assert "MarvinLvn/CPC2" in str(caught.value)
    assert "cpc2~random" in str(caught.value)


def test_the_untrained_cpc2_is_that_of_the_card_and_comes_from_the_seed():
    before = torch.get_rng_state()
    one, again, other = (load2(random=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.card == Cpc2.card
    assert same(one.net.state_dict(), again.net.state_dict())
    assert not same(one.net.state_dict(), other.net.state_dict())


@pytest.mark.skipif(not OURS.is_file(), reason=f"{OURS.name} is not here yet: it is being trained")
def test_a_clip_too_long_to_be_heard_at_once_has_the_features_of_the_whole(monkeypatch):
    upstream = load_upstream("cpc~random")
    waves = 0.1 * torch.randn(2, 24_321, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([24_321, 17_000])
    with torch.no_grad():
        whole = upstream.encode(waves, lengths)
        monkeypatch.setattr(cpc, "WHOLE", 1.0)
        monkeypatch.setattr(cpc, "PIECE", 0.4)
        pieces = upstream.encode(waves, lengths)
    assert torch.equal(pieces.lengths, whole.lengths)
    assert torch.allclose(pieces.pooled(), whole.pooled(), atol=1e-6)
    assert torch.allclose(pieces.frames[0], whole.frames[0], atol=1e-5)


def test_our_weights_are_those_of_the_card_and_keep_the_contract():
    found = load_upstream("cpc")
    assert [one for one in check_upstream.run(found) if not one.ok] == []
    assert found.card == Cpc.card
    assert found.net.shape == Shape()


# ---- the reference implementation ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    """s3prl's own `cpc`: its expert, and how it builds a network."""
    try:
        import s3prl.upstream.cpc.expert as expert
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl does not import here: {problem}")
    return expert


def speechlike(seconds):
    """Clips of other lengths: swelling tones over noise."""
    clips = []
    for number, duration in enumerate(seconds):
        noise = torch.randn(round(16_000 * duration), generator=torch.Generator().manual_seed(number))
        time = torch.arange(len(noise)) / 16_000
        clips.append(0.3 * torch.sin(2 * torch.pi * 180 * time) * torch.sin(9 * time).abs() + 0.02 * noise)
    return clips


def farthest(ours, theirs):
    """The largest difference between our first and last layer and the reference's two hidden states, clip by clip."""
    clips = speechlike((1.0, 0.1, 0.7371, 1.28))
    lengths = torch.tensor([len(clip) for clip in clips])
    together = ours.encode(pad_sequence(clips, batch_first=True), lengths)
    worst = 0.0
    for number, clip in enumerate(clips):
        with torch.no_grad():
            states = torch.stack([state[0] for state in theirs([clip])["hidden_states"]])  # padding it does not mask
        mine = together.frames[number, [0, -1], : int(together.lengths[number])]
        assert mine.shape == states.shape
        worst = max(worst, float((mine - states).abs().max()))
    return worst


def test_what_pretraining_publishes_loads_in_s3prl_with_equal_features(reference, tmp_path):
    from earbench_upstreams.cpc_objective import CpcObjective

    torch.manual_seed(3)
    objective = CpcObjective()
    torch.save(objective.published(), tmp_path / "published.pt")
    theirs = reference.UpstreamExpert(str(tmp_path / "published.pt")).eval()
    assert set(theirs.model.state_dict()) == set(objective.weights())
    assert farthest(load(tmp_path / "published.pt"), theirs) < 1e-4


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"nLevelsGRU": 2},
        {"arMode": "GRU"},
        {"normMode": "batchNorm"},
        {"hiddenEncoder": 64, "hiddenGar": 64, "nLevelsGRU": 4},
    ],
    ids=str,
)
def test_a_checkpoint_of_s3prls_network_has_equal_features_here(reference, tmp_path, config):
    arguments = reference.get_default_cpc_config()
    vars(arguments).update(config)
    torch.manual_seed(4)
    network = reference.cpcmodel(reference.getEncoder(arguments), reference.getAR(arguments))
    if config.get("normMode") == "batchNorm":
        network(torch.cat(speechlike((0.5, 0.5))).view(2, 1, -1), None)  # so that its running statistics mean something
    path = tmp_path / "public.pt"
    torch.save({"config": vars(arguments), "weights": network.state_dict()}, path)
    assert farthest(load(path), reference.UpstreamExpert(str(path)).eval()) < 1e-4
