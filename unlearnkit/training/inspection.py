"""``check``: what stands in the way of sketching a recipe, before any training is done."""

from __future__ import annotations

import torch

from unlearnkit.taylor.check import Problem
from unlearnkit.training.coupling import coupling
from unlearnkit.training.modes import notes
from unlearnkit.training.probes import probe_function
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.rehearsal import rehearse_loss, rehearse_probes
from unlearnkit.training.run import DTYPES, make_run, own_precision
from unlearnkit.training.trainer import ACTIVE, Trainer


def check(recipe: Recipe) -> tuple[Problem, ...]:
    """Every operation of the training step and of the probes that cannot be sketched, or only with a reservation.

    Nothing is trained; the first batch is traced. Raises TraceError when torch cannot trace the loss or a probe.
    """
    own = own_precision(recipe)
    run = make_run(recipe, own if own in DTYPES else "float32", "cpu")
    rehearse_loss(run)
    weights = run.initial_weights()
    downweights = torch.zeros(recipe.batch_size, dtype=run.dtype)
    gradient = Trainer(run, degree=1).gradient
    found = [*gradient.inspect(weights, run.fixed, run.batch(0), downweights, active=ACTIVE)]
    rehearse_probes(run)
    for name, probe in recipe.probes.items():
        found += probe_function(run, name, probe).inspect(weights, run.fixed, active=[True, False])
    found += [*filter(None, [coupling(run)]), *notes(recipe)]
    return tuple(dict.fromkeys(found))
