"""Products of tails, which are complex numbers in planes of real ones.

A tail is ``[degree, planes, directions, *S]``: along complex directions the first plane holds real parts and the second
imaginary parts, along real ones there is one plane. Whatever is linear with real coefficients acts on both planes
alike, as on so many more directions, in real arithmetic; only a product of two tails mixes them, and is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = int | float

LEAD = 3
"""Dimensions of a tail before those of a coefficient: degree, plane, direction."""

PIECE = 1 << 18
"""Elements of a tail that several operations on a processor go over while they are in its cache."""

LARGE = 128
"""Rows and columns from which on a processor adds matrices in much less time than it multiplies them."""


def in_planes(numbers: Tensor, dim: int = 0) -> Tensor:
    """Real or complex numbers with their planes as a further dimension before ``dim``."""
    return torch.stack([numbers.real, numbers.imag], dim) if numbers.is_complex() else numbers.unsqueeze(dim)


def of_planes(tail: Tensor) -> Tensor:
    """A tail as real or complex numbers ``[degree, directions, *S]``."""
    planes = tail.unbind(1)
    return planes[0] if len(planes) == 1 else torch.complex(planes[0].contiguous(), planes[1].contiguous())


def cuts(tail: Tensor) -> list[slice]:
    """Which directions to take at a time."""
    if tail.device.type != "cpu":
        return [slice(None)]
    directions = tail.shape[LEAD - 1]
    size = max(1, PIECE * directions // max(1, tail.numel()))
    return [slice(first, first + size) for first in range(0, directions, size)]


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a * b`` elementwise, of tails that fit by broadcasting."""
    if a.shape[1] == 1:
        return a * b
    result = a[:, :1] * b
    _add_imaginary(result, a, b, 1)
    return result


def add_product(total: Tensor, a: Tensor, b: Tensor, factor: Number = 1) -> None:
    """Add ``factor * a * b`` to ``total``, elementwise."""
    total.addcmul_(a[:, :1], b, value=factor)
    if a.shape[1] == 2:
        _add_imaginary(total, a, b, factor)


def _add_imaginary(total: Tensor, a: Tensor, b: Tensor, factor: Number) -> None:
    """Add ``factor * i * imag(a) * b``."""
    total[:, 0].addcmul_(a[:, 1], b[:, 1], value=-factor)
    total[:, 1].addcmul_(a[:, 1], b[:, 0], value=factor)


def convolve(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add the products of tails ``[degree, planes, batch, p, q]`` and ``[..., q, r]`` to ``total``."""
    degree, planes, batch = a.shape[:LEAD]
    if degree > 1 and planes == 2 and total.device.type == "cpu" and min(*a.shape[-2:], b.shape[-1]) >= LARGE:
        for i in range(batch):
            _convolve_by_three(total[:, :, i], a[: degree - 1, :, i], b[: degree - 1, :, i])
        return
    for i in range(1, degree):
        for j in range(1, degree - i + 1):
            _add_matrix_product(total[i + j - 1], a[i - 1], b[j - 1])


def _add_matrix_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a @ b`` to ``total``, of coefficients ``[planes, batch, p, q]`` and ``[planes, batch, q, r]``."""
    for place, left, right, sign in _parts(len(a)):
        total[place].baddbmm_(a[left], b[right], alpha=sign)


def _convolve_by_three(total: Tensor, a: Tensor, b: Tensor) -> None:
    """As `convolve`, of one complex direction, by three real products for each of complex numbers (Gauss).

    ``(a + i a')(b + i b') = s - a'(b + b') + i (s + a (b' - b))`` with ``s = (a + a') b``; one matrix alone is in the
    cache. Rounding is up to 1.4 times that of four products, relative to the complex numbers.
    """
    sums, both, apart = a[:, 0] + a[:, 1], b[:, 0] + b[:, 1], b[:, 1] - b[:, 0]
    for r in range(1, len(total)):
        shared = torch.mm(sums[0], b[r - 1, 0])
        for i in range(r):
            j = r - 1 - i
            if i:
                shared.addmm_(sums[i], b[j, 0])
            total[r, 0].addmm_(a[i, 1], both[j], alpha=-1)
            total[r, 1].addmm_(a[i, 0], apart[j])
        total[r].add_(shared)


def _parts(planes: int) -> Sequence[tuple[int, int, int, int]]:
    """Of a product: to which plane, of which planes, and with which sign."""
    return ((0, 0, 0, 1),) if planes == 1 else ((0, 0, 0, 1), (0, 1, 1, -1), (1, 0, 1, 1), (1, 1, 0, 1))
