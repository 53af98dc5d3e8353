"""Parts of a model that train in eval mode: it may be meant, as for frozen batch norm, and it may be left over."""

from __future__ import annotations

import torch

from unlearnkit.taylor.check import Kind, Problem
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.run import Run, make_run, own_precision

_HINT = (
    "if it is to train as in training mode, with dropout, call model.train() before the recipe is made: "
    "from_pretrained() leaves models in eval mode"
)


def notes(recipe: Recipe) -> tuple[Problem, ...]:
    """What a recipe trains otherwise than one may think; nothing of it stands in the way.

    A model in eval mode is noted when its losses would be others in training mode, and any dropout that is off.
    """
    run = make_run(recipe, own_precision(recipe), "cpu")
    if run.model.training:
        return _silent_dropout(run)
    if _training_mode_matters(run):
        message = "the model trains in eval mode, and its losses would be others in training mode"
        return (Problem("model.eval()", "", message, Kind.NOTE, _HINT),)
    return ()


def _silent_dropout(run: Run) -> tuple[Problem, ...]:
    """Dropout that is off inside a model in training mode. Other modules in eval mode are frozen on purpose."""
    silent = [
        name
        for name, module in run.model.named_modules()
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.p and not module.training  # noqa: SLF001
    ]
    message = f"dropout is off in training, in eval mode: {', '.join(map(repr, silent))}"
    return (Problem("module.eval()", silent[0], message, Kind.NOTE, _HINT),) if silent else ()


def _training_mode_matters(run: Run) -> bool:
    """Whether the losses of the first batch differ between the two modes."""
    losses, batch = [], run.first_batch()
    for training in (False, True):
        trial = run.fresh()
        trial.model.train(training)
        with torch.enable_grad(), trial.random_numbers(0):
            weights = {name: weight.requires_grad_() for name, weight in trial.initial_weights().items()}
            losses.append(trial.losses(weights, trial.fixed, batch.examples, len(batch.units)).detach())
    return not torch.equal(*losses)
