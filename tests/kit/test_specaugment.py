"""SpecAugment: the warp against torch's own interpolation, draws and masks against the limits of SUPERB sheet 2.2."""

import pytest
import torch
from torch.nn.functional import interpolate

from earbench.kit.specaugment import SpecAugment, masks, turning_points, warp_time

LENGTHS = torch.tensor([40, 25, 11, 10, 1])


def features(seed=0, width=7):
    return torch.randn(len(LENGTHS), 40, width, generator=torch.Generator().manual_seed(seed))


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def resized(frames, size):
    """Two-dimensional bicubic interpolation, as the protocol applies it."""
    return interpolate(frames[None, None], (size, frames.shape[1]), mode="bicubic", align_corners=False)[0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_warped_clips_are_two_parts_resized_by_torchs_bicubic_interpolation(seed):
    x, (centre, target) = features(seed), turning_points(LENGTHS, 5, draw(seed))
    found = warp_time(x, LENGTHS, centre, target)
    for clip, length in enumerate(LENGTHS[:3].tolist()):
        one, middle, moved = x[clip, :length], int(centre[clip]), int(target[clip])
        expected = torch.cat([resized(one[:middle], moved), resized(one[middle:], length - moved)])
        torch.testing.assert_close(found[clip, :length], expected, rtol=1e-4, atol=1e-5)


def test_what_is_too_short_or_padding_is_not_warped():
    x, points = features(), turning_points(LENGTHS, 5, draw())
    found = warp_time(x, LENGTHS, *points)
    assert torch.equal(found[3:], x[3:])
    assert torch.equal(found[1, 25:], x[1, 25:])
    assert not torch.equal(found[0], x[0])


def test_points_fill_exactly_the_ranges_of_the_protocol():
    """c in [5, T - 5), t in [c - 5, c + 5) + 1, both ends reached; T of at most 10 never moves."""
    lengths = torch.full((20_000,), 17)
    centre, target = turning_points(lengths, 5, draw())
    assert centre.unique().tolist() == list(range(5, 12))
    assert (target - centre).unique().tolist() == list(range(-4, 6))
    counts = torch.bincount(centre - 5)
    assert counts.min() > 0.9 * 20_000 / 7
    assert not torch.cat(turning_points(torch.arange(1, 11), 5, draw())).any()


def test_gradients_pass_through_the_warp():
    x = features().double().requires_grad_()
    points = turning_points(LENGTHS, 5, draw())
    assert torch.autograd.gradcheck(
        lambda some: warp_time(some, LENGTHS, *points)[:, :, :2], x[:, :, :2].detach().requires_grad_()
    )


def test_masks_have_the_widths_and_starts_of_the_protocol():
    """One mask per clip: widths 0 to 39, starts below size less the largest width of the batch."""
    hidden = masks((5_000, 1), 40, 100, draw())
    widths = hidden.sum(1)
    assert (widths.min(), widths.max()) == (0, 39)
    starts = hidden.int().argmax(1)[widths > 0]
    assert (starts.min(), starts.max()) == (0, 60)
    edges = hidden.int().diff(dim=1).abs().sum(1)
    assert edges.max() == 2


def test_masks_wider_than_the_features_hide_all_of_them():
    hidden = masks((200, 1), 50, 8, draw())
    assert hidden[:, 0].eq(hidden.any(1)).all()
    assert hidden.all(1).any()


def test_masked_places_are_zero_and_the_others_are_the_warped_ones():
    x, rules = features(width=80) + 10, SpecAugment(time_limit=5)
    found = rules(x, LENGTHS, draw(3))
    warped = warp_time(x, LENGTHS, *turning_points(LENGTHS, 5, draw(3)))
    hidden = found == 0
    assert torch.equal(found[~hidden], warped[~hidden])
    rows, columns = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, rows[:, :, None] | columns[:, None, :])
    assert 0 < rows.sum(1).max() <= 2 * 4
    assert 0 < columns.sum(1).max() <= 4 * 49


def test_default_rules_are_the_published_ones():
    """Expected: SUPERB sheet 2.2, "SpecAugment"; limits are one above the largest width."""
    assert vars(SpecAugment()) == {
        "window": 5,
        "time_masks": 2,
        "time_limit": 40,
        "feature_masks": 4,
        "feature_limit": 50,
    }


def test_the_same_generator_gives_the_same_features():
    one, two, other = (SpecAugment()(features(width=200), LENGTHS, draw(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
