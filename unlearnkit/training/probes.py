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

_RESULT = "return logits, losses or margins as they are: no argmax(), item() or .numpy(), and torch.stack() for several"


def probe_function(run: Run, name: str, probe: Probe) -> JetFunction:
    """``probe`` as a function of trained weights and everything else in the model, ready for jets."""

    def value(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        return probe_value(run, name, probe, weights, fixed)

    return JetFunction(value, model=run.model, allow_piecewise=run.recipe.allow_piecewise)


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


def coefficients(result: Jet | Tensor, degree: int, directions: int) -> tuple[Array, Array]:
    """What a bundle stores of a probe: base ``[*P]`` and coefficients ``[directions, degree, *P]``."""
    if not isinstance(result, Jet):  # the probe does not depend on any trained weight
        base: Array = result.detach().cpu().numpy()
        return base, np.zeros((directions, degree, *base.shape), dtype=np.result_type(base, np.complex64))
    return result.constant.detach().cpu().numpy(), result.tail.detach().transpose(0, 1).contiguous().cpu().numpy()
