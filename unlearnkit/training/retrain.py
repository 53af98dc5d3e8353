"""The real counterfactual run: a plain PyTorch loop, with nothing of the sketching machinery in it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.training.models import plain_torch
from unlearnkit.training.optimizers import anew, anywhere, as_one, each_of, go_on
from unlearnkit.training.randomness import restored
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.rows import WHOLE, Rows
from unlearnkit.training.run import Batch, Run, make_run, own_precision


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
    loop = PlainLoop(run, recipe.weights_of(delete, weight))
    with plain_torch():
        for step in range(recipe.steps):
            loop.backward(step)
            loop.update(step)
    return loop.finished()


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A plain run between two steps. kept: by the optimizer, of each parameter. average: its state, if there is one."""

    weights: Mapping[str, Tensor]
    kept: Mapping[str, Mapping[str, Any]]
    average: Mapping[str, Any] | None


class PlainLoop:
    """Training by ``zero_grad``, ``backward`` and ``step``, with the losses of some units reduced.

    source: where the model is copied from; None: the recipe's.
    """

    def __init__(self, run: Run, downweights: Array, source: nn.Module | None = None) -> None:
        self.run = replace(run, source=source)  # with a model of its own
        self.model = self.run.model
        # Position -1, "nobody", is the extra zero at the end.
        everybody = run.recipe.ownership.downweights(downweights)
        self._downweights = torch.zeros(len(everybody) + 1, dtype=run.dtype, device=run.device)
        self._downweights[:-1] = torch.from_numpy(everybody).to(self._downweights)
        self._is_whole = not everybody.any()
        parameters = dict(self.model.named_parameters())
        self.weights = {name: parameters[name] for name in self.run.trained_names}
        self._optimizer = _fresh_optimizer(self.run)
        self._resting = _resting(self.run)
        average = self.run.recipe.average
        self._average = average.of(self.model) if average else None

    def backward(self, step: int, batches: Iterable[Batch] | None = None) -> None:
        """Leave the gradient of a step in the parameters. batches: of the step, where they are at hand."""
        with restored(self.run.device):
            self.backward_seeded(step, self.run.batches(step) if batches is None else batches)

    def backward_seeded(self, step: int, batches: Iterable[Batch], *, draws: bool = True) -> None:
        """`backward`, leaving the random states as the step leaves them. draws: whether it needs any."""
        for parameter in self.weights.values():
            parameter.grad = None
        with torch.enable_grad(), plain_torch():
            for batch in batches:
                if draws:
                    self.run.seed(step, batch.number)
                self._loss(batch).backward()  # type: ignore[no-untyped-call]
        for name, parameter in self.weights.items():
            if parameter.grad is not None and parameter.grad.is_sparse and name not in self._resting:
                parameter.grad = parameter.grad.to_dense()

    def _loss(self, batch: Batch) -> Tensor:
        tensors = self.weights, self.run.fixed, batch.examples
        if self._is_whole:  # times one, otherwise
            return self.run.losses(*tensors, len(batch.units)).sum() / batch.denominator
        return self.run.loss(*tensors, self._downweights[batch.units], batch.denominator)

    def gradients(self, rows: Rows = WHOLE) -> dict[str, Tensor]:
        """The gradient by parameter, zero where the loss does not involve it and torch leaves none.

        rows: of tables, those that are wanted.
        """
        found = ((n, torch.zeros_like(p) if p.grad is None else p.grad) for n, p in self.weights.items())
        return {name: rows.picked(name, gradient) for name, gradient in found}

    def update(self, step: int) -> None:
        """Clip, and let the optimizer do its step."""
        recipe = self.run.recipe
        if recipe.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights.values(), recipe.clip_grad_norm)
        if recipe.clip_grad_value is not None:
            torch.nn.utils.clip_grad_value_(self.weights.values(), recipe.clip_grad_value)
        for group, settings in zip(self._optimizer.param_groups, recipe.settings[step], strict=True):
            group.update(anywhere(settings))
        # Adagrad makes sparse tensors, and torch warns where nobody has said whether to look at them.
        with torch.sparse.check_sparse_tensor_invariants(enable=False):  # type: ignore[no-untyped-call]
            self._optimizer.step()
        if self._average is not None and recipe.average is not None and recipe.average.falls_on(step):
            self._average.update_parameters(self.model)

    def state_of(self, name: str) -> dict[str, Any]:
        """What the optimizer keeps of a parameter."""
        found = (one.state.get(self.weights[name]) for one in each_of(self._optimizer))
        return next(filter(None, found), {})

    def averages(self) -> dict[str, Tensor]:
        """The averages of the weights so far; {} where none is taken."""
        return {} if self._average is None else dict(self._average.module.named_parameters())

    def mark(self) -> Mark:
        """Where the run is, for `back_to`."""
        kept = {name: copy.deepcopy(self.state_of(name)) for name in self.weights}
        average = None if self._average is None else copy.deepcopy(self._average.state_dict())
        return Mark({name: p.detach().clone() for name, p in self.weights.items()}, kept, average)

    @torch.no_grad()
    def back_to(self, mark: Mark) -> None:
        """Go on from where the run was."""
        for one in each_of(self._optimizer):
            one.state.clear()
        for name, parameter in self.weights.items():
            parameter.copy_(mark.weights[name])
            if mark.kept[name]:
                self._of(parameter).state[parameter] = copy.deepcopy(mark.kept[name])
        if self._average is not None and mark.average is not None:
            self._average.load_state_dict(mark.average)

    def _of(self, parameter: Tensor) -> torch.optim.Optimizer:
        """The optimizer that holds a parameter."""
        held = ((one, p) for one in each_of(self._optimizer) for group in one.param_groups for p in group["params"])
        return next(one for one, p in held if p is parameter)

    @torch.no_grad()
    def finished(self) -> nn.Module:
        """The model after the last step, with the average of its weights where the recipe asks for one."""
        if self._average is not None:
            for own, average in zip(self.model.parameters(), self._average.parameters(), strict=True):
                own.copy_(average)
        return self.model


def _resting(run: Run) -> frozenset[str]:
    """Parameters that the optimizer may be given sparse gradients of, as torch makes them; clipping takes none."""
    recipe = run.recipe
    clipped = recipe.clip_grad_norm is not None or recipe.clip_grad_value is not None
    if clipped or any(group.get("fused") for one in each_of(recipe.optimizer) for group in one.param_groups):
        return frozenset()
    return frozenset(name for group in recipe.groups if group.rests for name in group.parameters)


def _fresh_optimizer(run: Run) -> torch.optim.Optimizer:
    """The recipe's optimizer as it was at the start, on the parameters of this run's copy of the model."""
    parameters = dict(run.model.named_parameters())
    members = [[parameters[name] for name in group.parameters] for group in run.recipe.groups]
    source = as_one(run.recipe.optimizer)
    fresh = anew(source, run.recipe.settings[0], members)
    go_on(fresh, source)
    return fresh
