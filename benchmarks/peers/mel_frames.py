"""A HEAR module for `benchmarks/hear_predictor.py`: 40 log-mel bands every 50 ms, and their mean.

Rounded to half precision, so that stores of either precision hold the same numbers, and computed clip by clip, since
sums of a batch differ in their last digits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from earbench.kit.frontends import slaney_mel_bank

WINDOW = 800


class MelFrames(nn.Module):
    sample_rate, scene_embedding_size, timestamp_embedding_size = 16_000, 40, 40
    bank: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", slaney_mel_bank(40, WINDOW, self.sample_rate))
        self.register_buffer("window", torch.hann_window(WINDOW))


def load_model(_: str = "") -> MelFrames:
    return MelFrames()


def get_timestamp_embeddings(audio: Tensor, model: MelFrames) -> tuple[Tensor, Tensor]:
    found = []
    for wave in audio:
        frames = nn.functional.pad(wave, (WINDOW // 2, WINDOW // 2)).unfold(0, WINDOW, WINDOW) * model.window
        found.append((torch.fft.rfft(frames).abs().square() @ model.bank + 1e-4).log().half().float())
    embeddings = torch.stack(found)
    return embeddings, (50.0 * torch.arange(embeddings.shape[1])).expand(len(embeddings), -1)


def get_scene_embeddings(audio: Tensor, model: MelFrames) -> Tensor:
    return get_timestamp_embeddings(audio, model)[0].mean(1).half().float()
