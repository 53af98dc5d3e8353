"""An ordinary torch function that takes jets: traced when first called, and again when shapes or guards change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unlearnkit.taylor.check import Problem, problems, require
from unlearnkit.taylor.interpreter import GuardChangedError, Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.trace import Trace, trace


class JetFunction:
    """``function`` over jets: any leaf of its arguments may be a jet; with none, it runs as it is.

    model: names modules in messages. allow_piecewise: as in ``Recipe``. ``reservations`` collects what the manifest
    must state: piecewise operations, and comparisons that the constant term decides.
    """

    def __init__(
        self, function: Callable[..., Any], *, model: nn.Module | None = None, allow_piecewise: bool = False
    ) -> None:
        self.function = function
        self.model = model
        self.allow_piecewise = allow_piecewise
        self.reservations: dict[Problem, None] = {}
        self._interpreters: dict[object, list[Interpreter]] = {}

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401  as the function
        """Apply the function. Random numbers are drawn from torch's current state, which is left as it was.

        Raises UnsupportedOpsError or PiecewiseOpsError with every offending operation.
        """
        flags = _flags(arguments)
        for interpreter in self._interpreters.get(_layout(arguments, flags), []):
            try:
                with _same_random_numbers(arguments):
                    return interpreter(*arguments)
            except GuardChangedError:
                continue
        interpreter = self._prepare(arguments, flags)
        with _same_random_numbers(arguments):
            return interpreter(*arguments)

    def prepare(self, *arguments: object, active: Sequence[bool]) -> Interpreter:
        """Trace and check the function beforehand, on plain tensors. active: which whole arguments will be jets."""
        return self._prepare(arguments, _spread(active, arguments))

    def inspect(self, *arguments: object, active: Sequence[bool]) -> tuple[Problem, ...]:
        """Every problem of the function, without raising. active: which whole arguments would be jets."""
        flags = _spread(active, arguments)
        return problems(self._trace(arguments), flags)

    def _prepare(self, arguments: tuple[object, ...], flags: list[bool]) -> Interpreter:
        traced = self._trace(arguments)
        found = require(problems(traced, flags), allow_piecewise=self.allow_piecewise)
        self.reservations.update(dict.fromkeys(found))
        interpreter = Interpreter(traced, flags)
        self._interpreters.setdefault(_layout(arguments, flags), []).append(interpreter)
        return interpreter

    def _trace(self, arguments: tuple[object, ...]) -> Trace:
        constants = pytree.tree_map(_constant, arguments, is_leaf=_is_jet)
        with _same_random_numbers(arguments):
            return trace(self.function, *constants, model=self.model)

    def diagnose(self, *arguments: object) -> None:
        """Run again, looking at every coefficient: raises NonFiniteError at the first operation that breaks one."""
        for interpreter in self._interpreters.get(_layout(arguments, _flags(arguments)), []):
            try:
                with _same_random_numbers(arguments):
                    interpreter(*arguments, verify_finite=True)
            except GuardChangedError:
                continue


def _is_jet(x: object) -> bool:
    return isinstance(x, Jet)


def _constant(x: object) -> object:
    return x.constant if isinstance(x, Jet) else x


def _leaves(tree: object) -> list[Any]:
    return pytree.tree_leaves(tree, is_leaf=_is_jet)


def _flags(arguments: object) -> list[bool]:
    """Which leaves are jets."""
    return [_is_jet(leaf) for leaf in _leaves(arguments)]


def _spread(active: Sequence[bool], arguments: Sequence[object]) -> list[bool]:
    """One flag for each leaf, from one for each argument."""
    return [flag for flag, argument in zip(active, arguments, strict=True) for _ in _leaves(argument)]


def _layout(arguments: object, flags: Sequence[bool]) -> object:
    """What an interpreter is specialised to: how containers nest, shape and dtype of every leaf, and which are jets."""
    leaves, spec = pytree.tree_flatten(arguments, is_leaf=_is_jet)
    constants = [leaf.constant if isinstance(leaf, Jet) else leaf for leaf in leaves]
    return str(spec), tuple((tuple(c.shape), c.dtype) for c in constants), tuple(flags)


@contextmanager
def _same_random_numbers(arguments: object) -> Iterator[None]:
    """Every attempt starts from torch's current random state, and leaves it."""
    tensor = next((_constant(leaf) for leaf in _leaves(arguments)), None)
    devices = [tensor.device] if isinstance(tensor, Tensor) and tensor.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        yield
