"""The pooled head against the protocol's own order of operations, written out here: mix, project, average, classify."""

import pytest
import torch
from torch.nn import functional

from earbench.kit.heads.pooled import LinearProbe, PooledLinear

LABELS = ("yes", "no", "_unknown_")
LAYERS, WIDTH, HIDDEN = 4, 7, 5
LENGTHS = torch.tensor([6, 1, 9])
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def states(dtype: torch.dtype) -> torch.Tensor:
    """Frames [clip, layer, time, width]; what lies behind a clip's length is large, so that leaks show."""
    frames = torch.randn(3, LAYERS, 9, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    behind = torch.arange(9) >= LENGTHS[:, None]
    return torch.where(behind[:, None, :, None], 1e3, frames).to(dtype)


def fresh(dtype: torch.dtype) -> tuple[PooledLinear, torch.Tensor]:
    torch.manual_seed(1)
    head = PooledLinear(WIDTH, HIDDEN, LABELS).to(dtype)
    return head, torch.tensor([0.3, -1.0, 0.0, 2.0], dtype=dtype, requires_grad=True)


def mixed(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return torch.einsum("l,bl...->b...", weights.softmax(0), x)


def pooled_logits(head, weights, frames):
    means = torch.stack([clip[:, :length].mean(1) for clip, length in zip(frames, LENGTHS.tolist(), strict=True)])
    return head(mixed(means, weights), None)


def framewise_logits(head, weights, frames):
    return head(mixed(frames, weights), LENGTHS)


def published_logits(head, weights, frames):
    """One clip at a time, without padding: SUPERB sheet, section 3."""
    logits = []
    for clip, length in zip(frames, LENGTHS.tolist(), strict=True):
        mix = (weights.softmax(0)[:, None, None] * clip[:, :length]).sum(0)
        hidden = (mix @ head.project.weight.T + head.project.bias).mean(0)
        logits.append(head.classify.weight @ hidden + head.classify.bias)
    return torch.stack(logits)


def gradients(logits_of, dtype):
    head, weights = fresh(dtype)
    logits = logits_of(head, weights, states(dtype))
    loss = head.loss(logits, None, torch.tensor([2, 0, 1]), torch.ones(3))
    return [logits, loss, *torch.autograd.grad(loss, [weights, *head.parameters()])]


@pytest.mark.parametrize("logits_of", [pooled_logits, framewise_logits])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_logits_and_all_gradients_are_those_of_the_published_order(logits_of, dtype, tolerance):
    expected = gradients(published_logits, dtype)
    found = gradients(logits_of, dtype)
    assert len(found) == 7
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def test_pooled_and_framewise_heads_stay_together_through_training():
    """Adam at the protocol's clipping, 30 steps: the two kinds of features are the same training."""
    trained = []
    for logits_of in (pooled_logits, framewise_logits):
        head, weights = fresh(torch.float64)
        optimiser = torch.optim.Adam([weights, *head.parameters()], lr=1e-2)
        for _ in range(30):
            loss = head.loss(logits_of(head, weights, states(torch.float64)), None, torch.tensor([2, 0, 1]), LENGTHS)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([weights, *head.parameters()], 1.0)
            optimiser.step()
        trained.append([weights.detach(), *(weight.detach() for weight in head.parameters())])
    for one, two in zip(*trained, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_head_is_two_matrices_without_activation():
    """Counts by hand: 7 x 5 + 5 and 5 x 3 + 3; doubling the input doubles the logits but for the biases."""
    head, _ = fresh(torch.float64)
    assert sum(weight.numel() for weight in head.parameters()) == 7 * 5 + 5 + 5 * 3 + 3
    x = torch.randn(2, WIDTH, dtype=torch.float64)
    zero = head(torch.zeros_like(x), None)
    torch.testing.assert_close(head(2 * x, None) - zero, 2 * (head(x, None) - zero))


def test_loss_is_cross_entropy_for_targets_of_either_shape():
    head, _ = fresh(torch.float32)
    output, targets = torch.randn(3, 3), torch.tensor([2, 0, 1])
    expected = functional.cross_entropy(output, targets)
    assert head.loss(output, None, targets, torch.ones(3)) == expected
    assert head.loss(output, None, targets[:, None], torch.ones(3)) == expected


def test_predictions_are_labels():
    head, _ = fresh(torch.float32)
    output = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    assert head.predict(output, None, None) == ["no", "yes", "_unknown_"]


def test_stacked_heads_equal_separate_ones():
    heads = [PooledLinear(WIDTH, HIDDEN, LABELS) for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(heads)
    x, targets = torch.randn(4, WIDTH), torch.tensor([0, 1, 2, 1])

    def loss(some):
        return heads[0].loss(torch.func.functional_call(heads[0], (some, buffers), (x, None)), None, targets, targets)

    stacked = torch.vmap(torch.func.grad(loss))(weights)
    for index, head in enumerate(heads):
        alone = torch.autograd.grad(head.loss(head(x, None), None, targets, targets), list(head.parameters()))
        for (name, _), gradient in zip(head.named_parameters(), alone, strict=True):
            torch.testing.assert_close(stacked[name][index], gradient)


def test_same_seed_gives_torch_default_initialisation():
    torch.manual_seed(1)
    project, classify = torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Linear(HIDDEN, len(LABELS))
    head, _ = fresh(torch.float32)
    assert torch.equal(head.project.weight, project.weight)
    assert torch.equal(head.classify.bias, classify.bias)


def test_the_probe_is_a_linear_layer_on_standardised_means():
    """Written out: statistics of the batch in training, running ones (a tenth of each batch) when it is judged."""
    probe = LinearProbe(WIDTH, LABELS)
    assert [list(weight.shape) for weight in probe.parameters()] == [[3, 7], [3]]
    x = 5 + 3 * torch.randn(40, WIDTH)
    scaled = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(probe.train()(x, None), probe.classify(scaled))
    running = (x - 0.1 * x.mean(0)) / (0.9 + 0.1 * x.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(probe.eval()(x, None), probe.classify(running))


def test_the_probe_takes_frames_means_and_a_single_clip():
    frames = states(torch.float32)[:, 0]
    means = torch.stack([clip[:length].mean(0) for clip, length in zip(frames, LENGTHS.tolist(), strict=True)])
    probe = LinearProbe(WIDTH, LABELS).train()
    torch.testing.assert_close(probe(frames, LENGTHS), probe(means, None))
    torch.testing.assert_close(probe(means[:1], None), probe.eval()(means[:1], None))


def test_logits_and_gradients_are_those_of_s3prls_own_modules():
    """Its `UtteranceLevel` behind a projection, as the experts of ks, sid, ic and er put them together."""
    try:
        from s3prl.downstream.model import UtteranceLevel
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    head, _ = fresh(torch.float64)
    projector, model = torch.nn.Linear(WIDTH, HIDDEN).double(), UtteranceLevel(HIDDEN, len(LABELS)).double()
    projector.load_state_dict(head.project.state_dict())
    model.post_net.linear.load_state_dict(head.classify.state_dict())
    frames, truth = states(torch.float64)[:, 0], torch.tensor([2, 0, 1])
    theirs, _ = model(projector(frames), LENGTHS)
    ours = head(frames, LENGTHS)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    expected = torch.autograd.grad(
        functional.cross_entropy(theirs, truth), [*projector.parameters(), *model.parameters()]
    )
    found = torch.autograd.grad(head.loss(ours, None, truth, torch.ones(3)), list(head.parameters()))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
