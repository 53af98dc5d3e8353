"""Several optimizers, each of its own parameters, that step together: Muon for matrices and AdamW for the rest."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers.registry import rule_class

Optimizers: TypeAlias = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]
Settings: TypeAlias = Sequence[Mapping[str, Any]]


class Several(torch.optim.Optimizer):
    """As one optimizer, whose groups are those of all of them, in order: the same dictionaries."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})

    def __getstate__(self) -> dict[str, Any]:
        """For copies, which torch would make without what is not of every optimizer."""
        return {**super().__getstate__(), "optimizers": self.optimizers}

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Let each do its step."""
        for optimizer in self.optimizers:
            optimizer.step()


def as_one(optimizer: Optimizers) -> torch.optim.Optimizer:
    """Several as one. RecipeError for what has no rule, an empty list, and a parameter in two of them."""
    for one in each_of(optimizer):
        rule_class(one)
    if not isinstance(optimizer, (list, tuple)):
        return optimizer  # type: ignore[return-value]
    if not optimizer:
        hint = "optimizer=[torch.optim.Muon(matrices, ...), torch.optim.AdamW(others, ...)]"
        raise RecipeError("optimizer: got an empty list, expected optimizers", hint=hint)
    try:
        return Several(optimizer)
    except ValueError as error:
        raise RecipeError(f"optimizer: a parameter is in two of them: {error}", hint="give each to one") from error


def each_of(optimizer: Optimizers) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers that step."""
    if isinstance(optimizer, Several):
        return optimizer.optimizers
    if isinstance(optimizer, (list, tuple)):
        return tuple(optimizer)
    return (optimizer,)  # type: ignore[return-value]


def anew(
    optimizer: torch.optim.Optimizer, settings: Settings, parameters: Sequence[Sequence[Tensor]]
) -> torch.optim.Optimizer:
    """A fresh optimizer of the same kinds. settings, parameters: of each group."""
    if isinstance(optimizer, Several):
        made, first = [], 0
        for one in optimizer.optimizers:
            last = first + len(one.param_groups)
            made.append(anew(one, settings[first:last], parameters[first:last]))
            first = last
        return Several(made)
    kind = type(optimizer)
    groups = [{**anywhere(own), "params": list(members)} for own, members in zip(settings, parameters, strict=True)]
    # Some state begins with what the constructor was given (Adagrad's sums), whatever the groups say.
    accepted = inspect.signature(kind).parameters
    given = {name: copy.copy(value) for name, value in optimizer.defaults.items() if name in accepted}
    return kind(groups, **anywhere(given))


def anywhere(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what asks for a GPU: ``capturable`` says where steps are counted, and changes no numbers."""
    return {name: value for name, value in settings.items() if name != "capturable"}
