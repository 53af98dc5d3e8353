"""``lightning.Trainer``: a callback that records its run, and what a recipe reads from it afterwards."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from unlearnkit.errors import RecipeError
from unlearnkit.training.adapters.beginning import Beginning, Listener
from unlearnkit.training.batches import Array
from unlearnkit.training.models import uncompiled
from unlearnkit.training.recording import Recording
from unlearnkit.training.sampling import tell

# The two names under which Lightning installs itself. Its trainers take callbacks of their own package only.
_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_AGREE = 1e-4
# What a module may do between its losses and the update, where a recipe would do nothing.
_HOOKS = (
    "backward",
    "configure_gradient_clipping",
    "on_after_backward",
    "on_after_batch_transfer",
    "on_before_batch_transfer",
    "on_before_optimizer_step",
    "on_before_zero_grad",
)


def callback(listener: Listener) -> Riding:
    """A callback for the Lightning that is imported. RecipeError when none is."""
    bases = tuple(sys.modules[name].Callback for name in _PACKAGES if name in sys.modules)
    if not bases:
        raise RecipeError("recorder: no Lightning is imported", hint="import lightning, and make its Trainer")
    return type("RecorderCallback", (Riding, *bases), {})(listener)  # type: ignore[no-any-return]


class Riding:
    """Tells ``listener`` of every batch and step.

    beginning: what training started from. first_loss: of its first batch. problems: what the loader has of its own.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.beginning: Beginning | None = None
        self.first_loss: float | None = None
        self.problems: list[str] = []
        self._drawn: deque[Array] = deque()
        self._loader: DataLoader[Any] | None = None
        self._hooked: Any = None

    def on_fit_start(self, trainer: Any, module: nn.Module) -> None:  # noqa: ANN401, ARG002  as Lightning calls it
        """Have the loader tell which examples it draws: later Lightning has begun to draw."""
        source = trainer.fit_loop._data_source  # noqa: SLF001  asked for the loader once, or at every reload
        make = source.dataloader
        source.dataloader = lambda: self._telling(make())

    def _telling(self, loader: Any) -> Any:  # noqa: ANN401  whatever a module's train_dataloader gives
        if not isinstance(loader, DataLoader):
            self.problems = [f"a train_dataloader of class {type(loader).__name__}"]
            return loader
        self._loader = copy.copy(loader)
        tell(self._loader, self._drawn)
        return self._loader

    def on_train_start(self, trainer: Any, module: nn.Module) -> None:  # noqa: ANN401
        """Listen to the optimizer: no callback comes between its step and the scheduler's."""

        def stepped(optimizer: torch.optim.Optimizer, *_: object) -> None:
            self.listener.step(module, optimizer)

        if trainer.global_step:
            self.problems.append("ckpt_path")
        self._hooked = trainer.optimizers[0].register_step_post_hook(stepped)

    def on_train_batch_start(self, trainer: Any, module: nn.Module, *_: object) -> None:  # noqa: ANN401, ARG002
        """A batch, before its forward pass; before the first, copy the model."""
        if self._loader is None or not self._drawn:
            return
        if self.beginning is None:
            loader: Any = self._loader
            self.beginning = Beginning(copy.deepcopy(uncompiled(module)), loader.dataset, loader.collate_fn)
        self.listener.batch(self._drawn.popleft())

    def on_train_batch_end(self, trainer: Any, module: nn.Module, outputs: Any, *_: object) -> None:  # noqa: ANN401, ARG002
        """The loss of the first batch."""
        if self.first_loss is None and isinstance(outputs, dict) and "loss" in outputs:
            self.first_loss = float(outputs["loss"]) * trainer.accumulate_grad_batches

    def on_train_end(self, *_: object) -> None:
        """Leave the optimizer as it was."""
        self._hooked.remove()


