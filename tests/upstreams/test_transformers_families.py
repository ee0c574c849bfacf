"""The published models that come through transformers: true cards, known offline, cheap to list."""

import importlib
import subprocess
import sys

import pytest
import torch

from earbench.contract import Spec
from earbench.kit.hf_models import CLASSES, settings

PLUGINS = {
    "hubert": ("HUBERT", "HUBERT_LARGE"),
    "wav2vec2": ("WAV2VEC2", "WAV2VEC2_LARGE", "XLSR_53", "XLS_R_300M"),
    "wavlm": ("WAVLM", "WAVLM_BASE_PLUS", "WAVLM_LARGE"),
    "data2vec": ("DATA2VEC",),
    "distilhubert": ("DISTILHUBERT",),
}
NAMES = [(module, name) for module, names in PLUGINS.items() for name in names]
# Protocol sheet §3: who was trained on waves of zero mean and unit variance.
NORMALISED = {"HUBERT_LARGE", "WAV2VEC2_LARGE", "XLSR_53", "XLS_R_300M", "WAVLM_LARGE", "DATA2VEC"}


def plugin(module, name):
    return getattr(importlib.import_module(f"earbench_upstreams.{module}"), name)


def described(found):
    """The network that the plugin's facts describe, without memory for its weights."""
    import transformers

    config = settings({"model_type": found.kind, **found.facts}, found.card.name)
    with torch.device("meta"):
        return getattr(transformers, CLASSES[found.kind] + "Model")(config)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_cards_tell_the_truth_about_the_network(module, name):
    found = plugin(module, name)
    network = described(found)
    assert found.card.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert found.card.layers == network.config.num_hidden_layers + 1
    assert found.card.widths == (network.config.hidden_size,)
    assert found.card.name == name.lower()
    assert found.card.normalise == (name in NORMALISED)
    assert (found.card.sample_rate, found.card.hop) == (16_000, 0.02)


def test_parameter_counts_are_those_of_the_protocol_sheet():
    # Sheet §12; counts in millions include a mask vector of 768, which changes no rounded figure.
    assert plugin("distilhubert", "DISTILHUBERT").card.parameters == 23_491_200
    for module, name, millions in [
        ("hubert", "HUBERT", 94.37),
        ("wav2vec2", "WAV2VEC2", 94.37),
        ("wavlm", "WAVLM", 94.38),
        ("data2vec", "DATA2VEC", 93.16),
    ]:
        assert round(plugin(module, name).card.parameters / 1e6, 2) == millions


def test_the_untrained_twin_needs_no_download_and_one_second_gives_49_frames(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was opened"))
    found = plugin("distilhubert", "DISTILHUBERT")
    twin = found.load(Spec("distilhubert~random", "distilhubert", random=True, seed=3))
    assert twin.card == found.card
    with torch.no_grad():
        features = twin.encode(torch.randn(1, 16_000), torch.tensor([16_000]))
    assert features.frames.shape == (1, 3, 49, 768)
    assert features.lengths.tolist() == [49]


def test_listing_cards_does_not_import_transformers():
    modules = ", ".join(f"earbench_upstreams.{name}" for name in (*PLUGINS, "hf"))
    script = (
        f"import sys, {modules}; print(*[name for name in ('transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
