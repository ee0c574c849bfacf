"""The upstreams `clar` and `clar_raw`: Lightning checkpoints load without their code, and give what the module gave."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench_upstreams.clar import Clar, ClarRaw, fresh

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "clar.json").read_text("utf-8"))
PLUGINS = {"clar": Clar, "clar_raw": ClarRaw}


def public_layout(name):
    """The module of main_unsupervised.py (haideraltahan/CLAR, commit 3b5a782), with pl_bolts' ResNet-18 if spectral."""
    raw = name == "clar_raw"
    kernel = (9,) if raw else (3, 3)
    shapes = {"model.conv1.weight": (64, 1, 7) if raw else (64, 3, 7, 7), **norm("model.bn1", 64)}
    for layer, (inputs, outputs) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), start=1):
        for block in (0, 1):
            prefix = f"model.layer{layer}.{block}"
            shapes[f"{prefix}.conv1.weight"] = (outputs, inputs if block == 0 else outputs, *kernel)
            shapes[f"{prefix}.conv2.weight"] = (outputs, outputs, *kernel)
            shapes |= norm(f"{prefix}.bn1", outputs) | norm(f"{prefix}.bn2", outputs)
        if layer > 1:
            down = f"model.layer{layer}.0.downsample"
            shapes |= {f"{down}.0.weight": (outputs, inputs, *(1 for _ in kernel)), **norm(f"{down}.1", outputs)}
    shapes |= {"model.fc.weight": (1000, 512), "model.fc.bias": (1000,), "projection.model.7.weight": (128, 512)}
    for linear, after in ((1, 2), (4, 5)):
        shapes |= {f"projection.model.{linear}.weight": (512, 512), f"projection.model.{linear}.bias": (512,)}
        shapes |= norm(f"projection.model.{after}", 512)
    if not raw:
        shapes |= {f"stft.{kernel}": (128, 1, 2048) for kernel in ("wsin", "wcos")}
        shapes |= {f"stft.{kernel}_inv": (2048, 1, 2048) for kernel in ("wsin", "wcos")}
        shapes |= {"mel_stft.mel_basis": (128, 1025)}
        shapes |= {f"mel_stft.{kernel}": (1025, 1, 2048) for kernel in ("wsin", "wcos")}
    return shapes


def norm(prefix, width):
    parts = {f"{prefix}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
    return parts | {f"{prefix}.num_batches_tracked": ()}


def encoder_weights(name):
    """Uniform numbers for what is below "model.", in the order of the names."""
    rng, state = np.random.default_rng(53), {}
    for key, shape in sorted(public_layout(name).items()):
        if not key.startswith("model.") or key.startswith("model.fc"):
            continue
        drawn = rng.random(shape)
        if key.endswith("tracked"):
            state[key] = torch.tensor(9)
        elif key.endswith("running_var"):
            state[key] = torch.from_numpy(0.5 + drawn).float()
        elif len(shape) == 1 and key.endswith("weight"):
            state[key] = torch.from_numpy(0.2 + 0.2 * drawn).float()
        else:
            reach = (6 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.3
            state[key] = torch.from_numpy((2 * drawn - 1) * reach).float()
    return state


class Compose:
    """Stands for a class that is not there when the file is read."""

    def __init__(self, transforms):
        self.transforms = transforms


def lightning(state):
    """What Lightning 0.9 saves beside the weights: hyper-parameters with functions and objects of other packages."""
    pickled = {"model": "usp_2d_100", "train_transform": Compose([functools.partial(print, 1)]), "learning_rate": 1.0}
    around = {
        "epoch": 1019,
        "global_step": 7,
        "pytorch-lightning_version": "0.9.0",
        "optimizer_states": [{"state": {}}],
    }
    return {**around, "state_dict": state, "hyper_parameters": pickled, "hparams_name": "kwargs"}


def waves_of_the_golden_outputs():
    rng = np.random.default_rng(54)
    return [torch.from_numpy(rng.random(samples) - 0.5).float() for samples in (4_001, 9_000)]


def load(path, plugin=Clar, **more):
    return plugin.load(Spec("", plugin.card.name, checkpoint=str(path), **more)).eval().requires_grad_(False)


@pytest.fixture(scope="module", params=PLUGINS)
def golden(request, tmp_path_factory):
    """What was stored of a network; ours from the same weights in a Lightning file; the same clips, in one batch."""
    path = tmp_path_factory.mktemp("clar") / "epoch=1019.ckpt"
    torch.save(lightning(encoder_weights(request.param)), path)
    waves = waves_of_the_golden_outputs()
    batch = pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves])
    return GOLDEN[request.param], load(path), batch


