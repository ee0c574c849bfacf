"""The CPC network against plain convolutions and a norm written by hand, and what its frames see."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from earbench.kit.cpc import FIRST, SAMPLE_RATE, STEP, BatchNorm, CpcNet, Shape, frame_counts, fresh

SMALL = Shape(width=16)
# (kernel, stride, padding) of the five convolutions: protocol sheet upstreams §6.7.
CONVOLUTIONS = [(10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(shape: Shape = SMALL, seed: int = 0) -> CpcNet:
    """A network in eval mode whose norms do something."""
    net = fresh(shape, seed).eval().requires_grad_(False)
    for number in range(5):
        norm = net.gEncoder.get_submodule(f"batchNorm{number}")
        norm.weight += 0.3 * noise(*norm.weight.shape, seed=number)
        norm.bias += 0.3 * noise(*norm.bias.shape, seed=9 + number)
    return net


def reference(weights: Mapping[str, Tensor], waves: Tensor) -> Tensor:
    """z [clip, time, width] by `conv1d`, then the mean and the unbiased variance of the channels, as the sheet says."""
    x = waves[:, None]
    for number, (_, stride, padding) in enumerate(CONVOLUTIONS):
        x = functional.conv1d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"], stride, padding)
        mean = x.sum(1, keepdim=True) / x.shape[1]
        variance = ((x - mean) ** 2).sum(1, keepdim=True) / (x.shape[1] - 1)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = (x * weights[f"batchNorm{number}.weight"] + weights[f"batchNorm{number}.bias"]).clamp_min(0)
    return x.transpose(1, 2)


def by_formula(length: int) -> int:
    for kernel, stride, padding in CONVOLUTIONS:
        length = (length + 2 * padding - kernel) // stride + 1
    return length


@pytest.mark.parametrize(("depth", "parameters"), [(1, 1_843_456), (2, 2_369_792)])
def test_parameter_counts_are_the_published_ones(depth, parameters):
    """Protocol sheet upstreams §12."""
    with torch.device("meta"):
        assert sum(weight.numel() for weight in CpcNet(Shape(depth=depth)).parameters()) == parameters


def test_the_names_are_those_of_the_public_checkpoints():
    """Protocol sheet upstreams §10.1."""
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in CpcNet(Shape(depth=2)).state_dict().items()}
    convolutions = {"conv0": (256, 1, 10), "conv1": (256, 256, 8)} | {f"conv{n}": (256, 256, 4) for n in (2, 3, 4)}
    expected = {f"gEncoder.{name}.weight": shape for name, shape in convolutions.items()}
    expected |= {f"gEncoder.{name}.bias": (256,) for name in convolutions}
    expected |= {f"gEncoder.batchNorm{n}.{part}": (1, 256, 1) for n in range(5) for part in ("weight", "bias")}
    for layer in ("l0", "l1"):
        expected |= {f"gAR.baseNet.{name}_{layer}": (1024, 256) for name in ("weight_ih", "weight_hh")}
        expected |= {f"gAR.baseNet.{name}_{layer}": (1024,) for name in ("bias_ih", "bias_hh")}
    assert shapes == expected


# Around multiples of the hop, of the strides of each convolution, and the shortest waves that give a frame.
LENGTHS = [312, 313, 399, 400, 1_599, 1_600, 1_601, 1_604, 1_605, 1_619, 1_620, 1_639, 1_640, 1_679, 1_680, 1_759]
LENGTHS += [1_760, 1_761, 15_999, 16_000, 16_001, 16_159, 16_160, 20_479, 20_480]


def test_counted_frames_are_those_that_the_network_gives():
    net = network(Shape(width=2))
    for length in LENGTHS:
        z, c = net(noise(1, length))
        assert z.shape == c.shape == (1, by_formula(length), 2), length
        assert int(frame_counts(torch.tensor([length]))) == by_formula(length), length


def test_one_second_gives_100_frames_and_a_training_window_128():
    """Protocol sheet upstreams §6.7."""
    assert frame_counts(torch.tensor([16_000, 20_480])).tolist() == [100, 128]


@pytest.mark.parametrize("width", [16, 256])
def test_z_equals_plain_convolutions_with_the_channel_norm_of_the_sheet(width):
    net, waves = network(Shape(width=width)), 0.1 * noise(2, 4_321)
    ours, theirs = net(waves)[0], reference(net.gEncoder.state_dict(), waves)
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_gradients_of_all_weights_equal_those_of_plain_convolutions():
    net, waves = network().requires_grad_(True), 0.1 * noise(2, 1_700)
    weights = dict(net.gEncoder.named_parameters())
    ours = torch.autograd.grad(net.gEncoder(waves, None).square().sum(), list(weights.values()))
    theirs = torch.autograd.grad(reference(weights, waves).square().sum(), list(weights.values()))
    for name, one, other in zip(weights, ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max())), name


@pytest.mark.parametrize("cell", [torch.nn.LSTM, torch.nn.GRU])
def test_c_is_what_the_recurrent_network_makes_of_z(cell):
    net = network(Shape(width=16, depth=2, cell=cell.__name__))
    plain = cell(16, 16, num_layers=2, batch_first=True)
    plain.load_state_dict(net.gAR.baseNet.state_dict())
    z, c = net(noise(1, 3_000))
    assert torch.allclose(c, plain(z)[0], atol=1e-6)


@pytest.mark.parametrize("norm", ["channel", "batch"])
def test_a_clip_gets_the_features_that_it_gets_alone(norm):
    net = network(Shape(width=16, norm=norm))
    clips = [0.1 * noise(length, seed=length) for length in (16_000, 1_600, 7_777, 1_601, 12_345)]
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = functional.pad(pad_sequence(clips, batch_first=True), (0, 999))
    batched = net(padded, lengths)
    for number, clip in enumerate(clips):
        for together, alone in zip(batched, net(clip[None]), strict=True):
            assert (together[number, : alone.shape[1]] - alone[0]).abs().max() < 1e-5


def test_training_statistics_of_batch_norm_are_those_of_torch():
    ours, theirs, x = BatchNorm(8), torch.nn.BatchNorm1d(8), noise(3, 50, 8)
    assert torch.allclose(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2), atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var)


def test_a_frame_sees_465_samples_around_its_time():
    net = network()
    waves = (0.1 * noise(1, 4_000)).requires_grad_(True)
    z = net.gEncoder(waves, None)
    for number in (5, 11):
        (gradient,) = torch.autograd.grad(z[0, number].sum(), waves, retain_graph=True)
        seen = gradient[0].nonzero().flatten()
        assert int(seen[-1] - seen[0]) + 1 == 465
        assert float(seen[0] + seen[-1]) / 2 == pytest.approx((FIRST + number * STEP / SAMPLE_RATE) * SAMPLE_RATE)


def test_the_context_sees_no_later_frame():
    net, wave = network(), 0.1 * noise(1, 4_000)
    z, c = net(wave)
    changed = z.clone()
    changed[:, 10:] = 7.0
    assert torch.equal(net.gAR(changed)[:, :10], c[:, :10])
    assert not torch.allclose(net.gAR(changed)[:, 10], c[:, 10])


@pytest.mark.parametrize(
    "shape", [SMALL, Shape(width=16, depth=2, cell="GRU"), Shape(width=16, norm="batch")], ids=["LSTM", "GRU", "batch"]
)
@pytest.mark.parametrize("last", [0, 1, 153, 159])
def test_pieces_give_what_the_whole_clip_gives_wherever_the_cuts_fall_and_a_clip_ends(shape, last):
    """Ends on, just before and just behind a cut, and clips that are over pieces before the batch is."""
    net, longest = network(shape), 20 * STEP + last
    lengths = torch.tensor([longest, longest - 1, 12 * STEP, 8 * STEP + 1, 8 * STEP - 1, 7 * STEP + 152, 1_600, 400])
    clips = [0.1 * noise(length, seed=number) for number, length in enumerate(lengths.tolist())]
    waves, counts = pad_sequence(clips, batch_first=True), frame_counts(lengths).tolist()
    for frames in (1, 4, 19, 20):
        pieces, whole = net.states_in_pieces(waves, lengths, frames), torch.stack(net.states(waves, lengths), dim=1)
        assert pieces.shape == whole.shape
        for one, other, count in zip(pieces, whole, counts, strict=True):
            assert (one[:, :count] - other[:, :count]).abs().max() < 1e-6, (frames, count)


def test_fresh_weights_come_from_the_seed_and_leave_the_global_state_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same, other = (fresh(SMALL, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["gEncoder.conv0.weight"], other["gEncoder.conv0.weight"])
