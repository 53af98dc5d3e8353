"""Learning-rate schedules, played through once beforehand to know every step's settings."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from unlearnkit.errors import RecipeError
from unlearnkit.training.optimizers import each_of

Schedule: TypeAlias = LRScheduler | Sequence[LRScheduler] | Callable[[int], float] | None
Interval: TypeAlias = Literal["step", "epoch"]


def play(
    optimizer: torch.optim.Optimizer, schedule: Schedule, *, epochs: int, steps_per_epoch: int, interval: Interval
) -> list[list[dict[str, Any]]]:
    """The settings of each parameter group at each step: ``[steps][groups]``, parameters left out.

    schedule: a torch scheduler, advanced after each step or epoch as ``interval`` says; or ``step -> lr`` of the first
        group, while the others keep their ratios to it; or None. Of several optimizers, a list of schedulers.
    The optimizer and the scheduler themselves are left as they are.
    """
    schedulers = _schedulers(schedule)
    if any(isinstance(one, ReduceLROnPlateau) for one in schedulers):
        raise RecipeError(
            "lr_schedule=ReduceLROnPlateau depends on a measured loss", hint="use a schedule fixed beforehand"
        )
    steps = epochs * steps_per_epoch
    if schedule is None:
        return [_settings(optimizer)] * steps
    if not callable(schedule):
        return _play_schedulers(optimizer, schedulers, steps, steps_per_epoch if interval == "epoch" else 1)
    groups, ratios = _settings(optimizer), _ratios(optimizer)
    rates = [_rate(schedule, step) for step in range(steps)]
    return [[{**group, "lr": rate * r} for group, r in zip(groups, ratios, strict=True)] for rate in rates]


def verified_settings(
    recorded: Sequence[Sequence[Mapping[str, Any]]], optimizer: torch.optim.Optimizer
) -> Sequence[Sequence[Mapping[str, Any]]]:
    """What was recorded, of an optimizer with as many groups."""
    groups = len(optimizer.param_groups)
    for step, settings in enumerate(recorded):
        if len(settings) != groups:
            message = (
                f"recorded: the optimizer had {len(settings)} parameter groups at step {step}, this one has {groups}"
            )
            raise RecipeError(message, hint="build it as the recorded one was built, from the recipe's model")
    return recorded


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]


def _ratios(optimizer: torch.optim.Optimizer) -> list[float]:
    """Each group's learning rate in units of the first one's."""
    first, *others = (float(group["lr"]) for group in optimizer.param_groups)
    if first == 0 and any(others):
        message = "lr_schedule sets the rate of the first parameter group, which is 0, so that the others have no ratio"
        raise RecipeError(message, hint="begin with a group that has a rate, or use torch's LambdaLR")
    return [1.0, *(rate / first if first else 1.0 for rate in others)]


def _rate(schedule: Callable[[int], float], step: int) -> float:
    rate = float(schedule(step))
    if not rate >= 0 or rate == float("inf"):
        raise RecipeError(f"lr_schedule({step}) is {rate}, expected a finite number >= 0")
    return rate


def _schedulers(schedule: Schedule) -> list[LRScheduler]:
    if isinstance(schedule, LRScheduler):
        return [schedule]
    return list(schedule) if isinstance(schedule, Sequence) else []


def _play_schedulers(
    optimizer: torch.optim.Optimizer, schedulers: Sequence[LRScheduler], steps: int, advance_every: int
) -> list[list[dict[str, Any]]]:
    if not {id(one.optimizer) for one in schedulers} <= {id(one) for one in (optimizer, *each_of(optimizer))}:
        raise RecipeError("lr_schedule was built for another optimizer", hint="build it from the recipe's optimizer")
    own, own_schedulers = copy.deepcopy((optimizer, schedulers))  # together, so that they belong together
    played = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for optimizer.step() between its steps, and here there is no training
        for step in range(steps):
            played.append(_settings(own))
            if (step + 1) % advance_every == 0:
                for one in own_schedulers:
                    one.step()
    return played
