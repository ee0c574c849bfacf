"""The x-vector against s3prl's own module with the same weights, against plain torch, and its promise about padding."""

import pytest
import torch
from torch.nn import functional

from earbench.errors import BenchError
from earbench.kit.heads.xvector import LOST, XVector, mean_and_deviation

WIDTH, HIDDEN, POOLED, CLASSES = 7, 12, 20, 5
LENGTHS = torch.tensor([60, 23, 41])
TARGETS = torch.tensor([4, 0, 2])


def fresh(seed=0):
    torch.manual_seed(seed)
    return XVector(WIDTH, HIDDEN, POOLED, CLASSES)


def features(lengths=LENGTHS, seed=0):
    x = torch.randn(len(lengths), int(lengths.max()), WIDTH, generator=torch.Generator().manual_seed(seed))
    return x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]


def test_published_sizes_have_the_published_shapes():
    """Expected: SUPERB sheet 2.6, for 768 dimensions and 1,211 speakers."""
    head = XVector(768, 512, 1_500, 1_211)
    shapes = {name: list(weight.shape) for name, weight in head.named_parameters() if "bias" not in name}
    assert shapes == {
        "project.weight": [512, 768],
        "delays.0.weight": [512, 512, 5],
        "delays.1.weight": [512, 512, 3],
        "delays.2.weight": [512, 512, 3],
        "delays.3.weight": [512, 512, 1],
        "delays.4.weight": [1_500, 512, 1],
        "embed.weight": [512, 3_000],
        "refine.weight": [512, 512],
        "classes": [512, 1_211],
    }
    assert LOST == 14
    assert (head.scale, head.margin) == (30.0, 0.4)


def test_embeddings_do_not_depend_on_padding_or_batch_mates():
    head, x = fresh().eval(), features()
    together = head(functional.pad(x, (0, 0, 0, 33)), LENGTHS)
    for number, length in enumerate(LENGTHS.tolist()):
        alone = head(x[number : number + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[number], alone[0], rtol=1e-5, atol=1e-6)


def test_what_stands_behind_the_true_frames_is_not_looked_at():
    head, x = fresh().eval(), features()
    rubbish = torch.where((torch.arange(60) < LENGTHS[:, None])[..., None], x, 1e4)
    torch.testing.assert_close(head(rubbish, LENGTHS), head(x, LENGTHS))


@pytest.mark.parametrize("length", [1, 13, 14, 15, 16])
def test_clips_hardly_longer_than_the_context_give_finite_embeddings_and_gradients(length):
    head, lengths = fresh(), torch.tensor([length, length])
    output = head(features(lengths), lengths)
    head.loss(output, lengths, TARGETS[:2], torch.ones(2)).backward()
    assert output.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


def test_mean_and_deviation_are_torchs_with_its_gradients_even_where_nothing_moves():
    """Expected: torch.mean and torch.std (ddof 1) of the true frames. The second row is constant: no gradient."""
    x = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0)).relu()
    x[:, 1] = 0.5
    lengths = torch.tensor([9, 2, 5])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = mean_and_deviation(ours, lengths)
    pieces = [one[:, :length] for one, length in zip(theirs, lengths.tolist(), strict=True)]
    expected = torch.stack([torch.cat([piece.mean(1), piece.std(1)]) for piece in pieces])
    torch.testing.assert_close(found, expected)
    share = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * share).sum().backward()
    (expected * share).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_loss_is_cross_entropy_of_scaled_cosines_with_a_margin_on_the_true_class():
    """Expected: the formula of sheet 2.6, written out clip by clip."""
    head = fresh()
    output = head(features(), LENGTHS)
    refined = torch.relu(output @ head.refine.weight.T + head.refine.bias)
    losses = []
    for one, target in zip(refined, TARGETS.tolist(), strict=True):
        logits = torch.stack([30 * torch.cosine_similarity(one, column, dim=0) for column in head.classes.T])
        logits[target] -= 30 * 0.4
        losses.append(torch.logsumexp(logits, 0) - logits[target])
    loss = head.loss(output, LENGTHS, TARGETS, torch.ones(3))
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_predictions_are_the_first_layers_output_at_length_one():
    head = fresh().eval()
    output = head(features(), LENGTHS).detach()
    said = torch.stack([torch.from_numpy(one) for one in head.predict(output, LENGTHS, None)])
    torch.testing.assert_close(said, output / output.norm(dim=1, keepdim=True))
    assert (output >= 0).all()


