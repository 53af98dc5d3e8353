"""What a corrected model gives, beside the model that was trained without somebody (docs/theory.md section 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.bfloat16 import wide
from unlearnkit.errors import RefusedError
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.run import Run, make_run, own_precision

SHARE, REFUSED = "/share", "/refused"
"""Names of what `corrected_probes` says beside the probes, which have no slash in theirs."""


def corrected_probes(
    recipe: Recipe, bundle: Bundle, deletion: Sequence[int], retrained: Mapping[str, torch.Tensor], device: str
) -> dict[str, Array]:
    """Every pinned probe of the corrected model without the units at these positions.

    retrained: the weights of the model that was trained without them. Beside the probes stand the share of the distance
    to it that is left, and whether no correction is made; then everything is the kept model's.
    """
    kept = bundle.model_state()
    try:
        corrected, refused = bundle.correction([bundle.units[i] for i in deletion]).state, False
        state = {name: wide(array) for name, array in corrected.items()}
    except RefusedError:
        state, refused = kept, True
    weights = {name: torch.from_numpy(np.asarray(state[name], dtype=np.float64)) for name in retrained}
    left, whole = (_distance(found, retrained) for found in (state, kept))
    found = probes_at(recipe, weights, device)
    return found | {SHARE: np.array(left / whole if whole else 0.0), REFUSED: np.array(float(refused))}


def audited_run(recipe: Recipe, device: str | torch.device | None) -> Run:
    """In float64; of a recipe that lowers its precision as it is, for its rounding is part of what it does."""
    own = make_run(recipe, own_precision(recipe), device)
    return own if is_lowered(own) else make_run(recipe, "float64", device)


def probes_at(recipe: Recipe, weights: Mapping[str, torch.Tensor], device: str) -> dict[str, Array]:
    """Every pinned probe at some trained weights, in the precision of audits."""
    run = audited_run(recipe, device)
    placed = {name: weight.to(run.device, run.dtype) for name, weight in weights.items()}
    found = {}
    for name, probe in recipe.probes.items():
        with torch.no_grad(), run.evaluating(), run.random_numbers(recipe.steps):
            found[name] = run.call(probe, placed, run.fixed).to(torch.float64).cpu().numpy()
    return found


def _distance(state: Mapping[str, Array], weights: Mapping[str, torch.Tensor]) -> float:
    """Root of the sum of all squared differences."""
    squares = (((state[name] - weight.cpu().numpy()) ** 2).sum() for name, weight in weights.items())
    return float(np.sqrt(sum(squares)))
