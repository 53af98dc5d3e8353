"""``check``: what stands in the way of sketching a recipe, before any training is done."""

from __future__ import annotations

import torch

from unlearnkit.taylor.check import Problem
from unlearnkit.training.coupling import coupling
from unlearnkit.training.probes import probe_function
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.run import DTYPES, make_run, own_precision
from unlearnkit.training.trainer import ACTIVE, Trainer


def check(recipe: Recipe) -> tuple[Problem, ...]:
    """Every operation of the training step and of the probes that cannot be sketched, or only with a reservation.

    Nothing is trained; the first batch is traced.

    Args:
        recipe: the training run.

    Returns:
        A record for each problem, with operation, place, kind and hint; none of them means that all can be sketched.

    Raises:
        TraceError: torch cannot trace the loss or a probe.

    Example:
        >>> uk.check(recipe)
        ()

    """
    own = own_precision(recipe)
    run = make_run(recipe, own if own in DTYPES else "float32", "cpu")
    weights = run.initial_weights()
    downweights = torch.zeros(recipe.batch_size, dtype=run.dtype)
    gradient = Trainer(run, degree=1).gradient
    found = [*gradient.inspect(weights, run.fixed, run.batch(0), downweights, active=ACTIVE)]
    for name, probe in recipe.probes.items():
        found += probe_function(run, name, probe).inspect(weights, run.fixed, active=[True, False])
    found += filter(None, [coupling(run)])
    return tuple(dict.fromkeys(found))
