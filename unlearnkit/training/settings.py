"""Which settings a recipe takes: each refused by name, with what it got, what it expects, and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from unlearnkit.errors import RecipeError
from unlearnkit.names import PROBE_NAME
from unlearnkit.training.models import verify_function
from unlearnkit.training.own_loss import OwnLoss

_COUNTS = {
    "epochs": "say how often the data are gone through, and how many examples make a step",
    "batch_size": "say how often the data are gone through, and how many examples make a step",
    "accumulate": "say how many batches make a step",
}
_CHOICES = {
    "lr_interval": ("step", "epoch"),
    "start_from": ("beginning", "optimizer"),
    "coupled": ("refuse", "accept"),
    "reduction": ("mean", "sum", "tokens"),
}


def verify_settings(settings: Mapping[str, Any]) -> None:
    """RecipeError for the first setting of a recipe, by name, that has another kind or value than it may have."""
    _verify_counts(settings)
    for name, values in _CHOICES.items():
        if settings[name] not in values:
            expected = " or ".join(f'"{value}"' for value in values)
            raise RecipeError(f"{name}={settings[name]!r}, expected {expected}")
    _verify_augmented(settings)
    _verify_schedule(settings["lr_schedule"])
    _verify_clipping({name: settings[name] for name in ("clip_grad_norm", "clip_grad_value")})
    if settings["collate_fn"] is not None:
        verify_function(settings["collate_fn"], "collate_fn")


def _verify_counts(settings: Mapping[str, Any]) -> None:
    given = [name for name in ("batches", "recorded") if settings[name] is not None]
    described = [name for name in ("epochs", "batch_size", "order") if settings[name] is not None]
    if (given and described) or len(given) > 1:
        message = f"{' and '.join([*given, *described])} are given, and each says which examples come when"
        raise RecipeError(message, hint=f"{given[0]}: those of the whole run; leave the others out")
    if settings["recorded"] is not None and (settings["lr_schedule"] is not None or settings["accumulate"] != 1):
        message = "recorded: the run has its rates and its steps, and lr_schedule or accumulate is given too"
        raise RecipeError(message, hint="leave them out")
    for name in ("accumulate",) if given else _COUNTS:
        value = settings[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RecipeError(f"{name}={value!r}, expected a whole number >= 1", hint=_COUNTS[name])


def _verify_augmented(settings: Mapping[str, Any]) -> None:
    if not settings["augmented"]:
        return
    if settings["epochs"] is None and settings["recorded"] is None:
        message = "augmented: dataset[epoch, i] is asked for, and the run has no epochs"
        raise RecipeError(message, hint="give epochs and batch_size, with an order, instead of batches; or a recording")
    if isinstance(settings["data"], tuple):
        hint = "pass a map-style dataset whose __getitem__ takes the pair (epoch, i)"
        raise RecipeError("augmented: tensors do not take dataset[epoch, i]", hint=hint)


def _verify_schedule(schedule: object) -> None:
    several = isinstance(schedule, (list, tuple)) and all(isinstance(one, LRScheduler) for one in schedule)
    if schedule is not None and not (callable(schedule) or several or isinstance(schedule, LRScheduler)):
        kind, hint = type(schedule).__name__, "lr_schedule=lambda step: 0.1 * 0.99**step"
        raise RecipeError(f"lr_schedule: got {kind}, expected a torch scheduler, or a function of the step", hint=hint)


def _verify_clipping(limits: Mapping[str, Any]) -> None:
    asked = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in asked.items():
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < float("inf"):
            raise RecipeError(f"{name}={limit!r}, expected a number > 0", hint="None: gradients are not clipped")
    if len(asked) > 1:
        raise RecipeError("gradients are clipped by norm and by value", hint="choose one of them")


def verify_probes(probes: object) -> None:
    """RecipeError unless ``probes`` maps names to functions, of which at most one is an ``OwnLoss()``."""
    if not isinstance(probes, Mapping):
        message = f"probes: got {type(probes).__name__}, expected a mapping from names to functions"
        raise RecipeError(message, hint='probes={"test_loss": function}')
    for name, probe in probes.items():
        if not isinstance(name, str) or not PROBE_NAME.fits(name):
            raise RecipeError(f"probes: {name!r} cannot be a file name", hint=f"use {PROBE_NAME.what}")
        verify_function(probe, f"probe {name!r}")
    if sum(isinstance(probe, OwnLoss) for probe in probes.values()) > 1:
        raise RecipeError("probes: got several OwnLoss(), expected at most one")
