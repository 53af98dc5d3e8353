"""The training of the small recipe written out as a pure function of downweights, for torch's own derivatives.

Nothing here uses the package but the recipe's order of examples: updates are torch's documented ones, and torch.func
differentiates the whole loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import factorial

import torch
from torch import Tensor
from torch.func import functional_call, grad, jacfwd, jacrev
from torch.nn.functional import cross_entropy

from tests.training import slow  # noqa: F401  loads what torch's first forward derivative would warn of
from tests.training.small import BATCH, X, Y, model, recipe

Weights = dict[str, Tensor]
UNITS = 8
# name: learning rate, momentum, dampening, weight decay
EVERYTHING = ("first.weight", "first.bias", "second.bias", "last.weight")
UPDATES = {
    "sgd": dict.fromkeys(EVERYTHING, (0.2, 0.0, 0.0, 0.0)),
    "momentum": dict.fromkeys(EVERYTHING, (0.1, 0.9, 0.1, 0.02)),
    "groups": dict.fromkeys(EVERYTHING[:2], (0.3, 0.0, 0.0, 0.0)) | {"last.weight": (0.1, 0.5, 0.0, 0.0)},
}
MODEL = model().requires_grad_(False)  # all made here: random numbers have no place under vmap
RECIPES = {name: recipe(name) for name in UPDATES}


def train(w: Tensor, optimizer: str = "momentum") -> Weights:
    """The trained weights without so much of each unit, ``[units]``."""
    r, updates = RECIPES[optimizer], UPDATES[optimizer]
    weights = {name: p.detach() for name, p in MODEL.named_parameters() if name in updates}
    moments: Weights = {}
    everybody = torch.cat([w, w.new_zeros(1)])  # the last, at -1, is nobody's
    for step, (rows,) in enumerate(r.parts):
        kept = 1 - everybody[r.unit_of_example[rows]]

        def loss(weights: Weights, rows=rows, kept=kept) -> Tensor:
            losses = cross_entropy(functional_call(MODEL, weights, (X[rows],)), Y[rows], reduction="none")
            return (kept * losses).sum() / BATCH

        gradients = grad(loss)(weights)
        for name, (rate, momentum, dampening, decay) in updates.items():
            g = gradients[name] + decay * weights[name]
            moments[name] = g if step == 0 else momentum * moments[name] + (1 - dampening) * g
            weights = weights | {name: weights[name] - rate * moments[name]}
    return weights


class _Probe(torch.nn.Module):
    def __init__(self, probe: Callable[[torch.nn.Module], Tensor]) -> None:
        super().__init__()
        self.m = MODEL
        self.probe = probe

    def forward(self) -> Tensor:
        return self.probe(self.m)


def probed(probe: Callable[[torch.nn.Module], Tensor], weights: Weights) -> Tensor:
    """A probe of the model with these weights."""
    return functional_call(_Probe(probe), {f"m.{name}": weight for name, weight in weights.items()}, ())


def along(v: Tensor, degree: int, optimizer: str = "momentum") -> Weights:
    """The coefficient of ``z^degree`` of the weights trained without ``z v``: forward derivatives, nested."""
    found: Callable[[Tensor], Weights] = lambda z: train(z * v, optimizer)  # noqa: E731
    for _ in range(degree):
        found = jacfwd(found)
    return {name: tensor / factorial(degree) for name, tensor in found(torch.zeros((), dtype=torch.float64)).items()}


@cache
def jacobian(optimizer: str = "momentum") -> Weights:
    """``d theta / d w`` of each weight, ``[*S, units]``: by forward derivatives."""
    return jacfwd(lambda w: train(w, optimizer))(torch.zeros(UNITS, dtype=torch.float64))


@cache
def flat_jacobian(optimizer: str = "momentum") -> Tensor:
    """The same for all weights in a column, ``[weights, units]``, in the order of the optimizer's groups."""
    return torch.cat([jacobian(optimizer)[name].reshape(-1, UNITS) for name in UPDATES[optimizer]])


@cache
def gradient(probe: Callable[[torch.nn.Module], Tensor], optimizer: str = "momentum") -> Tensor:
    """Of a probe of the trained model, ``[*P, units]``: by reverse derivatives."""
    zero = torch.zeros(UNITS, dtype=torch.float64)
    return jacrev(lambda w: probed(probe, train(w, optimizer)))(zero)


@cache
def hessian(probe: Callable[[torch.nn.Module], Tensor], optimizer: str = "momentum") -> Tensor:
    """``[*P, units, units]``: forward derivatives of reverse ones."""
    zero = torch.zeros(UNITS, dtype=torch.float64)
    return jacfwd(jacrev(lambda w: probed(probe, train(w, optimizer))))(zero)
