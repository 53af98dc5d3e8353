"""Which models a recipe takes: ordinary modules with real, finite weights."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parameter import is_lazy

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.raised import COARSE

# Modules that wrap the one that is meant, by the name of their class, and where they keep it.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
}


_WITHIN = ContextVar("within plain_torch", default=False)


def uncompiled(thing: Any) -> Any:  # noqa: ANN401  a model or a function
    """What was given to ``torch.compile``, or the thing itself: a model has the same parameters."""
    if type(thing).__name__ == "OptimizedModule":
        return thing._orig_mod  # noqa: SLF001
    return getattr(thing, "_torchdynamo_orig_callable", thing)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Plain steps as they are traced: attention as operations, and of what was compiled what was given to be compiled.

    Whoever does many steps enters it once: it takes as long as a tenth of a small step, and nothing within another.
    """
    if _WITHIN.get():
        yield
        return
    with sdpa_kernel(SDPBackend.MATH), uncompiled_inside():
        token = _WITHIN.set("torch._dynamo" in sys.modules)
        try:
            yield
        finally:
            _WITHIN.reset(token)


@contextmanager
def uncompiled_inside() -> Iterator[None]:
    """Parts of a model or of a loss that were compiled run as what was compiled."""
    if _WITHIN.get() or "torch._dynamo" not in sys.modules:  # nothing was ever compiled, and its import takes seconds
        yield
        return
    within = torch._dynamo.config.patch(error_on_nested_fx_trace=False)  # noqa: SLF001
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"), within:
        warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
        yield


def verify_model(model: object) -> None:
    """RecipeError for what is no ordinary module, or begins with weights that no training run can begin with."""
    if not isinstance(model, nn.Module):
        raise RecipeError(f"model: got {_kind(model)}, expected a torch.nn.Module", hint="wrap functions in a module")
    for name, module in model.named_modules():
        where = f"module {name!r}" if name else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            hint = "pass the module that was scripted or traced"
            raise RecipeError(f"model: {where} is scripted, which cannot be differentiated further", hint=hint)
        if inside := _WRAPPERS.get(type(module).__name__):
            hint = f"pass the module inside: {name or 'model'}.{inside}"
            raise RecipeError(f"model: {where} is wrapped in {type(module).__name__}", hint=hint)
        if module.training and has_spectral_norm(module):
            hint = "unlearnkit.fix(model) takes it off, and leaves the weight as it is now"
            raise RecipeError(f"model: {where} has spectral norm, which changes its buffers in training", hint=hint)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise RecipeError(f"model: {name!r} has no shape yet", hint="call the model on a batch once before")
        if tensor.is_floating_point() and tensor.dtype not in (torch.float64, torch.float32, *COARSE):
            hint = "call model.bfloat16() or model.float() before the optimizer is made"
            message = f"model: {name!r} is {tensor.dtype}, expected float32, float64, bfloat16 or float16"
            raise RecipeError(message, hint=hint)
        if tensor.is_complex():
            raise RecipeError(f"model: {name!r} is {tensor.dtype}, expected real numbers", hint="use two real tensors")
    _verify_finite(model)


def has_spectral_norm(module: nn.Module) -> bool:
    """Whether a module's weight is divided by its largest singular value, in either of torch's ways."""
    hooked = any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values())  # noqa: SLF001
    parametrized = getattr(module, "parametrizations", {}).values()
    return hooked or any(type(part).__name__ == "_SpectralNorm" for parts in parametrized for part in parts)


def tied_weights(model: nn.Module) -> dict[str, str]:
    """Further names of parameters that a model has under several, and the first name of each."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in named if first[id(parameter)] != name}


def _verify_finite(model: nn.Module) -> None:
    parameters = dict(model.named_parameters())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            message = f"model: {name!r} holds numbers that are not finite"
            if name in parameters:
                raise RecipeError(message, hint="initialise it, or load the checkpoint again")
            raise RecipeError(
                f"{message}, and a bundle stores the model's state",
                hint="a mask of -inf need not be part of it: register_buffer(..., persistent=False)",
            )


def verify_function(function: Callable[..., Any], what: str) -> None:
    """RecipeError for a loss or a probe that is no ordinary function. what: how messages call it."""
    if not callable(function):
        raise RecipeError(f"{what}: got {_kind(function)}, expected a function", hint="pass it, not what it returns")
    if isinstance(function, (torch.jit.ScriptFunction, torch.jit.ScriptModule)):
        raise RecipeError(f"{what} is scripted", hint="pass what was given to torch.jit")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
