"""Other ways to make a trained model forget, as their papers describe them, in plain torch.

Each takes the trained model, who leaves and who stays, and gives a model; its settings are a grid from which
`benchmarks/unlearning.py` takes the best, judged by the truth, which none of them would know.

- Gradient ascent on the data that leaves (Golatkar et al. 2020, as a baseline).
- Fine-tuning on the rest (the same).
- One Newton step of what leaves, with a damped Hessian of the rest (Guo et al., "Certified data removal", 2020).
- NegGrad+: descent on the rest and ascent on what leaves at once (Kurmanji et al. 2023).
- SCRUB: away from a teacher on what leaves, near it on the rest (the same paper).
- SISA: one model for each of five shards of people, of which those that hold who leaves are trained again (Bourtoule
  et al. 2021).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

import unlearnkit as uk

SHARDS = 5
_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class Task:
    """A trained model, and examples that leave and stay, by position."""

    recipe: uk.Recipe
    trained: nn.Module
    leaving: Tensor
    staying: Tensor

    def batch(self, positions: Tensor) -> tuple[Tensor, ...]:
        """Examples, as the loss takes them."""
        return tuple(part[positions] for part in self.recipe.dataset.parts)

    def losses(self, model: nn.Module, positions: Tensor) -> Tensor:
        """One for each example."""
        return self.recipe.loss(model, self.batch(positions))

    def model(self) -> nn.Module:
        """A copy of the trained one, in eval mode."""
        return copy.deepcopy(self.trained).eval().requires_grad_()

    def batches(self, epochs: int) -> Iterator[Tensor]:
        """Of who stays, shuffled in each epoch."""
        generator = torch.Generator().manual_seed(0)
        for _ in range(epochs):
            order = self.staying[torch.randperm(len(self.staying), generator=generator)]
            yield from order.split(self.recipe.batch_size)


@dataclass(frozen=True, eq=False)
class Curvature:
    """The Hessian of the mean loss on all examples."""

    task: Task

    @cached_property
    def model(self) -> nn.Module:
        """Whose weights are swapped."""
        return copy.deepcopy(self.task.trained).double().eval()

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Of the trained model, in float64."""
        return {n: p.detach().double() for n, p in self.task.trained.named_parameters()}

    def mean_loss(self, flat: Tensor, positions: Tensor) -> Tensor:
        """Of all weights in a row."""
        sizes = [p.numel() for p in self.weights.values()]
        parts = zip(self.weights.items(), flat.split(sizes), strict=True)
        weights = {n: part.reshape(p.shape) for (n, p), part in parts}
        batch = tuple(p.double() if p.is_floating_point() else p for p in self.task.batch(positions))

        def forward(*inputs: Tensor) -> Tensor:
            return functional_call(self.model, weights, inputs)

        return self.task.recipe.loss(forward, batch).mean()

    @cached_property
    def flat(self) -> Tensor:
        """The trained weights in a row."""
        return torch.cat([p.ravel() for p in self.weights.values()])

    def slope(self, positions: Tensor) -> Tensor:
        """The gradient of the mean loss of some examples."""
        _ = self.model  # made outside the transforms, here and in `solve`, which comes after
        found: Tensor = grad(self.mean_loss)(self.flat, positions)
        return found

    def solve(self, right: Tensor, damping: float) -> Tensor:
        """``(H + damping)^-1 right`` by conjugate gradients, which end where the curvature is not positive."""
        everybody = torch.arange(len(self.task.recipe.dataset.parts[0]))

        def product(vector: Tensor) -> Tensor:
            slope = grad(self.mean_loss)
            with sdpa_kernel(SDPBackend.MATH):  # the fused ones have no second derivative
                found: Tensor = jvp(lambda flat: slope(flat, everybody), (self.flat,), (vector,))[1]
            return found + damping * vector

        found, residual = torch.zeros_like(right), right.clone()
        direction = residual.clone()
        for _ in range(_ITERATIONS):
            image = product(direction)
            curvature = direction @ image
            if curvature <= 0 or residual.norm() < 1e-6 * right.norm():
                break
            step = residual @ residual / curvature
            following = residual - step * image
            found = found + step * direction
            direction = following + (following @ following) / (residual @ residual) * direction
            residual = following
        return found


def ascent(task: Task, rate: float, steps: int) -> nn.Module:
    """Away from what leaves."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(int(steps)):
        optimizer.zero_grad()
        (-task.losses(model, task.leaving).mean()).backward()
        optimizer.step()
    return model


def fine_tuning(task: Task, rate: float, epochs: int) -> nn.Module:
    """On the rest."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for batch in task.batches(int(epochs)):
        optimizer.zero_grad()
        task.losses(model, batch).mean().backward()
        optimizer.step()
    return model