def settings_of(trainer: Any, loss: Callable[..., Any]) -> dict[str, Any]:  # noqa: ANN401  a lightning.Trainer
    """The settings of a recipe, from a Trainer that has trained with a recorder's callback.

    RecipeError, with everything that stands in the way, for what a recipe cannot repeat.
    """
    riding = _riding(trainer)
    if problems := _problems(trainer, riding):
        message = f"from_lightning: {'; '.join(problems)}: a recipe has no such thing"
        raise RecipeError(message, hint="train without, or describe the run by Recipe(recorded=...)")
    beginning = riding.beginning
    if beginning is None or not riding.listener.recording.steps:
        raise RecipeError("from_lightning: no step was recorded", hint="trainer.fit(module) first")
    recording = replace(riding.listener.recording, accumulate=trainer.accumulate_grad_batches)
    _verify_loss(loss, beginning, recording, riding.first_loss)
    by = "value" if str(getattr(trainer.gradient_clip_algorithm, "value", "norm")) == "value" else "norm"
    module = uncompiled(trainer.lightning_module)
    return {
        "model": beginning.model,
        "optimizer": beginning.optimizer(trainer.optimizers[0], module, recording.steps[0].settings),
        "data": beginning.dataset,
        "collate_fn": beginning.collate_fn,
        "loss": loss,
        "recorded": recording,
        f"clip_grad_{by}": trainer.gradient_clip_val or None,
    }


def _riding(trainer: Any) -> Riding:  # noqa: ANN401  a lightning.Trainer
    found = [c for c in trainer.callbacks if isinstance(c, Riding)]
    if not found:
        hint = "Trainer(..., callbacks=[recorder.lightning_callback()]), and trainer.fit(module)"
        raise RecipeError("from_lightning: the Trainer has not trained with a recorder", hint=hint)
    return found[0]


def _problems(trainer: Any, riding: Riding) -> list[str]:  # noqa: ANN401  a lightning.Trainer
    """What a recipe cannot repeat, by the names that Lightning gives it."""
    module = trainer.lightning_module
    others = [type(c).__name__ for c in trainer.callbacks]
    found = {
        f"precision={trainer.precision!r}": str(trainer.precision) not in ("32-true", "64-true"),
        f"{trainer.world_size} devices": trainer.world_size > 1,
        "automatic_optimization=False": not module.automatic_optimization,
        "reload_dataloaders_every_n_epochs": trainer.reload_dataloaders_every_n_epochs > 0,
        "accumulation that changes on the way": "GradientAccumulationScheduler" in others
        and trainer.accumulation_scheduler.going_to_accumulate_grad_batches(),
        **{f"the callback {name}": True for name in others if name.endswith("WeightAveraging")},
        **{f"a {type(module).__name__}.{name} of its own": _is_overridden(module, name) for name in _HOOKS},
    }
    return [*riding.problems, *(name for name, there in found.items() if there)]


def _is_overridden(module: nn.Module, name: str) -> bool:
    """Whether a module has a hook that is not Lightning's own."""
    owner = next((kind for kind in type(module).__mro__ if name in vars(kind)), None)
    return owner is not None and not owner.__module__.startswith(("lightning.", "pytorch_lightning."))


def _verify_loss(loss: Callable[..., Any], beginning: Beginning, recording: Recording, expected: float | None) -> None:
    """RecipeError unless the mean loss of the first batch is what ``training_step`` gave, dropout and all."""
    first = recording.steps[0].batches[0]
    batch = beginning.collate_fn([beginning.dataset[int(i)] for i in first.indices])
    device = next(beginning.model.parameters()).device
    with torch.no_grad(), first.random.again(device):
        result = loss(copy.deepcopy(beginning.model), batch)
    found = float(result[0].sum() / result[1].sum()) if isinstance(result, tuple) else float(result.mean())
    if expected is not None and abs(found - expected) > _AGREE * abs(expected):
        message = f"from_lightning: loss= is {found:.6g} on the first batch, and training_step gave {expected:.6g}"
        raise RecipeError(
            message, hint="loss(module, batch) gives one loss for each example, whose mean was trained on"
        )
