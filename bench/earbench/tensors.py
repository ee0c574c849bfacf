"""Digests of weights: equal tensors, equal digits, whatever file they came from."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest(state: Mapping[str, Tensor], *facts: object) -> str:
    """Sixteen hex digits over names, types, shapes and bytes of all tensors, and over `facts`.

    >>> digest({"w": torch.zeros(2)}) == digest({"w": torch.zeros(3)})
    False
    """
    total = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
