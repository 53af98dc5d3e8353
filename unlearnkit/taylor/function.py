"""An ordinary torch function that takes jets: traced when first called, and again when shapes or guards change."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearnkit.errors import PiecewiseOpsError, TraceError, UnsupportedOpsError
from unlearnkit.taylor.check import Problem, problems, require
from unlearnkit.taylor.counts import Counts, GuardChangedError
from unlearnkit.taylor.draws import Following, outside_state, same_random_numbers
from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.layout import Form, flattened
from unlearnkit.taylor.precision import default_dtype
from unlearnkit.taylor.trace import Trace, trace

# Traces of the same layout that are kept: they differ in what came from data, or from Python's random numbers.
_KEPT = 256


class JetFunction:
    """``function`` over jets: any leaf of its arguments may be a jet; with none, it runs as it is.

    model: names modules in messages. allow_piecewise: as in ``Recipe``. plain, inner, rounded: as in ``trace``. dtype:
    of what the function makes without saying of which; None: torch's default, each time. spare: which of its results, a
    tuple, is None where an argument is a jet, and not computed. ``reservations`` collects what the
    manifest must state: piecewise operations, and comparisons that the constant term decides. draws: whether any trace
    so far draws random numbers, of torch, ``random`` or ``numpy.random``.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        model: nn.Module | None = None,
        allow_piecewise: bool = False,
        plain: Callable[..., object] | None = None,
        inner: Callable[..., Any] | None = None,
        dtype: torch.dtype | None = None,
        spare: int | None = None,
        rounded: bool = False,
    ) -> None:
        self.function = function
        self.rounded = rounded
        self.dtype = dtype
        self.spare = spare
        self.plain = plain
        self.inner = inner
        self.model = model
        self.allow_piecewise = allow_piecewise
        self.reservations: dict[Problem, None] = {}
        self.draws = False
        self._resolution = 0.0
        # By layout, and then by which leaves are jets: what is traced does not depend on these.
        self._interpreters: dict[object, dict[tuple[bool, ...], deque[Interpreter]]] = {}

    def __call__(self, *arguments: object, room: object = None) -> Any:  # noqa: ANN401  as the function
        """Apply the function. Random numbers are drawn from the current states, which are left as they were.

        room: jets, laid out as the results, that are written over: tails of results may be in their memory.
        Raises UnsupportedOpsError or PiecewiseOpsError with every offending operation; TraceError when what Python
        reads out of tensors comes out different every time.
        """
        leaves, layout, flags = _layout(arguments)
        for interpreter in self._fitting(layout, flags):
            try:
                with self._as_ever(arguments, interpreter.trace):
                    result, counts = interpreter.run_flat(leaves, room=room)
                if counts in interpreter.family.verified or self._is_own(result, counts, interpreter, arguments):
                    return result
            except GuardChangedError:
                continue
        interpreter = self._keep(self._trace(arguments), layout, flags)
        try:
            with self._as_ever(arguments):
                return interpreter(*arguments)
        except GuardChangedError as error:
            message = f"a value that Python reads out of a tensor is another one when it is computed again ({error})"
            hint = "let branches and shapes depend on what is the same each time"
            raise TraceError(message, hint=hint) from None

    def _is_own(self, result: object, counts: Counts, interpreter: Interpreter, arguments: tuple[object, ...]) -> bool:
        """Whether the graph gives what the function does for counts that it was not traced with."""
        constants = pytree.tree_map(_constant, arguments, is_leaf=_is_jet)
        with self._as_ever(arguments), Following(interpreter.trace.draws.values()), torch.no_grad():
            expected = pytree.tree_leaves(self.function(*constants))
        found = [leaf.constant if isinstance(leaf, Jet) else leaf for leaf in _leaves(result)]
        expected = [leaf for leaf, own in zip(expected, found, strict=True) if own is not None]
        found = [leaf for leaf in found if leaf is not None]
        if not _agree(found, expected, interpreter.resolution):
            return False
        interpreter.family.verified.add(counts)
        return True

    def _fitting(self, layout: object, flags: tuple[bool, ...]) -> list[Interpreter]:
        """The interpreters that may fit: guards are still to be checked."""
        by_flags = self._interpreters.get(layout, {})
        if by_flags and flags not in by_flags:
            for known in next(iter(by_flags.values())).copy():
                self._keep(known.trace, layout, flags)
        found = by_flags.get(flags, ())
        state = outside_state() if any(i.trace.outside for i in found) else None
        return [i for i in found if i.trace.outside in (None, state)]

    def prepare(self, *arguments: object, active: Sequence[bool]) -> Interpreter:
        """Trace and check the function beforehand, on plain tensors. active: which whole arguments will be jets."""
        layout, flags = _layout(arguments)[1], _spread(active, arguments)
        known = self._fitting(layout, flags)
        return known[0] if known else self._keep(self._trace(arguments), layout, flags)

    @property
    def resolution(self) -> float:
        """The machine epsilon of the coarsest real numbers that were computed with so far."""
        return self._resolution

    def inspect(self, *arguments: object, active: Sequence[bool]) -> tuple[Problem, ...]:
        """Every problem of the function, without raising. active: which whole arguments would be jets."""
        layout, flags = _layout(arguments)[1], _spread(active, arguments)
        if known := self._fitting(layout, flags):
            return tuple(dict.fromkeys(problem for i in known for problem in problems(i.trace, flags)))
        traced = self._trace(arguments)
        with suppress(UnsupportedOpsError, PiecewiseOpsError):
            self._keep(traced, layout, flags)
        return problems(traced, flags)

    def _keep(self, traced: Trace, layout: object, flags: tuple[bool, ...]) -> Interpreter:
        """Check a trace, and keep it for calls of the same layout."""
        found = require(problems(traced, flags), allow_piecewise=self.allow_piecewise)
        self.reservations.update(dict.fromkeys(found))
        self.draws |= bool(traced.draws) or traced.outside is not None
        kept = self._interpreters.setdefault(layout, {}).setdefault(flags, deque(maxlen=_KEPT))
        for i, known in enumerate(kept):
            if traced.outside is known.trace.outside is None and known.family.joined(traced):
                kept[i] = Interpreter(known.trace, flags, known.family, spare=self.spare)
                return kept[i]
        kept.append(Interpreter(traced, flags, spare=self.spare))
        self._resolution = max(self._resolution, kept[-1].resolution)
        return kept[-1]

    def _trace(self, arguments: tuple[object, ...]) -> Trace:
        constants = pytree.tree_map(_constant, arguments, is_leaf=_is_jet)
        with self._as_ever(arguments):
            return trace(
                self.function, *constants, model=self.model, plain=self.plain, inner=self.inner, rounded=self.rounded
            )

    @contextmanager
    def _as_ever(self, arguments: tuple[object, ...], known: Trace | None = None) -> Iterator[None]:
        """Every attempt starts from the current random states, leaves them, and makes tensors of the same precision.

        known: what is run; where it draws nothing there is nothing to leave.
        """
        if known is not None and not known.draws:
            with default_dtype(self.dtype):
                yield
            return
        tensor = next((_constant(leaf) for leaf in _leaves(arguments)), None)
        devices = [tensor.device] if isinstance(tensor, Tensor) and tensor.is_cuda else []
        with same_random_numbers(devices), default_dtype(self.dtype):
            yield

    def diagnose(self, *arguments: object) -> None:
        """Run again, looking at every coefficient: raises NonFiniteError at the first operation that breaks one."""
        for interpreter in self._fitting(*_layout(arguments)[1:]):
            try:
                with self._as_ever(arguments):
                    interpreter(*arguments, verify_finite=True)
            except GuardChangedError:
                continue


