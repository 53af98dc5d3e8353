"""One plain step before the first traced one, for what a trace cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.errors import RecipeError
from unlearnkit.training.run import Run


def idle_parameters(run: Run) -> frozenset[str]:
    """Trained parameters that the loss of the first batch does not involve: torch's optimizers leave them as they are.

    Raises RecipeError when more than weights changes in training, or when a weight decay, which torch would not apply,
    is set for an idle parameter.
    """
    trial = replace(run)  # with a model of its own
    trial.model.zero_grad()
    before = {name: buffer.clone() for name, buffer in trial.model.named_buffers()}
    loss = run.recipe.loss
    with torch.enable_grad(), trial.random_numbers(0), trial.casting_inputs(), trial.captured.following(loss):
        losses = loss(trial.model, trial.batch(0))
        if not losses.requires_grad:
            raise RecipeError("loss(model, batch) does not depend on any parameter that requires a gradient")
        losses.sum().backward()  # type: ignore[no-untyped-call]
    _refuse_changes(before, dict(trial.model.named_buffers()))
    parameters = dict(trial.model.named_parameters())
    idle = frozenset(name for name in run.trained_names if parameters[name].grad is None)
    _refuse_decay(run, idle)
    return idle


def _refuse_changes(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    changed = [name for name in after if name not in before or not torch.equal(before[name], after[name])]
    if changed:
        message = f"the model changes its buffers while it trains: {', '.join(map(repr, changed))}"
        raise RecipeError(message, hint="only weights may change: freeze that module with .eval(), or replace it")


def _refuse_decay(run: Run, idle: frozenset[str]) -> None:
    decaying = [n for group in run.recipe.groups if group.rule.weight_decay for n in group.parameters if n in idle]
    if decaying:
        message = f"weight_decay is set for parameters that the loss does not involve: {', '.join(map(repr, decaying))}"
        hint = "torch leaves such parameters as they are; freeze them: parameter.requires_grad_(False)"
        raise RecipeError(message, hint=hint)
