"""The pooled head against transformers' own audio classifiers, and the published SUPERB heads of the hub.

EARBENCH_SUPERB_HEADS names a folder that holds any of the models superb/hubert-base-superb-{ks,ic,sid,er} as folders of
their last name (config.json and weights); or it is "hub", and they are fetched.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
)

from earbench.errors import BadCheckpoint
from earbench.kit.heads.pooled import PooledLinear, published_head
from earbench.stack import Probe

LABELS = ("neu", "hap", "ang", "sad", "exc")
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 7,
    "num_labels": len(LABELS),
    "initializer_range": 0.5,
}
FAMILIES = [(HubertConfig, HubertForSequenceClassification), (Wav2Vec2Config, Wav2Vec2ForSequenceClassification)]


def model(config, classifier, mixed):
    """A classifier with fresh weights, and layer weights that are not all the same."""
    torch.manual_seed(3)
    made = classifier(config(**SMALL, use_weighted_layer_sum=mixed)).eval()
    if mixed:
        torch.nn.init.normal_(made.layer_weights)
    return made


def ours(theirs, layers):
    probe = Probe(PooledLinear(SMALL["hidden_size"], SMALL["classifier_proj_size"], LABELS), layers)
    probe.load_state_dict(published_head(theirs.state_dict()))
    return probe


def states(theirs, waves):
    """All hidden states [clip, layer, time, width]."""
    with torch.no_grad():
        encoder = getattr(theirs, theirs.base_model_prefix)
        return torch.stack(encoder(waves, output_hidden_states=True).hidden_states, 1)


@pytest.mark.parametrize(("config", "classifier"), FAMILIES)
@pytest.mark.parametrize("pooled", [False, True])
def test_same_weights_same_logits(config, classifier, pooled):
    theirs, waves = model(config, classifier, mixed=True), torch.randn(3, 4_000)
    frames = states(theirs, waves)
    probe = ours(theirs, frames.shape[1])
    lengths = None if pooled else torch.full((3,), frames.shape[2])
    found = probe(frames.mean(2) if pooled else frames, lengths)
    torch.testing.assert_close(found, theirs(waves).logits, rtol=1e-4, atol=1e-6)
    assert found.std() > 0.1


@pytest.mark.parametrize(("config", "classifier"), FAMILIES)
def test_same_weights_same_loss_and_gradients(config, classifier):
    theirs, waves, truth = model(config, classifier, mixed=True), torch.randn(3, 4_000), torch.tensor([4, 0, 2])
    frames = states(theirs, waves)
    probe = ours(theirs, frames.shape[1])
    loss = probe.loss(frames.mean(2), None, truth, torch.ones(3))
    expected = theirs(waves, labels=truth).loss
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    named = dict(theirs.named_parameters())
    for name, parameter in probe.named_parameters():
        torch.testing.assert_close(parameter.grad, named[CALLED[name]].grad, rtol=1e-4, atol=1e-6)


CALLED = {
    "mix": "layer_weights",
    "head.project.weight": "projector.weight",
    "head.project.bias": "projector.bias",
    "head.classify.weight": "classifier.weight",
    "head.classify.bias": "classifier.bias",
}


def test_a_classifier_on_the_last_layer_has_no_layer_weights():
    theirs, waves = model(*FAMILIES[0], mixed=False), torch.randn(2, 4_000)
    found = ours(theirs, layers=1)(states(theirs, waves)[:, -1:].mean(2), None)
    torch.testing.assert_close(found, theirs(waves).logits, rtol=1e-4, atol=1e-6)


def test_weights_without_such_a_head_are_refused():
    with pytest.raises(BadCheckpoint, match=r"projector\.bias, classifier\.weight, classifier\.bias"):
        published_head({"projector.weight": torch.zeros(7, 12), "layer_weights": torch.zeros(4)})


# ---- the published heads ---------------------------------------------------------------------------------------------


def published(task):
    """The folder of a published model: from the folder that the environment variable names, or the hub."""
    where, name = os.environ.get("EARBENCH_SUPERB_HEADS"), f"hubert-base-superb-{task}"
    if where == "hub":
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(f"superb/{name}"))
    if not where or not (Path(where) / name).is_dir():
        pytest.skip(f"EARBENCH_SUPERB_HEADS names neither the hub nor a folder with {name}")
    return Path(where) / name


@pytest.mark.parametrize(("task", "outputs"), {"ks": 12, "ic": 24, "sid": 1251, "er": 4}.items())
def test_the_published_heads_load_and_say_the_same(task, outputs):
    """Expected: the outputs of the SUPERB sheet (2.3, 2.5, 2.8, 2.10); logits of transformers' own classifier."""
    home = published(task)
    theirs = HubertForSequenceClassification.from_pretrained(home).eval()
    waves = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    frames = states(theirs, waves)
    names = json.loads((home / "config.json").read_text())["id2label"]
    labels = [names[str(number)] for number in range(outputs)]
    probe = Probe(PooledLinear(768, 256, labels), layers=13)
    probe.load_state_dict(published_head(theirs.state_dict()))
    with torch.no_grad():
        logits = theirs(waves).logits
    found = probe(frames.mean(2), None)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
    assert probe.head.predict(found, None, None) == [labels[best] for best in logits.argmax(1).tolist()]
