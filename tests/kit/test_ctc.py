"""The recognisers' head against plain torch modules with the same weights, and its promises about randomness."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from earbench.contract import Recipe
from earbench.errors import BenchError
from earbench.kit.heads.ctc import BothWays, RecurrentCTC
from earbench.kit.specaugment import SpecAugment
from earbench.kit.text import LETTERS
from earbench.stack import Probe, Stack

WIDTH, HIDDEN = 6, 8
LENGTHS = torch.tensor([30, 4, 22])
TARGETS = torch.tensor([[5, 6, 6, 4, 2], [9, 4, 2, 0, 0], [7, 4, 2, 0, 0]])
TARGET_LENGTHS = torch.tensor([5, 3, 3])
QUIET = SpecAugment(window=50, time_limit=1, feature_limit=1)


def features(seed=0):
    return torch.randn(3, 30, WIDTH, generator=torch.Generator().manual_seed(seed))


def fresh(seed=1, augment=QUIET):
    torch.manual_seed(seed)
    head = RecurrentCTC(WIDTH, HIDDEN, LETTERS, augment)
    head.generator = torch.Generator().manual_seed(seed)
    return head.eval()


class Reference(nn.Module):
    """Packed sequences through torch's bidirectional LSTMs, with the weights of our head."""

    def __init__(self, head):
        super().__init__()
        self.project, self.spell, self.drop = head.project, head.spell, nn.Dropout(0.2)
        self.layers = nn.ModuleList()
        for ours in head.recurrent:
            layer = nn.LSTM(ours.ahead.input_size, HIDDEN, bidirectional=True, batch_first=True)
            back = {f"{name}_reverse": weight for name, weight in ours.back.state_dict().items()}
            layer.load_state_dict(ours.ahead.state_dict() | back)
            self.layers.append(layer)

    def forward(self, x, lengths):
        hidden = self.project(x)
        for layer in self.layers:
            packed = pack_padded_sequence(hidden, lengths, batch_first=True, enforce_sorted=False)
            hidden = self.drop(pad_packed_sequence(layer(packed)[0], batch_first=True)[0])
        return self.spell(hidden)


def log_likelihood(logs, target):
    """Graves et al. 2006, equations 6 to 8, in plain loops: the log probability of one target given [time, symbol]."""
    spread = [0, *(symbol for one in target for symbol in (one, 0))]
    alpha = {0: float(logs[0, 0]), 1: float(logs[0, spread[1]])}
    for row in logs[1:].tolist():
        new = {}
        for at, symbol in enumerate(spread):
            skip = at > 1 and symbol != 0 and symbol != spread[at - 2]
            before = [alpha[one] for one in (at, at - 1, *([at - 2] if skip else [])) if one in alpha]
            if before:
                new[at] = row[symbol] + math.log(sum(math.exp(one - max(before)) for one in before)) + max(before)
        alpha = new
    ends = [alpha[at] for at in (len(spread) - 1, len(spread) - 2) if at in alpha]
    return math.log(sum(math.exp(one) for one in ends)) if ends else -math.inf


