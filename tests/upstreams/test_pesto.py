"""The upstreams `pesto` and `pesto_g7`: they give what the package gave, and read its files without importing it."""

import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from earbench.contract import Spec
from earbench.errors import BadCheckpoint, MissingExtra
from earbench.plan import load_upstream
from earbench_upstreams.pesto import MIR_1K, MIR_1K_G7, Pesto, PestoG7, Shape, fresh

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "pesto.json").read_text("utf-8"))
PLUGINS = {"pesto": Pesto, "pesto_g7": PestoG7}
SHAPES = {"pesto": MIR_1K, "pesto_g7": MIR_1K_G7}
SIZES = {"pesto": 28_886, "pesto_g7": 130_461}


def public_layout(name):
    """The tensors of mir-1k.ckpt and mir-1k_g7.ckpt in the wheel of pesto-pitch 2.0.1, as `torch.load` lists them."""
    bins, kernel, toeplitz, nested = {"pesto": (264, 15, 1175, ["0"]), "pesto_g7": (219, 39, 1040, ["0.0", "1.0"])}[
        name
    ]
    shapes = {"shift": (), "encoder.layernorm.weight": (1, bins), "encoder.layernorm.bias": (1, bins)}
    shapes |= {"encoder.conv1.0.weight": (40, 1, kernel), "encoder.conv1.0.bias": (40,)}
    for layer in nested:
        shapes[f"encoder.prefilt_layers.{layer}.weight"] = (40, 40, kernel)
        shapes[f"encoder.prefilt_layers.{layer}.bias"] = (40,)
    for layer, inputs, outputs in ((0, 40, 30), (3, 30, 30), (6, 30, 10), (9, 10, 3)):
        shapes[f"encoder.conv_layers.{layer}.weight"] = (outputs, inputs, 1)
        shapes[f"encoder.conv_layers.{layer}.bias"] = (outputs,)
    shapes["encoder.fc.weight"] = (1, 1, toeplitz)
    if name == "pesto_g7":
        shapes |= {"confidence.conv.weight": (1, 1, 39), "confidence.conv.bias": (1,)}
        shapes |= {"confidence.linear.weight": (1, 72), "confidence.linear.bias": (1,)}
    return shapes


def public_settings(name):
    """The settings beside the tensors, as far as version 1 or 2 of the package reads them."""
    bins, kernel, filters = {"pesto": (264, 15, 2), "pesto_g7": (219, 39, 3)}[name]
    encoder = {"n_chan_input": 1, "n_chan_layers": [40, 30, 30, 10, 3], "n_prefilt_layers": filters, "residual": True}
    encoder |= {"prefilt_kernel_size": kernel, "n_bins_in": bins, "output_dim": 384, "activation_fn": "leaky"}
    encoder |= {"a_lrelu": 0.3, "p_dropout": 0.2}
    spectrum = {"harmonics": [1], "fmin": 27.5, "fmax": None, "bins_per_semitone": 3, "n_bins": bins + 32}
    spectrum |= {"center_bins": True} | ({"gamma": 7, "center": True} if name == "pesto_g7" else {})
    crop = {"min_steps": -16, "max_steps": 16}
    return {"hparams": {"encoder": encoder, "pitch_shift": crop, "reduction": "alwa"}, "hcqt_params": spectrum}


def file_of_the_golden_outputs(name):
    """The public layout with uniform numbers in the order of its names."""
    rng, state = np.random.default_rng(71), {}
    for key, shape in sorted(public_layout(name).items()):
        reach = (6 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.5
        state[key] = torch.from_numpy(np.asarray((2 * rng.random(shape) - 1) * reach)).float()
    state["shift"] = torch.tensor(6.68)
    return {"epoch": 3, "state_dict": state, **public_settings(name)}


def waves_of_the_golden_outputs():
    """Two clips longer than 1.03 s, as the reference needs them to be."""
    rng = np.random.default_rng(72)
    return [note(hertz, samples, rng) for samples, hertz in ((17_000, 220.0), (20_011, 311.0))]


def note(hertz, samples, rng):
    """A tone with its overtones, in noise."""
    time = np.arange(samples) / 16_000
    tones = sum(np.sin(2 * np.pi * hertz * number * time) / number for number in range(1, 9))
    return torch.from_numpy(0.2 * tones + 0.2 * (rng.random(samples) - 0.5)).float()


def load(path, plugin=Pesto, **more):
    return plugin.load(Spec("", plugin.card.name, checkpoint=str(path), **more)).eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "file.ckpt")
        return tmp_path / "file.ckpt"

    return write


