"""Hooks that torch would run in training, and that a sketch, or a retraining with its own optimizer, would not.

Hooks on forward passes are part of what a model computes, and run. A gradient that a hook clips or masks, and an
update that a hook follows, are another training run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

from unlearnkit.errors import RecipeError

_HINT = (
    "take it off, and say in the loss or in the model's forward pass what it does: mask or rescale there; "
    "hooks on forward passes are honoured"
)

# Where torch keeps hooks, and what registers them there.
_OF_PARAMETERS = {
    "_backward_hooks": "register_hook",
    "_post_accumulate_grad_hooks": "register_post_accumulate_grad_hook",
}
_OF_MODULES = {
    "_backward_pre_hooks": "register_full_backward_pre_hook",
    "_backward_hooks": "register_full_backward_hook",
}
_OF_OPTIMIZERS = {
    "_optimizer_step_pre_hooks": "register_step_pre_hook",
    "_optimizer_step_post_hooks": "register_step_post_hook",
}
_OF_EVERY_MODULE = {
    "_global_backward_pre_hooks": "register_module_full_backward_pre_hook",
    "_global_backward_hooks": "register_module_full_backward_hook",
}
_OF_EVERY_OPTIMIZER = {
    "_global_optimizer_pre_hooks": "register_optimizer_step_pre_hook",
    "_global_optimizer_post_hooks": "register_optimizer_step_post_hook",
}


def refuse_hooks(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """RecipeError that names every hook on gradients or updates."""
    found = [
        *(hook for name, p in model.named_parameters() for hook in _hooks(p, _OF_PARAMETERS, f"parameter {name!r}")),
        *(hook for name, m in model.named_modules() for hook in _hooks(m, _OF_MODULES, _module(name))),
        *(hook for optimizer in optimizers for hook in _hooks(optimizer, _OF_OPTIMIZERS, "the optimizer")),
        *_hooks(torch_module, _OF_EVERY_MODULE, "every module"),
        *_hooks(torch_optimizer, _OF_EVERY_OPTIMIZER, "every optimizer"),
    ]
    if found:
        raise RecipeError(f"hooks change gradients or updates: {'; '.join(found)}", hint=_HINT)


def forward_hooks(module: nn.Module) -> list[object]:
    """The hooks that are part of what a module computes."""
    return [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]  # noqa: SLF001


def _module(name: str) -> str:
    return f"module {name!r}" if name else "the model"


def _hooks(owner: Any, places: Mapping[str, str], what: str) -> Iterator[str]:  # noqa: ANN401  whatever has hooks
    for place, registered_by in places.items():
        for hook in (getattr(owner, place, None) or {}).values():
            yield f"{getattr(hook, '__qualname__', type(hook).__qualname__)} on {what} ({registered_by})"
