"""w2v-BERT 2.0 (Seamless Communication 2023; protocol sheet §9.1): a conformer on Kaldi energies, two to a frame.

N + 1 states of 20 ms: state 0 is the input of block 1, state N the output of the last. The mask reaches attention and
every convolution, so padding is exact; an odd spectrum at the end of a clip has no frame, as in the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, UpstreamCard
from earbench.kit.attention import PAIRED
from earbench.kit.frontends import fitting_frames
from earbench.kit.library_encoder import LibraryEncoder
from earbench.kit.log_mels import SeamlessFbank, demand

SAMPLE_RATE, WINDOW, SPECTRUM = 16_000, 400, 160


class W2vBert(LibraryEncoder):
    """The encoder without adapter or head."""

    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        model: Any,
        card: UpstreamCard,
        preprocessor: Mapping[str, Any],
        source: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        super().__init__(model, source, notes)
        config, self.stride = model.config, int(preprocessor.get("stride", 2))
        bands = config.feature_projection_input_dim // self.stride
        demand(preprocessor, {"sampling_rate": SAMPLE_RATE, "num_mel_bins": bands}, "w2v-BERT")
        self.front = SeamlessFbank(bands)
        self.hop = self.stride * SPECTRUM / SAMPLE_RATE
        self.first = (WINDOW + SPECTRUM * (self.stride - 1)) / 2 / SAMPLE_RATE
        self.longest = PAIRED * self.hop
        self.layers, self.width = config.num_hidden_layers + 1, config.hidden_size
        self.declare(card)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        counts = fitting_frames(lengths, WINDOW, SPECTRUM) // self.stride
        spectra = self.front(waves, lengths)[:, : int(counts.max()) * self.stride]
        pairs = spectra.reshape(len(spectra), -1, self.stride * spectra.shape[2])
        mask = torch.arange(pairs.shape[1], device=pairs.device) < counts[:, None]
        output = self.model(pairs * mask[..., None], attention_mask=mask, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return Features(torch.stack(states, 1), counts, self.hop, self.first)
