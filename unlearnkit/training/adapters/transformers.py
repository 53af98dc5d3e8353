"""``transformers.Trainer``: a callback that records its run, and what a recipe reads from it afterwards."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unlearnkit.errors import RecipeError
from unlearnkit.training.adapters.beginning import Beginning, Listener
from unlearnkit.training.batches import Array
from unlearnkit.training.recording import Recording
from unlearnkit.training.sampling import tell

IGNORED = -100
"""The label that transformers' losses leave out."""
_AGREE = 1e-5


class RecorderCallback:
    """A ``TrainerCallback`` that tells ``listener`` of every batch and step.

    beginning: what training started from. done_before: steps of a run that it goes on with.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.beginning: Beginning | None = None
        self.done_before = 0
        self._drawn: deque[Array] = deque()

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every other event, of which transformers gets more from version to version: nothing to do."""
        if not name.startswith("on_"):
            raise AttributeError(name)
        return _nothing

    def on_train_begin(
        self,
        _arguments: object,
        state: Any,  # noqa: ANN401  a TrainerState
        *_: object,
        train_dataloader: Any,  # noqa: ANN401  a DataLoader, or what wraps it
        model: nn.Module,
        **_more: object,
    ) -> None:
        """Copy the model, and have the loader tell which examples it draws."""
        self.done_before = state.global_step + len(self.listener.recording.steps)
        loader = getattr(train_dataloader, "base_dataloader", train_dataloader)
        tell(loader, self._drawn)
        self.beginning = Beginning(copy.deepcopy(model).train(), loader.dataset, loader.collate_fn)

    def on_step_begin(self, *_: object, **_more: object) -> None:
        """The first batch of a step."""
        self.listener.batch(self._drawn.popleft())

    def on_substep_end(self, *_: object, **_more: object) -> None:
        """The next batch of the same step."""
        self.listener.batch(self._drawn.popleft())

    def on_optimizer_step(
        self, *_: object, model: nn.Module, optimizer: torch.optim.Optimizer, **_more: object
    ) -> None:
        """After the update, before the scheduler's."""
        self.listener.step(model, optimizer)


def _nothing(*_: object, **_more: object) -> None:
    """Hear, and do nothing."""


def settings_of(trainer: Any, loss: Callable[..., Any] | None) -> dict[str, Any]:  # noqa: ANN401  a transformers.Trainer
    """The settings of a recipe, from a Trainer that has trained with a recorder's callback.

    loss: None takes the model's own, by its logits and labels.
    RecipeError, with everything that stands in the way, for what a recipe cannot repeat.
    """
    recording, beginning, done_before = _recorded(trainer)
    if problems := _problems(trainer, loss, done_before):
        raise RecipeError(f"from_trainer: {'; '.join(problems)}", hint="train without, or describe the run by Recipe()")
    settings = {
        "model": beginning.model,
        "optimizer": beginning.optimizer(_optimizer(trainer), trainer.model, recording.steps[0].settings),
        "data": beginning.dataset,
        "collate_fn": beginning.collate_fn,
        "recorded": recording,
        "clip_grad_norm": trainer.args.max_grad_norm or None,
    }
    return settings | ({"loss": loss} if loss is not None else _own_loss(trainer, beginning, recording.parts[0]))


def _recorded(trainer: Any) -> tuple[Recording, Beginning, int]:  # noqa: ANN401  a transformers.Trainer
    found = [c for c in trainer.callback_handler.callbacks if isinstance(c, RecorderCallback)]
    if not found or found[0].beginning is None:
        hint = "Trainer(..., callbacks=[recorder.callback()]), and trainer.train()"
        raise RecipeError("from_trainer: the Trainer has not trained with a recorder", hint=hint)
    return found[0].listener.recording, found[0].beginning, found[0].done_before


def _optimizer(trainer: Any) -> torch.optim.Optimizer:  # noqa: ANN401  a transformers.Trainer
    """The one that stepped, without what accelerate wraps it in."""
    return getattr(trainer.optimizer, "optimizer", trainer.optimizer)  # type: ignore[no-any-return]


