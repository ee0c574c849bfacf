"""Several recipes of one head as a single set of stacked weights: [recipe, ...] in front of every tensor.

Each recipe has its own rate, its own optimiser state and its own clipped norm, so it ends where it would have ended
alone. A head that is not `stackable` is simply a stack of one.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from earbench.contract import Head, Recipe

BETAS, EPS = (0.9, 0.999), 1e-8
CPU_STACK_PARAMETERS = 150_000
"""On a CPU, larger heads train faster one after another (see benchmarks/README.md)."""


class Probe(nn.Module):
    """Layer weights and a head. `x` is [clip, layer, width] or [clip, layer, time, width]; the output is the head's.

    The weights are softmax(w), with w starting at zero and trained with the head (SUPERB's featuriser, protocol sheet
    1.1). A single layer has no weights.
    """

    def __init__(self, head: Head, layers: int) -> None:
        super().__init__()
        self.head = head
        if layers > 1:
            self.mix = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        mixed = x[:, 0] if x.shape[1] == 1 else torch.einsum("l,bl...->b...", self.mix.softmax(0), x)
        out: Tensor = self.head(mixed, lengths)
        return out

    def loss(self, x: Tensor, lengths: Tensor | None, targets: Tensor, target_lengths: Tensor) -> Tensor:
        return self.head.loss(self(x, lengths), lengths, targets, target_lengths)


def stack_size(probe: Probe, recipes: int, device: torch.device) -> int:
    """How many recipes train together: all where that is faster, else one."""
    if not probe.head.stackable:
        return 1
    small = sum(parameter.numel() for parameter in probe.parameters()) <= CPU_STACK_PARAMETERS
    return recipes if small or device.type != "cpu" else 1


Batch = tuple[Tensor, Tensor | None, Tensor, Tensor]


class Stack:
    """The training state of `recipes` that share a head, an initialisation and a stream of batches."""

    def __init__(self, probe: Probe, recipes: Sequence[Recipe], device: torch.device) -> None:
        self.probe, self.recipes, self.device = probe.to(device), list(recipes), device
        self.weights = {name: self._repeat(value) for name, value in probe.named_parameters()}
        self.buffers = {name: self._repeat(value) for name, value in probe.named_buffers()}
        self.first = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self.second = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self.steps = torch.zeros(len(recipes), device=device)

    def step(self, batches: Iterable[Batch]) -> None:
        """One optimiser step on the mean loss of `batches`. A recipe whose gradient is not finite skips it."""
        self.probe.train()
        names, values = list(self.weights), [value.requires_grad_() for value in self.weights.values()]
        batches = list(batches)
        total = torch.stack([self._losses(batch) for batch in batches]).mean(0)
        gradients = dict(zip(names, torch.autograd.grad(total.sum(), values), strict=True))
        with torch.no_grad():
            self._update(gradients)

    def outputs(self, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
        """The head's output for each recipe, in eval mode."""
        self.probe.eval()
        with torch.no_grad():
            if len(self.recipes) == 1:
                return [functional_call(self.probe, self._alone(), (x, lengths))]
            return list(vmap(lambda weights: functional_call(self.probe, weights, (x, lengths)))(self.weights))

    def member(self, index: int) -> dict[str, Tensor]:
        """A copy of one recipe's weights and buffers, on the CPU."""
        return {name: value[index].detach().cpu().clone() for name, value in (self.weights | self.buffers).items()}

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these recipes only."""
        self.recipes = [self.recipes[index] for index in indices]
        wanted = torch.tensor(indices, device=self.device)
        for group in (self.weights, self.buffers, self.first, self.second):
            for name, value in group.items():
                group[name] = value.detach()[wanted]
        self.steps = self.steps[wanted]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, for saving."""
        groups = {"weights": self.weights, "buffers": self.buffers, "first": self.first, "second": self.second}
        flat = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        generator = {"generator": self.probe.head.generator.get_state()}
        return {name: value.detach().cpu() for name, value in (flat | {"steps": self.steps} | generator).items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from what `tensors()` gave."""
        for group in ("weights", "buffers", "first", "second"):
            values = getattr(self, group)
            values.update({name: tensors[f"{group}/{name}"].to(self.device) for name in values})
        self.steps = tensors["steps"].to(self.device)
        self.probe.head.generator.set_state(tensors["generator"])

    def _losses(self, batch: Batch) -> Tensor:
        if len(self.recipes) == 1:
            return self._call_loss(self._alone(), batch)[None]
        return vmap(lambda weights: self._call_loss(weights, batch))(self.weights)

    def _call_loss(self, weights: dict[str, Tensor], batch: Batch) -> Tensor:
        renamed = {f"probe.{name}": value for name, value in weights.items()}
        loss: Tensor = functional_call(_Loss(self.probe), renamed, batch)
        return loss

    def _alone(self) -> dict[str, Tensor]:
        return {name: value[0] for name, value in (self.weights | self.buffers).items()}

    def _repeat(self, value: Tensor) -> Tensor:
        return value.detach().to(self.device)[None].repeat(len(self.recipes), *(1 for _ in value.shape))

    def _update(self, gradients: dict[str, Tensor]) -> None:
        squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients.values()])
        norm = squares.sum(0).sqrt()
        sound = norm.isfinite()
        scale = self._clip_scale(norm)
        self.steps = self.steps + sound
        for name, gradient in gradients.items():
            clean = torch.where(_like(sound, gradient), gradient, 0.0) * _like(scale, gradient)
            self._move(name, clean, _like(sound, gradient))

    def _clip_scale(self, norm: Tensor) -> Tensor:
        """What each recipe's gradient is multiplied by to stay within its norm (torch's clip_grad_norm_)."""
        bounds = torch.tensor([recipe.clip or float("inf") for recipe in self.recipes], device=self.device)
        return torch.where(norm.isfinite(), (bounds / (norm + 1e-6)).clamp_max(1.0), 0.0)

    def _move(self, name: str, gradient: Tensor, sound: Tensor) -> None:
        """Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) or gradient descent, as torch defines them."""
        weight = self.weights[name].detach()
        rate = _like(self._option("lr"), weight)
        decay = _like(self._option("weight_decay"), weight)
        kind = self.recipes[0].optimiser
        if kind == "adamw":
            old, weight = weight, weight * (1 - rate * decay)
        else:
            old, gradient = weight, gradient + decay * weight
        moved = weight - rate * (gradient if kind == "sgd" else self._adam(name, gradient, sound))
        self.weights[name] = torch.where(sound, moved, old)

    def _adam(self, name: str, gradient: Tensor, sound: Tensor) -> Tensor:
        beta1, beta2 = BETAS
        first = torch.where(sound, torch.lerp(self.first[name], gradient, 1 - beta1), self.first[name])
        second = torch.where(sound, self.second[name] * beta2 + gradient.square() * (1 - beta2), self.second[name])
        self.first[name], self.second[name] = first, second
        steps = _like(self.steps.clamp_min(1), gradient)
        return (first / (1 - beta1**steps)) / ((second / (1 - beta2**steps)).sqrt() + EPS)

    def _option(self, name: str) -> Tensor:
        return torch.tensor([getattr(recipe, name) for recipe in self.recipes], device=self.device)


class _Loss(nn.Module):
    """`Probe.loss` as a module's forward, which is what functional_call can call."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, *batch: Any) -> Tensor:
        return self.probe.loss(*batch)


def _like(values: Tensor, other: Tensor) -> Tensor:
    return values.reshape(-1, *(1 for _ in other.shape[1:]))
