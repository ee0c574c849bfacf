"""Self-attention that padding cannot reach, and the way BERT's descendants draw their first weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LONGEST = 300.0
"""Seconds that a network on convolved waves takes at once: a Base transformer then has room in 8 GB, a Large one in 16.
Its memory grows with the length of a clip, by the first convolutions and by the states, of which all are wanted."""
PAIRED = 5_000
"""Frames that it takes at once where attention weighs every pair of them by a table for each head (WavLM, relative
positions): memory then grows with the square."""


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, counts: Tensor) -> Tensor:
    """What each frame gathers from the true frames of its clip: all [clip, time, width], `counts` [clip] true frames.

    Scores are divided by the root of a head's width. Frames beyond a clip's end gather too; nobody gathers them.
    """
    true = torch.arange(key.shape[1], device=key.device) < counts[:, None]
    query, key, value = (part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key, value))
    gathered = functional.scaled_dot_product_attention(query, key, value, attn_mask=true[:, None, None])
    return gathered.transpose(1, 2).flatten(2)


def draw_as_bert(module: nn.Module) -> None:
    """For `nn.Module.apply`: linear weights of deviation 0.02 around 0, no bias."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