def _problems(trainer: Any, loss: object, done_before: int) -> list[str]:  # noqa: ANN401  a transformers.Trainer
    """What a recipe cannot repeat."""
    args = trainer.args
    asked = {
        f"resume_from_checkpoint, or a second train(), after step {done_before},": done_before,
        "fp16": args.fp16,
        "several devices": args.n_gpu > 1 or args.world_size > 1,
        "deepspeed": args.deepspeed,
        "fsdp": args.fsdp,
        "neftune_noise_alpha": args.neftune_noise_alpha,
        "torch_compile": args.torch_compile,
        "label_smoothing_factor, without loss=": args.label_smoothing_factor and loss is None,
        "compute_loss_func, without loss=": trainer.compute_loss_func is not None and loss is None,
    }
    return [f"{name} is on" for name, on in asked.items() if on]


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """A model's own cross entropy by example: sums over labels, and over how many.

    shifted: position t predicts label t + 1, as in causal language models. first: count the first label too, which
    nothing predicts there; some versions of Trainer divide by it.
    """

    shifted: bool = False
    first: bool = False

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sums and counts, both ``[B]``."""
        logits, labels = model(**batch).logits, batch["labels"]
        counted = labels
        if self.shifted:
            logits, labels = logits[:, :-1], labels[:, 1:]
            counted = counted if self.first else labels
        losses = cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=IGNORED)
        return losses.view(len(labels), -1).sum(1), counted.ne(IGNORED).view(len(counted), -1).sum(1)


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """A model's own cross entropy with one label an example, whose mean a Trainer takes batch by batch."""

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Losses ``[B]``."""
        return cross_entropy(model(**batch).logits, batch["labels"], reduction="none", ignore_index=IGNORED)


def _own_loss(trainer: Any, beginning: Beginning, step: tuple[Array, ...]) -> dict[str, Any]:  # noqa: ANN401
    """Loss and reduction that give the Trainer's own loss of its first step; RecipeError when none is known."""
    batches = [dict(beginning.collate_fn([beginning.dataset[int(i)] for i in part])) for part in step]
    model = copy.deepcopy(beginning.model).eval()
    with torch.no_grad():
        expected = _trainers_loss(trainer, model, batches)
        if batches[0]["labels"].dim() == 1:
            found = sum(float(LabelLoss()(model, batch).mean()) for batch in batches)
            if _is_close(found / len(batches), expected):
                return {"loss": LabelLoss()}
            losses, summed = [TokenLoss()], _is_close(found, expected)
        else:
            losses, summed = [TokenLoss(), TokenLoss(shifted=True), TokenLoss(shifted=True, first=True)], False
        for loss in losses:
            if _is_close(_over_tokens(loss, model, batches), expected):
                return {"loss": loss, "reduction": "tokens"}
    if summed:
        message = "from_trainer: the Trainer adds up the means of the batches that it accumulates"
        raise RecipeError(message, hint='pass loss= that divides by the batch size, and reduction="sum"')
    message = "from_trainer: the model's loss is no cross entropy of its logits and labels, averaged over a step"
    raise RecipeError(message, hint="pass loss=, with one loss for each example of a batch")


def _over_tokens(loss: TokenLoss, model: nn.Module, batches: list[dict[str, Any]]) -> float:
    sums, counts = zip(*(loss(model, batch) for batch in batches), strict=True)
    return float(torch.cat(sums).sum() / torch.cat(counts).sum())


def _is_close(found: float, expected: float) -> bool:
    return abs(found - expected) <= _AGREE * abs(expected)


def _trainers_loss(trainer: Any, model: nn.Module, batches: list[dict[str, Any]]) -> float:  # noqa: ANN401
    """What ``Trainer.training_step`` adds up over one step."""
    items = trainer._get_num_items_in_batch(batches, trainer.args.device)  # noqa: SLF001
    losses = [trainer.compute_loss(model, dict(batch), num_items_in_batch=items) for batch in batches]
    scaled = trainer.model_accepts_loss_kwargs and items is not None
    return float(sum(losses)) / (1 if scaled else len(batches))
