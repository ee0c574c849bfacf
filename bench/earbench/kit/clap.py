"""CLAP's audio encoder, HTSAT (Wu et al. 2023; protocol sheet §9.2), supervised by captions: 48 kHz, 10 s at a time.

Four stages, each half as fine in time and frequency and twice as wide as the one before, so they cannot be mixed. The
last one is the encoder's own layers, the others the groups `stage_1`, `stage_2` and so on: of each its input and the
output of every block, the very last behind the final layer norm. Frames are the mean over frequency.

A clip shorter than 10 s is repeated whole and then padded with zeros, as the library does it; of a longer one, which
the library cuts at random, the consecutive 10 s are encoded, the last piece treated as a short clip. Frames centred
behind a clip's end are dropped, but for the first. The library stretches 1,001 spectra to 1,024, which moves centres by
less than 5 ms; they are taken to be even. The clip embedding is the mean over all that the network sees of the 10 s,
which the library pools too, here of every layer; that of several pieces is their mean, weighted by their samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, Group, UpstreamCard
from earbench.errors import BadCheckpoint
from earbench.kit.chunks import Chunks, ceiling, cut
from earbench.kit.library_encoder import LibraryEncoder
from earbench.kit.log_mels import DecibelMel

LIBRARY = {
    "sampling_rate": 48_000,
    "hop_length": 480,
    "max_length_s": 10,
    "fft_window_size": 1024,
    "frequency_min": 0,
    "frequency_max": 14_000,
    "truncation": "fusion",
    "padding": "repeatpad",
}
"""What the library's extractor does where no preprocessor file says otherwise."""
PADDINGS = ("repeatpad", "repeat", "pad")


class Clap(LibraryEncoder):
    """The stages of HTSAT; no fusion of crops, since no chunk is longer than what the network takes."""

    def __init__(
        self,
        model: Any,
        card: UpstreamCard,
        preprocessor: Mapping[str, Any],
        source: Mapping[str, str],
        notes: Sequence[str],
    ) -> None:
        super().__init__(model, source, notes)
        config, facts = model.config, {key: preprocessor.get(key, value) for key, value in LIBRARY.items()}
        if facts["padding"] not in PADDINGS:
            raise BadCheckpoint(f"padding {facts['padding']!r} in a preprocessor file: known are {', '.join(PADDINGS)}")
        self.padding = facts["padding"]
        self.sample_rate = int(facts["sampling_rate"])
        self.size = int(facts["max_length_s"]) * self.sample_rate
        self.front = DecibelMel(
            config.num_mel_bins,
            facts["hop_length"],
            facts["fft_window_size"],
            self.sample_rate,
            facts["frequency_min"],
            facts["frequency_max"],
            "htk" if facts["truncation"] == "fusion" else "slaney",
        )
        *others, last = [self._size(stage) for stage in range(len(config.depths))]
        self.layers, self.width, self.hop = last.layers, last.width, last.hop
        self.groups = {f"stage_{stage}": size for stage, size in enumerate(others, 1)}
        heard = ("num_attention_heads", "hidden_act", "layer_norm_eps", "spec_size", "window_size", "enable_fusion")
        self.options = {key: getattr(config, key) for key in heard} | facts
        self.declare(card)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        chunks = self._chunks(waves, lengths)
        *others, last = (self._features(chunks, states, lengths) for states in chunks.each(self._stages))
        return replace(last, groups=dict(zip(self.groups, others, strict=True)))

    def embed(self, waves: Tensor, lengths: Tensor) -> Tensor:
        chunks = self._chunks(waves, lengths)
        (pooled,) = chunks.each(lambda waves, lengths: (self._stages(waves, lengths)[-1].mean(2),))
        return chunks.mean(pooled)

    def _size(self, stage: int) -> Group:
        config, encoder = self.model.config, self.model.audio_encoder
        steps = encoder.input_resolutions[stage][1] * encoder.freq_ratio
        width = config.patch_embeds_hidden_size * 2**stage
        return Group(config.depths[stage] + 1, width, self.size / steps / self.sample_rate)

    def _chunks(self, waves: Tensor, lengths: Tensor) -> Chunks:
        return cut(waves, lengths, self.size, self.size, ceiling(lengths, self.size))

    def _stages(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """The states of each stage, [chunk, state, time, width]; the last of all is behind the final layer norm."""
        encoder = self.model.audio_encoder
        spectra = self.front(padded(waves, lengths, self.padding), lengths)[:, None]
        image = encoder.reshape_mel2img(encoder.batch_norm(spectra.transpose(1, 3)).transpose(1, 3))
        hidden = encoder.patch_embed(image, [])
        stages = []
        for stage, grid in zip(encoder.layers, encoder.input_resolutions, strict=True):
            states = [hidden]
            for block in stage.blocks:
                states.append(block(states[-1], grid)[0])
            if stage.downsample is None:
                states[-1] = encoder.norm(states[-1])
            else:
                hidden = stage.downsample(states[-1], grid)
            stages.append(torch.stack([self._frames(state, grid) for state in states], 1))
        return tuple(stages)

    def _frames(self, state: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens [chunk, token, width] as frames: rows of the image are stretches of time, in each all frequencies."""
        ratio = self.model.audio_encoder.freq_ratio
        chunks, _, width = state.shape
        return state.view(chunks, ratio, grid[0] // ratio, grid[1], width).mean(2).flatten(1, 2)

    def _features(self, chunks: Chunks, states: Tensor, lengths: Tensor) -> Features:
        """Frames centred inside the clip, one at least; in a clip too short for that it is at the end."""
        steps = states.shape[2]
        counts = ceiling(2 * lengths * steps - self.size, 2 * self.size).clamp_min(1)
        frames, hop = chunks.joined(states, counts), self.size / steps / self.sample_rate
        seconds = lengths[:, None] / self.sample_rate
        if bool((seconds >= hop / 2).all()):
            return Features(frames, counts, hop, hop / 2)
        centres = hop * (torch.arange(frames.shape[2], device=lengths.device) + 0.5)
        return Features(frames, counts, hop, hop / 2, torch.minimum(centres.expand(len(frames), -1), seconds))


def padded(waves: Tensor, lengths: Tensor, padding: str) -> Tensor:
    """Clips [clip, sample] filled up: with whole repetitions and then zeros, with repetitions all along, or with zeros.

    >>> padded(torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0]]), torch.tensor([2]), "repeatpad").tolist()
    [[1.0, 2.0, 1.0, 2.0, 0.0]]
    """
    if padding == "pad":
        return waves
    steps, size = torch.arange(waves.shape[1], device=waves.device), waves.shape[1]
    repeated = waves.gather(1, steps % lengths[:, None])
    whole = size // lengths * lengths if padding == "repeatpad" else torch.full_like(lengths, size)
    return torch.where(steps < whole[:, None], repeated, 0.0)