def _is_jet(x: object) -> bool:
    return isinstance(x, Jet)


def _constant(x: object) -> object:
    return x.constant if isinstance(x, Jet) else x


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor], resolution: float) -> bool:
    """Whether all are the same to half the digits of the largest number among them."""
    if [leaf.shape for leaf in found] != [leaf.shape for leaf in expected]:
        return False
    largest = max((float(leaf.abs().max()) for leaf in expected if leaf.numel()), default=0.0)
    allowed = math.sqrt(resolution) * largest
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(a, b, rtol=0, atol=allowed, equal_nan=True) for a, b in pairs)


def _leaves(tree: object) -> list[Any]:
    return pytree.tree_leaves(tree, is_leaf=_is_jet)


def _spread(active: Sequence[bool], arguments: Sequence[object]) -> tuple[bool, ...]:
    """One flag for each leaf, from one for each argument."""
    return tuple(flag for flag, argument in zip(active, arguments, strict=True) for _ in _leaves(argument))


def _layout(arguments: object) -> tuple[list[Any], Form, tuple[bool, ...]]:
    """The leaves, and what an interpreter is specialised to: their form, and which of them are jets."""
    leaves, form = flattened(arguments)
    return leaves, form, tuple([type(leaf) is Jet for leaf in leaves])
