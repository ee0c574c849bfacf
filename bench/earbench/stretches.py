"""Clips longer than an encoder takes at once (`Upstream.longest`): heard in stretches that overlap.

Stretches begin a whole number of frames into the clip, so that all their frames are frames of the clip, evenly spaced
across the cuts. They are about equally long. Of an overlap, each stretch gives the half that lies deeper in it: every
frame has heard half an overlap on both sides, or all there is. Where that is more than a frame can hear, nothing
changes; attention and norms over time do hear of the rest of a clip, and their features are those of stretches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from earbench.contract import Features, Grain, Upstream
from earbench.errors import BenchError

OVERLAP = 10.0
"""Seconds that neighbours share, or half of `longest` where that is less: far more than a convolution sees. What
attention and norms over time make of the rest of a clip no overlap brings back.
"""
LEAST = 0.4
"""Seconds of `longest` below which a stretch might be shorter than the 0.1 s that encoders are promised."""


@dataclass(frozen=True)
class Stretch:
    """Some `samples` of a clip; of the frames that they give, those from `first` to `last` (None: to the end) count."""

    samples: slice
    first: int
    last: int | None

    def inside(self, features: Features) -> Features:
        """The frames to keep of what the encoder made of this stretch alone."""
        count = int(features.lengths[0])
        last = count if self.last is None else self.last
        if features.times is not None or not self.first < last <= count:
            raise BenchError(
                f"of a stretch that gave {count} frames, those from {self.first} to {last} were wanted, evenly spaced",
                "an encoder that says `longest` has a frame every `hop`, each seeing less than half an overlap",
            )
        lengths = features.lengths.new_tensor([last - self.first])
        return replace(features, frames=features.frames[:, :, self.first : last], lengths=lengths, groups={})


def needed(upstream: Upstream, grain: Grain, samples: int) -> bool:
    """Whether a clip of that many samples is heard in stretches. An embedding of the encoder's own is of the whole."""
    own = grain == "clip" and type(upstream).embed is not Upstream.embed
    return not own and samples > upstream.longest * upstream.sample_rate


def cuts(upstream: Upstream, grain: Grain, seconds: Iterable[float]) -> bool:
    """Whether any clip is heard in stretches, of clips of this many seconds."""
    return any(needed(upstream, grain, round(one * upstream.sample_rate)) for one in seconds)


def cut(upstream: Upstream, samples: int) -> list[Stretch]:
    """The stretches of a clip of that many samples, in order; none is shorter than what neighbours share."""
    hop = hop_of(upstream)
    longest, half = (
        round(seconds * upstream.sample_rate) // hop for seconds in (upstream.longest, overlap(upstream) / 2)
    )
    frames = math.ceil(samples / hop) - 2 * half
    count = math.ceil(frames / (longest - 2 * half))
    edges = list(pairwise(number * frames // count for number in range(count + 1)))
    return [
        Stretch(
            samples=slice(begin * hop, min((end + 2 * half) * hop, samples)),
            first=half if number else 0,
            last=end - begin + half if number < count - 1 else None,
        )
        for number, (begin, end) in enumerate(edges)
    ]


def overlap(upstream: Upstream) -> float:
    """Seconds that neighbouring stretches share."""
    return min(OVERLAP, upstream.longest / 2)


def hop_of(upstream: Upstream) -> int:
    """The samples from one frame to the next: a whole number, or stretches would not fit together."""
    hop = upstream.hop * upstream.sample_rate
    if abs(hop - round(hop)) > 1e-6 * hop or upstream.longest < max(LEAST, 8 * upstream.hop):
        raise BenchError(
            f"upstream '{upstream.card.name}' takes {upstream.longest:g} s at once, with a frame every {hop:g} samples",
            f"`longest` may be {LEAST:g} s or more, and eight frames, where a frame is a whole number of samples",
        )
    return round(hop)
