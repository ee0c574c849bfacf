import copy

import pytest
import torch
from fitting import COLOURS, CPU, RECIPE, Dropping, Normed, rates
from torch import nn

from earbench.contract import Recipe
from earbench.kit.heads.pooled import PooledLinear
from earbench.stack import CPU_STACK_PARAMETERS, Probe, Stack, stack_size

LAYERS, WIDTH = 3, 6


def probe(head=PooledLinear, layers=LAYERS, width=WIDTH, hidden=(5,)):
    torch.manual_seed(0)
    made = head(width, *hidden, COLOURS) if head is PooledLinear else head(width, COLOURS)
    made.generator = torch.Generator().manual_seed(1)
    return Probe(made, layers)


def batches(count, size=16, frames=None, layers=LAYERS):
    """Random batches of pooled features, or of frames with their lengths."""
    random = torch.Generator().manual_seed(2)
    found = []
    for _ in range(count):
        shape = (size, layers, WIDTH) if frames is None else (size, layers, frames, WIDTH)
        lengths = None if frames is None else torch.randint(1, frames + 1, (size,), generator=random)
        targets = torch.randint(3, (size,), generator=random)
        found.append((torch.randn(shape, generator=random), lengths, targets, torch.ones(size, dtype=torch.long)))
    return found


def trained(recipes, steps, start=None, accum=1):
    stack = Stack(start or probe(), recipes, CPU)
    data = batches(steps * accum)
    for number in range(steps):
        stack.step(data[number * accum : (number + 1) * accum])
    return stack


