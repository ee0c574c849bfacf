"""The diarisation head against s3prl's own model and loss, and its promises about padding."""

import pytest
import torch

from earbench.errors import BenchError
from earbench.kit.heads.diarisation import WhoTalks, hop_of

WIDTH, HIDDEN = 6, 8
LENGTHS = torch.tensor([30, 4, 22])


@pytest.fixture
def reference():
    """s3prl's own model and loss of its diarisation."""
    try:
        from s3prl.downstream.diarization import model, utils
    except (ImportError, OSError) as problem:  # OSError: its torchaudio is a wheel for CUDA beside a torch for the CPU
        pytest.skip(f"s3prl does not import here: {problem}")
    return model.Model, utils


def batch(seed=0):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 30, WIDTH, generator=random)
    targets = (torch.rand(3, 30, 2, generator=random) < 0.4).float()
    true = torch.arange(30) < LENGTHS[:, None]
    return x * true[..., None], targets * true[..., None]


def fresh():
    torch.manual_seed(1)
    return WhoTalks(WIDTH, HIDDEN, 2)


def test_logits_loss_and_gradients_equal_those_of_s3prl(reference):
    model, utils = reference
    ours, theirs = fresh(), model(WIDTH, 2, rnn_layers=1, hidden_size=HIDDEN)
    names = {"rnn": "recurrent", "linear": "classify"}
    theirs.load_state_dict({name: ours.state_dict()[renamed(name, names)] for name in theirs.state_dict()})
    for seed in range(5):
        x, targets = batch(seed)
        found, expected = ours(x, LENGTHS), theirs(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        loss = ours.loss(found, LENGTHS, targets, LENGTHS)
        their_loss, order, _ = utils.pit_loss(expected, targets, LENGTHS)
        torch.testing.assert_close(loss, their_loss)
        gradients = dict(
            zip(dict(ours.named_parameters()), torch.autograd.grad(loss, list(ours.parameters())), strict=True)
        )
        their_gradients = torch.autograd.grad(their_loss, list(theirs.parameters()))
        for (name, _), gradient in zip(theirs.named_parameters(), their_gradients, strict=True):
            torch.testing.assert_close(gradients[renamed(name, names)], gradient)
    assert len(set(order.tolist())) == 2, "both orders should be best for some clip, or this shows little"


def renamed(name, names):
    module, _, parameter = name.partition(".")
    return f"{names[module]}.{parameter}"


def test_loss_by_hand():
    """Two frames of a clip; the crossed order is right. -log(sigmoid) of the logits, mean of speakers, per frame."""
    output = torch.tensor([[[2.0, -1.0], [3.0, 0.5]]])
    targets = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])
    signed = torch.tensor([2.0, 1.0, 3.0, 0.5])
    expected = (1 + (-signed).exp()).log().sum() / 2 / 2
    torch.testing.assert_close(fresh().loss(output, torch.tensor([2]), targets, torch.tensor([2])), expected)


def test_loss_does_not_see_padding():
    head = fresh()
    x, targets = batch()
    loss = head.loss(head(x, LENGTHS), LENGTHS, targets, LENGTHS)
    wider = torch.cat([x, torch.full((3, 9, WIDTH), 50.0)], 1)
    padded = torch.cat([targets, torch.ones(3, 9, 2)], 1)
    torch.testing.assert_close(head.loss(head(wider, LENGTHS), LENGTHS, padded, LENGTHS), loss)


def test_predictions_do_not_depend_on_batch_mates():
    head, (x, _) = fresh(), batch()
    together = head.predict(head(x, LENGTHS).detach(), LENGTHS, None, threshold=0.4, median=1)
    for index, length in enumerate(LENGTHS.tolist()):
        one, lengths = x[index : index + 1, :length], LENGTHS[index : index + 1]
        (alone,) = head.predict(head(one, lengths).detach(), lengths, None, threshold=0.4, median=1)
        assert together[index].likely.shape == alone.likely.shape == (length, 2)
        torch.testing.assert_close(torch.tensor(together[index].likely), torch.tensor(alone.likely))
        assert (alone.threshold, alone.median, alone.hop) == (0.4, 1, None)


@pytest.mark.parametrize("hop", [0.01, 0.02, 0.0125, 0.0160625])
@pytest.mark.parametrize("frames", [2, 3, 50, 2000])
def test_the_hop_is_exact_although_times_are_single_precision(hop, frames):
    times = (0.0125 + hop * torch.arange(frames)).expand(2, -1)
    head, x = fresh(), torch.zeros(2, frames, WIDTH)
    lengths = torch.tensor([frames, 1])
    said = head.predict(head(x, lengths).detach(), lengths, times)
    assert [one.hop for one in said] == [hop, hop]
    assert hop_of([0.5]) is None


def test_means_over_time_are_refused():
    with pytest.raises(BenchError, match="needs every frame"):
        fresh()(torch.zeros(2, WIDTH), None)


def test_published_head_has_the_published_shape():
    with torch.device("meta"):
        head = WhoTalks(768, 512, 2)
    assert sum(weight.numel() for weight in head.parameters()) == 4 * 512 * (768 + 512 + 2) + 2 * 513
