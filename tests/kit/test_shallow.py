"""HEAR's predictor against a reference made of torch's own layers, and its grid against the rule it comes from."""

import itertools
import random

import pytest
import torch
from torch import nn
from torch.nn import functional

from earbench.kit.heads.shallow import GRID, Shallow, grid

LABELS = ("a", "b", "c", "d", "e")


def made(layers=2, dropout=0.1, initialisation="normal", width=7, hidden=16):
    head = Shallow(width, LABELS, layers, hidden, dropout, initialisation)
    head.generator = torch.Generator().manual_seed(0)
    return head


def reference(head):
    """Linear, BatchNorm1d, Dropout, ReLU and so on as one Sequential (sheet 4.2), with the weights of `head`."""
    parts = []
    for linear in head.hidden:
        parts += [nn.Linear(linear.in_features, linear.out_features), nn.BatchNorm1d(linear.out_features)]
        parts += [nn.Dropout(head.dropout), nn.ReLU()]
    parts.append(nn.Linear(head.output.in_features, head.output.out_features))
    found = nn.Sequential(*parts)
    ours = [tensor for pair in zip(head.hidden, head.norms, strict=True) for part in pair for tensor in tensors(part)]
    for theirs, own in zip(found.state_dict().values(), [*ours, *tensors(head.output)], strict=True):
        theirs.copy_(own)
    return found


def tensors(part):
    return part.state_dict().values()


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_logits_loss_and_statistics_are_those_of_the_reference(layers):
    head = made(layers, dropout=0.0)
    other = reference(head)
    x, targets = torch.randn(12, 7), torch.arange(12) % 5
    for _ in range(3):
        output, expected = head(x, None), other(x)
        assert torch.allclose(output, expected, atol=1e-6)
        one_hot = functional.one_hot(targets, 5)
        loss = -(expected.log_softmax(1) * one_hot).sum(1).mean()
        assert head.loss(output, None, targets, torch.ones(12)).item() == pytest.approx(loss.item(), abs=1e-6)
    head.eval(), other.eval()
    assert torch.allclose(head(x, None), other(x), atol=1e-6)
    assert head.predict(other(x), None, None) == [LABELS[number] for number in other(x).softmax(1).argmax(1)]


def test_dropout_zeroes_a_tenth_behind_batch_norm_and_the_rest_grows():
    head, x = made(1, hidden=400), torch.randn(200, 7)
    before = head.norms[0](head.hidden[0](x)).clamp_min(0)
    seen = []
    head.output.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    head(x, None)
    (after,) = seen
    kept = (after[before > 0] / before[before > 0]).detach()
    assert kept[kept > 0].numpy() == pytest.approx(1 / 0.9, abs=1e-4)
    assert (kept == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert (after[before == 0] == 0).all()


def test_random_draws_come_from_the_heads_generator():
    head, x = made(), torch.randn(8, 7)
    outputs = []
    for seed in (1, 2, 1):
        head.generator.manual_seed(seed)
        outputs.append(head(x, None))
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])
    head.eval()
    assert torch.equal(head(x, None), head(x, None))


@pytest.mark.parametrize("initialisation", ["uniform", "normal"])
def test_weights_are_xavier_with_gain_one_then_root_two(initialisation):
    """Expected: standard deviation gain * sqrt(2 / (inputs + outputs)), and for the uniform a bound."""
    torch.manual_seed(0)
    head = Shallow(300, [str(number) for number in range(200)], 2, 500, 0.1, initialisation)
    for linear, gain in ((head.hidden[0], 1.0), (head.hidden[1], 2**0.5), (head.output, 2**0.5)):
        deviation = gain * (2 / (linear.in_features + linear.out_features)) ** 0.5
        assert linear.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert (linear.weight.abs().max() <= 3**0.5 * deviation) == (initialisation == "uniform")


def test_the_grid_is_what_the_references_shuffle_leaves():
    """Expected: sheet 4.3's rule. All points, keys by name, the last fastest, shuffled from seed 42, eight kept."""
    layers, drawn, rates = (1, 2), ("uniform", "normal"), (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    points = list(itertools.product(layers, drawn, rates))
    random.Random(42).shuffle(points)
    assert list(GRID) == points[:8]


def test_recipes_are_the_published_ones():
    for recipe, (layers, initialisation, lr) in zip(grid(), GRID, strict=True):
        assert (recipe.optimiser, recipe.lr, recipe.weight_decay, recipe.clip) == ("adam", lr, 0.0, None)
        assert (recipe.batch, recipe.unit, recipe.steps, recipe.every, recipe.patience) == (1024, "epoch", 500, 3, 20)
        head = Shallow(8, LABELS, **recipe.options)
        assert (len(head.hidden), recipe.options["initialisation"]) == (layers, initialisation)
        assert {linear.out_features for linear in head.hidden} == {1024}
        assert head.dropout == 0.1
