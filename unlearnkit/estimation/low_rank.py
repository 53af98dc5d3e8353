"""Low-rank forms of Hessians from products with vectors that all of them share (docs/theory.md section 8).

Reverse sweeps cost the same for many elements of a probe as for one, as long as all go along the same vectors. So from
``H_e V`` of all elements e, V random, comes one basis Q for all of them (the leading left singular vectors of the
products side by side; the range finder of Halko, Martinsson and Tropp 2011), and then each Hessian is taken together of

    Q Q' H + H Q Q' - Q Q' H Q Q',   exact wherever one side of the form lies in the span of Q, and
    F C^+ F',  F = (I - QQ') H (I - QQ') V,  C = V' F,   Nystrom's form of the rest, from the products there are anyhow,

and of that the eigenpairs with the largest eigenvalues are kept. Pure functions over arrays.

Where the diagonals are known from elsewhere, forms are of what is beside them, whose leading part these would hide.
Then V begins with the leading directions of the gradients, near which the leading vectors of the Hessians lie
(`started_from`), and all of V belongs to Q: Nystrom's form is of little use there. Measured on the digits benchmark (40
margins, 16 vectors, solo series; mean error of random | class deletions): V random, diagonal left in, 0.092 | 0.101;
diagonal taken out 0.086 | 0.098; all of V in Q 0.070 | 0.097; V the leading gradients 0.067 | 0.090.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from unlearnkit.estimation.sets import Sets

Array = np.ndarray[Any, Any]

# Eigenvalues of Nystrom's C below this share of the largest are noise that its inverse would blow up. The Hessians are
# indefinite, where Nystrom's form has no bound; measured on the digits benchmark, 0.1 to 0.3 is best, 0.01 harmful.
_CUT = 0.1
# Singular values of gradients below this share of the largest tell of no direction of their own.
_LEAST = 1e-3
# And of unit columns: below this, one of them is in the span of the others.
_DEPENDENT = 1e-2


def shared_basis(products: Array, rank: int) -> Array:
    """One orthonormal basis ``[units, rank]`` for all elements, from ``H_e V``, ``[elements, units, p]``.

    Every element counts the same, whatever the size of its Hessian.
    """
    sizes = np.linalg.norm(products, axis=(1, 2), keepdims=True)
    scaled = products / np.where(sizes > 0, sizes, 1)
    beside = scaled.transpose(1, 0, 2).reshape(products.shape[1], -1)
    return np.asarray(np.linalg.svd(beside, full_matrices=False)[0][:, :rank])


def started_from(gradients: Array, vectors: Array) -> Array:
    """V', orthonormal rows that begin with the leading directions of ``gradients`` ``[E, units]``, each counted alike.

    vectors: random ones ``[p, units]``, which the rest of the p come from.
    """
    sizes = np.linalg.norm(gradients, axis=1, keepdims=True)
    scaled = gradients / np.where(sizes > 0, sizes, 1)
    values, rows = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)[1:]
    leading = rows[: len(vectors)][values[: len(vectors)] > _LEAST * max(values.max(initial=0), 1e-300)]
    rest = vectors[: len(vectors) - len(leading)]
    return np.asarray(np.linalg.qr(np.concatenate([leading, rest]).T)[0].T)


def outside(products: Array, rows: Array) -> Array:
    """``(I - V V')`` times products ``[elements, units, p]``, for orthonormal rows V': where a further basis lies."""
    return np.asarray(products - rows.T @ (rows @ products))


def widened(basis: Array, product: Array) -> tuple[Array, Array]:
    """An orthonormal basis of what unit columns ``[units, k]`` span, and H times it, from ``product`` = H ``basis``."""
    vectors, sizes, mixed = np.linalg.svd(basis.astype(np.float64), full_matrices=False)
    kept = sizes > _DEPENDENT
    return vectors[:, kept], product.astype(np.float64) @ (mixed[kept] / sizes[kept, None]).T


def eigenpairs(basis: Array, product: Array, start: Array, started: Array, count: int) -> tuple[Array, Array]:
    """The ``count`` largest eigenpairs of the low-rank form of one symmetric H, by absolute value.

    basis: Q ``[units, rank]``. product: ``H Q``. start: V ``[units, p]``. started: ``H V``.
    Returns vectors ``[units, count]``, orthonormal, and values ``[count]``; missing ones are zero.
    """
    basis, product, start, started = (array.astype(np.float64) for array in (basis, product, start, started))
    core = basis.T @ product
    outside = product - basis @ core
    rest = started - product @ (basis.T @ start)  # H (I - QQ') V
    rest -= basis @ (basis.T @ rest)
    small = start.T @ rest
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    kept = np.abs(values) > _CUT * np.abs(values).max(initial=0)
    columns = np.concatenate([basis, outside, rest @ vectors[:, kept]], axis=1)
    return _largest(columns, _middle((core + core.T) / 2, 1 / values[kept]), count)


def _middle(core: Array, inverse: Array) -> Array:
    """M in ``H ~ S M S'`` for ``S = [Q, (I - QQ') H Q, F U]``."""
    rank = len(core)
    middle = np.zeros((2 * rank + len(inverse),) * 2)
    middle[:rank, :rank] = core
    middle[:rank, rank : 2 * rank] = middle[rank : 2 * rank, :rank] = np.eye(rank)
    middle[2 * rank :, 2 * rank :] = np.diag(inverse)
    return middle


def _largest(columns: Array, middle: Array, count: int) -> tuple[Array, Array]:
    """The largest eigenpairs of ``S M S'``."""
    orthonormal, triangle = np.linalg.qr(columns)
    values, vectors = np.linalg.eigh(triangle @ middle @ triangle.T)
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    found = np.zeros((len(columns), count)), np.zeros(count)
    found[0][:, : len(order)] = orthonormal @ vectors[:, order]
    found[1][: len(order)] = values[order]
    return found


def quadratic_form(sets: Sets, vectors: Array, values: Array) -> Array:
    """``x'Hx`` for sets ``[sets, units]`` and elements with eigenpairs ``[E, units, k]``, ``[E, k]``: ``[sets, E]``."""
    result = np.empty((sets.shape[0], len(values)))
    for element, (v, weights) in enumerate(zip(vectors, values, strict=True)):
        result[:, element] = (sets @ v) ** 2 @ weights
    return result
