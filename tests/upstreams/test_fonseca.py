"""The upstreams `fonseca_vgg` and `fonseca_crnn`.

Golden numbers come from the networks of the repository uclser20 (models/audio_models.py), run beside ours with the
weights and input of `by_formula`; the real files were run there too, and agreed within 4e-6.
"""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
import torch
from scipy.signal.windows import hamming

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint
from earbench.kit.weights import read_state
from earbench_upstreams.fonseca import MEAN, PLAIN, TRAINED, CrnnNet, FonsecaCrnn, FonsecaVgg, VggNet, levelled

SHARED = Path(__file__).parents[2].parent / "shared/data"
KINDS = {"vgg": FonsecaVgg, "crnn": FonsecaCrnn}
FILES = {"vgg": SHARED / "weights/VGG_best.pth", "crnn": SHARED / "weights/CRNN_best.pth"}
RATE = 22_050


def norm(name, width):
    tracked = {f"{name}.num_batches_tracked": ()}
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")} | tracked


def block(name, *shape):
    return {f"{name}.conv.weight": shape} | norm(f"{name}.bn", shape[0])


def gru(name):
    parts = {"weight_ih_l0": (192, 256), "weight_hh_l0": (192, 64), "bias_ih_l0": (192,), "bias_hh_l0": (192,)}
    return {f"{name}.{part}{way}": shape for way in ("", "_reverse") for part, shape in parts.items()}


PUBLIC = {  # protocol sheet upstreams §10.5, and seen in the two files
    "vgg": block("conv0", 32, 1, 3, 3)
    | block("conv1", 32, 32, 3, 3)
    | block("conv2", 32, 32, 3, 3)
    | block("conv3", 64, 32, 3, 3)
    | block("conv4", 64, 64, 3, 3)
    | block("conv5", 128, 64, 3, 3)
    | {"dense1.weight": (512, 256), "dense1.bias": (512,), "dense_out.weight": (20, 512), "dense_out.bias": (20,)},
    "crnn": block("conv1", 128, 1, 5, 5)
    | block("conv2", 128, 128, 5, 5)
    | block("conv3", 128, 128, 5, 5)
    | gru("rnn1")
    | {"dense.weight": (20, 64), "dense.bias": (20,)},
}


@pytest.fixture(params=["vgg", "crnn"])
def kind(request):
    return request.param


@pytest.fixture
def real(kind):
    """The path of the published file."""
    if not FILES[kind].is_file():
        pytest.skip(f"the real weights {FILES[kind].name} are not in ../shared/data")
    return FILES[kind]


def load(kind, path=None, **more):
    found = KINDS[kind].load(Spec("", f"fonseca_{kind}", checkpoint=path and str(path), **more))
    return found.eval().requires_grad_(False)


def noise(samples, seed=0):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) * 0.1, torch.tensor([samples])


# ---- the networks ----------------------------------------------------------------------------------------------------


def test_networks_have_the_published_sizes(kind):
    """Protocol sheet upstreams §5.4."""
    with torch.device("meta"):
        net = KINDS[kind].network()
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == {"vgg": 290_292, "crnn": 948_116}[kind] == KINDS[kind].card.parameters


def test_networks_have_the_keys_and_shapes_of_the_public_files(kind):
    with torch.device("meta"):
        state = KINDS[kind].network().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == PUBLIC[kind]


def test_the_public_files_have_these_keys_shapes_and_types(kind, real):
    """Read off the files of github.com/edufonseca/uclser20 themselves."""
    state = read_state(real)
    assert {key: tuple(value.shape) for key, value in state.items()} == PUBLIC[kind]
    counters = {key for key in PUBLIC[kind] if key.endswith("num_batches_tracked")}
    assert {key for key, value in state.items() if value.dtype != torch.float32} == counters


def by_formula(net):
    """Weights anybody can make: sines, tensor by tensor in the order of the file."""
    state = {}
    for number, (name, value) in enumerate(net.state_dict().items()):
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.7 + number).reshape(value.shape)
        if name.endswith("running_var"):
            wave = 1 + wave.abs()
        elif value.dim() > 1:
            wave = wave * (3 / value[0].numel()) ** 0.5
        state[name] = wave.to(value.dtype) if value.is_floating_point() else value
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


GOLDEN = {
    VggNet: ([0.0, 13.276752, 0.0, 9.392466, 0.0, 3.313642, 0.0, 0.0], 6693.13197),
    CrnnNet: ([-0.021981, -0.164309, -0.056673, -0.432124, -0.120927, -0.961017, -0.178225, -0.96394], -19.818894),
}


@pytest.mark.parametrize("network", GOLDEN)
def test_networks_give_what_those_of_the_repository_gave(network):
    patches = torch.sin(torch.arange(2 * 101 * 96, dtype=torch.float64) * 0.013).reshape(2, 1, 101, 96).float()
    vectors = by_formula(network())(patches)
    values, total = GOLDEN[network]
    assert torch.allclose(vectors[1, :8], torch.tensor(values), atol=1e-4)
    assert float(vectors.double().sum()) == pytest.approx(total, rel=1e-5)


