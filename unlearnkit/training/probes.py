"""Probes: functions of the trained model, evaluated over jets of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from unlearnkit.errors import NonFiniteError, RecipeError
from unlearnkit.taylor.check import Problem
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.products import LEAD
from unlearnkit.training.losses import mean_losses
from unlearnkit.training.own_loss import OwnLoss, own_batches
from unlearnkit.training.recipe import Array, Probe
from unlearnkit.training.run import Run
from unlearnkit.training.state import Leaf, constant_of

_RESULT = "return logits, losses or margins as they are: no argmax(), item() or .numpy(), and torch.stack() for several"


class OwnLossFunction:
    """The own losses of a run's units over jets, batch by batch; the losses of a batch are traced once."""

    def __init__(self, run: Run) -> None:
        self.run = run

        def losses(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object) -> Tensor:
            with run.evaluating():
                return mean_losses(run.call(run.recipe.loss, weights, fixed, batch)).to(run.dtype)

        self._losses = run.over_jets("own losses", losses)

    def __call__(self, weights: Mapping[str, Leaf], fixed: Mapping[str, Tensor], units: Array | None = None) -> Leaf:
        """Own losses of the units at these positions, ``[len(units)]``; None: of all."""
        count = len(self.run.recipe.unit_names) if units is None else len(units)
        total: Leaf = torch.zeros(count, dtype=self.run.dtype, device=self.run.device)
        for batch in own_batches(self.run.recipe, units):
            losses = self._losses(weights, fixed, self.run.examples(batch.rows))
            places = torch.from_numpy(batch.places).to(self.run.device)
            total = _added(total, losses, places, torch.from_numpy(batch.shares).to(constant_of(total)))
        return total

    def prepare(self, weights: object, fixed: object, *, active: Sequence[bool]) -> Interpreter:
        """As `JetFunction.prepare`."""
        return self._losses.prepare(weights, fixed, self._first(), active=[*active, False])

    def inspect(self, weights: object, fixed: object, *, active: Sequence[bool]) -> tuple[Problem, ...]:
        """As `JetFunction.inspect`."""
        return self._losses.inspect(weights, fixed, self._first(), active=[*active, False])

    @property
    def reservations(self) -> dict[Problem, None]:
        """As of a `JetFunction`."""
        return self._losses.reservations

    @property
    def resolution(self) -> float:
        """As of a `JetFunction`."""
        return self._losses.resolution

    def _first(self) -> object:
        return self.run.examples(next(own_batches(self.run.recipe)).rows)


def _added(total: Leaf, losses: Leaf, places: Tensor, shares: Tensor) -> Leaf:
    """``total`` with ``losses * shares`` added at ``places``."""
    if not isinstance(losses, Jet):
        constant = constant_of(total).index_add(-1, places, losses * shares)
        return Jet(constant, total.tail) if isinstance(total, Jet) else constant
    constant = constant_of(total).index_add(-1, places, losses.constant * shares)
    tail = total.tail if isinstance(total, Jet) else losses.tail.new_zeros(*losses.tail.shape[:LEAD], *constant.shape)
    return Jet(constant, tail.index_add(-1, places, losses.tail * shares))


ProbeFunction: TypeAlias = JetFunction | OwnLossFunction


def probe_function(run: Run, name: str, probe: Probe) -> ProbeFunction:
    """``probe`` as a function of trained weights and everything else in the model, ready for jets."""
    if isinstance(probe, OwnLoss):
        return OwnLossFunction(run)

    def value(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        return probe_value(run, name, probe, weights, fixed)

    def plain(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        return run.plain_probe(probe, weights, fixed)

    if run.recipe.probes.get(name) is probe:
        return run.over_jets(("probe", name), value, plain)
    allow = run.recipe.allow_piecewise
    return JetFunction(value, model=run.model, allow_piecewise=allow, plain=plain, dtype=run.dtype)


def probe_value(
    run: Run, name: str, probe: Probe, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
) -> Tensor:
    """The probe of a model with these tensors, in eval mode. RecipeError when it is no tensor of real numbers."""
    with run.evaluating():
        result = run.call(probe, weights, fixed)
    if not isinstance(result, Tensor):
        found = type(result).__name__
    elif not result.is_floating_point():
        found = str(result.dtype)
    elif result.is_meta:
        found = "a tensor on the meta device, which holds no numbers"
    else:
        return result.to(run.dtype)  # what a probe brings along may be in another precision
    raise RecipeError(f"probe {name!r} returned {found}, expected a tensor of real numbers", hint=_RESULT)


def coefficients(result: Jet | Tensor, degree: int, directions: int, *, of: str) -> tuple[Array, Array]:
    """What a bundle stores of a probe: base ``[*P]`` and coefficients ``[directions, degree, *P]``.

    of: what it is, for the NonFiniteError where a coefficient is not finite.
    """
    if not isinstance(result, Jet):  # the probe does not depend on any trained weight
        base: Array = result.detach().cpu().numpy()
        return base, np.zeros((directions, degree, *base.shape), dtype=np.result_type(base, np.complex64))
    tail = result.coefficients.detach()
    if not bool(tail.isfinite().all()):
        (broken, *_), *_ = (~tail.isfinite()).nonzero().tolist()
        message = f"{of}: a Taylor coefficient of degree {broken + 1} is not finite, though training's all are"
        hint = "lower the learning rate or the degree, or use float64"
        raise NonFiniteError(message, step=None, node=of, where="the trained model", hint=hint)
    return result.constant.detach().cpu().numpy(), tail.transpose(0, 1).contiguous().cpu().numpy()
