"""The head with several answers, against s3prl's own modules and against one plain head per slot."""

import pytest
import torch
from torch.nn import functional

from earbench.kit.heads.intents import UNSEEN, IntentLinear, Intents

INTENTS = [
    ("stop", "music", "none"),
    ("start", "music", "kitchen"),
    ("start", "heat", "kitchen"),
    ("bring", "shoes", "none"),
]
WIDTH, HIDDEN = 6, 5
LENGTHS = torch.tensor([9, 2, 5])


def fresh(dtype=torch.float32) -> IntentLinear:
    torch.manual_seed(1)
    return IntentLinear(WIDTH, HIDDEN, Intents.seen(INTENTS)).to(dtype)


def frames(dtype=torch.float32) -> torch.Tensor:
    x = torch.randn(3, 9, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.where(torch.arange(9)[None, :, None] < LENGTHS[:, None, None], x, 0.0).to(dtype)


def test_values_are_numbered_in_the_order_of_their_first_appearance():
    space = Intents.seen(INTENTS)
    assert space.values == (("stop", "start", "bring"), ("music", "heat", "shoes"), ("none", "kitchen"))
    assert len(space) == 8
    assert [space.encode(intent) for intent in INTENTS] == [[0, 0, 0], [1, 0, 1], [1, 1, 1], [2, 2, 0]]
    assert [space.decode(space.encode(intent)) for intent in INTENTS] == INTENTS


def test_loss_is_the_sum_of_three_cross_entropies_on_consecutive_slices():
    head, targets = fresh(), torch.tensor([[0, 2, 1], [2, 1, 0], [1, 1, 1]])
    output = torch.randn(3, 8)
    expected = sum(
        functional.cross_entropy(output[:, low:high], targets[:, slot])
        for slot, (low, high) in enumerate([(0, 3), (3, 6), (6, 8)])
    )
    torch.testing.assert_close(head.loss(output, None, targets, LENGTHS), expected)


def test_predictions_are_the_highest_value_of_every_slot():
    output = torch.tensor([[0.0, 2, 1, 5, 0, 0, 1, 1], [9, 0, 0, 0, 0, 1, 0, 9]])
    assert fresh().predict(output, None, None) == [("start", "music", "none"), ("stop", "shoes", "kitchen")]


def test_a_value_that_training_never_saw_adds_nothing_to_the_loss():
    space, head = Intents.seen(INTENTS), fresh()
    assert space.encode(("start", "lamp", "none")) == [1, UNSEEN, 0]
    output = torch.randn(2, 8)
    one, two = torch.tensor([[1, UNSEEN, 0], [0, 1, 1]]), torch.tensor([[1, 0, 0], [0, 1, 1]])
    with_both = head.loss(output, None, two, LENGTHS)
    parts = [functional.cross_entropy(output[:, 3:6], two[:, 1]), functional.cross_entropy(output[1:, 3:6], two[1:, 1])]
    torch.testing.assert_close(head.loss(output, None, one, LENGTHS), with_both - parts[0] + parts[1])


def test_frames_and_their_means_give_the_same_logits_and_gradients():
    head, x, targets = fresh(torch.float64), frames(torch.float64), torch.tensor([[0, 2, 1], [2, 1, 0], [1, 1, 1]])
    means = x.sum(1) / LENGTHS[:, None]
    found = []
    for features, lengths in ((x, LENGTHS), (means, None)):
        output = head(features, lengths)
        loss = head.loss(output, lengths, targets, LENGTHS)
        found.append([output, *torch.autograd.grad(loss, list(head.parameters()))])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_stacked_heads_equal_separate_ones():
    heads = [IntentLinear(WIDTH, HIDDEN, Intents.seen(INTENTS)) for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(heads)
    x, targets = torch.randn(3, WIDTH), torch.tensor([[0, 2, 1], [2, 1, 0], [1, 1, 1]])

    def loss(some):
        return heads[0].loss(torch.func.functional_call(heads[0], (some, buffers), (x, None)), None, targets, targets)

    stacked = torch.vmap(torch.func.grad(loss))(weights)
    for index, head in enumerate(heads):
        alone = torch.autograd.grad(head.loss(head(x, None), None, targets, targets), list(head.parameters()))
        for (name, _), gradient in zip(head.named_parameters(), alone, strict=True):
            torch.testing.assert_close(stacked[name][index], gradient)


def test_logits_and_gradients_equal_s3prls_own_modules():
    """Its projector, `UtteranceLevel` with mean pooling, and the loop over slots of its fluent_commands expert."""
    try:
        from s3prl.downstream.model import UtteranceLevel
    except (ImportError, OSError) as problem:
        pytest.skip(f"s3prl does not import here: {problem}")
    head, x, targets = fresh(), frames(), torch.tensor([[0, 2, 1], [2, 1, 0], [1, 1, 1]])
    projector = torch.nn.Linear(WIDTH, HIDDEN)
    model = UtteranceLevel(HIDDEN, 8, post_net={"select": "FrameLevel"})
    projector.load_state_dict(head.project.state_dict())
    model.post_net.linear.load_state_dict(head.classify.state_dict())
    logits, _ = model(projector(x), LENGTHS)
    loss, start = 0, 0
    for slot, size in enumerate((3, 3, 2)):
        loss = loss + torch.nn.CrossEntropyLoss()(logits[:, start : start + size], targets[:, slot])
        start += size
    output = head(x, LENGTHS)
    mine = head.loss(output, LENGTHS, targets, LENGTHS)
    torch.testing.assert_close(output, logits)
    torch.testing.assert_close(mine, loss)
    theirs = torch.autograd.grad(loss, [*projector.parameters(), *model.parameters()])
    for one, two in zip(torch.autograd.grad(mine, list(head.parameters())), theirs, strict=True):
        torch.testing.assert_close(one, two)
