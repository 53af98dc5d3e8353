"""The real counterfactual run: a plain PyTorch loop, with nothing of the sketching machinery in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnkit.training.recipe import Recipe
from unlearnkit.training.run import Run, make_run, own_precision


def retrain(
    recipe: Recipe,
    delete: Sequence[str | int] = (),
    *,
    weight: float = 1.0,
    dtype: str | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Train for real with the losses of ``delete`` multiplied by ``1 - weight``, everything else as in the recipe.

    Args:
        recipe: the training run.
        delete: units; none of them gives the recipe's own run.
        weight: 1 deletes them, less does so partly.
        dtype: "float32" or "float64"; None: the model's own.
        device: None takes a GPU when there is one.

    Returns:
        A trained copy of the recipe's model.

    Raises:
        UnknownNameError: the recipe does not have such a unit.

    Example:
        >>> with_her, without_her = uk.retrain(recipe), uk.retrain(recipe, delete=["ann"])
        >>> change = recipe.probes["test_loss"](without_her) - recipe.probes["test_loss"](with_her)
        >>> predicted = bundle.probe("test_loss").predict(["ann"]).change
        >>> bool(abs(predicted - change.item()) < 0.2 * abs(change.item()))
        True

    """
    run = make_run(recipe, dtype or own_precision(recipe), device)
    # Position -1, "nobody", is the extra zero at the end.
    downweights = torch.zeros(len(recipe.unit_names) + 1, dtype=run.dtype, device=run.device)
    downweights[:-1] = torch.from_numpy(recipe.weights_of(delete, weight))
    parameters = dict(run.model.named_parameters())
    optimizer = _fresh_optimizer(run)
    trained = {name: parameters[name] for name in run.trained_names}
    for step in range(recipe.steps):
        for torch_group, settings in zip(optimizer.param_groups, recipe.settings[step], strict=True):
            torch_group.update(settings)
        optimizer.zero_grad()
        with torch.enable_grad(), run.random_numbers(step), sdpa_kernel(SDPBackend.MATH):
            run.loss(trained, run.fixed, run.batch(step), downweights[run.units(step)]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return run.model


def _fresh_optimizer(run: Run) -> torch.optim.Optimizer:
    """The recipe's optimizer, on the parameters of this run's copy of the model."""
    parameters = dict(run.model.named_parameters())
    groups = [
        {**settings, "params": [parameters[name] for name in group.parameters]}
        for group, settings in zip(run.recipe.groups, run.recipe.settings[0], strict=True)
    ]
    return type(run.recipe.optimizer)(groups)  # type: ignore[call-arg]