def gradients(module, loss):
    names, weights = zip(*module.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def true_frames(x):
    return torch.cat([one[:length] for one, length in zip(x, LENGTHS.tolist(), strict=True)])


def test_logits_and_gradients_equal_packed_bidirectional_lstms():
    head = fresh().double()
    reference, x = Reference(head).double().eval(), features().double()
    found, expected = head(x, LENGTHS), reference(x, LENGTHS)
    torch.testing.assert_close(true_frames(found), true_frames(expected))
    ours, theirs = (
        gradients(module, head.loss(output, LENGTHS, TARGETS, TARGET_LENGTHS))
        for output, module in ((found, head), (expected, reference))
    )
    for name, gradient in ours.items():
        name = name.replace("recurrent", "layers").replace("ahead.", "")
        name = f"{name.replace('back.', '')}_reverse" if "back." in name else name
        torch.testing.assert_close(gradient, theirs.pop(name))
    assert not theirs


def test_loss_is_the_mean_over_clips_of_the_loss_per_symbol():
    """Expected: the forward algorithm in plain loops, each clip on its own, divided by its number of symbols."""
    head = fresh().double()
    output = head(features().double(), LENGTHS)
    logs = output.detach().log_softmax(-1)
    each = [
        -log_likelihood(one[:length], target[:size].tolist()) / size
        for one, length, target, size in zip(logs, LENGTHS.tolist(), TARGETS, TARGET_LENGTHS.tolist(), strict=True)
    ]
    assert head.loss(output, LENGTHS, TARGETS, TARGET_LENGTHS).item() == pytest.approx(sum(each) / 3, rel=1e-9)


def test_a_clip_with_more_symbols_than_frames_adds_nothing_but_is_counted():
    """What s3prl's zero_infinity does: the mean over three clips of two losses and a zero; its gradient is zero."""
    head = fresh().double()
    output = head(features().double(), LENGTHS).detach().requires_grad_()
    targets, sizes = TARGETS.clone(), torch.tensor([5, 5, 3])
    targets[1] = TARGETS[0]
    assert log_likelihood(output.detach()[1, :4].log_softmax(-1), targets[1].tolist()) == -math.inf
    loss = head.loss(output, LENGTHS, targets, sizes)
    others = [
        head.loss(output[at : at + 1], LENGTHS[at : at + 1], targets[at : at + 1], sizes[at : at + 1]) for at in (0, 2)
    ]
    assert loss.item() == pytest.approx(sum(others).item() / 3)
    (gradient,) = torch.autograd.grad(loss, output)
    assert not gradient[1].any()
    assert gradient[0].any()


def test_predictions_do_not_depend_on_batch_mates():
    head, x = fresh(), features()
    with torch.no_grad():
        together = head(x, LENGTHS)
        for at, length in enumerate(LENGTHS.tolist()):
            alone = head(x[at : at + 1, :length], LENGTHS[at : at + 1])
            torch.testing.assert_close(together[at : at + 1, :length], alone, rtol=1e-5, atol=1e-6)
            padded = torch.cat([x[at : at + 1], torch.full((1, 50, WIDTH), 99.0)], 1)
            torch.testing.assert_close(head(padded, LENGTHS[at : at + 1])[:, :length], alone, rtol=1e-5, atol=1e-6)


def test_predictions_are_read_from_true_frames_only():
    """A path written by hand: T T _ E | </s> behind blanks, and beyond the end an X that nobody may see."""
    path = torch.tensor([[0, 6, 6, 0, 5, 4, 2, 29], [5, 5, 5, 5, 5, 5, 5, 5]])
    output = nn.functional.one_hot(path, 32).float()
    assert fresh().predict(output, torch.tensor([7, 1]), None) == ["TE", "E"]


def test_dropout_hides_a_fifth_behind_each_lstm_and_only_in_training():
    head, x = fresh().train(), features()
    seen = []
    for layer in (head.recurrent[1], head.spell):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head(x, LENGTHS)
    for hidden in seen:
        assert float((hidden == 0).float().mean()) == pytest.approx(0.2, abs=0.03)
    first, _ = seen
    kept = head.eval().recurrent[0](head.project(x), LENGTHS) / 0.8
    assert torch.equal(first[first != 0], kept[first != 0])
    seen.clear()
    head(x, LENGTHS)
    assert all(hidden.all() for hidden in seen)


def test_features_are_augmented_in_training_only():
    loud = SpecAugment(window=50, time_limit=1, feature_masks=1, feature_limit=50)
    head = fresh(augment=loud)
    seen = []
    head.project.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    head(features(), LENGTHS)
    head.train()(features(), LENGTHS)
    assert torch.equal(seen[0], features())
    assert not seen[1].any(2).all()


def test_draws_come_from_the_heads_generator_alone():
    outputs = []
    for seed in (5, 6):
        head = fresh(augment=SpecAugment()).train()
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        outputs.append(head(features(), LENGTHS))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], head(features(), LENGTHS))


def test_a_recipe_trains_the_same_whatever_recipe_trained_before_it():
    """The engine's stack, recipes one after another: the second equals itself alone."""
    recipe = Recipe(lr=1e-2, batch=3, steps=5, every=5, clip=1.0)
    batch = (features()[:, None], LENGTHS, TARGETS, TARGET_LENGTHS)

    def trained(*rates):
        for rate in rates:
            stack = Stack(Probe(fresh(augment=SpecAugment()), 1), [recipe.with_(lr=rate)], torch.device("cpu"))
            for _ in range(5):
                stack.step([batch])
        return stack.member(0)

    one, two = trained(1e-2), trained(1e-1, 1e-2)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_published_head_has_the_published_shape():
    """Expected by hand for 768 dimensions: each direction of an LSTM has 4 x 1024 rows and two vectors of biases."""
    with torch.device("meta"):
        head = RecurrentCTC(768, 1024, LETTERS, SpecAugment())
    first, second = (2 * 4 * 1024 * (width + 1024 + 2) for width in (1024, 2048))
    assert sum(weight.numel() for weight in head.parameters()) == 769 * 1024 + first + second + 2049 * 32


def test_lstms_start_as_torch_starts_them():
    torch.manual_seed(0)
    ours = BothWays(4, 16)
    assert all(weight.abs().max() <= 0.25 and weight.std() > 0.1 for weight in ours.parameters())


def test_means_over_time_are_refused():
    with pytest.raises(BenchError, match="needs every frame"):
        fresh()(torch.zeros(2, WIDTH), None)


@pytest.mark.parametrize("frames", [1, 2, 3_000])
def test_a_very_short_and_a_thirty_second_clip_go_through(frames):
    head = fresh(augment=SpecAugment()).train()
    x, lengths = torch.zeros(1, frames, WIDTH), torch.tensor([frames])
    loss = head.loss(head(x, lengths), lengths, TARGETS[:1, :1], torch.tensor([1]))
    assert loss.isfinite()
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(head.parameters())))
