"""The table of Taylor rules: one entry for each primitive operation, filled by the sibling files.

A rule is called with the arguments of its operation, some of them jets, and returns a jet (or a tuple of jets).
Three tables, because the three kinds are treated differently:

- ``SMOOTH``: analytic wherever it is finite.
- ``PIECEWISE``: analytic only between kinks; refused unless the recipe allows them, then differentiated on the branch
  that the constant term takes and listed in the manifest.
- ``LOCALLY_CONSTANT``: comparisons, arg-max and the like. They act on the constant term, and their result is no jet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from unlearnkit.taylor.jet import Jet

Rule = Callable[..., Any]

SMOOTH: dict[OpOverload, Rule] = {}
PIECEWISE: dict[OpOverload, Rule] = {}

aten = torch.ops.aten

LOCALLY_CONSTANT: frozenset[OpOverload] = frozenset(
    overload
    for packet in (
        *(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge, aten.isinf, aten.isnan, aten.logical_not),
        *(aten.logical_and, aten.logical_or, aten.argmax, aten.argmin, aten.any, aten.all, aten.sign, aten.sgn),
        *(aten.floor, aten.ceil, aten.round, aten.trunc, aten.zeros_like, aten.ones_like, aten.full_like),
        *(aten.empty_like, aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.rand_like),
        *(aten.randn_like, aten.argsort, aten.nonzero, aten.isfinite, aten.searchsorted, aten.bernoulli),
        *(aten.sym_size, aten.sym_stride, aten.sym_numel, aten._local_scalar_dense, aten.signbit),
    )
    for overload in (getattr(packet, name) for name in packet.overloads())
)

# Of those, the ones whose value can jump when the weights move: worth a line in the manifest when it decides something.
DECISIONS: frozenset[OpOverload] = frozenset(
    overload
    for packet in (
        *(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge, aten.argmax, aten.argmin, aten.sign, aten.sgn),
        *(aten.floor, aten.ceil, aten.round, aten.trunc, aten.argsort, aten.searchsorted, aten.signbit),
    )
    for overload in (getattr(packet, name) for name in packet.overloads())
)


def smooth(*operations: OpOverload) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of analytic ``operations``."""
    return _register(SMOOTH, operations)


def piecewise(*operations: OpOverload) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of ``operations`` that are only piecewise analytic."""
    return _register(PIECEWISE, operations)


def _register(table: dict[OpOverload, Rule], operations: tuple[OpOverload, ...]) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        for operation in operations:
            assert operation not in SMOOTH and operation not in PIECEWISE, f"two rules for {operation}"
            table[operation] = rule
        return rule

    return add


def first_jet(values: object) -> Jet:
    """Any jet among ``values``; a rule is only called when there is one."""
    leaves, _ = torch.utils._pytree.tree_flatten(values, is_leaf=lambda leaf: isinstance(leaf, Jet))
    return next(leaf for leaf in leaves if isinstance(leaf, Jet))
