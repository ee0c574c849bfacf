"""HEAR's predictor against a reference made of torch's own layers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from earbench.kit.events import found
from earbench.kit.heads.shallow import EventShallow, Shallow

LABELS = ("a", "b", "c", "d", "e")


def made(layers=2, dropout=0.1, initialisation="normal", width=7, hidden=16, single=True):
    head = Shallow(width, LABELS, single, layers, hidden, dropout, initialisation)
    head.generator = torch.Generator().manual_seed(0)
    return head


def reference(head):
    """Linear, BatchNorm1d, Dropout, ReLU and so on as one Sequential (sheet 4.2), with the weights of `head`."""
    parts = []
    for linear in head.hidden:
        parts += [nn.Linear(linear.in_features, linear.out_features), nn.BatchNorm1d(linear.out_features)]
        parts += [nn.Dropout(head.dropout), nn.ReLU()]
    parts.append(nn.Linear(head.output.in_features, head.output.out_features))
    plain = nn.Sequential(*parts)
    ours = [tensor for pair in zip(head.hidden, head.norms, strict=True) for part in pair for tensor in tensors(part)]
    for theirs, own in zip(plain.state_dict().values(), [*ours, *tensors(head.output)], strict=True):
        theirs.copy_(own)
    return plain


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
    said = np.stack(head.predict(other(x).detach(), None, None))
    assert said.dtype == np.float32
    assert np.array_equal(said, other(x).detach().softmax(1).numpy())


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
    head = Shallow(300, [str(number) for number in range(200)], True, 2, 500, 0.1, initialisation)
    for linear, gain in ((head.hidden[0], 1.0), (head.hidden[1], 2**0.5), (head.output, 2**0.5)):
        deviation = gain * (2 / (linear.in_features + linear.out_features)) ** 0.5
        assert linear.weight.std().item() == pytest.approx(deviation, rel=0.02)
        assert (linear.weight.abs().max() <= 3**0.5 * deviation) == (initialisation == "uniform")


def test_tags_are_asked_one_by_one():
    """Expected: torch's own binary cross-entropy, mean over clips and labels, on single-precision sigmoids."""
    head = made(single=False).eval()
    output = head(torch.randn(12, 7), None)
    targets = (torch.rand(12, 5) < 0.3).float()
    loss = head.loss(output, None, targets, torch.full((12,), 5))
    assert loss.item() == pytest.approx(nn.BCEWithLogitsLoss()(output, targets).item(), abs=1e-7)
    assert np.array_equal(np.stack(head.predict(output.detach(), None, None)), output.detach().sigmoid().numpy())


def test_frames_are_rows_of_their_own():
    """Expected: the same rows, one after another."""
    head, x = made().eval(), torch.randn(3, 4, 7)
    assert torch.allclose(head(x, None), head(x.reshape(12, 7), None).reshape(3, 4, 5), atol=1e-6)


def test_events_are_found_in_the_true_frames_of_each_clip():
    """Expected: `found` on the sigmoids of each clip alone."""
    head = EventShallow(7, LABELS, False, 1, 16, 0.0, "normal").eval()
    output, lengths = 3 * torch.randn(2, 40, 5), torch.tensor([40, 25])
    times = 0.05 * torch.arange(40, dtype=torch.float64).expand(2, -1)
    said = head.predict(output, lengths, times, median=0.15, shortest=0.05)
    for one, count, events in zip(output, lengths, said, strict=True):
        assert events == found(one[:count].sigmoid(), times[0, :count], LABELS, 0.15, 0.05)
    assert all(said)