def test_clips_are_what_the_module_of_the_repository_gives(golden):
    stored, encoder, batch = golden
    vectors = encoder.embed(*batch)[:, 0]
    for vector, (corner, total) in zip(vectors, stored["clips"], strict=True):
        assert torch.allclose(vector[::73], torch.tensor(corner), atol=1e-4)
        assert float(vector.double().sum()) == pytest.approx(total, abs=5e-3)


def test_frames_are_the_columns_of_its_last_map(golden):
    stored, encoder, batch = golden
    features = encoder.encode(*batch)
    assert features.lengths.tolist() == [len(clip) for clip in stored["frames"]]
    for frames, corners in zip(features.frames[:, 0], stored["frames"], strict=True):
        assert torch.allclose(frames[: len(corners), ::73], torch.tensor(corners), atol=1e-4)


def test_the_file_says_which_network_it_holds(golden):
    _, encoder, _ = golden
    assert encoder.hop == {3: 0.02, 4: 0.256}[encoder.net.conv1.weight.dim()]
    assert encoder.card.licence == "that of the file"


@pytest.mark.parametrize("name", PLUGINS)
def test_networks_have_the_published_keys_and_shapes(name):
    net = fresh(name == "clar_raw", 0)
    ours = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    theirs = {key.removeprefix("model."): shape for key, shape in public_layout(name).items()}
    assert ours.items() <= theirs.items()
    left = {key.partition(".")[0] for key in theirs.keys() - ours.keys()}
    assert left == {"fc", "projection"} | ({"stft", "mel_stft"} if name == "clar" else set())
    assert sum(parameter.numel() for parameter in net.parameters()) == PLUGINS[name].card.parameters


def test_kernels_of_the_file_are_used_and_the_defaults_without_them(tmp_path):
    state = {**encoder_weights("clar"), "mel_stft.mel_basis": torch.full((128, 1025), 0.25)}
    torch.save(lightning(state), tmp_path / "with.ckpt")
    found = load(tmp_path / "with.ckpt").net
    assert float(found.mel_stft.mel_basis.max()) == 0.25
    assert torch.equal(found.stft.wsin, fresh(False, 0).stft.wsin)
    assert torch.allclose(fresh(False, 0).mel_stft.mel_basis.sum(1), torch.ones(128))


def test_heads_that_are_not_part_of_the_encoder_are_left_out(tmp_path):
    more = {key: torch.zeros(shape) for key, shape in public_layout("clar_raw").items() if key.startswith("projection")}
    more |= {
        "non_linear_evaluator.block_forward.2.weight": torch.zeros(3, 512),
        "model.fc.weight": torch.zeros(1000, 512),
    }
    torch.save(lightning(encoder_weights("clar_raw") | more), tmp_path / "file.ckpt")
    assert load(tmp_path / "file.ckpt", ClarRaw).net.raw


@pytest.mark.parametrize(
    ("plugin", "change", "said"),
    [
        (ClarRaw, {}, "write clar@file.ckpt"),
        (Clar, {"model.conv1.weight": torch.zeros(64, 3, 3, 3)}, r"found: \(64, 3, 3, 3\)"),
        (Clar, {"model.conv1.weight": None}, "holds no network of CLAR"),
        (Clar, {"model.layer5.weight": torch.zeros(1)}, r"left over \(1\): layer5.weight"),
        (Clar, {"model.bn1.bias": torch.zeros(3)}, r"bn1.bias is \(3,\), expected \(64,\)"),
    ],
)
def test_other_networks_are_refused_with_what_does_not_fit(tmp_path, plugin, change, said):
    torch.save(lightning(encoder_weights("clar") | change), tmp_path / "file.ckpt")
    with pytest.raises(BadCheckpoint) as caught:
        load(tmp_path / "file.ckpt", plugin)
    assert caught.match(said)


@pytest.mark.parametrize("name", PLUGINS)
def test_without_a_file_the_error_says_where_it_is_from(name):
    with pytest.raises(BadCheckpoint, match=r"github\.com/haideraltahan/CLAR"):
        PLUGINS[name].load(Spec(name, name))


def test_frames_are_centred_in_the_middle_of_what_they_see():
    """The raw network: a click in the middle of frame 25 reaches as many frames before it as behind it."""
    encoder = ClarRaw.load(Spec("", "clar_raw", random=True)).eval().requires_grad_(False)
    waves = torch.full((2, 16_000), 0.01)
    features = encoder.encode(waves, torch.tensor([16_000, 16_000]))
    waves[1, round((features.first + 25 * features.hop) * 16_000)] = 1.0
    one, other = encoder.encode(waves, torch.tensor([16_000, 16_000])).frames[:, 0]
    reached = ((one - other).abs().amax(1) > 1e-6).nonzero().flatten()
    assert abs(float(reached[0] + reached[-1]) / 2 - 25) <= 0.5


def test_the_untrained_twin_is_drawn_from_the_seed_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (Clar.load(Spec("", "clar", random=True, seed=seed)).net for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.conv1.weight, again.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)
