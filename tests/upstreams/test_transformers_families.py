"""The published models that come through transformers: true cards, known offline, cheap to list."""

import importlib
import subprocess
import sys

import pytest
import torch

from earbench.contract import Spec
from earbench.kit.hf_models import encoder_class, settings

SEW = ("SEW_TINY", "SEW_SMALL", "SEW_MID")
SEW_D = ("SEW_D_TINY", "SEW_D_SMALL", "SEW_D_MID", "SEW_D_MID_K127", "SEW_D_BASE", "SEW_D_BASE_PLUS")
WAVES = {
    "hubert": ("HUBERT", "HUBERT_LARGE", "HUBERT_XLARGE"),
    "wav2vec2": (
        *("WAV2VEC2", "WAV2VEC2_LARGE", "XLSR_53", "XLS_R_300M"),
        *("XLS_R_1B", "XLS_R_2B", "MMS_300M", "MMS_1B"),
    ),
    "wavlm": ("WAVLM", "WAVLM_BASE_PLUS", "WAVLM_LARGE"),
    "data2vec": ("DATA2VEC", "DATA2VEC_LARGE"),
    "distilhubert": ("DISTILHUBERT",),
    "conformer": ("WAV2VEC2_CONFORMER", "WAV2VEC2_CONFORMER_ROPE"),
    "unispeech": ("UNISPEECH_LARGE", "UNISPEECH_SAT_BASE", "UNISPEECH_SAT_BASE_PLUS", "UNISPEECH_SAT_LARGE"),
    "sew": (*SEW, *SEW_D),
}
SPECTROGRAMS = {
    "w2v_bert": ("W2V_BERT_2",),
    "whisper": ("WHISPER_TINY", "WHISPER_BASE", "WHISPER_SMALL", "WHISPER_MEDIUM", "WHISPER_LARGE_V3"),
    "ast_audioset": ("AST",),
    "clap": ("CLAP",),
}
PLUGINS = WAVES | SPECTROGRAMS
NAMES = [(module, name) for module, names in PLUGINS.items() for name in names]
# Protocol sheet §3: who was trained on waves of zero mean and unit variance. Of those not there: UniSpeech-SAT's own
# fine-tuning script of Base and SEW's own settings do not normalise, all Large models with layer norm do.
PLAIN = {"HUBERT", "WAV2VEC2", "WAVLM", "WAVLM_BASE_PLUS", "DISTILHUBERT", *SEW, *SEW_D}
PLAIN |= {"UNISPEECH_SAT_BASE", "UNISPEECH_SAT_BASE_PLUS"}
SUPERVISED = {*SPECTROGRAMS["whisper"], "AST", "CLAP", "UNISPEECH_LARGE"}


def plugin(module, name):
    return getattr(importlib.import_module(f"earbench_upstreams.{module}"), name)


def described(found):
    """The network that the plugin's facts describe, without memory for its weights."""
    with torch.device("meta"):
        return encoder_class(found.kind)(settings({"model_type": found.kind, **found.facts}, found.card.name))


def states_and_width(config):
    """One state more than blocks; of CLAP those of the last stage."""
    if config.model_type == "whisper":
        return config.encoder_layers + 1, config.d_model
    if config.model_type == "clap_audio_model":
        return config.depths[-1] + 1, config.patch_embeds_hidden_size * 2 ** (len(config.depths) - 1)
    return config.num_hidden_layers + 1, config.hidden_size


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_cards_tell_the_truth_about_the_network(module, name):
    found = plugin(module, name)
    network = described(found)
    if hasattr(network, "masked_spec_embed"):
        del network.masked_spec_embed  # no feature depends on it
    assert found.card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert (found.card.layers, found.card.widths[0]) == states_and_width(network.config)
    assert found.card.name == name.lower()
    assert found.card.pretraining == ("supervised" if name in SUPERVISED else "self-supervised")


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in WAVES.items() for name in names])
def test_waves_are_normalised_as_in_training(module, name):
    card = plugin(module, name).card
    assert card.normalise == (name not in PLAIN)
    assert (card.sample_rate, card.hop) == (16_000, 0.04 if module == "sew" else 0.02)


def test_parameter_counts_are_those_of_the_protocol_sheet():
    # Sheet §12; counts in millions include a mask vector of 768, which changes no rounded figure.
    assert plugin("distilhubert", "DISTILHUBERT").card.parameters == 23_491_200
    for module, name, millions in [
        ("ast_audioset", "AST", 86.19),
        ("whisper", "WHISPER_TINY", 8.21),
        ("clap", "CLAP", 27.53),
        ("hubert", "HUBERT", 94.37),
        ("wav2vec2", "WAV2VEC2", 94.37),
        ("wavlm", "WAVLM", 94.38),
        ("data2vec", "DATA2VEC", 93.16),
    ]:
        assert round(plugin(module, name).card.parameters / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "head", "published"),
    [
        ("SEW_D_TINY", 0, 24_115_103),
        ("SEW_D_MID_K127", 512 * 32 + 32, 80_389_023),
        ("SEW_D_BASE_PLUS", 768 * 32 + 32, 177_003_711),
    ],
)
def test_parameter_counts_are_those_of_the_files_on_the_hub(name, head, published):
    """The totals that the hub states for the safetensors of asapp/sew-d-tiny-100k, sew-d-mid-k127-400k-ft-ls100h and
    sew-d-base-plus-400k-ft-ls100h (2026-05): the encoder, its mask vector, and a CTC head of 32 symbols.
    """
    card = plugin("sew", name).card
    assert card.parameters + card.widths[0] + head == published


def test_the_untrained_twin_needs_no_download_and_one_second_gives_49_frames(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    found = plugin("distilhubert", "DISTILHUBERT")
    twin = found.load(Spec("distilhubert~random", "distilhubert", random=True, seed=3))
    assert twin.card == found.card
    with torch.no_grad():
        features = twin.encode(torch.randn(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, 3, 49, 768)
    assert features.lengths.tolist() == [49]


def test_claps_encoder_has_as_many_tensors_as_the_file_on_the_hub():
    """laion/clap-htsat-fused at 365dea6e has 266 tensors under `audio_model.`, buffers included."""
    with torch.device("meta"):
        network = encoder_class("clap_audio_model")(
            settings({"model_type": "clap_audio_model", "enable_fusion": True}, "")
        )
    assert len(network.state_dict()) == 266


@pytest.mark.parametrize(("module", "name"), [("whisper", "WHISPER_TINY"), ("clap", "CLAP")])
def test_the_untrained_twin_of_an_encoder_of_spectrograms_has_the_card_of_the_published_one(module, name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    found = plugin(module, name)
    assert found.load(Spec("twin", found.card.name, random=True)).card == found.card


def test_listing_cards_does_not_import_transformers():
    modules = ", ".join(f"earbench_upstreams.{name}" for name in (*PLUGINS, "hf"))
    script = (
        f"import sys, {modules}; print(*[name for name in ('transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