# ---- the front end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [22_050, 30_123])
def test_bands_are_those_of_librosa_with_the_published_settings(samples):
    """librosa's transform with reflection, the default of the version that the repository names."""
    waves, lengths = noise(samples)
    wave = waves[0].double().numpy()
    wave = (wave - wave.mean()) / (np.abs(wave - wave.mean()).max() + 0.005)
    spectra = librosa.stft(
        wave + 1.1e-8, n_fft=2048, hop_length=220, win_length=660, window=hamming(660, sym=False), pad_mode="reflect"
    )
    bank = librosa.filters.mel(sr=RATE, n_fft=2048, n_mels=96, fmin=50, fmax=10_500, norm=None)
    theirs = torch.from_numpy(np.log10(bank @ np.abs(spectra) ** 2 + 1.1e-8).T)
    ours, counts = load("vgg", random=True).bands(waves, lengths)
    assert ours.shape[1] == int(counts[0]) == len(theirs)
    assert torch.allclose(ours[0] * PLAIN[1] + PLAIN[0], theirs.float(), atol=1e-4)


def test_levels_take_true_samples_only():
    waves, lengths = noise(3_000)
    padded = torch.nn.functional.pad(waves, (0, 500), value=7.0)
    assert torch.allclose(levelled(padded, lengths)[:, :3_000], levelled(waves, lengths))
    assert not levelled(padded, lengths)[:, 3_000:].any()


@pytest.mark.parametrize(
    ("samples", "patches"), [(2_205, 1), (22_050, 1), (32_999, 1), (33_000, 2), (43_999, 2), (44_000, 3)]
)
def test_patches_start_every_fifty_frames_and_are_whole(samples, patches):
    features = load("vgg", random=True).encode(*noise(samples))
    assert features.frames.shape == (1, 1, patches, 512)
    assert features.lengths.tolist() == [patches]


def test_patches_are_centred_where_they_say():
    features = load("crnn", random=True).encode(*noise(44_000))
    assert torch.allclose(features.times[0], torch.tensor([50, 100, 150]) * 220 / RATE)
    assert torch.allclose(load("crnn", random=True).encode(*noise(4_410)).times, torch.tensor([[0.1]]))


def test_a_short_clip_is_repeated_up_to_a_second():
    encoder = load("vgg", random=True)
    waves, lengths = noise(7_350)
    repeated = encoder.encode(waves.repeat(1, 3), lengths * 3)
    assert torch.allclose(encoder.encode(waves, lengths).frames, repeated.frames, atol=1e-5)


# ---- loading ---------------------------------------------------------------------------------------------------------


def test_without_a_file_the_error_says_where_it_is_from(kind):
    with pytest.raises(BadCheckpoint, match=r"github\.com/edufonseca/uclser20") as caught:
        load(kind)
    assert f"fonseca_{kind}@{FILES[kind].name}" in str(caught.value)
    assert f"fonseca_{kind}~random" in str(caught.value)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_files_in_the_public_layout_load(kind, tmp_path, new):
    state = by_formula(KINDS[kind].network()).state_dict()
    torch.save(
        {f"module.{key}": value for key, value in state.items()},
        tmp_path / "own.pth",
        _use_new_zipfile_serialization=new,
    )
    found = load(kind, tmp_path / "own.pth")
    assert all(torch.equal(value, state[key]) for key, value in found.net.state_dict().items())
    assert found.card.licence == "that of the file"


@pytest.mark.parametrize("random", [False, True])
def test_other_networks_are_refused_with_what_does_not_fit(kind, tmp_path, random):
    other = {"vgg": CrnnNet, "crnn": VggNet}[kind]
    torch.save(other().state_dict(), tmp_path / "other.pth")
    with pytest.raises(BadCheckpoint, match="missing"):
        load(kind, tmp_path / "other.pth", random=random)


def test_the_untrained_twin_is_drawn_from_the_seed_alone(kind):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (load(kind, random=True, seed=seed).net.conv1.conv.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_untrained_twins_keep_the_contract(kind):
    assert [one for one in check_upstream.run(load(kind, random=True)) if not one.ok] == []


# ---- the real files --------------------------------------------------------------------------------------------------


def test_the_published_file_loads_with_its_licence_and_a_note_and_keeps_the_contract(kind, real):
    found = load(kind, real)
    assert found.card == KINDS[kind].card
    assert found.source == {"weights": real.name, "sha256": KINDS[kind].sha256}
    assert found.options == {"mean": MEAN, "deviation": TRAINED[1]}
    assert "unpublished" in found.notes[0]
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_inputs_are_as_wide_as_those_the_published_files_were_trained_on(kind, real):
    """The first batch norm remembers the spread of its training inputs; a usual deviation is off by 30,000."""
    recordings = sorted((SHARED / "librispeech_sample").glob("*/*/*.flac"))[:2]
    if not recordings:
        pytest.skip("the real pieces of LibriSpeech are not in ../shared/data")
    encoder = load(kind, real)
    first = encoder.net.conv0 if kind == "vgg" else encoder.net.conv1
    for recording in recordings:
        wave, rate = soundfile.read(recording, stop=80_000, dtype="float32")
        wave = torch.from_numpy(soxr.resample(wave, rate, RATE))
        bands, _ = encoder.bands(wave[None], torch.tensor([len(wave)]))
        spread = first.conv(bands[:, None]).std((0, 2, 3))
        assert 0.5 < float((spread / first.bn.running_var.sqrt()).median()) < 2.0
