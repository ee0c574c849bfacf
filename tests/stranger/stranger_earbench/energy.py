"""Energies of a few bands: an encoder without weights."""

import torch

from earbench.contract import Features, Upstream, UpstreamCard


class Energy(Upstream):
    """Log energies of 20 equal bands every 20 ms."""

    sample_rate, hop, layers, width = 16_000, 0.02, 1, 20
    card = UpstreamCard(
        name="stranger_energy",
        family="stranger",
        licence="MIT",
        weights="none (computed)",
        pretraining="none",
        parameters=0,
        sample_rate=sample_rate,
        hop=hop,
        layers=layers,
        widths=(width,),
    )

    def encode(self, waves, lengths):
        power = torch.fft.rfft(waves.unfold(1, 320, 320))[..., :160].abs().square()
        bands = power.unflatten(2, (self.width, 8)).mean(3).clamp_min(1e-10).log()
        return Features(bands[:, None], lengths // 320, hop=self.hop, first=0.01)
