"""Several recipes of one head as a single set of stacked weights: [recipe, ...] in front of every tensor.

Each recipe has its own rate, its own optimiser state and its own clipped norm, so it ends where it would have ended
alone. A head that is not `stackable` is simply a stack of one, and several stacks may train in lock step. All weights
of a recipe lie in one row, so that torch's fused optimisers pass over it once, however many parameters the head has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.adam import adam
from torch.optim.sgd import sgd

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
    """The training state of `recipes` that share a head, an optimiser, an initialisation and a stream of batches.

    `weights` is [recipe, weight]: all parameters of the probe in their order, flattened. So are the optimiser's `first`
    and `second` moments.
    """

    def __init__(self, probe: Probe, recipes: Sequence[Recipe], device: torch.device) -> None:
        self.probe, self.device = probe.to(device), device
        self.shapes = {name: value.shape for name, value in probe.named_parameters()}
        row = torch.cat([value.detach().flatten() for value in probe.parameters()])
        self.weights = row.repeat(len(recipes), 1)
        self.buffers = {name: _repeated(value, len(recipes)) for name, value in probe.named_buffers()}
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.steps = torch.zeros(len(recipes), 1, device=device)
        self.gradient, self.batches = torch.zeros_like(self.weights), 0
        self.draws = [one.get_state() for one in _generators(device)]
        self._loss = _Loss(probe)
        self._set_recipes(recipes)

    def step(self, batches: Iterable[Batch]) -> None:
        """One optimiser step on the mean loss of `batches`."""
        for batch in batches:
            self.add(batch)
        self.move()

    def add(self, batch: Batch) -> None:
        """Take the gradient of one batch; its graph is gone before the next one's is made."""
        self.probe.train()
        named = {name: part.requires_grad_() for name, part in self._named(self.weights).items()}
        with self._own_draws():
            found = torch.autograd.grad(self._losses(named, batch).sum(), [*named.values()])
        for total, one in zip(self._named(self.gradient).values(), found, strict=True):
            total.add_(one) if self.batches else total.copy_(one)
        self.batches += 1

    def move(self) -> None:
        """One optimiser step on the mean loss of the batches since the last. A recipe whose gradient is not finite
        skips it.
        """
        if self.batches > 1:
            self.gradient.div_(self.batches)
        unsound = self._clip()
        for row in range(len(self.recipes)):
            self._move(row, unsound[row, 0])
        self.batches = 0

    def outputs(self, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
        """The head's output for each recipe, in eval mode."""
        self.probe.eval()
        named = self._named(self.weights)
        with torch.no_grad():
            if len(self.recipes) == 1:
                return [functional_call(self.probe, self._alone(named), (x, lengths))]
            return list(vmap(lambda weights: functional_call(self.probe, weights, (x, lengths)))(named))

    def member(self, index: int) -> dict[str, Tensor]:
        """A copy of one recipe's weights and buffers, on the CPU."""
        named = self._named(self.weights) | self.buffers
        return {name: value[index].detach().cpu().clone() for name, value in named.items()}

    def become(self, state: Mapping[str, Tensor]) -> None:
        """Give every recipe the weights and buffers of what `member` gave."""
        row = torch.cat([state[name].flatten() for name in self.shapes]).to(self.device)
        self.weights = row.repeat(len(self.recipes), 1)
        self.buffers = {name: _repeated(state[name].to(self.device), len(self.recipes)) for name in self.buffers}

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these recipes only."""
        wanted = torch.tensor(indices, device=self.device)
        self.weights, self.first, self.second = self.weights[wanted], self.first[wanted], self.second[wanted]
        self.buffers = {name: value[wanted] for name, value in self.buffers.items()}
        self.steps, self.gradient = self.steps[wanted], torch.zeros_like(self.weights)
        self._set_recipes([self.recipes[index] for index in indices])

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, for saving."""
        moving = {name: getattr(self, name) for name in ("weights", "first", "second", "steps")}
        found = moving | {f"buffers/{name}": value for name, value in self.buffers.items()}
        return {name: value.detach().cpu() for name, value in found.items()} | {
            "generator": self.probe.head.generator.get_state(),
            **{f"draws/{number}": state for number, state in enumerate(self.draws)},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors()` gave."""
        for name in ("weights", "first", "second", "steps"):
            setattr(self, name, tensors[name].to(self.device))
        self.buffers = {name: tensors[f"buffers/{name}"].to(self.device) for name in self.buffers}
        self.probe.head.generator.set_state(tensors["generator"])
        self.draws = [tensors[f"draws/{number}"] for number in range(len(self.draws))]

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """Torch's global generators as this stack left them, whoever else draws; a stackable head draws nothing."""
        if self.probe.head.stackable:
            yield
            return
        generators = _generators(self.device)
        for one, state in zip(generators, self.draws, strict=True):
            one.set_state(state)
        yield
        self.draws = [one.get_state() for one in generators]

    def _set_recipes(self, recipes: Sequence[Recipe]) -> None:
        """The norms as a column on the device, so that a step copies nothing to it."""
        self.recipes = list(recipes)
        self._norms = torch.tensor([[recipe.clip or float("inf")] for recipe in recipes], device=self.device)

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        """`weights` as parameters by name, each [recipe, ...]."""
        parts = torch.split(weights, [shape.numel() for shape in self.shapes.values()], dim=1)
        return {name: part.reshape(-1, *shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)}

    def _alone(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value[0] for name, value in (*named.items(), *self.buffers.items())}

    def _losses(self, named: dict[str, Tensor], batch: Batch) -> Tensor:
        if len(self.recipes) == 1:
            return self._one_loss(self._alone(named), batch)[None]
        losses: Tensor = vmap(lambda weights: self._one_loss(weights, batch))(named)
        return losses

    def _one_loss(self, weights: dict[str, Tensor], batch: Batch) -> Tensor:
        loss: Tensor = functional_call(self._loss, {f"probe.{name}": value for name, value in weights.items()}, batch)
        return loss

    def _clip(self) -> Tensor:
        """Clip as torch's clip_grad_norm_; and which gradients are not finite, as 1 or 0, [recipe, 1]."""
        norm = self.gradient.norm(dim=1, keepdim=True)
        if any(recipe.clip for recipe in self.recipes):
            self.gradient.mul_((self._norms / (norm + 1e-6)).clamp_max(1.0))
        unsound: Tensor = (~norm.isfinite()).float()
        return unsound

    def _move(self, row: int, unsound: Tensor) -> None:
        """Let torch's own optimiser move a recipe: Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) or SGD."""
        recipe = self.recipes[row]
        own = (self.weights, self.gradient, self.first, self.second, self.steps)
        weights, gradient, first, second, steps = ([tensor[row]] for tensor in own)
        facts: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "maximize": False}
        facts |= {"fused": True, "found_inf": unsound}
        if recipe.optimiser == "sgd":
            sgd(weights, gradient, [None], **facts, momentum=0.0, dampening=0.0, nesterov=False)
        else:
            beta1, beta2 = BETAS
            facts |= {"amsgrad": False, "decoupled_weight_decay": recipe.optimiser == "adamw"}
            adam(weights, gradient, first, second, [], steps, **facts, beta1=beta1, beta2=beta2, eps=EPS)


def _generators(device: torch.device) -> list[torch.Generator]:
    """What torch's own dropout draws from on `device`."""
    if device.type != "cuda":
        return [torch.default_generator]
    number = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[number]]


class _Loss(nn.Module):
    """`Probe.loss` as a module's forward, which is what functional_call can call."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self.probe = probe

    def forward(self, *batch: Any) -> Tensor:
        return self.probe.loss(*batch)


def _repeated(value: Tensor, count: int) -> Tensor:
    return value.detach()[None].repeat(count, *(1 for _ in value.shape))
