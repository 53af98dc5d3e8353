"""Loss and probes in plain torch before they are traced, for what a trace cannot tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearnkit.errors import NonFiniteError, RecipeError
from unlearnkit.taylor.draws import same_random_numbers
from unlearnkit.training.kept import changes, kept
from unlearnkit.training.models import uncompiled_inside
from unlearnkit.training.probes import probe_value
from unlearnkit.training.run import Run

_BLIND = "use the model that the loss is given, not one from outside, and neither detach() nor torch.no_grad()"


def rehearse_loss(run: Run) -> None:
    """Compute the losses of the first batch once, on the initial weights.

    Raises RecipeError for what the user's own code raises, and for results that are no losses; NonFiniteError for a
    loss that is not finite before anything is trained.
    """
    _refuse_random_batches(run)
    trial = run.fresh()
    weights = {name: weight.requires_grad_() for name, weight in trial.initial_weights().items()}
    batch = trial.first_batch()
    with torch.enable_grad(), trial.random_numbers(0):
        losses = trial.losses(weights, trial.fixed, batch.examples, len(batch.units))
    if not losses.isfinite().all():
        example = run.recipe.parts[0][0][int(losses.isfinite().logical_not().nonzero()[0])]
        raise NonFiniteError(
            f"training step 0: the loss of example {example} is not finite in plain training too",
            step=0,
            node="loss",
            where="loss",
            hint="look for NaN in the data and the initial weights, and for logarithms and divisions of zero",
        )


def _refuse_random_batches(run: Run) -> None:
    """What a collate_fn draws is drawn before a batch is handed out, so that nothing could draw it again."""
    if run.recipe.collate_fn is None:
        return
    with same_random_numbers():
        first, again = (pytree.tree_leaves(run.first_batch().examples) for _ in range(2))
    same = len(first) == len(again) and all(map(_is_same, first, again))
    if not same:
        hint = "draw masks and augmentations beforehand, one for each example, and store them in the data"
        raise RecipeError("collate_fn makes another batch of the same examples when it is called again", hint=hint)


def _is_same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers, where they hold any."""
    return torch.equal(a.nan_to_num(), b.nan_to_num())


def rehearse_probes(run: Run) -> None:
    """Evaluate every probe once, on the initial weights. Raises RecipeError as `rehearse_loss` does."""
    trial = run.fresh()
    weights = trial.initial_weights()
    for name, probe in run.recipe.probes.items():
        with torch.no_grad(), trial.random_numbers(run.recipe.steps):
            value = probe_value(trial, name, probe, weights, trial.fixed)
        if value.is_inference():
            hint = "leave it out, or use torch.no_grad()"
            raise RecipeError(f"probe {name!r} runs in torch.inference_mode, where nothing can be traced", hint=hint)


def idle_parameters(run: Run) -> frozenset[str]:
    """Trained parameters that the loss of the first batch does not involve: torch's optimizers leave them as they are.

    Raises RecipeError when more than weights changes in training, or when a weight decay, which torch would not apply,
    is set for an idle parameter.
    """
    trial = run.fresh()
    trial.model.zero_grad()
    buffers = {name: buffer.clone() for name, buffer in trial.model.named_buffers()}
    before, losses = kept(trial), _losses(trial)
    if not losses.requires_grad:
        raise RecipeError("loss(model, batch) does not depend on any parameter that requires a gradient", hint=_BLIND)
    with torch.enable_grad(), uncompiled_inside():  # checkpointed parts run again
        losses.sum().backward()  # type: ignore[no-untyped-call]
    _refuse_changes(buffers, dict(trial.model.named_buffers()))
    _refuse_memory(losses.detach(), _losses(trial).detach(), before, trial)
    parameters = dict(trial.model.named_parameters())
    idle = frozenset(name for name in run.trained_names if parameters[name].grad is None)
    if len(idle) == len(run.trained_names):
        raise RecipeError("loss(model, batch) does not depend on any parameter that the optimizer holds", hint=_BLIND)
    _refuse_decay(run, idle)
    return idle


def _losses(trial: Run) -> Tensor:
    loss, batch = trial.recipe.loss, trial.first_batch().examples
    here = trial.casting_inputs(), trial.captured.following(loss), uncompiled_inside()
    with torch.enable_grad(), trial.random_numbers(0), here[0], here[1], here[2]:
        try:
            found: Any = loss(trial.model, batch)
        except RuntimeError as error:
            message = f"loss(model, batch) fails in {trial.precision}: {error}"
            hint = "let it run in float32 and in float64: make new tensors like those at hand, as x.new_zeros() does"
            raise RecipeError(message, hint=hint) from error
    return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def _refuse_memory(first: Tensor, second: Tensor, before: Mapping[str, str], trial: Run) -> None:
    """With the same weights, batch and random numbers, the same losses, but for the order of sums on some devices."""
    allowed = math.sqrt(torch.finfo(first.dtype).eps) * float(first.abs().max())
    if first.shape == second.shape and torch.allclose(first, second, rtol=0, atol=allowed, equal_nan=True):
        return
    message = "loss(model, batch) gives something else when it is called again with the same weights and random numbers"
    if found := changes(before, trial):
        message += f": it changes {', '.join(found)}"
    hint = "only weights may change in training, and only torch, random and numpy.random may draw random numbers"
    raise RecipeError(message, hint=hint)


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
