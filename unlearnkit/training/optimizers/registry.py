"""Which rule belongs to which optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers.rule import Rule

R = TypeVar("R", bound=type[Rule])

_RULES: dict[type[torch.optim.Optimizer], type[Rule]] = {}


def register(*optimizers: type[torch.optim.Optimizer]) -> Callable[[R], R]:
    """Make the decorated rule that of these classes of optimizers, and of no subclasses of them.

    Args:
        *optimizers: classes.

    Returns:
        The decorator.

    """

    def add(rule: R) -> R:
        for optimizer in optimizers:
            if optimizer in _RULES:
                raise ValueError(f"{optimizer.__name__} has a rule already: {_RULES[optimizer].__name__}")
            _RULES[optimizer] = rule
        return rule

    return add


def rule_class(optimizer: torch.optim.Optimizer) -> type[Rule]:
    """The class of its rules. RecipeError for optimizers that are not supported."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        hint = "make one from the model's parameters: torch.optim.SGD(model.parameters(), lr=0.1)"
        raise RecipeError(f"optimizer: got {got}, expected an optimizer", hint=hint)
    if type(optimizer) not in _RULES:
        known = ", ".join(_name(kind) for kind in _RULES)
        hint = f"use one of {known}, or register a rule: docs/tutorials/extend-the-engine.md"
        raise RecipeError(f"optimizer={_name(type(optimizer))} is not supported", hint=hint)
    return _RULES[type(optimizer)]


def _name(kind: type) -> str:
    """Torch's own by their names; those of libraries, which may be called the same, by whose they are too."""
    package = kind.__module__.partition(".")[0]
    return f"{package}.{kind.__name__}" if package in ("transformers", "unlearnkit") else kind.__name__
