"""Probes: functions of the trained model, evaluated over jets of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unlearnkit.errors import RecipeError, RefusedError
from unlearnkit.sketch.recipe import Array, Probe, Recipe
from unlearnkit.sketch.run import Run, make_run
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.jet import Jet

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.verifier import Sketch


def probe_function(run: Run, name: str, probe: Probe) -> JetFunction:
    """``probe`` as a function of trained weights and everything else in the model, ready for jets."""

    def value(weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> Tensor:
        with run.evaluating():
            result = run.call(probe, weights, fixed)
        if not isinstance(result, Tensor) or not result.is_floating_point():
            kind = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
            raise RecipeError(f"probe {name!r} returned {kind}, expected a tensor of real numbers")
        return result.to(run.dtype)  # what a probe brings along may be in another precision

    return JetFunction(value, model=run.model, allow_piecewise=run.recipe.allow_piecewise)


def coefficients(result: Jet | Tensor, degree: int, directions: int) -> tuple[Array, Array]:
    """What a bundle stores of a probe: base ``[*P]`` and coefficients ``[directions, degree, *P]``."""
    if not isinstance(result, Jet):  # the probe does not depend on any trained weight
        base: Array = result.detach().cpu().numpy()
        return base, np.zeros((directions, degree, *base.shape), dtype=np.result_type(base, np.complex64))
    return result.constant.detach().cpu().numpy(), result.tail.detach().transpose(0, 1).contiguous().cpu().numpy()


def evaluate(recipe: Recipe, bundle: Bundle, probe: Probe) -> Sketch:
    """Sketch a probe from the weight sketches of a bundle, block by block of directions, random and informed ones."""
    if not bundle.keeps_weights:
        hint = "sketch with keep_weights=True or informed=, or pin the probe in the recipe"
        raise RefusedError("the bundle kept no weight sketches, so it cannot answer for a new probe", hint=hint)
    run = make_run(recipe, bundle.manifest.dtype, None)
    function = probe_function(run, "evaluate", probe)
    state = {name: torch.from_numpy(array).to(run.device) for name, array in bundle.model_state().items()}
    weights = {name: state[name] for name in run.trained_names}

    def along(tails: Mapping[str, Array], degree: int) -> tuple[Array, Array]:
        """Base and coefficients from the weights' ``[directions, degree, *S]``."""
        moved = {name: torch.from_numpy(tails[name]).to(run.device).transpose(0, 1) for name in run.trained_names}
        with torch.no_grad(), run.random_numbers(recipe.steps):
            value = function({name: Jet(weights[name], moved[name]) for name in run.trained_names}, run.fixed)
        return coefficients(value, degree, len(tails[run.trained_names[0]]))

    found = [along(tails, bundle.manifest.degree) for _, _, tails in bundle.weight_sketches()]
    slopes = None
    if bundle.informed is not None:
        tails = {name: array[:, None].astype(bundle.manifest.dtype) for name, array in bundle.informed.weights.items()}
        base, block = along(tails, 1)
        slopes = block[:, 0]
        found = found or [(base, np.zeros((0, bundle.manifest.degree, *base.shape), dtype=np.complex128))]
    return bundle.new_sketch("evaluate", found[0][0], np.concatenate([block for _, block in found]), slopes)
