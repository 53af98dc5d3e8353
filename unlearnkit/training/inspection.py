"""``check``: what stands in the way of sketching a recipe, before the whole training is done."""

from __future__ import annotations

import torch

from unlearnkit.taylor.check import Kind, Problem
from unlearnkit.training.beside import train_beside_plain, verify_probe
from unlearnkit.training.coupling import coupling
from unlearnkit.training.modes import notes
from unlearnkit.training.probes import probe_function
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.rehearsal import rehearse_loss, rehearse_probes
from unlearnkit.training.run import DTYPES, Run, make_run, own_precision
from unlearnkit.training.state import constant_of
from unlearnkit.training.trainer import ACTIVE, Trainer

# Training steps that are done, in each precision.
_STEPS = 3
# Problems of a trace with which a recipe can be trained over jets as it is.
_TRAINABLE = {Kind.DECISION}


def check(recipe: Recipe) -> tuple[Problem, ...]:
    """Every operation of the training step and of the probes that cannot be sketched, or only with a reservation.

    When everything has a Taylor rule, the first steps are trained on a copy, over jets and by plain torch, in float32
    and in float64, and compared, and so are the probes after them.

    Args:
        recipe: the training run.

    Returns:
        The problems, in order, each with its place and cure; none means that `sketch` begins.

    Raises:
        TraceError: torch cannot trace the loss or a probe.
        RecipeError: what would be sketched is another run than the plain one; the first step and parameter say where.
        NonFiniteError: a step of the plain run is not finite.

    Example:
        >>> uk.check(recipe)
        ()

    """
    run = make_run(recipe, own_precision(recipe), "cpu")
    found = _problems(run)
    kinds = {problem.kind for problem in found}
    if Kind.UNSUPPORTED not in kinds:
        trainer = Trainer(run, degree=1)
        _ = trainer.idle
        found += trainer.held.problems()
    found += (*filter(None, [coupling(run)]), *notes(recipe))
    if Kind.UNSUPPORTED not in kinds:
        as_it_is = kinds <= _TRAINABLE or recipe.allow_piecewise
        trial = recipe if as_it_is else recipe.replace(allow_piecewise=True)  # so that everything is told at once
        for dtype in DTYPES:
            _train(make_run(trial, dtype, "cpu"))
    return found


def _problems(run: Run) -> tuple[Problem, ...]:
    """What a trace of the first step and of the probes shows."""
    rehearse_loss(run)
    weights, trainer = run.initial_weights(), Trainer(run, degree=1)
    with run.random_numbers(0):
        batch, at_first = trainer.first(weights)
        arguments = trainer.arguments(at_first, batch, None)
        found = [*trainer.gradient.inspect(*arguments, active=ACTIVE)]
    rehearse_probes(run)
    with run.random_numbers(run.recipe.steps):
        for name, probe in run.recipe.probes.items():
            found += probe_function(run, name, probe).inspect(weights, run.fixed, active=[True, False])
    return tuple(dict.fromkeys(found))


def _train(run: Run) -> None:
    """Some steps and the probes along one direction, beside plain torch."""
    units, steps = len(run.recipe.unit_names), min(_STEPS, run.recipe.steps)
    direction = torch.full((1, units), units**-0.5, dtype=run.dtype)
    weights = train_beside_plain(Trainer(run, degree=1), direction, steps=steps)
    for name, probe in run.recipe.probes.items():
        function = probe_function(run, name, probe)
        with torch.no_grad(), run.random_numbers(run.recipe.steps):
            base = constant_of(function(weights, run.fixed))
        verify_probe(run, name, weights, base.cpu().numpy())
