"""Tensors that code brings along: from a closure, a global, an attribute that is no buffer.

They belong to the run as the model's buffers do, so they follow its precision and device: class weights in float32
serve a retraining in float64. Inside a trace they are values of the graph, so that it may write into what it makes of
them.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unlearnkit.taylor.precision import default_dtype
from unlearnkit.training.fingerprint import is_library, referred

_LEAVES = (str, bytes, bool, int, float, complex, type(None), np.ndarray, np.generic, torch.dtype, torch.device)


def captured_tensors(function: Callable[..., Any], model: nn.Module) -> list[Tensor]:
    """Every tensor that a function or the code of a model refers to, each once, but the model's own state."""
    seen: dict[int, object] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    found: list[Tensor] = []
    pending: list[object] = [function, model]
    while pending:
        value = pending.pop()
        if isinstance(value, _LEAVES) or id(value) in seen:
            continue
        seen[id(value)] = value  # holding it keeps its identity from being reused
        if isinstance(value, Tensor):
            found.append(value)
        else:
            pending.extend(_parts(value))
    return found


def _parts(value: Any) -> Iterator[object]:  # noqa: ANN401  whatever code refers to
    if isinstance(value, (list, tuple, set, frozenset)):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, types.MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, (types.FunctionType, type)):
        if not is_library(value):
            yield from _parts_of_code(value)
    elif not isinstance(value, types.ModuleType):
        yield type(value)
        yield getattr(value, "__dict__", {})
        yield from (getattr(value, name, None) for name in getattr(type(value), "__slots__", ()))


def _parts_of_code(code: types.FunctionType | type) -> Iterator[object]:
    if isinstance(code, types.FunctionType):
        yield from (code.__defaults__, code.__kwdefaults__, referred(code))
    else:
        yield from code.__bases__
        yield from (getattr(f, "__func__", getattr(f, "fget", f)) for f in vars(code).values())


class Captured:
    """What a run's functions captured, in its precision and place, each tensor brought there once.

    cast: brings a tensor to the run. dtype, device: of tensors that a function makes without saying of what kind.
    """

    def __init__(
        self, model: nn.Module, cast: Callable[[Tensor], Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.model = model
        self.cast = cast
        self.dtype = dtype
        self.device = device
        self._known: dict[int, tuple[object, dict[int, tuple[Tensor, Tensor]]]] = {}  # by identity of the function

    def _of(self, function: Callable[..., Any]) -> dict[int, tuple[Tensor, Tensor]]:
        """Each captured tensor by its identity, and the run's copy of it: a run leaves nothing behind in the user's."""
        if id(function) not in self._known:
            tensors = captured_tensors(function, self.model)
            self._known[id(function)] = function, {id(t): (t, self.cast(t.detach()).clone()) for t in tensors}
        return self._known[id(function)][1]

    @contextmanager
    def following(self, function: Callable[..., Any]) -> Iterator[None]:
        """Within it, the run's tensors stand for those that ``function`` captured, and new ones are of its kind."""
        others = _stand_ins(self._of(function))
        with default_dtype(self.dtype), ExitStack() as stack:
            if self.device.type != "cpu":
                stack.enter_context(self.device)
            if others:
                stack.enter_context(_Swap(others))
            yield


def _stand_ins(captured: Mapping[int, tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
    """The run's copies; in a trace a value of the graph for each."""
    if torch._C._functorch.peek_interpreter_stack() is None:  # noqa: SLF001
        return {key: copy for key, (_, copy) in captured.items()}
    return {key: torch.ops.aten.lift_fresh_copy.default(copy) for key, (_, copy) in captured.items()}


class _Swap(TorchFunctionMode):
    """Hands every torch call other tensors than those that it names, by identity."""

    def __init__(self, others: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any function
        return func(*map(self._swapped, args), **{name: self._swapped(v) for name, v in (kwargs or {}).items()})

    def _swapped(self, value: Any) -> Any:  # noqa: ANN401  any argument
        if isinstance(value, Tensor):
            return self.others.get(id(value), value)
        if type(value) in (list, tuple):
            return type(value)(map(self._swapped, value))
        return value