def test_vectors_without_time_are_refused():
    with pytest.raises(BenchError, match="every frame"):
        fresh()(torch.zeros(2, WIDTH), None)


# ---- s3prl -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3prl():
    try:
        import s3prl.downstream.sv_voxceleb1.model as model
    except Exception as problem:  # whatever keeps it from importing here
        pytest.skip(f"s3prl does not import here: {problem}")
    return model


def theirs(s3prl, head):
    """s3prl's connector, network and objective with the weights of `head`, by its own names and shapes."""
    settings = {"input_dim": HIDDEN, "agg_dim": POOLED, "dropout_p": 0.0, "batch_norm": False}
    connector = torch.nn.Linear(WIDTH, HIDDEN)
    network = s3prl.Model(HIDDEN, POOLED, "SP", "XVector", "UtteranceExtractor", settings)
    objective = s3prl.AMSoftmaxLoss(HIDDEN, CLASSES)
    connector.load_state_dict(head.project.state_dict())
    layers = network.framelevel_feature_extractor.module
    for ours, layer in zip(head.delays, layers, strict=True):
        layer.kernel.load_state_dict({"weight": flat(ours.weight), "bias": ours.bias})
    network.utterancelevel_feature_extractor.linear1.load_state_dict(head.embed.state_dict())
    network.utterancelevel_feature_extractor.linear2.load_state_dict(head.refine.state_dict())
    objective.W.data.copy_(head.classes.data)
    return connector, network, objective


def flat(weight):
    """[out, in, context] as s3prl's matrix [out, context * in]."""
    return weight.detach().transpose(1, 2).flatten(1)


def test_s3prls_own_module_gives_the_same_embeddings_loss_and_gradients(s3prl):
    """A batch of equal lengths, where s3prl pools the true frames only (sheet 2.6, "pooling detail")."""
    head, lengths = fresh(3), torch.tensor([40, 40, 40])
    connector, network, objective = theirs(s3prl, head)
    x, mask = features(lengths), torch.zeros(3, 40 - LOST)
    output = head(x, lengths)
    torch.testing.assert_close(output, network.inference(connector(x), mask), rtol=1e-5, atol=1e-6)
    loss = head.loss(output, lengths, TARGETS, torch.ones(3))
    expected = objective(network(connector(x), mask), TARGETS)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    expected.backward()
    pairs = [(head.project.weight.grad, connector.weight.grad), (head.classes.grad, objective.W.grad)]
    for ours, layer in zip(head.delays, network.framelevel_feature_extractor.module, strict=True):
        pairs += [(flat(ours.weight.grad), layer.kernel.weight.grad), (ours.bias.grad, layer.kernel.bias.grad)]
    extractor = network.utterancelevel_feature_extractor
    pairs += [(head.embed.weight.grad, extractor.linear1.weight.grad)]
    pairs += [(head.refine.weight.grad, extractor.linear2.weight.grad)]
    for ours, reference in pairs:
        torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)


def test_s3prls_embedding_of_one_clip_alone_is_ours_in_any_batch(s3prl):
    """How the protocol tests: one clip at a time."""
    head = fresh(4).eval()
    connector, network, _ = theirs(s3prl, head)
    together = head(features(), LENGTHS)
    for number, length in enumerate(LENGTHS.tolist()):
        x, mask = features()[number : number + 1, :length], torch.zeros(1, length - LOST)
        expected = network.inference(connector(x), mask)[0]
        torch.testing.assert_close(together[number], expected, rtol=1e-5, atol=1e-6)