def by_torch(optimiser, recipe, steps, start, accum=1):
    """The same training by torch's own optimiser and clipping."""
    optimise = optimiser(start.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    data = iter(batches(steps * accum))
    for _ in range(steps):
        optimise.zero_grad()
        (sum(start.loss(*next(data)) for _ in range(accum)) / accum).backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(start.parameters(), recipe.clip)
        optimise.step()
    return dict(start.named_parameters())


def assert_close(found, expected, within):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), atol=within, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("kind", "optimiser"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_fifty_steps_are_those_of_torchs_optimiser_and_clipping(kind, optimiser, decay, clip):
    """Expected: torch.optim and torch.nn.utils.clip_grad_norm_ on a plain module."""
    recipe = Recipe(lr=1e-2, batch=16, steps=50, every=50, optimiser=kind, weight_decay=decay, clip=clip)
    expected = by_torch(optimiser, recipe, 50, probe())
    assert_close(trained([recipe], 50).member(0), expected, within=1e-6)


def test_accumulated_batches_count_as_the_mean_of_their_losses():
    """With plain descent, which a loss three times as large would move three times as far."""
    recipe = Recipe(lr=1e-2, batch=16, steps=10, every=10, accum=3, optimiser="sgd")
    expected = by_torch(torch.optim.SGD, recipe, 10, probe(), accum=3)
    assert_close(trained([recipe], 10, accum=3).member(0), expected, within=1e-6)


def test_layer_weights_count_in_the_clipped_norm():
    """One step of plain descent at rate one moves all weights together by exactly the bound."""
    start = probe()
    with torch.no_grad():
        start.head.project.weight.mul_(10)
    stack = Stack(start, [Recipe(lr=1.0, batch=16, steps=1, every=1, optimiser="sgd", clip=1e-2)], CPU)
    before = stack.member(0)
    stack.step(batches(1))
    moves = {name: value - before[name] for name, value in stack.member(0).items()}
    assert moves["mix"].norm() > 1e-4
    assert torch.cat([move.flatten() for move in moves.values()]).norm() == pytest.approx(1e-2, rel=1e-3)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("frames", [None, 7])
def test_recipes_trained_together_end_where_each_ends_alone(kind, frames):
    recipes = rates(1e-1, 1e-2, 1e-3, 1e-4, 1e-5, optimiser=kind)
    recipes[1] = recipes[1].with_(weight_decay=0.1)
    data = batches(20, frames=frames)
    together, alone = Stack(probe(), recipes, CPU), [Stack(probe(), [recipe], CPU) for recipe in recipes]
    for step in range(200):
        for stack in (together, *alone):
            stack.step([data[step % 20]])
    x, lengths, _, _ = batches(1, size=500, frames=frames)[0]
    for index, (one, output) in enumerate(zip(alone, together.outputs(x, lengths), strict=True)):
        assert_close(together.member(index), one.member(0), within=1e-5)
        assert torch.equal(output.argmax(1), one.outputs(x, lengths)[0].argmax(1))


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_a_recipe_without_a_finite_gradient_skips_its_step_and_the_others_do_not_notice(kind):
    recipes = rates(1e-2, 1e-2, 1e-3, optimiser=kind, weight_decay=0.1)
    data = batches(6)
    stack, others = Stack(probe(), recipes, CPU), Stack(probe(), recipes[::2], CPU)
    skipping = Stack(probe(), recipes[1:2], CPU)
    for number, batch in enumerate(data):
        sound = stack.weights.detach().clone()
        if number == 3:
            stack.weights = stack.weights.detach().index_fill(0, torch.tensor([1]), float("inf"))
        else:
            skipping.step([batch])
        stack.step([batch])
        if number == 3:
            stack.weights = torch.where(torch.tensor([[False], [True], [False]]), sound, stack.weights)
        others.step([batch])
    assert_close(stack.member(0), others.member(0), within=1e-6)
    assert_close(stack.member(2), others.member(1), within=1e-6)
    assert_close(stack.member(1), skipping.member(0), within=1e-6)


def test_keeping_some_recipes_carries_on_exactly():
    recipes, data = rates(1e-1, 1e-2, 1e-3, 1e-4), batches(12)
    whole, part = Stack(probe(), recipes, CPU), Stack(probe(), recipes, CPU)
    for number, batch in enumerate(data):
        whole.step([batch])
        if number == 6:
            part.keep([3, 1])
        part.step([batch])
    assert [recipe.lr for recipe in part.recipes] == [1e-4, 1e-2]
    assert_close(part.member(0), whole.member(3), within=1e-7)
    assert_close(part.member(1), whole.member(1), within=1e-7)


@pytest.mark.parametrize("head", [PooledLinear, Dropping, Normed])
def test_saved_training_goes_on_to_the_same_digits(head):
    data = batches(10)
    whole, first = Stack(probe(head), [RECIPE], CPU), Stack(probe(head), [RECIPE], CPU)
    for batch in data[:5]:
        whole.step([batch])
        first.step([batch])
    saved = copy.deepcopy(first.tensors())
    second = Stack(probe(head), [RECIPE], CPU)
    second.restore(saved)
    for batch in data[5:]:
        whole.step([batch])
        second.step([batch])
    assert_close(second.member(0), whole.member(0), within=0)


def test_dropout_is_drawn_anew_at_every_step_and_never_when_judging():
    stack, (batch,) = Stack(probe(Dropping), [RECIPE.with_(lr=0.0)], CPU), batches(1)
    drawn = stack.probe.head.generator.get_state()
    stack.step([batch])
    assert not torch.equal(stack.probe.head.generator.get_state(), drawn)
    drawn = stack.probe.head.generator.get_state()
    one, two = (stack.outputs(*batch[:2])[0] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(stack.probe.head.generator.get_state(), drawn)


def test_buffers_move_as_in_a_plain_module():
    """Expected: torch.nn.BatchNorm1d in training mode on the same mixed features."""
    stack, plain = trained([RECIPE.with_(lr=0.0)], 8, probe(Normed)), nn.BatchNorm1d(WIDTH)
    for x, *_ in batches(8):
        plain(x.mean(1))
    found = stack.member(0)
    torch.testing.assert_close(found["head.norm.running_mean"], plain.running_mean)
    torch.testing.assert_close(found["head.norm.running_var"], plain.running_var)
    assert found["head.norm.num_batches_tracked"] == 8


def test_a_stack_becomes_what_a_member_was():
    state = trained([RECIPE], 5, probe(Normed)).member(0)
    fresh = Stack(probe(Normed), [RECIPE], CPU)
    fresh.become(state)
    assert_close(fresh.member(0), state, within=0)


def test_layer_weights_start_uniform_and_sum_to_one_and_a_single_layer_has_none():
    shares = trained([RECIPE.with_(lr=0.1)], 20).member(0)["mix"].softmax(0)
    assert Stack(probe(), [RECIPE], CPU).member(0)["mix"].softmax(0).tolist() == pytest.approx([1 / 3] * 3)
    assert shares.std() > 0.01
    assert shares.sum() == pytest.approx(1)
    assert "mix" not in dict(probe(layers=1).named_parameters())


def test_layers_are_mixed_by_their_shares():
    start, (x, *_) = probe(), batches(1)[0]
    with torch.no_grad():
        start.mix.copy_(torch.tensor([1.0, 2.0, 3.0]))
        share = torch.tensor([1.0, 2.0, 3.0]).softmax(0)
        expected = start.head(sum(share[layer] * x[:, layer] for layer in range(3)), None)
        torch.testing.assert_close(start(x, None), expected)


def test_recipes_train_together_only_where_that_is_right_and_faster():
    small, large = probe(), probe(width=4096, hidden=(256,))
    assert sum(value.numel() for value in large.parameters()) > CPU_STACK_PARAMETERS
    assert stack_size(small, 5, CPU) == 5
    assert stack_size(large, 5, CPU) == 1
    assert stack_size(large, 5, torch.device("cuda")) == 5
    assert stack_size(probe(Dropping), 5, torch.device("cuda")) == 1
