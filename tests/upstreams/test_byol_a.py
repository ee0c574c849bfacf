"""The upstreams `byol_a*`: every size loads, and frames and clips equal s3prl's network behind torchaudio's bands."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint, RequestError
from earbench.plan import load_upstream
from earbench_upstreams.byol_a import AudioNtt, ByolA, ByolA512, ByolA1024, ByolA2048, FrontEnd, fresh

SIZES = {ByolA512: 600_192, ByolA1024: 1_649_792, ByolA2048: 5_321_856, ByolA: 5_321_856}


def public_layout(width):
    """Protocol sheet upstreams §10.2, from the repository nttcslab/byol-a; counters are int64, all else is float32."""
    shapes = {"fc.0.weight": (width, 512), "fc.0.bias": (width,), "fc.3.weight": (width, width), "fc.3.bias": (width,)}
    for conv, channels in ((0, 1), (4, 64), (8, 64)):
        shapes |= {f"features.{conv}.weight": (64, channels, 3, 3), f"features.{conv}.bias": (64,)}
        norm = f"features.{conv + 1}"
        shapes |= {f"{norm}.{part}": (64,) for part in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = ()
    return shapes


def trained(width=16):
    """Weights that stand for trained ones, with running statistics that mean something."""
    state = fresh(width, 7).state_dict()
    shift = torch.Generator().manual_seed(1)
    for name, value in state.items():
        if "running" in name:
            state[name] = value + torch.rand(value.shape, generator=shift)
    return state


def load(path, plugin=ByolA, **more):
    return plugin.load(Spec("", "byol_a", checkpoint=str(path), **more)).eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "file.pth")
        return tmp_path / "file.pth"

    return write


# ---- sizes and layouts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", SIZES)
def test_networks_have_the_published_sizes_keys_and_shapes(plugin):
    """Protocol sheet upstreams §5.6."""
    width = plugin.card.widths[0]
    with torch.device("meta"):
        net = AudioNtt(width)
    assert sum(parameter.numel() for parameter in net.parameters()) == SIZES[plugin] == plugin.card.parameters
    state = net.state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == public_layout(width)
    assert {key for key, value in state.items() if value.dtype != torch.float32} == {
        f"features.{norm}.num_batches_tracked" for norm in (1, 5, 9)
    }


@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}])
def test_the_width_is_read_from_the_file(saved, wrap):
    found = load(saved(wrap(trained(24))))
    assert (found.width, found.card.widths) == (24, (24,))
    assert all(torch.equal(value, trained(24)[key]) for key, value in found.net.state_dict().items())
    assert [one for one in check_upstream.run(found) if not one.ok] == []


def test_a_name_with_a_size_refuses_another(saved):
    with pytest.raises(BadCheckpoint, match="not as expected"):
        load(saved(trained(24)), ByolA512)


def test_other_files_are_refused(saved):
    with pytest.raises(BadCheckpoint, match="no AudioNTT2020 network"):
        load(saved({"fc.0.weight": "text"}))
    with pytest.raises(BadCheckpoint, match=r"left over \(1\): head"):
        load(saved(trained() | {"head": torch.ones(1)}))


def test_without_a_file_the_error_says_where_it_is_from():
    with pytest.raises(BadCheckpoint, match=r"github\.com/nttcslab/byol-a .*64x96d1024\.pth"):
        ByolA1024.load(Spec("", "byol_a_1024"))


def test_the_untrained_twin_is_drawn_from_the_seed_and_has_the_size_of_the_file(saved):
    path = saved(trained(24))
    before = torch.get_rng_state()
    one, again, other = (load(path, random=True, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.width == 24
    assert torch.equal(one.net.fc[0].weight, again.net.fc[0].weight)
    assert not torch.equal(one.net.fc[0].weight, other.net.fc[0].weight)


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_and_scale_can_be_chosen_and_are_on_record(saved):
    path = saved(trained())
    assert load(path).options == {"mean": -5.4919195, "deviation": 5.0389895, "mel_scale": "htk"}
    spec = Spec("", "byol_a", argument=f"-9.75,4.68,slaney@{path}")
    assert ByolA.load(spec).front == FrontEnd(-9.75, 4.68, "slaney")
    assert ByolA.load(spec).source["weights"] == path.name
    assert load_upstream("byol_a:-9.75,4.68~random").front == FrontEnd(-9.75, 4.68, "htk")


@pytest.mark.parametrize("text", ["1", "1,0", "1,-2", "nan,1", "1,2,mel", "1,2,htk,3", "a,b"])
def test_nonsense_for_statistics_is_refused(text):
    with pytest.raises(RequestError, match="no statistics"):
        ByolA.load(Spec("", "byol_a", argument=text, random=True))


# ---- the reference implementations -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    """s3prl's networks, and torchaudio's bands with the settings of the published demo."""
    try:
        import torchaudio
        from s3prl.upstream.byol_a import byol_a
    except (ImportError, OSError) as problem:  # OSError: torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl or torchaudio does not import here: {problem}")
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=16_000, n_fft=1024, win_length=1024, hop_length=160, n_mels=64, f_min=60, f_max=7800
    )
    return byol_a, mel


def test_frames_and_clips_are_those_of_the_reference_whatever_the_padding(reference, saved):
    byol_a, mel = reference
    frames, clips = (kind(n_mels=64, d=16).eval() for kind in (byol_a.AudioNTT2020Task6, byol_a.AudioNTT2020))
    frames.load_state_dict(trained())
    clips.load_state_dict(trained())
    ours = load(saved(trained()))
    draw = torch.Generator().manual_seed(0)
    waves = [torch.randn(samples, generator=draw) * 0.1 for samples in (16_000, 1_600, 11_792, 15_200)]
    padded, lengths = pad_sequence(waves, batch_first=True), torch.tensor([len(wave) for wave in waves])
    features, vectors = ours.encode(padded, lengths), ours.embed(padded, lengths)
    assert features.lengths.tolist() == [12, 1, 9, 12]
    for number, wave in enumerate(waves):
        bands = ((mel(wave) + torch.finfo(torch.float32).eps).log() + 5.4919195) / 5.0389895
        with torch.no_grad():
            expected, whole = frames(bands[None, None])[0], clips(bands[None, None])[0]
        assert float((features.frames[number, 0, : len(expected)] - expected).abs().max()) < 1e-5
        assert float((vectors[number, 0] - whole).abs().max()) < 1e-5
