"""The recipe: everything that determines a training run, and so everything that a counterfactual holds fixed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import RecipeError
from unlearnkit.training.adapters import lightning, transformers
from unlearnkit.training.averages import Average
from unlearnkit.training.batches import Steps, planned, verified_parts
from unlearnkit.training.data import Augmented, Collate, MapDataset, as_dataset
from unlearnkit.training.description import (
    describe_data,
    describe_group,
    describe_model,
    describe_owners,
    describe_unusual,
    order_digest,
)
from unlearnkit.training.fingerprint import function_digest
from unlearnkit.training.hooks import refuse_hooks
from unlearnkit.training.models import uncompiled, verify_function, verify_model
from unlearnkit.training.optimizers import (
    Group,
    Optimizers,
    as_one,
    each_of,
    read_groups,
    refuse_stepped,
    verify_whole_norm,
)
from unlearnkit.training.own_loss import OwnLoss
from unlearnkit.training.owners import Owners, Ownership
from unlearnkit.training.recorder import Recorder
from unlearnkit.training.recording import Recording
from unlearnkit.training.schedule import Interval, Schedule, play, verified_settings
from unlearnkit.training.settings import verify_probes, verify_settings

Loss = Callable[[nn.Module, Any], Any]
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

    Training minimises, batch by batch, ``sum_i (1 - w_unit(i)) * loss_i / batch_size`` (docs/theory.md section 1). An
    example of several owners has the weight ``prod_k (1 - w_k)``, so that deleting any of them deletes it; with shares
    ``1 - sum_k share_k w_k``.

    Attributes:
        name: for people.
        model: with its initial weights; the recipe keeps a copy, so it may be trained meanwhile.
        loss: ``loss(model, batch) -> [B]``, one loss per example; with ``reduction="tokens"`` also how many tokens each
            sums over: ``-> [B], [B]``.
        optimizer: a fresh ``torch.optim.SGD``, ``AdamW`` or other, or ``unlearnkit.Adam``: read for its settings.
            Several, each with parameters of its own, step together.
        data: a map-style dataset, or a tuple of tensors ``[examples, ...]``.
        units: who owns each example: text, numbers, UUIDs, a tensor or an array of numbers (None: nobody). Several
            owners are a tuple, ``("ann", "bob")``, or have shares of at most 1 in all, ``{"ann": 0.5, "bob": 0.5}``.
        augmented: the data takes ``dataset[epoch, i]``, always the same example for both, as a generator seeded by them
            gives it. Of a recorded run the recorder's loader counts epochs. Own losses are those of epoch 0.
        epochs: how often the data is gone through.
        batch_size: examples a batch; the last one of an epoch may be smaller.
        collate_fn: makes a batch of a list of examples, as a ``DataLoader``'s does: pads, encodes text.
        batches: explicit lists of the positions of examples, those of the whole run, instead of epochs, batch size and
            order.
        recorded: what a `Recorder` kept of somebody's own loop: batches, rates and other settings, random numbers.
            Instead of epochs, batch size, order and schedule.
        reduction: "mean" divides a batch's losses by its examples, "sum" by nothing, "tokens" by the tokens of all
            batches of the step.
        accumulate: batches whose gradients make one step; their means are averaged. An epoch's last step takes what is
            left.
        clip_grad_norm: as ``torch.nn.utils.clip_grad_norm_`` before each step, differentiated on the branch that
            training takes.
        clip_grad_value: as ``clip_grad_value_``, likewise.
        order_seed: shuffles each epoch.
        order: explicit ``[epochs, examples per epoch]`` indices, instead of the seed.
        drop_last: leave a smaller last batch of each epoch out.
        lr_schedule: ``step -> lr`` of the first parameter group, while the others keep their ratios to it; or a torch
            scheduler on the optimizer, or a list of them on several.
        lr_interval: a scheduler advances each "step" or "epoch".
        start_from: "optimizer" goes on with the moments and the count of steps that the optimizer has: continued
            training. What the model learnt before stays in it, whoever is deleted.
        average: what is probed is an average of the weights over the steps (EMA, SWA).
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
    optimizer: Optimizers
    data: MapDataset | tuple[Tensor, ...]
    units: Owners
    augmented: bool = False
    epochs: int | None = None
    batch_size: int | None = None
    collate_fn: Collate | None = None
    batches: Sequence[Sequence[int]] | None = None
    recorded: Recorder | Recording | None = None
    reduction: Literal["mean", "sum", "tokens"] = "mean"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    order_seed: int = 0
    order: object = None
    drop_last: bool = False
    lr_schedule: Schedule = None
    lr_interval: Interval = "step"
    average: Average | None = None
    start_from: Literal["beginning", "optimizer"] = "beginning"
    probes: Mapping[str, Probe] = field(default_factory=dict)
    allow_piecewise: bool = False
    coupled: Literal["refuse", "accept"] = "refuse"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", uncompiled(self.model))
        object.__setattr__(self, "loss", uncompiled(self.loss))
        object.__setattr__(self, "optimizer", as_one(self.optimizer))
        verify_settings(vars(self))
        verify_model(self.model)
        verify_function(self.loss, "loss")
        verify_probes(self.probes)
        refuse_hooks(self.model, each_of(self.optimizer))  # copies of parameters have none any more
        # Read everything once, so that a recipe that exists is a recipe that can be run.
        object.__setattr__(self, "recorded", self.recording)
        _ = self.unit_names, self.steps, self.groups
        # Together, so that the copies belong together too: a changed recipe is made of them.
        copies = copy.deepcopy((self.model, self.optimizer, self.lr_schedule))
        for name, own in zip(("model", "optimizer", "lr_schedule"), copies, strict=True):
            object.__setattr__(self, name, own)
        probes = {name: uncompiled(probe) for name, probe in self.probes.items()}
        bound = {name: probe.of(self) if isinstance(probe, OwnLoss) else probe for name, probe in probes.items()}
        object.__setattr__(self, "probes", bound)

    @classmethod
    def from_trainer(
        cls,
        trainer: Any,  # noqa: ANN401  transformers is no dependency
        *,
        units: Owners,
        loss: Loss | None = None,
        **settings: Any,  # noqa: ANN401  any other setting
    ) -> Recipe:
        """The run of a ``transformers.Trainer`` that has trained with ``callbacks=[recorder.callback()]``.

        Args:
            trainer: after ``trainer.train()``. Its data and collator, optimizer, rates and clipping are read.
            units: who owns each example of its data.
            loss: one loss per example; None: the cross entropy of the model's logits and labels, when that is what
                the Trainer trained on.
            settings: any other settings of a recipe: ``name``, ``probes``.

        Returns:
            The recipe.

        Raises:
            RecipeError: with everything of the Trainer's run that cannot be repeated.

        Example:
            >>> uk.Recipe.from_trainer(trainer, units=owners)  # doctest: +SKIP

        """
        return cls(**({"name": "trainer", "units": units} | transformers.settings_of(trainer, loss) | settings))

    @classmethod
    def from_lightning(
        cls,
        trainer: Any,  # noqa: ANN401  lightning is no dependency
        *,
        loss: Loss,
        units: Owners,
        **settings: Any,  # noqa: ANN401  any other setting
    ) -> Recipe:
        """The run of a ``lightning.Trainer`` that has trained with ``callbacks=[recorder.lightning_callback()]``.

        Args:
            trainer: after ``trainer.fit(module)``. The module as it was at the start, its data and collator, optimizer,
                rates, clipping and accumulation are read.
            loss: ``loss(module, batch) -> [B]``: one loss for each example, whose mean ``training_step`` returned,
                which is compared on the first batch.
            units: who owns each example of its data.
            settings: any other settings of a recipe: ``name``, ``probes``.

        Returns:
            The recipe.

        Raises:
            RecipeError: with everything of the Trainer's run that cannot be repeated.

        Example:
            >>> uk.Recipe.from_lightning(trainer, loss=losses, units=owners)  # doctest: +SKIP

        """
        return cls(**({"name": "trainer", "units": units} | lightning.settings_of(trainer, loss) | settings))

    @cached_property
    def runs(self) -> dict[object, Any]:
        """The runs of this recipe that were made, by precision and device (`unlearnkit.training.run.make_run`)."""
        return {}

    def replace(self, **changes: Any) -> Recipe:  # noqa: ANN401  any setting
        """The same recipe with some settings changed.

        Args:
            changes: settings by name. Another model comes with its own optimizer.

        Returns:
            A new recipe.

        Raises:
            RecipeError: a setting cannot be honoured exactly.

        Example:
            >>> longer = recipe.replace(epochs=2 * recipe.epochs)
            >>> longer.steps == 2 * recipe.steps
            True

        """
        return replace(self, **changes)

    @cached_property
    def dataset(self) -> MapDataset:
        """The examples."""
        if self.augmented:
            return Augmented(self.data)
        return as_dataset(self.data)

    def dataset_at(self, step: int) -> MapDataset:
        """The examples as a step sees them: in an augmented run, those of its epoch."""
        if not isinstance(self.dataset, Augmented):
            return self.dataset
        if self.recording is not None:
            return Augmented(self.data, self.recording.epoch_of(step))
        return Augmented(self.data, step // (self.steps // (self.epochs or 1)))

    @property
    def _passes(self) -> int:
        """How often the data is gone through, begun passes too; 1 where that is not known."""
        if self.recording is None or not self.augmented:
            return self.epochs or 1
        return 1 + max(self.recording.epoch_of(step) for step in range(self.steps))

    @cached_property
    def recording(self) -> Recording | None:
        """What was recorded of the run, up to the moment at which the recipe was made."""
        return self.recorded.recording if isinstance(self.recorded, Recorder) else self.recorded

    @cached_property
    def parts(self) -> Steps:
        """Which examples each step sees, batch by batch: ``[steps][batches][examples]``."""
        if self.recording is not None:
            self.recording.refuse_skipped_steps()
            return verified_parts(self.recording.parts, len(self.dataset))
        return planned(vars(self), len(self.dataset))

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.parts)

    @property
    def largest_batch(self) -> int:
        """Most examples in a batch."""
        return max(len(batch) for step in self.parts for batch in step)

    @cached_property
    def ownership(self) -> Ownership:
        """Whose each example is."""
        return Ownership.read(self.units, len(self.dataset))

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The deletable units, in the order of their first example."""
        return self.ownership.names

    @property
    def unit_of_example(self) -> Array:
        """For each example, the position of its unit in ``unit_names``; -1 for nobody's.

        For those of several owners ``len(unit_names)`` and more, one number for each such group of owners.
        """
        return self.ownership.of_example

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The optimizer's parameter groups with the numbers of every step."""
        if self.start_from == "beginning":
            refuse_stepped(as_one(self.optimizer))
        groups = read_groups(as_one(self.optimizer), self.model, self.settings, self.average)
        if self.clip_grad_norm is not None:
            verify_whole_norm(groups, self.model)
        return groups

    @cached_property
    def settings(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """The optimizer's settings at each step, as torch keeps them: ``[steps][groups]``."""
        if self.recording is not None:
            return verified_settings([step.settings for step in self.recording.steps], as_one(self.optimizer))
        epochs, interval = self.epochs or 1, self.lr_interval
        if self.epochs is None and interval == "epoch":
            raise RecipeError('lr_interval="epoch" with batches, which have no epochs', hint='use lr_interval="step"')
        per_epoch = self.steps // epochs
        one = as_one(self.optimizer)
        return play(one, self.lr_schedule, epochs=epochs, steps_per_epoch=per_epoch, interval=interval)

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
        return self.ownership.weights_of(delete, weight)

    def describe(self) -> dict[str, Any]:
        """What the digest covers, as a JSON object: settings in clear, data and code as digests, no unit names."""
        return {
            "name": self.name,
            "model": describe_model(self.model),
            "loss": function_digest(self.loss),
            "optimizer": [describe_group(group) for group in self.groups],
            "data": describe_data(self.dataset, self._passes),
            "units": describe_owners(self.ownership),
            "order": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "steps": self.steps,
                "sha256": order_digest(self.parts),
            },
            "probes": {name: function_digest(probe) for name, probe in self.probes.items()},
            "allow_piecewise": self.allow_piecewise,
            "coupled": self.coupled,
            "seed": self.seed,
            **describe_unusual(vars(self)),
        }

    @cached_property
    def description(self) -> dict[str, Any]:
        """``describe()``, worked out once: it reads all the data."""
        return self.describe()

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical description: what binds a bundle to this recipe."""
        return sha256_hex(canonicalize(self.description))
