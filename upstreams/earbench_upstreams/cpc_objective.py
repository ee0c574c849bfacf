"""How CPC learns: tell what comes next from what comes elsewhere (protocol sheet upstreams §6.7).

The published training has a transformer layer with learned relative positions for each of the twelve steps. Here one
layer without them serves all, with an output for each, as in CPC2 (Kharitonov et al. 2020): a step costs half as much.
It also sums the twelve losses where we average, which Adam's step does not depend on.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from earbench.kit.cpc import SAMPLE_RATE, CpcNet, Shape
from earbench.kit.pretraining import Objective, Outcome

STEPS, NEGATIVES = 12, 128


class CpcObjective(Objective):
    """Twelve cross-entropies, of one true future frame among 128 others, from every frame that has twelve after it."""

    upstream: ClassVar[str] = "cpc"
    sample_rate: ClassVar[int] = SAMPLE_RATE
    window: ClassVar[int] = 20_480
    batch: ClassVar[int] = 8  # published: on each GPU
    rate: ClassVar[float] = 2e-4

    def __init__(self) -> None:
        super().__init__()
        self.net = CpcNet(Shape())
        self.predictor = Predictor(self.net.shape.width)

    def forward(self, waves: Tensor) -> Outcome:
        z, c = self.net(waves)
        scores = candidates(self.predictor(c[:, :-STEPS]), z).flatten(0, 1)
        truth = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        hits = scores.argmax(1) == truth
        return Outcome(functional.cross_entropy(scores, truth), hits.float().mean())

    def weights(self) -> dict[str, Tensor]:
        return self.net.state_dict()

    def published(self) -> dict[str, Any]:
        """As CPC_audio lays it out (§10.1); its loader takes what is not said here from its own defaults."""
        shape = self.net.shape
        config = {
            "hiddenEncoder": shape.width,
            "hiddenGar": shape.width,
            "nLevelsGRU": shape.depth,
            "arMode": shape.cell,
            "normMode": "layerNorm",  # their word for the channel norm
            "sizeWindow": self.window,
            "nPredicts": STEPS,
            "negativeSamplingExt": NEGATIVES,
            "samplingType": "samespeaker",
        }
        return {"config": config, "weights": self.weights()}


class Predictor(nn.Module):
    """Context frames [clip, time, width] to the frames expected 1 to 12 steps later, [step, clip, time, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, nhead=8, dim_feedforward=2048, dropout=0.1, batch_first=True)
        self.outputs = nn.Linear(width, STEPS * width)

    def forward(self, c: Tensor) -> Tensor:
        past = nn.Transformer.generate_square_subsequent_mask(c.shape[1], device=c.device)
        return self.outputs(self.layer(c, src_mask=past, is_causal=True)).unflatten(-1, (STEPS, -1)).permute(2, 0, 1, 3)


def candidates(predicted: Tensor, z: Tensor) -> Tensor:
    """Scores [step, position, 1 + negatives] of the true future frame, which comes first, and of others.

    A score is the mean over channels of the product (§6.7). The negatives of a position are the same for all steps:
    from any clip of the batch, at any time but the position's own, so that a true future frame may be among them, as
    published. Everything is scored by one matrix product and picked afterwards.
    """
    clips, frames, width = z.shape
    times = predicted.shape[2]
    scores = (predicted.reshape(-1, width) @ z.reshape(-1, width).T / width).view(STEPS, clips * times, clips * frames)
    clip = torch.arange(clips, device=z.device)[:, None]
    time = torch.arange(times, device=z.device)
    ahead = torch.arange(1, STEPS + 1, device=z.device)[:, None]
    truth = (clip * frames + time).flatten() + ahead
    others = torch.randint(clips, (clips, times, NEGATIVES), device=z.device) * frames
    others += (time[:, None] + torch.randint(1, frames, (clips, times, NEGATIVES), device=z.device)) % frames
    picked = torch.cat([truth[..., None], others.view(1, -1, NEGATIVES).expand(STEPS, -1, -1)], dim=2)
    return scores.gather(2, picked)
