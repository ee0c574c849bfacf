"""Every installed plugin faces every check that `bench check` runs for a submitter.

Published transformers models, and encoders of one file, are built small and random here: the same code, the published
kernels and norms. Weights that are shipped face the same checks in the tests of their own encoder.
"""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch

from earbench import registry
from earbench.checks import full
from earbench.checks import task as check_task
from earbench.checks import upstream as check_upstream
from earbench.clips import facts_of
from earbench.commands import ANY_ENCODER
from earbench.contract import Spec, Upstream
from earbench.errors import RequestError
from earbench.kit.arrays import SCHEMA, described
from earbench.kit.from_file import FromFile
from earbench.kit.hf import Pretrained
from earbench.plan import Cell, Request, load_task, load_upstream
from earbench.supplied import misfit
from earbench_tasks.hear import Published

BLOCKS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WAVES = {**BLOCKS, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
SQUEEZED = {**WAVES, "conv_dim": (16,) * 13}
SMALL = {
    "sew": SQUEEZED,
    "sew-d": SQUEEZED,
    "audio-spectrogram-transformer": BLOCKS,
    "wav2vec2-bert": BLOCKS,
    "whisper": {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64},
    "clap_audio_model": {"patch_embeds_hidden_size": 8, "depths": (1, 1, 1, 1), "num_attention_heads": (1, 1, 2, 2)},
}
"""By kind, what makes a network small; the wav2vec 2.0 family is `WAVES`."""
SCHEMES = {
    "features": "needs arrays, and encodes nothing: tests/test_features.py",
    "hf": "needs a model: tests/kit/test_hf.py runs the checks on folders",
    "hear": "needs a module: tests/upstreams/test_hear_modules.py runs the checks on some",
    "hear_alone": "the same",
    "py": "needs a class: tests/upstreams/test_own_python.py runs the checks on one",
    "s3prl": "needs s3prl and a file: tests/upstreams/test_s3prl_upstreams.py runs the checks on tiny ones",
    "torchaudio": "needs a bundle: tests/upstreams/test_torchaudio_bundles.py runs the checks on small ones",
}


def small(name: str) -> Upstream:
    """The encoder called `name`, random where it has learned weights, and made small where it is large."""
    plugin = registry.load("upstream", name)
    if shape := getattr(plugin, "published", None):
        plugin = type(plugin.__name__, (plugin,), {"published": replace(shape, width=32)})
        return plugin.load(Spec(text=name, name=name, random=True)).requires_grad_(False)
    if not isinstance(plugin, Pretrained):
        if isinstance(plugin, type) and issubclass(plugin, FromFile):
            return plugin.twin(small_shape(plugin.public_shape), 0).eval().requires_grad_(False)
        return load_upstream(name if plugin.card.pretraining == "none" else f"{name}~random")
    facts = {**plugin.facts, **SMALL.get(plugin.kind, WAVES)}
    card = replace(plugin.card, parameters=None, layers=None, widths=())
    return replace(plugin, card=card, facts=facts).load(Spec(text=name, name=name, random=True))


def small_shape(public: Any) -> Any:
    """A narrow, shallow network of the published kind."""
    sizes: dict[str, Any] = {"width": 128, "inner": 64, "blocks": 2, "heads": 2}
    if books := getattr(public, "books", ()):  # their widths add up to that of a frame
        sizes["books"] = tuple((8, 128 // len(books)) for _ in books)
    return replace(public, **{name: value for name, value in sizes.items() if hasattr(public, name)})


@pytest.mark.parametrize("name", sorted(set(registry.names("upstream")) - set(SCHEMES)))
def test_every_upstream_keeps_the_contract(name: str) -> None:
    findings = check_upstream.run(small(name))
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


@pytest.mark.parametrize("name", sorted(set(registry.names("upstream")) - set(SCHEMES)))
def test_features_of_every_upstream_could_be_supplied(name: str) -> None:
    """What `bench extract` would write of it is what `features:` takes: its facts, and as many frames as clips have."""
    upstream = small(name)
    waves, lengths = check_upstream.noise(upstream, (1.5, 0.1, 3.0) if upstream.batching == "any" else (3.0,))
    with torch.inference_mode():
        features = upstream.encode(waves, lengths)
    facts = facts_of(Cell(Request(name, "ks"), upstream, load_task("ks"), "0" * 16, "mix", torch.device("cpu")), "fp32")
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(json.loads(described(facts)))) == []
    stated = SimpleNamespace(hop=features.hop, first=features.first)
    for length, count in zip(lengths.tolist(), features.lengths.tolist(), strict=True):
        assert misfit(stated, count, length / upstream.sample_rate) is None


@pytest.mark.parametrize("name", sorted(set(registry.names("upstream")) - set(SCHEMES)))
def test_every_upstream_refuses_an_argument_that_it_would_not_read(name: str) -> None:
    with pytest.raises(RequestError, match="no such thing"):
        registry.load("upstream", name).load(Spec("", name, argument="no such thing", random=True))


def distinct_tasks() -> list[str]:
    """One name for every code path: aliases are one task, and so are those that differ in what their folder holds."""
    found: dict[Any, str] = {}
    for name in registry.names("task"):
        plugin = registry.load("task", name)
        if isinstance(plugin, Published):
            plugin = (plugin.kind, "folds" in plugin.card.corpus.counts, len(plugin.folders))
        found.setdefault(plugin, name)
    return list(found.values())


@pytest.mark.parametrize("name", distinct_tasks())
def test_every_task_keeps_the_contract(name: str) -> None:
    findings = check_task.run(load_task(name), ANY_ENCODER)
    assert findings
    assert [finding for finding in findings if not finding.ok] == []


def test_the_exempted_schemes_exist() -> None:
    assert set(SCHEMES) <= set(registry.names("upstream"))


def test_every_other_upstream_is_looked_at_in_full_size() -> None:
    assert set(full.names()) == set(registry.names("upstream")) - set(SCHEMES)
