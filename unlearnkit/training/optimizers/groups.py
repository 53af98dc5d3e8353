"""Reading an optimizer, or several, for parameter groups, their rules, and the numbers of every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.names import counted
from unlearnkit.training.averages import Average
from unlearnkit.training.optimizers.continued import moments, steps_done
from unlearnkit.training.optimizers.registry import rule_class
from unlearnkit.training.optimizers.rule import Rule
from unlearnkit.training.optimizers.several import each_of


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share a rule, and the numbers of each step.

    averaged: an average of the weights is kept, as the last tensor of the state; the last two numbers are its shares.
    start: the state, flat, that steps before the run have left; () for none.
    """

    parameters: tuple[str, ...]
    rule: Rule
    schedule: tuple[tuple[float, ...], ...]  # [steps][scalars]
    averaged: bool = False
    start: tuple[Tensor, ...] = ()

    @property
    def key(self) -> object:
        """What its update depends on beside the numbers."""
        return self.rule, self.averaged

    @property
    def rests(self) -> bool:
        """As `Rule.rests`; an average moves wherever weights have moved before."""
        return self.rule.rests and not self.averaged

    @property
    def states(self) -> int:
        """How many tensors of the weights' shape are kept beside them."""
        return self.rule.states + self.averaged

    def update(
        self, p: Tensor, g: Tensor, state: Sequence[Tensor], scalars: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The rule's update, and the average after it."""
        if not self.averaged:
            new, kept = self.rule.update(p, g, state, scalars)
            return new, list(kept)
        new, kept = self.rule.update(p, g, state[:-1], scalars[:-2])
        return new, [*kept, scalars[-2] * state[-1] + scalars[-1] * new]


def read_groups(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    settings: Sequence[Sequence[Mapping[str, Any]]],
    average: Average | None = None,
) -> tuple[Group, ...]:
    """The groups of an optimizer. settings: of each at every step, ``[steps][groups]``."""
    shares = average.shares(len(settings)) if average else [()] * len(settings)
    members = [one for one in each_of(optimizer) for _ in one.param_groups]
    groups = []
    for number, parameters in enumerate(group_names(optimizer, model)):
        rules = {rule_class(members[number]).of(of_step[number]) for of_step in settings}
        if len(rules) > 1:
            message = f"lr_schedule switches momentum or weight_decay of group {number} on or off during the run"
            raise RecipeError(message, hint="let them be zero at every step, or at none")
        rule = rules.pop()
        own = [p for p in optimizer.param_groups[number]["params"] if p.requires_grad]
        done, start = steps_done(members[number], own), moments(members[number], rule, own)
        numbers = (rule.scalars(of_step[number], done + step) for step, of_step in enumerate(settings))
        schedule = tuple((*of_rule, *of_average) for of_rule, of_average in zip(numbers, shares, strict=True))
        groups.append(Group(parameters, rule, schedule, average is not None, start))
    if not any(group.parameters for group in groups):
        message = "optimizer holds no parameter that requires a gradient, so nothing would be trained"
        raise RecipeError(message, hint="thaw some: parameter.requires_grad_(True)")
    return tuple(groups)


def group_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[tuple[str, ...]]:
    """For each parameter group, the names of its parameters in ``model``."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        foreign = sum(id(p) not in names for p in group["params"])
        if foreign:
            message = f"optimizer group {number} holds {counted(foreign, 'parameter')} not in the model"
            raise RecipeError(message, hint="build the optimizer from the parameters of the recipe's own model")
        groups.append(tuple(names[id(p)] for p in group["params"] if p.requires_grad))
    return groups


def verify_whole_norm(groups: Sequence[Group], model: nn.Module) -> None:
    """RecipeError unless what is clipped by norm is what is trained."""
    trained = {name for group in groups for name in group.parameters}
    others = [name for name, p in model.named_parameters() if p.requires_grad and name not in trained]
    if others:
        message = f"clip_grad_norm: parameters that no optimizer holds have gradients: {', '.join(others)}"
        raise RecipeError(message, hint="freeze them, so that the norm is that of what is trained")
