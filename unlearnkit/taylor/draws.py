"""Random numbers as plain torch draws them, whatever a trace has made of the tensors they are drawn for.

Torch fills a tensor in the order of its memory, so which number an element gets depends on strides, and a trace has
strides of its own. Torch's function transforms even draw dropout masks by another operation. So the plain function is
watched first, and every draw of its trace is done as the plain one was: the same operation on the same strides.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from unlearnkit.errors import TraceError
from unlearnkit.taylor.raised import COARSE, in_single, is_coarse

aten = torch.ops.aten


def is_random(operation: object) -> bool:
    """Whether an operation consumes random numbers."""
    return isinstance(operation, OpOverload) and torch.Tag.nondeterministic_seeded in operation.tags


@contextmanager
def same_random_numbers(devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Leave the global random states of torch, ``random`` and ``numpy.random`` as they were. devices: of GPUs."""
    outside = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002  what user code draws from
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(outside[0])
            np.random.set_state(outside[1])  # noqa: NPY002


def outside_state() -> bytes:
    """A digest of the global random states of ``random`` and ``numpy.random``, which no trace can follow."""
    state = hashlib.sha256(repr(random.getstate()).encode())
    for part in pytree.tree_leaves(np.random.get_state(legacy=False)):  # noqa: NPY002
        state.update(np.asarray(part).tobytes())
    return state.digest()


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of a plain function.

    layouts: shape and strides of each tensor that the operation took, in order. dtype: of what it drew.
    """

    operation: OpOverload
    layouts: tuple[tuple[torch.Size, tuple[int, ...]], ...]
    dtype: torch.dtype | None = None

    def fits(self, operation: OpOverload, shapes: Sequence[torch.Size]) -> None:
        """TraceError when ``operation`` takes tensors of other shapes in a trace than the plain one."""
        if list(shapes) != [shape for shape, _ in self.layouts]:
            message = f"random numbers are drawn by {operation} in a trace, otherwise than by plain {self.operation}"
            raise TraceError(message, hint="draw them with torch.rand or torch.randn, or as nn.Dropout does")

    def again(self, operation: OpOverload, args: Sequence[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401  a result
        """What ``operation``, which stands for the plain one in a trace, gives when it draws as that did.

        Which numbers are drawn depends on the precision: what was drawn in a low one is drawn in that.
        """
        if self.dtype not in COARSE:
            return self._drawn(operation, args, options)
        found = self._drawn(
            operation, [self._lowered(x) for x in args], {k: self._lowered(x) for k, x in options.items()}
        )
        is_low = any(map(is_coarse, (*args, *options.values())))
        return found if is_low else in_single(found)

    def _lowered(self, x: object) -> object:
        """An argument in the precision of the draw."""
        if isinstance(x, Tensor):
            return x.to(self.dtype) if x.is_floating_point() else x
        return self.dtype if x is torch.float32 else x

    def _drawn(self, operation: OpOverload, args: Sequence[Any], options: dict[str, Any]) -> Any:  # noqa: ANN401
        layouts = iter(self.layouts)
        laid = [_laid_out(x, *next(layouts, (x.shape, x.stride()))) if isinstance(x, Tensor) else x for x in args]
        if self.operation is aten.native_dropout.default and operation is aten.bernoulli.p:
            # The fused kernel of a GPU draws in another order than the operation that function transforms put here.
            return aten.native_dropout(torch.ones_like(laid[0]), 1 - laid[1], True)[1].to(laid[0].dtype)  # noqa: FBT003
        if self.operation._schema.is_mutable and self.operation.overloadpacket.__name__.endswith("_"):  # noqa: SLF001
            return self.operation(_written(laid[0]), *laid[1:], **options)
        return operation(*laid, **options)


def _laid_out(x: Tensor, shape: torch.Size, strides: tuple[int, ...]) -> Tensor:
    """``x`` with these strides, which may overlap where equal numbers do."""
    if x.shape != shape:
        strides = _strides_like(x.shape, shape, strides)
    if x.stride() == strides or not x.numel():
        return x
    reach = 1 + sum((length - 1) * step for length, step in zip(x.shape, strides, strict=True))
    places = torch.arange(reach, device=x.device).as_strided(x.shape, strides)
    return x.new_empty(reach).put_(places, x).as_strided(x.shape, strides)


def _strides_like(shape: torch.Size, other: torch.Size, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides that lie in memory as those of another shape do, where that has no gaps: sizes may come from data."""
    dense = aten.is_non_overlapping_and_dense(torch.empty_strided(other, strides, device="meta"))
    if not dense or len(shape) != len(strides):
        raise TraceError(f"random numbers are drawn for {tuple(shape)} elements, by plain torch for {tuple(other)}")
    order = sorted(range(len(shape)), key=lambda d: (strides[d], -d), reverse=True)
    laid = torch.empty([shape[d] for d in order], device="meta").permute([order.index(d) for d in range(len(order))])
    return laid.stride()


def _written(x: Tensor) -> Tensor:
    """A tensor of the same strides to write into."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).copy_(x)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every draw, and the machine epsilon of the coarsest numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: list[Draw] = []
        self.resolution = 0.0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any operation
        result = func(*args, **(kwargs or {}))
        dtypes = [x.dtype for x in pytree.tree_leaves(result) if isinstance(x, Tensor) and x.is_floating_point()]
        self.resolution = max([self.resolution, *(torch.finfo(dtype).eps for dtype in dtypes)])
        if is_random(func):
            layouts = tuple((x.shape, x.stride()) for x in args if isinstance(x, Tensor))
            self.draws.append(Draw(func, layouts, next(iter(dtypes), None)))
        return result


def watched(function: Callable[..., object], *arguments: object) -> tuple[tuple[Draw, ...], float]:
    """Every draw of a plain call, and the machine epsilon of the coarsest real numbers in it."""
    with _Watch() as watch:
        function(*arguments)
    return tuple(watch.draws), watch.resolution


class Following(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, every draw is done as the next of ``draws`` was. tracing: while ``make_fx`` records."""

    def __init__(self, draws: Iterable[Draw], *, tracing: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draws = iter(draws)
        self._tracing = tracing

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any operation
        options = kwargs or {}
        if not is_random(func):
            return func(*args, **options)
        draw = next(self._draws, None)
        if draw is None:
            message = f"a trace draws random numbers once more than plain torch does ({func})"
            raise TraceError(message, hint="draw as often whatever happens, by torch's own functions")
        if not self._tracing:
            return draw.again(func, args, options)
        with same_random_numbers([x.device for x in args if isinstance(x, Tensor) and x.is_cuda]):
            recorded = func(*args, **options)
        with disable_proxy_modes_tracing():  # the recorded operation keeps its place, and gets the numbers
            found = draw.again(func, args, options)
            for target, source in zip(pytree.tree_leaves(recorded), pytree.tree_leaves(found), strict=True):
                target.copy_(source)
        return recorded
