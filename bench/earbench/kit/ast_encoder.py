"""The Audio Spectrogram Transformer (Gong et al. 2021; protocol sheet §9.2), supervised on AudioSet.

Patches of 16 bands × 16 spectra every 10, in 1,024 spectra of 10 ms: 12 rows of frequency × 101 columns of time. The
frame view is the mean of the rows, a frame every 100 ms; the clip embedding is what the library's own classifier sees,
the mean of the two tokens before the patches, here of every state.

A longer clip is cut every 101 columns, so that frames stay evenly spaced; spectra beyond its end are zeros, as the
library pads them, and columns that reach beyond it are dropped, but for the first. The embedding of several chunks is
their mean, weighted by their spectra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.chunks import Chunks, ceiling, cut
from earbench.kit.frontends import fitting_frames
from earbench.kit.library_encoder import LibraryEncoder
from earbench.kit.log_mels import AstFbank

AUDIOSET = {"do_normalize": True, "mean": -4.2677393, "std": 4.5689974, "sampling_rate": 16_000}
"""The statistics of the published AudioSet models, and the library's where no file says."""
WINDOW, SPECTRUM = 400, 160
TOKENS = 2


class SpectrogramTransformer(LibraryEncoder):
    """States 0 to N of the time columns; the last is behind the final layer norm."""

    def __init__(
        self,
        model: Any,
        card: UpstreamCard,
        preprocessor: Mapping[str, Any],
        source: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        super().__init__(model, source, notes)
        config, facts = model.config, {**AUDIOSET, **preprocessor}
        if facts.get("max_length", config.max_length) != config.max_length:
            raise BadCheckpoint(
                f"the preprocessor file gives {facts['max_length']} spectra, the network takes {config.max_length}"
            )
        self.sample_rate = int(facts["sampling_rate"])
        self.front = AstFbank(config.num_mel_bins, self.sample_rate)
        self.mean, self.deviation = 0.0, 1.0
        if facts["do_normalize"]:
            self.mean, self.deviation = float(facts["mean"]), 2 * float(facts["std"])
        self.spectra, self.patch, self.stride = config.max_length, config.patch_size, config.time_stride
        self.rows, self.columns = model.embeddings.get_shape(config)
        self.hop = self.stride * SPECTRUM / self.sample_rate
        self.first = (WINDOW + SPECTRUM * (self.patch - 1)) / 2 / self.sample_rate
        self.layers, self.width = config.num_hidden_layers + 1, config.hidden_size
        heard = ("num_attention_heads", "hidden_act", "layer_norm_eps", "frequency_stride", "time_stride", "max_length")
        self.options = {key: getattr(config, key) for key in heard} | {key: facts[key] for key in AUDIOSET}
        self.declare(card)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        chunks, counts = self._chunks(waves, lengths)
        (states,) = chunks.each(lambda spectra, _: (self._states(spectra, self._columns),))
        return Features(chunks.joined(states, counts), counts, self.hop, self.first)

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        chunks, _ = self._chunks(waves, lengths)
        (tokens,) = chunks.each(lambda spectra, _: (self._states(spectra, lambda state: state[:, :TOKENS].mean(1)),))
        return chunks.mean(tokens)

    def _chunks(self, waves: Tensor, lengths: Tensor) -> tuple[Chunks, Tensor]:
        """The spectra of every chunk, zeros where a clip has ended, and how many columns of each clip are true."""
        spectra = fitting_frames(lengths, WINDOW, SPECTRUM)
        counts = fitting_frames(spectra, self.patch, self.stride).clamp_min(1)
        numbers = ceiling(counts, self.columns)
        return cut(self.front(waves, lengths), spectra, self.spectra, self.columns * self.stride, numbers), counts

    def _states(self, spectra: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
        """What `view` makes of the tokens [chunk, token, width] of every state, [chunk, state, …]."""
        output = self.model((spectra - self.mean) / self.deviation, output_hidden_states=True)
        return torch.stack([view(state) for state in (*output.hidden_states[:-1], output.last_hidden_state)], 1)

    def _columns(self, state: Tensor) -> Tensor:
        """The mean of the rows of frequency in each column of time."""
        chunks, _, width = state.shape
        return state[:, TOKENS:].reshape(chunks, self.rows, self.columns, width).mean(1)
