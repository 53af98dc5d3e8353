"""Probes: functions of the trained model, evaluated over jets of its weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.recipe import Array, Probe
from unlearnkit.training.run import Run


def probe_function(run: Run, name: str, probe: Probe) -> JetFunction:
    """``probe`` as a function of trained weights and everything else in the model, ready for jets."""

    def value(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        with run.evaluating():
            result = run.call(probe, weights, fixed)
        if not isinstance(result, Tensor) or not result.is_floating_point():
            kind = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
            raise RecipeError(f"probe {name!r} returned {kind}, expected a tensor of real numbers")
        return result.to(run.dtype)  # what a probe brings along may be in another precision

    def plain(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        return run.plain_probe(probe, weights, fixed)

    if run.recipe.probes.get(name) is probe:
        return run.over_jets(("probe", name), value, plain)
    return JetFunction(value, model=run.model, allow_piecewise=run.recipe.allow_piecewise, plain=plain)


def coefficients(result: Jet | Tensor, degree: int, directions: int) -> tuple[Array, Array]:
    """What a bundle stores of a probe: base ``[*P]`` and coefficients ``[directions, degree, *P]``."""
    if not isinstance(result, Jet):  # the probe does not depend on any trained weight
        base: Array = result.detach().cpu().numpy()
        return base, np.zeros((directions, degree, *base.shape), dtype=np.result_type(base, np.complex64))
    return result.constant.detach().cpu().numpy(), result.tail.detach().transpose(0, 1).contiguous().cpu().numpy()
