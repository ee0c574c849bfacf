"""The heads of tags and numbers: losses and predictions against the formulas written out, stacked equals alone."""

import pytest
import torch

from earbench.contract import Recipe
from earbench.kit.heads.multilabel import PooledTags
from earbench.kit.heads.regression import PooledValue, Scale
from earbench.stack import Probe, Stack

WIDTH, HIDDEN = 7, 5


def test_the_loss_of_tags_is_the_mean_negative_log_likelihood():
    head = PooledTags(WIDTH, HIDDEN, ("a", "b"))
    output, truth = torch.tensor([[0.5, -2.0], [30.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    chance = torch.where(truth > 0, output.double().sigmoid(), 1 - output.double().sigmoid())
    loss = head.loss(output, None, truth, torch.tensor([2, 2]))
    assert loss.item() == pytest.approx(-chance.log().mean().item(), rel=1e-6)


def test_tags_are_probabilities_that_keep_the_order_of_large_logits():
    head = PooledTags(WIDTH, HIDDEN, ("a", "b", "c"))
    ((low, high, higher),) = head.predict(torch.tensor([[0.0, 20.0, 21.0]]), None, None)
    assert low == 0.5
    assert high < higher < 1.0


def test_numbers_come_back_in_their_own_unit():
    scale = Scale.of([100.0, 300.0, 500.0])
    head = PooledValue(WIDTH, HIDDEN, scale)
    standard = [scale.standard(value) for value in (100.0, 300.0, 421.0)]
    assert sum(standard[:2]) == pytest.approx(-((3 / 2) ** 0.5))
    assert head.predict(torch.tensor(standard)[:, None], None, None) == pytest.approx([100.0, 300.0, 421.0])


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_the_loss_of_numbers_is_their_mean_square_for_targets_of_either_shape(shape):
    head = PooledValue(WIDTH, HIDDEN, Scale(0.0, 1.0))
    output, targets = torch.tensor([[1.0], [2.0], [0.0]]), torch.tensor([0.0, 2.0, 4.0]).reshape(shape)
    assert head.loss(output, None, targets, torch.ones(3)).item() == pytest.approx((1 + 0 + 16) / 3)


@pytest.mark.parametrize(
    ("head", "targets"),
    [
        (PooledTags(WIDTH, HIDDEN, ("a", "b")), torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])),
        (PooledValue(WIDTH, HIDDEN, Scale(5.0, 2.0)), torch.tensor([-1.0, 0.5, 2.0])),
    ],
    ids=["tags", "numbers"],
)
def test_recipes_that_train_as_one_end_as_they_would_alone(head, targets):
    head.generator = torch.Generator()
    recipes = [Recipe(lr=lr, batch=3, steps=5, every=5, clip=1.0) for lr in (1e-1, 1e-3)]
    batch = (torch.randn(3, 2, WIDTH, generator=torch.Generator().manual_seed(0)), None, targets, torch.ones(3))

    def trained(some):
        stack = Stack(Probe(head, layers=2), some, torch.device("cpu"))
        for _ in range(5):
            stack.step([batch])
        return [stack.member(index) for index in range(len(some))]

    for together, (alone,) in zip(trained(recipes), ([*trained([one])] for one in recipes), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
