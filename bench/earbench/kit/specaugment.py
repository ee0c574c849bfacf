"""SpecAugment (Park et al. 2019) as SUPERB's recognisers train with it: time warp, feature masks, time masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHARPNESS = -0.75
"""The free constant of the cubic kernel (Keys 1981), with the value that torch's bicubic interpolation has."""


@dataclass(frozen=True)
class SpecAugment:
    """The rules of SUPERB sheet 2.2 for features [clip, time, width]; the widths of masks are drawn below the limits.

    A feature mask may be wider than the features: below 50 dimensions the published rules hide some clips altogether.
    `draw` is a generator on the device of the features. Nothing here waits for that device.
    """

    window: int = 5
    time_masks: int = 2
    time_limit: int = 40
    feature_masks: int = 4
    feature_limit: int = 50

    def __call__(self, x: Tensor, lengths: Tensor, draw: torch.Generator) -> Tensor:
        warped = warp_time(x, lengths, *turning_points(lengths, self.window, draw))
        features = masks((len(x), self.feature_masks), self.feature_limit, x.shape[2], draw)
        times = masks((len(x), self.time_masks), self.time_limit, x.shape[1], draw)
        return warped.masked_fill(features[:, None, :] | times[:, :, None], 0.0)


def turning_points(lengths: Tensor, window: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Per clip the frame `centre` that is moved, uniform in [window, length - window), and the frame `target` where it
    then lies, uniform in (centre - window, centre + window]. Clips of at most two windows: both 0, nothing moves.
    """
    long = lengths > 2 * window
    centre = window + _below(lengths - 2 * window, draw)
    target = centre - window + 1 + torch.randint(2 * window, lengths.shape, generator=draw, device=draw.device)
    return torch.where(long, centre, 0), torch.where(long, target, 0)


def warp_time(x: Tensor, lengths: Tensor, centre: Tensor, target: Tensor) -> Tensor:
    """`x` with the first `centre` frames of each clip resized to `target` frames and the others to what is left.

    The cubic kernel, frame centres half a frame inside the edges, edges repeated: torch's bicubic interpolation of each
    part along time (`align_corners` off). Frames beyond a clip's length stay as they are.
    """
    steps = torch.arange(x.shape[1], device=x.device)
    lengths, centre, target = lengths[:, None], centre[:, None], target[:, None]
    left, moves = steps < target, (steps < lengths) & (target > 0)
    start, size = torch.where(left, 0, centre), torch.where(left, centre, lengths - centre)
    place, new_size = torch.where(left, steps, steps - target), torch.where(left, target, lengths - target)
    source = (place + 0.5) * size / new_size.clamp_min(1) - 0.5
    source = torch.where(moves, source, steps - start)
    last = torch.where(moves, size, x.shape[1] - start) - 1
    whole = source.floor().long()
    weights = _cubic(source - whole)
    warped = torch.zeros_like(x)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        taps = start + (whole + offset).clamp_min(0).minimum(last)
        warped = warped + weight[..., None] * x.gather(1, taps[..., None].expand_as(x))
    return warped


def masks(shape: tuple[int, int], limit: int, size: int, draw: torch.Generator) -> Tensor:
    """Which of `size` places are hidden, [clip, place], by `shape` = (clips, masks each).

    Widths are uniform in [0, limit); starts in [0, size less the largest width of the batch), or 0 where none is left.
    """
    widths = torch.randint(limit, (*shape, 1), generator=draw, device=draw.device)
    starts = _below((size - widths.amax()).clamp_min(1).expand_as(widths), draw)
    places = torch.arange(size, device=draw.device)
    return ((starts <= places) & (places < starts + widths)).any(1)


def _below(limits: Tensor, draw: torch.Generator) -> Tensor:
    """Whole numbers, uniform in [0, limit) for each limit."""
    return (torch.rand(limits.shape, generator=draw, device=draw.device) * limits).long()


def _cubic(past: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the frames -1, 0, 1 and 2 for a point that lies `past` frame 0, between 0 and 1."""

    def near(distance: Tensor) -> Tensor:
        return ((SHARPNESS + 2) * distance - (SHARPNESS + 3)) * distance.square() + 1

    def far(distance: Tensor) -> Tensor:
        return SHARPNESS * (((distance - 5) * distance + 8) * distance - 4)

    return far(past + 1), near(past), near(1 - past), far(2 - past)
