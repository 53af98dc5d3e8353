"""The recipe: everything that determines a training run, and so everything that a counterfactual holds fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import RecipeError, UnknownNameError
from unlearnkit.names import PROBE_NAME, normal_name
from unlearnkit.training.data import MapDataset, as_dataset, data_digest, index_units, make_order
from unlearnkit.training.fingerprint import function_digest, model_digest, weights_digest
from unlearnkit.training.hooks import refuse_hooks
from unlearnkit.training.models import verify_function, verify_model
from unlearnkit.training.optimizers import Group, Rule, group_names, kind_of
from unlearnkit.training.own_loss import OwnLoss
from unlearnkit.training.schedule import Interval, Schedule, play

Loss = Callable[[nn.Module, Any], Tensor]
Probe = Callable[[nn.Module], Tensor]
Array = np.ndarray[Any, Any]

COUNTERFACTUAL = (
    "The same training run, with the loss of every example of the deleted units multiplied by 1 - w (w = 1: weight "
    "zero), and everything else held fixed: initial weights, batches and their order, the batch denominator, random "
    "numbers, learning-rate schedule. It is not a run with another order or another seed."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """An ordinary PyTorch training run, described so that it can be sketched and repeated.

    Training minimises, batch by batch, ``sum_i (1 - w_unit(i)) * loss_i / batch_size`` (docs/theory.md section 1).

    Attributes:
        name: for people.
        model: with its initial weights; the recipe keeps a copy, so it may be trained meanwhile.
        loss: ``loss(model, batch) -> [B]``, one loss per example.
        optimizer: a fresh ``torch.optim.SGD``, ``Adam`` or ``AdamW``, or ``unlearnkit.Adam``: read for its settings.
        data: a map-style dataset, or a tuple of tensors ``[examples, ...]``.
        units: who owns each example (None: nobody).
        epochs: how often the data is gone through.
        batch_size: examples a step; batches are whole.
        order_seed: shuffles each epoch.
        order: explicit ``[epochs, examples per epoch]`` indices, instead of the seed.
        drop_last: leave an incomplete last batch of each epoch out.
        lr_schedule: ``step -> lr`` of the first parameter group, while the others keep their ratios to it; or a torch
            scheduler on the optimizer.
        lr_interval: a scheduler advances each "step" or "epoch".
        probes: what is to be predicted: ``fn(model) -> tensor`` of any shape, evaluated in eval mode after the last
            step; and ``OwnLoss()``, the mean loss of each unit on its own examples.
        allow_piecewise: accept relu, abs, clamp, max and the like, differentiated on the branch that training takes.
        coupled: "accept" trains although examples of a batch act on each other's losses (batch statistics, in-batch
            negatives), so that a deletion leaves what they did to others; the manifest says so. "refuse" raises.
        seed: of the random numbers inside a training step (dropout); step s of any run draws the same ones.

    Raises:
        RecipeError: a setting cannot be honoured exactly.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> recipe = uk.Recipe(
        ...     name="a line",
        ...     model=model,
        ...     loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(1),
        ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        ...     data=(torch.randn(8, 2), torch.randn(8, 1)),
        ...     units=["ann", "ann", "bob", "bob", "cleo", "cleo", None, None],
        ...     epochs=5,
        ...     batch_size=4,
        ...     probes={"weights": lambda model: model.weight},
        ... )
        >>> recipe.unit_names, recipe.steps
        (('ann', 'bob', 'cleo'), 10)

    """

    name: str
    model: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    data: MapDataset | tuple[Tensor, ...]
    units: Sequence[str | int | None]
    epochs: int
    batch_size: int
    order_seed: int = 0
    order: object = None
    drop_last: bool = False
    lr_schedule: Schedule = None
    lr_interval: Interval = "step"
    probes: Mapping[str, Probe] = field(default_factory=dict)
    allow_piecewise: bool = False
    coupled: Literal["refuse", "accept"] = "refuse"
    seed: int = 0

    def __post_init__(self) -> None:
        for setting in ("epochs", "batch_size"):
            value = getattr(self, setting)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                hint = "say how often the data are gone through, and how many examples make a step"
                raise RecipeError(f"{setting}={value!r}, expected a whole number >= 1", hint=hint)
        if self.lr_interval not in ("step", "epoch"):
            raise RecipeError(f'lr_interval={self.lr_interval!r}, expected "step" or "epoch"')
        if self.lr_schedule is not None and not (
            callable(self.lr_schedule) or isinstance(self.lr_schedule, LRScheduler)
        ):
            kind, hint = type(self.lr_schedule).__name__, "lr_schedule=lambda step: 0.1 * 0.99**step"
            raise RecipeError(
                f"lr_schedule: got {kind}, expected a torch scheduler, or a function of the step", hint=hint
            )
        if self.coupled not in ("refuse", "accept"):
            raise RecipeError(f'coupled={self.coupled!r}, expected "refuse" or "accept"')
        verify_model(self.model)
        verify_function(self.loss, "loss")
        self._verify_probes()
        if sum(isinstance(probe, OwnLoss) for probe in self.probes.values()) > 1:
            raise RecipeError("probes: got several OwnLoss(), expected at most one")
        refuse_hooks(self.model, self.optimizer)  # copies of parameters have none any more
        # Read everything once, so that a recipe that exists is a recipe that can be run.
        _ = self.unit_names, self.indices, self.groups
        object.__setattr__(self, "model", copy.deepcopy(self.model))
        bound = {name: probe.of(self) if isinstance(probe, OwnLoss) else probe for name, probe in self.probes.items()}
        object.__setattr__(self, "probes", bound)

    @cached_property
    def runs(self) -> dict[object, Any]:
        """The runs of this recipe that were made, by precision and device (`unlearnkit.training.run.make_run`)."""
        return {}

    def _verify_probes(self) -> None:
        if not isinstance(self.probes, Mapping):
            message = f"probes: got {type(self.probes).__name__}, expected a mapping from names to functions"
            raise RecipeError(message, hint='probes={"test_loss": function}')
        for name, probe in self.probes.items():
            if not isinstance(name, str) or not PROBE_NAME.fits(name):
                raise RecipeError(f"probes: {name!r} cannot be a file name", hint=f"use {PROBE_NAME.what}")
            verify_function(probe, f"probe {name!r}")

    @cached_property
    def dataset(self) -> MapDataset:
        """The examples."""
        return as_dataset(self.data)

    @cached_property
    def indices(self) -> Array:
        """Which examples each step sees: ``[steps, batch_size]``."""
        table = make_order(
            self.order,
            self.order_seed,
            examples=len(self.dataset),
            epochs=self.epochs,
            batch_size=self.batch_size,
            drop_last=self.drop_last,
        )
        return table.reshape(-1, self.batch_size)

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.indices)

    @cached_property
    def _units(self) -> tuple[tuple[str, ...], Array]:
        return index_units(self.units, len(self.dataset))

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The deletable units, in the order of their first example."""
        return self._units[0]

    @property
    def unit_of_example(self) -> Array:
        """For each example, the position of its unit in ``unit_names``; -1 for nobody's."""
        return self._units[1]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The optimizer's parameter groups with the numbers of every step."""
        kind = kind_of(self.optimizer)
        groups = []
        for number, parameters in enumerate(group_names(self.optimizer, self.model)):
            rules = {Rule.of(kind, settings[number]) for settings in self.settings}
            if len(rules) > 1:
                message = f"lr_schedule switches momentum or weight_decay of group {number} on or off during the run"
                raise RecipeError(message, hint="let them be zero at every step, or at none")
            rule = rules.pop()
            schedule = tuple(rule.scalars(settings[number], step) for step, settings in enumerate(self.settings))
            groups.append(Group(parameters, rule, schedule))
        if not any(group.parameters for group in groups):
            message = "optimizer holds no parameter that requires a gradient, so nothing would be trained"
            raise RecipeError(message, hint="thaw some: parameter.requires_grad_(True)")
        return tuple(groups)

    @cached_property
    def settings(self) -> list[list[dict[str, Any]]]:
        """The optimizer's settings at each step, as torch keeps them: ``[steps][groups]``."""
        per_epoch = self.steps // self.epochs
        interval = self.lr_interval
        return play(self.optimizer, self.lr_schedule, epochs=self.epochs, steps_per_epoch=per_epoch, interval=interval)

    @property
    def own_loss(self) -> str:
        """The name of the probe that is an ``OwnLoss()``; "" for none."""
        return next((name for name, probe in self.probes.items() if isinstance(probe, OwnLoss)), "")

    def weights_of(self, delete: Sequence[str | int], weight: float = 1.0) -> Array:
        """Downweights ``[units]`` for deleting these units.

        Args:
            delete: names of units.
            weight: 1 deletes them, less does so partly.

        Returns:
            float64 ``[units]``: ``weight`` where a unit is deleted, 0 elsewhere.

        Raises:
            UnknownNameError: names all units that are not there.

        """
        if isinstance(delete, (str, bytes)):
            raise TypeError(f"delete={delete!r}: expected a list of units, got one text")
        position = {name: i for i, name in enumerate(self.unit_names)}
        unknown = [unit for unit in delete if normal_name(unit) not in position]
        if unknown:
            raise UnknownNameError(f"the recipe has no unit {', '.join(map(repr, unknown))}")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight={weight}, expected a number from 0 (keep) to 1 (delete)")
        result = np.zeros(len(position))
        result[[position[normal_name(unit)] for unit in delete]] = weight
        return result

    def describe(self) -> dict[str, Any]:
        """What the digest covers, as a JSON object: settings in clear, data and code as digests, no unit names."""
        return {
            "name": self.name,
            "model": {
                "class": type(self.model).__qualname__,
                "structure": model_digest(self.model),
                "weights": weights_digest(self.model),
                "training_mode": self.model.training,
            },
            "loss": function_digest(self.loss),
            "optimizer": [self._describe_group(group) for group in self.groups],
            "data": {"examples": len(self.dataset), "sha256": data_digest(self.dataset)},
            "units": {"count": len(self.unit_names), "sha256": _array_digest(self.unit_of_example)},
            "order": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "steps": self.steps,
                "sha256": _array_digest(self.indices),
            },
            "probes": {name: function_digest(probe) for name, probe in self.probes.items()},
            "allow_piecewise": self.allow_piecewise,
            "coupled": self.coupled,
            "seed": self.seed,
        }

    def _describe_group(self, group: Group) -> dict[str, Any]:
        rule = group.rule
        return {
            "kind": rule.kind,
            "nesterov": rule.nesterov,
            "decoupled_weight_decay": rule.decoupled,
            "eps_inside_sqrt": rule.eps_inside_sqrt,
            "parameters": list(group.parameters),
            "schedule": _array_digest(np.asarray(group.schedule, dtype=np.float64)),
            "first_step": list(group.schedule[0]),
        }

    @cached_property
    def description(self) -> dict[str, Any]:
        """``describe()``, worked out once: it reads all the data."""
        return self.describe()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical description: what binds a bundle to this recipe."""
        return sha256_hex(canonicalize(self.description))


def _array_digest(array: Array) -> str:
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return sha256_hex(f"{little_endian.dtype.str}{little_endian.shape}".encode() + little_endian.tobytes())
