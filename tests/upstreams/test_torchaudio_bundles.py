"""`torchaudio:BUNDLE`: the features of torchaudio's own networks, and of transformers from the same tensors.

The networks are small ones in the layout of the bundles, with random weights.
"""

import dataclasses
import os
import re

import pytest
import torch

from earbench import registry
from earbench.checks import upstream as check_upstream
from earbench.contract import Spec
from earbench.errors import BadCheckpoint, RequestError
from earbench.kit.hf import Pretrained
from earbench.plan import public_name
from earbench_upstreams.torchaudio_bundles import Bundle, build

SMALL = {
    "encoder_embed_dim": 32,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 64,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 2,
}
KERNELS = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]
SECONDS = (1.0, 0.1, 0.7371)
TWINS = {
    "WAV2VEC2_BASE": "wav2vec2",
    "WAV2VEC2_LARGE_LV60K": "wav2vec2_large",
    "WAV2VEC2_XLSR53": "xlsr_53",
    "WAV2VEC2_XLSR_300M": "xls_r_300m",
    "HUBERT_BASE": "hubert",
    "HUBERT_LARGE": "hubert_large",
    "WAVLM_BASE": "wavlm",
    "WAVLM_BASE_PLUS": "wavlm_base_plus",
    "WAVLM_LARGE": "wavlm_large",
}
KINDS = ["WAV2VEC2_BASE", "WAV2VEC2_LARGE_LV60K", "HUBERT_LARGE", "WAVLM_BASE", "WAVLM_LARGE", "WAV2VEC2_ASR_BASE_10M"]


@pytest.fixture(scope="module")
def pipelines():
    try:
        from torchaudio import pipelines
    except (ImportError, OSError) as problem:  # OSError: a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"torchaudio does not import here: {problem}")
    return pipelines


@pytest.fixture
def small(pipelines, monkeypatch):
    """Makes a bundle small where torchaudio keeps it, and gives it."""

    def shrink(name):
        bundle = getattr(pipelines, name)
        tiny = dataclasses.replace(bundle, _params={**bundle._params, **SMALL, "extractor_conv_layer_config": KERNELS})
        tiny.__doc__ = bundle.__doc__
        monkeypatch.setattr(pipelines, name, tiny)
        return tiny

    return shrink


def load(argument, **more):
    return Bundle.load(Spec(f"torchaudio:{argument}", "torchaudio", argument=str(argument), **more)).eval()


def published(bundle, path):
    """A file as a bundle's server has it, of random weights, and torchaudio's own network with them."""
    from torchaudio.pipelines._wav2vec2 import utils

    torch.manual_seed(3)
    model = utils._get_model(bundle._model_type, bundle._params)
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "norm.bias")):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    state = model.state_dict()
    torch.save(state, path)
    return (utils._extend_model(model, normalize_waveform=True) if bundle._normalize_waveform else model).eval()


def clips():
    return [torch.randn(round(s * 16_000), generator=torch.Generator().manual_seed(1)) * 0.01 + 0.2 for s in SECONDS]


@pytest.mark.parametrize("name", KINDS)
def test_features_are_those_of_torchaudio(small, tmp_path, name):
    reference = published(small(name), tmp_path / "w.pth")
    lengths = torch.tensor([len(wave) for wave in clips()])
    features = load(f"{name}@{tmp_path / 'w.pth'}").encode(torch.nn.utils.rnn.pad_sequence(clips(), True), lengths)
    network = getattr(reference, "model", reference)
    network.aux = None
    for clip, wave in enumerate(clips()):
        with torch.no_grad():
            states = reference.extract_features(wave[None])[0]
            last, _ = reference(wave[None])
        mine = features.frames[clip, :, : int(features.lengths[clip])]
        wanted = torch.stack([state[0] for state in (*states[:-1], last)])
        assert mine.shape == (4, *wanted.shape[1:])
        assert (mine[1:] - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["WAV2VEC2_BASE", "WAV2VEC2_LARGE_LV60K"])
