"""The linear head over a clip's mean for clips with one number each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

from torch import Tensor
from torch.nn import functional

from earbench.kit.heads.pooled import PooledLinear


@dataclass(frozen=True)
class Scale:
    """Where numbers lie and how far they spread: the space of a head that says one number."""

    mean: float
    spread: float

    def __len__(self) -> int:
        return 1

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """Mean and standard deviation of `values`, the train split's.

        >>> Scale.of([1.0, 3.0])
        Scale(mean=2.0, spread=1.0)
        """
        return cls(fmean(values), pstdev(values))

    def standard(self, value: float) -> float:
        return (value - self.mean) / self.spread


class PooledValue(PooledLinear):
    """`PooledLinear` with a single output, the number in units of `scale`: rates then suit any unit."""

    def __init__(self, width: int, hidden: int, scale: Scale) -> None:
        super().__init__(width, hidden, ("value",))
        self.scale = scale

    def loss(self, output: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """The mean squared error; `targets` hold one standardised number per clip."""
        return functional.mse_loss(output.reshape(-1), targets.reshape(-1))

    def predict(self, output: Tensor, lengths: Tensor | None, times: Tensor | None, **decoding: Any) -> list[Any]:
        """Numbers in their own unit."""
        numbers: list[float] = output.reshape(-1).tolist()
        return [self.scale.mean + self.scale.spread * number for number in numbers]