def newton(task: Task, curvature: Curvature, damping: float) -> nn.Module:
    """``theta + (H + damping)^-1 sum of the leaving gradients / staying examples``."""
    gradient = curvature.slope(task.leaving) * len(task.leaving) / len(task.staying)
    step = curvature.solve(gradient, damping)
    model = task.model()
    with torch.no_grad():
        parts = step.split([p.numel() for p in model.parameters()])
        for p, part in zip(model.parameters(), parts, strict=True):
            p.add_(part.reshape(p.shape).to(p.dtype))
    return model


def neggrad_plus(task: Task, rate: float, share: float) -> nn.Module:
    """Both at once."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for batch in task.batches(2):
        optimizer.zero_grad()
        loss = (1 - share) * task.losses(model, batch).mean() - share * task.losses(model, task.leaving).mean()
        loss.backward()
        optimizer.step()
    return model


def scrub(task: Task, rate: float, rounds: int) -> nn.Module:
    """Two rounds through the rest; before the first ``rounds`` of them away from the teacher on what leaves."""
    model, teacher = task.model(), task.model().requires_grad_(requires_grad=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    for epoch in range(2):
        if epoch < rounds:
            optimizer.zero_grad()
            (-_divergence(task, model, teacher, task.leaving)).backward()
            optimizer.step()
        for batch in task.batches(1):
            optimizer.zero_grad()
            (task.losses(model, batch).mean() + _divergence(task, model, teacher, batch)).backward()
            optimizer.step()
    return model


def _divergence(task: Task, model: nn.Module, teacher: nn.Module, positions: Tensor) -> Tensor:
    """Of the two models' predictions; both take the first part of an example."""
    inputs = task.batch(positions)[0]
    ours, theirs = (m(inputs).flatten(0, -2).log_softmax(-1) for m in (model, teacher))
    return torch.nn.functional.kl_div(ours, theirs, log_target=True, reduction="batchmean")


class Sharded:
    """SISA: five models, each trained on its people alone, whose probabilities are averaged."""

    def __init__(self, recipe: uk.Recipe, optimizer: Callable[..., torch.optim.Optimizer]) -> None:
        self.recipe, self.optimizer = recipe, optimizer
        self.shard_of = np.random.default_rng(0).permutation(len(recipe.unit_names)) % SHARDS
        self.models = [self._train(shard, []) for shard in range(SHARDS)]

    def _train(self, shard: int, leaving: Sequence[int]) -> nn.Module:
        """As many epochs over its own examples, by the recipe's optimizer and rates."""
        owner = np.asarray(self.recipe.unit_of_example)
        mine = torch.as_tensor(np.flatnonzero((self.shard_of[owner] == shard) & ~np.isin(owner, leaving)))
        model = copy.deepcopy(self.recipe.model).train()
        optimizer = self.optimizer(model.parameters())
        rng, epochs = torch.Generator().manual_seed(shard), self.recipe.epochs
        for _ in range(epochs):
            for batch in mine[torch.randperm(len(mine), generator=rng)].split(self.recipe.batch_size):
                optimizer.zero_grad()
                parts = tuple(part[batch] for part in self.recipe.dataset.parts)
                self.recipe.loss(model, parts).mean().backward()
                optimizer.step()
        return model.eval()

    def without(self, leaving: Sequence[int]) -> nn.Module:
        """The ensemble, its models that knew them trained again."""
        again = set(self.shard_of[list(leaving)].tolist())
        return Averaged([self._train(i, leaving) if i in again else m for i, m in enumerate(self.models)])


class Averaged(nn.Module):
    """Logarithms of the mean of several models' probabilities: logits of the ensemble."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Of the members' inputs."""
        return torch.stack([m(*inputs).softmax(-1) for m in self.models]).mean(0).log()


GRIDS = {
    ascent: list(product((0.001, 0.01, 0.1), (1, 5, 20))),
    fine_tuning: list(product((0.001, 0.01, 0.05), (1, 3))),
    neggrad_plus: list(product((0.001, 0.01, 0.05), (0.01, 0.05, 0.2))),
    scrub: list(product((0.001, 0.01, 0.05), (1, 2))),
}
DAMPINGS = [(damping,) for damping in (1e-4, 1e-3, 1e-2, 1e-1)]
