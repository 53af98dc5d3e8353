"""The table of Taylor rules: one entry for each primitive operation, filled by the sibling files.

A rule is called with the arguments of its operation, some of them jets, and returns a jet (or a tuple of jets).
Four tables, because the kinds are treated differently:

- ``SMOOTH``: analytic wherever it is finite.
- ``PIECEWISE``: analytic only between kinks; refused unless the recipe allows them, then differentiated on the branch
  that the constant term takes and listed in the manifest.
- ``DECISIONS``: comparisons, arg-max and the like. They act on the constant term, and their result is no jet, but it
  can jump when the weights move: worth a line in the manifest when something hangs on it.
- ``INDIFFERENT``: their result does not depend on the values of their inputs at all, as long as those are finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
from torch._ops import OpOverload, OpOverloadPacket

from unlearnkit.taylor.jet import Jet

Rule: TypeAlias = Callable[..., Any]
R = TypeVar("R", bound=Rule)

SMOOTH: dict[OpOverload, Rule] = {}
PIECEWISE: dict[OpOverload, Rule] = {}

aten = torch.ops.aten


def _overloads(*packets: OpOverloadPacket) -> frozenset[OpOverload]:
    names = ((packet, name) for packet in packets for name in packet.overloads())  # type: ignore[no-untyped-call]
    return frozenset(getattr(packet, name) for packet, name in names)


DECISIONS: frozenset[OpOverload] = _overloads(
    *(aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge, aten.logical_not, aten.logical_and, aten.logical_or),
    *(aten.any, aten.all, aten.argmax, aten.argmin, aten.argsort, aten.searchsorted, aten.nonzero, aten.bernoulli),
    *(aten.sign, aten.sgn, aten.signbit, aten.floor, aten.ceil, aten.round, aten.trunc, aten._local_scalar_dense),
)

INDIFFERENT: frozenset[OpOverload] = _overloads(
    *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.rand_like, aten.randn_like),
    *(
        aten.new_zeros,
        aten.new_ones,
        aten.new_full,
        aten.new_empty,
        aten.new_empty_strided,
        aten.sym_size,
        aten.sym_stride,
        aten.sym_numel,
    ),
    *(aten.isinf, aten.isnan, aten.isfinite),
)

LOCALLY_CONSTANT = DECISIONS | INDIFFERENT

WRITING: frozenset[OpOverload] = frozenset({aten.mm.default})
"""Rules with an option ``room``: a tail, for the tail of the result to be written into."""


def smooth(*operations: OpOverload) -> Callable[[R], R]:
    """Register the decorated function as the rule of analytic ``operations``."""
    return _register(SMOOTH, operations)


def piecewise(*operations: OpOverload) -> Callable[[R], R]:
    """Register the decorated function as the rule of ``operations`` that are only piecewise analytic."""
    return _register(PIECEWISE, operations)


def _register(table: dict[OpOverload, Rule], operations: tuple[OpOverload, ...]) -> Callable[[R], R]:
    def add(rule: R) -> R:
        for operation in operations:
            assert operation not in SMOOTH and operation not in PIECEWISE, f"two rules for {operation}"
            table[operation] = rule
        return rule

    return add


def first_jet(values: object) -> Jet:
    """Any jet among ``values``; a rule is only called when there is one."""
    leaves, _ = torch.utils._pytree.tree_flatten(values, is_leaf=lambda leaf: isinstance(leaf, Jet))
    return next(leaf for leaf in leaves if isinstance(leaf, Jet))
