"""The third order by low rank, from degree-two sweeps along a few vectors (docs/theory.md section 10).

With ``T`` the third derivative of f over units, Q the leading vectors of the basis that the Hessians share, and
``x = Q a + x_perp``, ``a = Q'x``,

    f_3(x) = T[x, x, x] / 6 ~ T[Qa, Qa, 3 x - 2 Qa] / 6,

exact but for terms of second order in ``x_perp``. A degree-two sweep along v gives ``grad f_3(v) = T[v, v, .] / 2``;
along ``q_i`` and ``(q_i + q_j) / sqrt 2`` that is all of ``T[q_i, q_j, .]``. Pure functions over arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unlearnkit.estimation.sets import Sets

Array = np.ndarray[Any, Any]


def pairs(count: int) -> tuple[Array, Array]:
    """All ``i <= j`` below ``count``, in order."""
    return np.triu_indices(count)


def pair_directions(basis: Array) -> Array:
    """``q_i`` and ``(q_i + q_j) / sqrt 2`` for the rows of ``basis``, ``[count, units]``: a row for each pair."""
    first, second = pairs(len(basis))
    scale = np.where(first == second, 0.5, np.sqrt(0.5)).astype(basis.dtype)
    return np.asarray((basis[first] + basis[second]) * scale[:, None])


def slices(gradients: Array, count: int) -> Array:
    """``T[q_i, q_j, .]`` from ``grad f_3`` along `pair_directions`, both ``[pairs, ...]``."""
    first, second = pairs(count)
    diagonal = np.flatnonzero(first == second)
    squares = 2 * gradients
    beside = (squares[diagonal[first]] + squares[diagonal[second]]) / 2
    mixed = (first != second).reshape(-1, *(1,) * (gradients.ndim - 1))
    return np.asarray(squares - np.where(mixed, beside, 0))


@dataclass(frozen=True, eq=False)
class CubicForm:
    """``T[q_i, q_j, .]`` for the elements of a probe.

    basis: Q', orthonormal rows ``[count, units]``. slices: ``[pairs, E, units]``, in the order of `pairs`.
    """

    basis: Array
    slices: Array

    def of(self, elements: Array) -> CubicForm:
        """The same for some elements of the probe."""
        return CubicForm(self.basis, self.slices[:, elements]) if len(self.basis) else self

    def third_order(self, sets: Sets) -> Array:
        """The form at sets ``[sets, units]``: ``[sets, E]``."""
        inside = sets @ self.basis.T
        weights = self._products(inside)
        value = np.empty((sets.shape[0], self.slices.shape[1]))
        for e, form in enumerate(self.slices.swapaxes(0, 1)):
            outer = (weights * (sets @ form.T)).sum(1)
            inner = (weights * (inside @ (self.basis @ form.T))).sum(1)
            value[:, e] = (3 * outer - 2 * inner) / 6
        return value

    def diagonal(self) -> Array:
        """The form at each unit vector, ``[units, E]``."""
        weights, inside = self._products(self.basis.T), self.basis.T
        value = np.empty((self.basis.shape[1], self.slices.shape[1]))
        for e, form in enumerate(self.slices.swapaxes(0, 1)):
            inner = (weights * (inside @ (self.basis @ form.T))).sum(1)
            value[:, e] = (3 * (weights * form.T).sum(1) - 2 * inner) / 6
        return value

    def _products(self, inside: Array) -> Array:
        """``a_i a_j``, twice where ``i < j``: ``[sets, pairs]``."""
        first, second = pairs(len(self.basis))
        return np.asarray(inside[:, first] * inside[:, second] * np.where(first == second, 1, 2))


NO_CUBIC = CubicForm(np.zeros((0, 0)), np.zeros((0, 0, 0)))
"""Of rank zero: nothing is known."""
