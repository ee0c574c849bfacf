"""Whisper's encoder (Radford et al. 2023; protocol sheet §9.1): N + 1 states of 20 ms, supervised by transcripts.

The encoder takes 30 s. A longer clip is cut into consecutive 30 s, the rest is padded with zeros, each is encoded by
itself, and the frames centred behind a clip's end are dropped: of n samples, n / 320 frames, rounded up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, UpstreamCard
from earbench.kit.chunks import ceiling, cut
from earbench.kit.library_encoder import LibraryEncoder
from earbench.kit.log_mels import WhisperMel, demand

SAMPLE_RATE, STEP = 16_000, 320
"""Two spectra of 10 ms to a frame."""


class Whisper(LibraryEncoder):
    """The encoder alone: state 0 is the input of block 1, state N is behind the last layer norm. No decoder."""

    sample_rate, hop = SAMPLE_RATE, STEP / SAMPLE_RATE

    def __init__(
        self,
        model: Any,
        card: UpstreamCard,
        preprocessor: Mapping[str, Any],
        source: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        super().__init__(model, source, notes)
        demand(preprocessor, {"sampling_rate": SAMPLE_RATE, "hop_length": 160, "n_fft": 400, "dither": 0.0}, "Whisper")
        config = model.config
        self.front = WhisperMel(config.num_mel_bins)
        self.positions = config.max_source_positions
        self.layers, self.width = config.encoder_layers + 1, config.d_model
        heard = ("encoder_attention_heads", "activation_function", "scale_embedding")
        self.options = {key: getattr(config, key) for key in heard}
        self.declare(card)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        counts = ceiling(lengths, STEP)
        chunks = cut(waves, lengths, self.positions * STEP, self.positions * STEP, ceiling(counts, self.positions))
        kept = min(self.positions, int(counts.max()))
        (states,) = chunks.each(lambda pieces, true: (self._states(pieces, true, kept),))
        return Features(chunks.joined(states, counts), counts, self.hop, 0.0)

    def _states(self, waves: Tensor, lengths: Tensor, kept: int) -> Tensor:
        """All states of chunks of full length, of each the first `kept` frames: [chunk, state, frame, width]."""
        output = self.model(self.front(waves, lengths).transpose(1, 2), output_hidden_states=True)
        return torch.stack([state[:, :kept] for state in output.hidden_states], 1)
