"""Optimizers that have stepped before: the moments and the count of steps with which a run begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers.rule import Rule
from unlearnkit.training.optimizers.several import each_of


def refuse_stepped(optimizer: torch.optim.Optimizer) -> None:
    """RecipeError for an optimizer that is not at the start of a run."""
    if any(steps_done(one, [p]) for one in each_of(optimizer) for p in one.state):
        hint = 'make a new one for the recipe; or, to go on with its state, start_from="optimizer"'
        raise RecipeError("optimizer has been stepped already, so its state is not the start of a run", hint=hint)


def steps_done(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> int:
    """How many steps moved these parameters of one group. RecipeError where some were moved more often."""
    counts = {_count(optimizer.state[p]) for p in parameters if optimizer.state.get(p)}
    if len(counts) > 1:
        message = f"optimizer: parameters of one group have done {min(counts)} to {max(counts)} steps"
        raise RecipeError(message, hint="put those that joined later into a group of their own")
    return counts.pop() if counts else 0


def _count(state: Mapping[str, Any]) -> int:
    # Momentum alone counts nothing: what matters is that there is some.
    return int(state["step"]) if "step" in state else int(any(value is not None for value in state.values()))


def moments(optimizer: torch.optim.Optimizer, rule: Rule, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The state of one group with which a run begins, flat ``[P]`` each; () for a fresh one."""
    if not rule.states or not steps_done(optimizer, parameters):
        return ()
    if not rule.keys:
        message = f"optimizer={type(optimizer).__name__} has been stepped, and its rule does not say how to go on"
        raise RecipeError(message, hint="give its rule the names of the state: Rule.keys")
    kept = [
        rule.kept(state, p)
        if (state := optimizer.state.get(p))
        else tuple(torch.full_like(p, value) for value in rule.initial)
        for p in parameters
    ]
    return tuple(torch.cat([tensor.detach().reshape(-1) for tensor in column]) for column in zip(*kept, strict=True))


def go_on(fresh: torch.optim.Optimizer, optimizer: torch.optim.Optimizer) -> None:
    """Give a fresh optimizer the state of another, for the parameters that are trained."""
    for new, old in zip(each_of(fresh), each_of(optimizer), strict=True):
        for new_group, old_group in zip(new.param_groups, old.param_groups, strict=True):
            trained = [p for p in old_group["params"] if p.requires_grad]
            for p, before in zip(new_group["params"], trained, strict=True):
                if old.state.get(before):
                    new.state[p] = {key: _copied(value, p) for key, value in old.state[before].items()}


def _copied(value: object, p: Tensor) -> object:
    if not isinstance(value, Tensor):
        return value
    return value.clone() if value.dim() == 0 else value.to(p, copy=True)
