"""An ordinary torch function that takes jets: traced when first called, traced again when its shapes or guards change."""

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
from unlearnkit.taylor.trace import trace


class JetFunction:
    """``function`` over jets. Whole arguments are jets or not: ``active`` has one flag for each positional argument.

    model: names modules in messages. allow_piecewise: as in ``Recipe``. ``reservations`` collects what the manifest must
    state: piecewise operations, and comparisons that the constant term decides.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        active: Sequence[bool],
        *,
        model: nn.Module | None = None,
        allow_piecewise: bool = False,
    ) -> None:
        self.function = function
        self.active = tuple(active)
        self.model = model
        self.allow_piecewise = allow_piecewise
        self.reservations: dict[Problem, None] = {}
        self._interpreters: dict[object, list[Interpreter]] = {}

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401  as the function
        """Apply the function. Random numbers are drawn from torch's current state, which is left as it was."""
        candidates = self._interpreters.setdefault(_layout(arguments), [])
        for interpreter in candidates:
            try:
                with _same_random_numbers(arguments):
                    return interpreter(*arguments)
            except GuardChangedError:
                continue
        candidates.append(self.prepare(*arguments))
        with _same_random_numbers(arguments):
            return candidates[-1](*arguments)

    def prepare(self, *arguments: object) -> Interpreter:
        """Trace and check the function on the constant terms of these arguments.

        Raises UnsupportedOpsError or PiecewiseOpsError with every offending operation.
        """
        interpreter, found = self.inspect(*arguments)
        self.reservations.update(dict.fromkeys(require(found, allow_piecewise=self.allow_piecewise)))
        return interpreter()

    def inspect(self, *arguments: object) -> tuple[Callable[[], Interpreter], tuple[Problem, ...]]:
        """Trace the function; return how to make its interpreter, and every problem there is."""
        flags = [flag for flag, a in zip(self.active, arguments, strict=True) for _ in _leaves(a)]
        constants = pytree.tree_map(_constant, arguments, is_leaf=_is_jet)
        with _same_random_numbers(arguments):
            traced = trace(self.function, *constants, model=self.model)
        return lambda: Interpreter(traced, flags), problems(traced, flags)

    def diagnose(self, *arguments: object) -> None:
        """Run again, looking at every coefficient: raises NonFiniteError at the first operation that breaks one."""
        for interpreter in self._interpreters.get(_layout(arguments), []):
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


def _layout(arguments: object) -> object:
    """What a graph is specialised to: how containers nest, and shape and dtype of every leaf."""
    leaves, spec = pytree.tree_flatten(arguments, is_leaf=_is_jet)
    constants = [leaf.constant if isinstance(leaf, Jet) else leaf for leaf in leaves]
    return str(spec), tuple((tuple(c.shape), c.dtype) for c in constants)


@contextmanager
def _same_random_numbers(arguments: object) -> Iterator[None]:
    """Every attempt starts from torch's current random state, and leaves it."""
    tensor = next((_constant(leaf) for leaf in _leaves(arguments)), None)
    devices = [tensor.device] if isinstance(tensor, Tensor) and tensor.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        yield
