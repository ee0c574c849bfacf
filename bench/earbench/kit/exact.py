"""Making the padded wav2vec 2.0 family exact: a clip's features are those of the clip alone (design §4).

The attention mask of transformers leaves two leaks. The group norm of the first convolution averages over padding,
and padded frames that a positional convolution (or the batch norm before it) has made nonzero reach true frames
through the next one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Extent:
    """How far each clip of the padded batch in hand goes, in samples and in frames; None while nothing is padded."""

    samples: Tensor | None = None
    frames: Tensor | None = None

    @contextmanager
    def set(self, samples: Tensor, frames: Tensor) -> Iterator[None]:
        self.samples, self.frames = samples, frames
        try:
            yield
        finally:
            self.samples = self.frames = None


class ClipGroupNorm(nn.GroupNorm):
    """The group norm behind the first convolution, with statistics over the true frames of each clip only.

    Each clip goes through the very kernel it would see alone; frames beyond its end come out as zeros.
    """

    def __init__(self, norm: nn.GroupNorm, convolution: nn.Conv1d, extent: Extent) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        self.kernel, self.stride, self.extent = convolution.kernel_size[0], convolution.stride[0], extent

    def forward(self, input: Tensor) -> Tensor:
        if self.extent.samples is None:
            return super().forward(input)
        counts = ((self.extent.samples - self.kernel) // self.stride + 1).tolist()
        return clip_by_clip(super().forward, input, counts)


def clip_by_clip(norm: Callable[[Tensor], Tensor], x: Tensor, counts: Sequence[int]) -> Tensor:
    """`norm` of the first `counts` frames of each clip in `x` [clip, width, time]; zeros behind them."""
    if all(count == x.shape[2] for count in counts):
        return norm(x)
    alone = [norm(clip[..., :count]) for clip, count in zip(torch.split(x, 1), counts, strict=True)]
    return torch.cat([functional.pad(clip, (0, x.shape[2] - clip.shape[2])) for clip in alone])


def mask_padding(model: Any, extent: Extent) -> None:
    """Change `model` in place so that batches padded to `extent` are exact. Its parameters keep their names."""
    first = model.feature_extractor.conv_layers[0]
    if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
        first.layer_norm = ClipGroupNorm(first.layer_norm, first.conv, extent)

    def silence(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        if extent.frames is None:
            return None
        (hidden,) = inputs
        beyond = torch.arange(hidden.shape[-1], device=hidden.device) >= extent.frames[:, None, None]
        return (hidden.masked_fill(beyond, 0.0),)

    for module in model.encoder.pos_conv_embed.modules():
        if isinstance(module, nn.Conv1d):
            module.register_forward_pre_hook(silence)


def frame_counts(lengths: Tensor, kernels: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Frames that a stack of unpadded convolutions makes of `lengths` samples: those wholly inside the clip.

    >>> frame_counts(torch.tensor([400, 16_000]), (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)).tolist()
    [1, 49]
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = (lengths - kernel) // stride + 1
    return lengths


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Samples from one frame to the next, and samples that one frame sees.

    >>> receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
    (320, 400)
    """
    seen = 1 + sum((kernel - 1) * math.prod(strides[:layer]) for layer, kernel in enumerate(kernels))
    return math.prod(strides), seen


def unit_variance(waves: Tensor, lengths: Tensor) -> Tensor:
    """`waves` [clip, sample] with zero mean and unit variance over their true samples; the padding becomes zero.

    The population variance, with 1e-7 added before the root: as `Wav2Vec2FeatureExtractor` does it.
    """
    true = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    count = lengths[:, None].to(waves.dtype)
    centred = torch.where(true, waves - (waves * true).sum(1, keepdim=True) / count, 0.0)
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
