"""Probes that nobody pinned: evaluated over the weights' power series that a bundle kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from unlearnkit.bundle import Bundle
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.estimation import Sketch
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.probes import coefficients, probe_function
from unlearnkit.training.recipe import Array, Probe, Recipe
from unlearnkit.training.run import make_run


def evaluate(bundle: Bundle, recipe: Recipe, probe: Probe) -> Sketch:
    """Sketch ``probe(model) -> tensor``, which nobody pinned, from a bundle's weight sketches.

    Args:
        bundle: one that kept weights along random (`Forward`) or informed directions.
        recipe: the very recipe that was sketched.
        probe: evaluated in eval mode over the weights' power series, block by block of directions.

    Returns:
        A sketch, as ``bundle.probe(name)`` gives it for pinned probes.

    Raises:
        VerificationError: the recipe is not the one that was sketched.
        RefusedError: the bundle kept no weight sketches.

    Example:
        >>> sketch = uk.evaluate(bundle, recipe, lambda model: model(torch.ones(1, 3, dtype=torch.float64))[0])
        >>> sketch.predict(["ann"]).value.shape
        (2,)

    """
    if recipe.digest != bundle.manifest.recipe_digest:
        raise VerificationError(
            f"the recipe is not the one of the bundle: its digest is {recipe.digest}, "
            f"the bundle's is {bundle.manifest.recipe_digest}",
            hint="use the very recipe that was sketched: model, data, order, optimizer and probes all count",
        )
    if not bundle.keeps_weights:
        hint = "sketch with keep_weights=True or informed=, or pin the probe in the recipe"
        raise RefusedError("the bundle kept no weight sketches, so it cannot answer for a new probe", hint=hint)
    run = make_run(recipe, bundle.manifest.dtype, None)
    function = probe_function(run, "evaluate", probe)
    state = {name: torch.from_numpy(array).to(run.device) for name, array in bundle.model_state().items()}
    weights = {name: state[name].to(run.dtype) for name in run.trained_names}

    def along(tails: Mapping[str, Array], degree: int) -> tuple[Array, Array]:
        """Base and coefficients from the weights' ``[directions, degree, *S]``."""
        moved = {name: torch.from_numpy(tails[name]).to(run.device).transpose(0, 1) for name in run.trained_names}
        with torch.no_grad(), run.random_numbers(recipe.steps):
            value = function({name: Jet.of(weights[name], moved[name]) for name in run.trained_names}, run.fixed)
        return coefficients(value, degree, len(tails[run.trained_names[0]]), of="the probe")

    found = [along(tails, bundle.manifest.degree) for _, _, tails in bundle.weight_sketches()]
    slopes, forms = None, []
    if bundle.informed is not None:
        tails = {name: array[:, None].astype(bundle.manifest.dtype) for name, array in bundle.informed.weights.items()}
        base, block = along(tails, 1)
        slopes = block[:, 0]
        found = found or [(base, np.zeros((0, bundle.manifest.degree, *base.shape), dtype=np.complex128))]
        for degree in bundle.manifest.informed.degrees:
            parts = bundle.informed.series_at_points(degree, bundle.manifest.dtype)
            forms.append(np.concatenate([along(part, degree)[1][:, -1].real for part in parts]))
    tails_along = np.concatenate([block for _, block in found])
    return bundle.new_sketch("evaluate", found[0][0], tails_along, slopes, forms=forms)