def test_features_are_those_of_transformers_from_the_same_tensors(small, tmp_path, name):
    from torchaudio.models.wav2vec2.utils import import_huggingface as importer
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    bundle = small(name)
    pre = bundle._params["encoder_layer_norm_first"]
    config = Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer" if pre else "group",
        do_stable_layer_norm=pre,
        conv_bias=bundle._params["extractor_conv_bias"],
        vocab_size=4,
        initializer_range=0.3,
    )
    torch.manual_seed(2)
    theirs = Wav2Vec2ForCTC(config).eval()
    torch.save(importer.import_huggingface_model(theirs).state_dict(), tmp_path / "w.pth")
    loaded = load(f"{name}@{tmp_path / 'w.pth'}")
    wave = clips()[0][None]
    with torch.no_grad():
        given = torch.nn.functional.layer_norm(wave, wave.shape) if bundle._normalize_waveform else wave
        output = theirs.wav2vec2(given, output_hidden_states=True)
    wanted = torch.stack([*output.hidden_states[:-1], output.last_hidden_state], 1)
    mine = loaded.encode(wave, torch.tensor([wave.shape[1]])).frames
    assert (mine - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_keeps_the_contract(small, name):
    small(name)
    findings = check_upstream.run(load(name, random=True))
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


@pytest.mark.parametrize("name", TWINS)
def test_counts_and_normalisation_are_those_of_the_same_model_in_transformers(pipelines, name):
    twin = registry.load("upstream", TWINS[name])
    assert isinstance(twin, Pretrained)
    bundle = getattr(pipelines, name)
    with torch.device("meta"):
        found = build(bundle)
    biases = 7 * 512 if name == "HUBERT_LARGE" else 0  # of its convolutions, which torchaudio's bundle does without
    assert sum(parameter.numel() for parameter in found.parameters()) == twin.card.parameters - biases
    assert bundle._normalize_waveform == twin.card.normalise
    assert bundle._params["encoder_num_layers"] + 1 == twin.card.layers


def test_the_untrained_twin_needs_no_download_and_is_drawn_from_the_seed(small, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    small("WAVLM_BASE")
    state = torch.random.get_rng_state()
    one, same, other = (load("WAVLM_BASE", random=True, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_file_of_an_untrained_twin_must_fit_as_well(small, tmp_path):
    published(small("WAVLM_BASE"), tmp_path / "w.pth")
    assert load(f"WAVLM_BASE@{tmp_path / 'w.pth'}", random=True).source["weights"] == "random"
    small("HUBERT_BASE")
    with pytest.raises(BadCheckpoint, match="missing"):
        load(f"HUBERT_BASE@{tmp_path / 'w.pth'}", random=True)
    with pytest.raises(BadCheckpoint, match="no weight file"):
        load(f"HUBERT_BASE@{tmp_path / 'nowhere.pth'}", random=True)


def test_what_torchs_hub_folder_holds_is_used_without_a_network(small, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    published(small("HUBERT_BASE"), tmp_path / "checkpoints" / "hubert_fairseq_base_ls960.pth")
    source = load("HUBERT_BASE").source
    assert source["file"] == "hubert_fairseq_base_ls960.pth"
    assert re.fullmatch("[0-9a-f]{64}", source["file_sha256"])
    assert str(tmp_path) not in str(source)
    assert public_name(f"torchaudio:HUBERT_BASE@{tmp_path / 'w.pth'}") == "torchaudio:HUBERT_BASE@w.pth"


def test_without_a_network_the_address_of_the_weights_is_told(small, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", broken)
    small("HUBERT_BASE")
    with pytest.raises(BadCheckpoint, match=r"fetch https://\S+hubert_fairseq_base_ls960.pth where"):
        load("HUBERT_BASE")


class Hostile:
    """Unpickles by making a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_files_that_do_not_fit_are_refused_and_nothing_in_them_runs(small, tmp_path):
    published(small("HUBERT_BASE"), tmp_path / "w.pth")
    state = torch.load(tmp_path / "w.pth", weights_only=True)
    torch.save({**state, "more": Hostile(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(BadCheckpoint, match=r"w\.pth as torchaudio's HUBERT_BASE(.|\n)*left over \(1\): more"):
        load(f"HUBERT_BASE@{tmp_path / 'w.pth'}")
    assert not (tmp_path / "ran").exists()


def test_a_bundle_says_how_it_was_trained_and_under_which_licence(small):
    for name, said in {
        "HUBERT_BASE": ("HuBERT", "MIT", "self-supervised"),
        "VOXPOPULI_ASR_BASE_10K_DE": ("wav2vec 2.0", "CC-BY-NC-4.0", "supervised"),
        "WAVLM_BASE": ("WavLM", "unclear", "self-supervised"),
        "MMS_FA": ("wav2vec 2.0", "CC-BY-NC-4.0", "supervised"),
    }.items():
        small(name)
        card = load(name, random=True).card
        assert (card.family, card.licence, card.pretraining) == said


@pytest.mark.usefixtures("pipelines")
def test_other_bundles_and_unknown_names_are_refused():
    for name in ("TACOTRON2_WAVERNN_CHAR_LJSPEECH", "HUBERT", ""):
        with pytest.raises(RequestError, match="known: HUBERT_ASR_LARGE"):
            load(name)


def test_the_scheme_is_installed():
    assert registry.load("upstream", "torchaudio") is Bundle
