"""Encoders of transformers that take waves, the wav2vec 2.0 family, with exact padding (design §4).

State 0 is the input of block 1, state N the encoder output after its last layer norm (protocol sheet §1). Padding is
exact for the families in `EXACT`: the mask reaches attention, the first group norm and every positional convolution.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from earbench.contract import Features, UpstreamCard
from earbench.kit.attention import LONGEST, PAIRED
from earbench.kit.exact import Extent, frame_counts, mask_padding, receptive_field, unit_variance
from earbench.kit.library_encoder import LibraryEncoder

PAIRWISE = ("wavlm", "sew-d", "wav2vec2-conformer")
"""Kinds whose attention holds tables of all pairs of frames, which limits how long a clip may be at once."""
EXACT = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat")


class SpeechTransformer(LibraryEncoder):
    """One of these encoders as an upstream: frozen, in eval mode, without masking, adapter or head."""

    def __init__(
        self, model: Any, card: UpstreamCard, normalise: bool, source: Mapping[str, str], notes: Sequence[str]
    ) -> None:
        super().__init__(model, source, notes)
        config, self.normalise = model.config, normalise
        self.squeeze = getattr(config, "squeeze_factor", 1)  # SEW: the encoder runs at half the frame rate
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        self.sample_rate = card.sample_rate or 16_000
        step, seen = receptive_field(self.kernels, self.strides)
        self.hop = step * self.squeeze / self.sample_rate
        self.first = (seen + step * (self.squeeze - 1)) / 2 / self.sample_rate
        self.layers, self.width = config.num_hidden_layers + 1, config.hidden_size
        self.longest = PAIRED * self.hop if config.model_type in PAIRWISE else LONGEST
        self.extent = Extent()
        self.batching = "any" if config.model_type in EXACT else "equal"
        if self.batching == "any":
            mask_padding(model, self.extent)
        self.declare(card, normalise)

    def encode(self, waves: Tensor, lengths: Tensor) -> Features:
        if self.normalise:
            waves = unit_variance(waves, lengths)
        frames = frame_counts(lengths, self.kernels, self.strides)
        if self.batching == "any" and bool((lengths < waves.shape[1]).any()):
            mask = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
            with self.extent.set(lengths, frames), _without_mask_warning():
                output = self.model(waves, attention_mask=mask, output_hidden_states=True)
        else:
            output = self.model(waves, output_hidden_states=True)
        states = list(output.hidden_states)
        if self.squeeze == 1:  # transformers 5 records the last block before the final norm; SEW's output is upsampled
            states[-1] = output.last_hidden_state
        return Features(torch.stack(states, 1), frames // self.squeeze, self.hop, self.first)


def decide_normalisation(
    card: UpstreamCard, config: Any, preprocessor: Mapping[str, Any], used: bool | None = None
) -> tuple[bool, list[str]]:
    """Whether waves get zero mean and unit variance, and what the user should know about how that was decided.

    `used` is what a checkpoint says of its own training, which goes before everything else.
    """
    if used is not None:
        other = [f"normalise={used} as its own training settings say; the published model has {card.normalise}"]
        return used, other if card.normalise not in (None, used) else []
    stated = preprocessor.get("do_normalize")
    if card.normalise is not None:
        if stated in (None, card.normalise):
            return card.normalise, []
        return card.normalise, [
            f"normalise={card.normalise} as in the published training, although its preprocessor file says "
            f"do_normalize={stated}; `hf:` follows the file"
        ]
    if stated is not None:
        return bool(stated), [f"normalise={bool(stated)}: its preprocessor file says so"]
    guess = getattr(config, "feat_extract_norm", "layer") == "layer"
    return guess, [f"normalise={guess}: no preprocessor file says, so by its {'layer' if guess else 'group'} norm"]


@contextmanager
def _without_mask_warning() -> Iterator[None]:
    with warnings.catch_warnings():  # WavLM hands torch a boolean and a float mask side by side
        warnings.filterwarnings("ignore", message="Support for mismatched", category=UserWarning)
        yield