# ---- the features ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLUGINS)
def test_layers_are_those_of_the_package(name, saved):
    encoder = load(saved(file_of_the_golden_outputs(name)), PLUGINS[name])
    waves = waves_of_the_golden_outputs()
    features = encoder.encode(pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves]))
    scores, activations = features.frames.unbind(1)
    parts = {"scores": scores, "activations": activations, "conv": features.groups["conv"].frames[:, 0]}
    assert features.lengths.tolist() == GOLDEN[name]["frames"]
    for part, frames in parts.items():
        for clip, (corner, total) in enumerate(GOLDEN[name][part]):
            found, sum_ = picked(frames[clip, : GOLDEN[name]["frames"][clip]])
            assert torch.allclose(found, torch.tensor(corner), atol=1e-4), part
            assert sum_ == pytest.approx(total, abs=1e-5 * frames[clip].numel()), part


def picked(frames):
    """The stored corner: first, middle and last frame, five places of the width; and the sum of all of it."""
    count, width = frames.shape
    corner = frames[[0, count // 2, count - 1]][:, [0, width // 4, width // 2, width * 3 // 4, width - 1]]
    return corner, float(frames.double().sum())


def test_frames_are_10_ms_apart_from_the_first_sample_on():
    encoder = Pesto.load(Spec("pesto~random", "pesto", random=True)).eval()
    with torch.no_grad():
        features = encoder.encode(torch.randn(1, 1_759), torch.tensor([1_759]))
    assert (features.lengths.tolist(), features.first, features.hop) == ([11], 0.0, 0.01)


# ---- the real files --------------------------------------------------------------------------------------------------


@pytest.fixture
def real(request):
    """The encoder that the installed package brings."""
    name = request.param
    try:
        metadata.version("pesto-pitch")
    except metadata.PackageNotFoundError:
        pytest.skip("the package pesto-pitch is not installed")
    return load_upstream(name)


@pytest.mark.parametrize("real", PLUGINS, indirect=True)
def test_the_real_files_hear_the_pitch_of_a_note(real):
    """Score 3 n is MIDI note n: 171 is A3, 220 Hz. Right to a third of a semitone."""
    for hertz, score in ((220.0, 171), (440.0, 207)):
        wave = note(hertz, 12_000, np.random.default_rng(73))
        activations = real.encode(wave[None], torch.tensor([12_000])).frames[0, 1]
        assert (activations[20:55].argmax(1) - score).abs().max() <= 1


@pytest.mark.parametrize("real", PLUGINS, indirect=True)
def test_the_real_files_are_the_published_ones_and_are_read_without_importing_the_package(real):
    assert real.source["weights"].startswith("pesto-pitch ")
    assert real.source["sha256"] == GOLDEN[real.card.name]["sha256"]
    assert real.card == PLUGINS[real.card.name].card
    assert "pesto" not in sys.modules


@pytest.mark.parametrize("real", ["pesto_g7"], indirect=True)
def test_the_real_file_gives_the_activations_of_the_installed_package(real):
    """In double precision: in single, both round 32,768 products, and scores of +-300 show it."""
    pesto = pytest.importorskip("pesto")
    theirs = pesto.load_model("mir-1k_g7", step_size=10.0, sampling_rate=16_000).double()
    wave = waves_of_the_golden_outputs()[0][:6_000]
    with torch.no_grad():
        expected = theirs(wave.double(), sr=16_000, return_activations=True)[-1]
    found = real.encode(wave[None], torch.tensor([6_000])).frames[0, 1]
    assert torch.allclose(found, expected.reshape(found.shape).float(), atol=1e-4)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pesto"]:
        del sys.modules[name]


# ---- files and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLUGINS)
def test_networks_have_the_published_sizes_keys_and_shapes(name, saved):
    found = load(saved(file_of_the_golden_outputs(name)), PLUGINS[name])
    assert found.net.shape == Shape(**{**vars(SHAPES[name]), "shift": pytest.approx(6.68)})
    assert sum(parameter.numel() for parameter in found.parameters()) == SIZES[name] == PLUGINS[name].card.parameters
    assert found.card.licence == "that of the file"
    assert found.card.widths == PLUGINS[name].card.widths


def package(folder, files):
    """A package pesto-pitch as pip leaves it, with these weight files, whose import would fail."""
    (folder / "pesto" / "weights").mkdir(parents=True)
    (folder / "pesto" / "__init__.py").write_text("raise ImportError('never imported')", "utf-8")
    for name, content in files.items():
        torch.save(content, folder / "pesto" / "weights" / name)
    info = folder / "pesto_pitch-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pesto-pitch\nVersion: 9.9\n", "utf-8")
    lines = ["pesto/__init__.py,,", *(f"pesto/weights/{name},," for name in files)]
    (info / "RECORD").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder for packages, with no other pesto-pitch to be found."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize("name", PLUGINS)
def test_weights_are_found_among_the_files_of_the_installed_package(name, alone):
    file = file_of_the_golden_outputs(name)
    package(alone, {PLUGINS[name].file: file})
    found = PLUGINS[name].load(Spec(name, name))
    assert found.source["weights"] == f"pesto-pitch 9.9, {PLUGINS[name].file}"
    assert torch.equal(found.net.fc.weight, file["state_dict"]["encoder.fc.weight"])


def test_a_package_without_the_file_is_named_with_the_version_that_has_it(alone):
    package(alone, {"mir-1k.ckpt": {}})
    with pytest.raises(BadCheckpoint, match=r"9\.9 has no mir-1k_g7\.ckpt") as caught:
        PestoG7.load(Spec("pesto_g7", "pesto_g7"))
    assert "2.0.1" in str(caught.value)
    assert "pesto_g7@FILE" in str(caught.value)


@pytest.mark.usefixtures("alone")
def test_without_the_package_the_error_says_how_to_install_it():
    with pytest.raises(MissingExtra, match="pesto-pitch") as caught:
        Pesto.load(Spec("pesto", "pesto"))
    assert "pip install 'earbench[pesto]'" in str(caught.value)


def test_the_second_filter_has_an_activation_only_in_files_that_name_it_so(saved):
    """Version 1.0.0 wrote `prefilt_layers.0.weight`, and runs it bare."""
    file = file_of_the_golden_outputs("pesto")
    renamed = {key.replace("layers.0.b", "layers.0.0.b"): value for key, value in file["state_dict"].items()}
    renamed = {key.replace("prefilt_layers.0.w", "prefilt_layers.0.0.w"): value for key, value in renamed.items()}
    renamed = {key.replace("conv_layers.0.0.", "conv_layers.0."): value for key, value in renamed.items()}
    bare, mended = load(saved(file)), load(saved(file | {"state_dict": renamed}))
    assert (bare.net.shape.activated, mended.net.shape.activated) == (False, True)
    x = torch.randn(2, 264)
    assert not torch.allclose(bare.net(x)[0], mended.net(x)[0])


def changed(part, **values):
    file = file_of_the_golden_outputs("pesto")
    inner = file["hparams"]["encoder"] if part == "encoder" else file[part]
    inner.update(values)
    return file


OTHERS = {
    "holds no PESTO network": {"state_dict": {"a": torch.ones(2)}},
    "found: weights": {"weights": {}},
    "does not say how its spectrum is made": file_of_the_golden_outputs("pesto") | {"hcqt_params": None},
    "not known here: activation_fn": changed("encoder", activation_fn="silu"),
    "not known here: harmonics": changed("hcqt_params", harmonics=[1, 2]),
    "not known here: gamma": changed("hcqt_params", gamma=float("nan")),
    r"fc.weight is \(1, 1, 1175\)": changed("hcqt_params", bins_per_semitone=2),
    "a spectrum that 16,000 Hz do not hold": changed("hcqt_params", n_bins=400),
    r"missing \(1\): conv1.0.bias": {
        **file_of_the_golden_outputs("pesto"),
        "state_dict": {
            key: value
            for key, value in file_of_the_golden_outputs("pesto")["state_dict"].items()
            if key != "encoder.conv1.0.bias"
        },
    },
    r"left over \(1\): head.weight": changed("state_dict", **{"head.weight": torch.ones(2)}),
}


@pytest.mark.parametrize("said", OTHERS)
def test_other_files_are_refused_with_what_does_not_fit(said, saved):
    with pytest.raises(BadCheckpoint) as caught:
        load(saved(OTHERS[said]))
    assert caught.match(said)


def test_the_untrained_twin_has_the_shape_of_the_file_and_is_drawn_from_the_seed_alone(saved):
    path = saved(file_of_the_golden_outputs("pesto_g7"))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (load(path, PestoG7, random=True, seed=seed).net for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.shape.filters == 2
    assert torch.equal(one.fc.weight, again.fc.weight)
    assert not torch.equal(one.fc.weight, other.fc.weight)
    assert torch.equal(fresh(MIR_1K, 1).fc.weight, Pesto.load(Spec("", "pesto", random=True, seed=1)).net.fc.weight)
