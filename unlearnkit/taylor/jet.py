"""Truncated power series of tensors, and their arithmetic.

A jet is ``X(z) = X_0 + X_1 z + ... + X_k z^k  mod z^(k+1)`` for many directions at once. The constant term ``X_0`` is a
real tensor of shape ``[*S]`` that all directions share; the tail holds ``X_1..X_k`` as ``[degree, planes, directions,
*S]``, of real numbers: real and imaginary parts in two planes along complex directions, one plane along real ones.
Coefficients are normalised (``X_r = X^(r)(0) / r!``), so that products are plain convolutions (Griewank & Walther,
Evaluating Derivatives, 2nd ed., chapter 13).

Functions here take jets and plain tensors alike; a plain tensor is a jet whose tail is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from unlearnkit.taylor.products import LEAD, Number, add_product, cuts, in_planes, of_planes, product


class Jet:
    """``constant`` of shape ``[*S]`` and ``tail`` of shape ``[degree, planes, directions, *S]``.

    The tail may be a strided or expanded view; no function writes into a tail that it was given. It is ``base`` times a
    real ``factor``, which is multiplied when somebody reads it: who adds it to another tail takes one pass for both.
    """

    __slots__ = ("base", "constant", "factor")

    def __init__(self, constant: Tensor, base: Tensor, factor: Tensor | Number | None = None) -> None:
        self.constant = constant
        self.base = base
        self.factor = factor

    @property
    def tail(self) -> Tensor:
        """``X_1..X_k`` as ``[degree, planes, directions, *S]``."""
        if self.factor is not None:
            self.base, self.factor = self.base * self.factor, None
        return self.base

    @classmethod
    def of(cls, constant: Tensor, coefficients: Tensor) -> Jet:
        """From real or complex ``coefficients`` ``[degree, directions, *S]``."""
        return cls(constant, in_planes(coefficients, 1))

    @property
    def coefficients(self) -> Tensor:
        """``X_1..X_k`` as ``[degree, directions, *S]``: real along real directions, complex along complex ones."""
        return of_planes(self.tail)

    @property
    def degree(self) -> int:
        """Highest power of z that is kept."""
        return self.base.shape[0]

    @property
    def shape(self) -> torch.Size:
        """Shape ``[*S]`` of every coefficient."""
        return self.constant.shape

    def __repr__(self) -> str:
        degree, planes, directions = self.tail.shape[:LEAD]
        kind = "complex" if planes == 2 else "real"
        return f"Jet(shape={tuple(self.shape)}, degree={degree}, {kind} directions={directions}, {self.tail.dtype})"


Operand: TypeAlias = Jet | Tensor | Number


def constant_of(x: Operand) -> Tensor | Number:
    """The constant term: what the plain program would compute."""
    return x.constant if isinstance(x, Jet) else x


def align(tail: Tensor, ndim: int) -> Tensor:
    """Give each coefficient of ``tail`` ``ndim`` dimensions, with new ones in front, as broadcasting would."""
    missing = ndim - (tail.dim() - LEAD)
    return tail if missing <= 0 else tail.reshape(tail.shape[:LEAD] + (1,) * missing + tail.shape[LEAD:])


def _expanded(tail: Tensor, shape: torch.Size) -> Tensor:
    """``tail`` with its coefficients broadcast to ``shape``."""
    return align(tail, len(shape)).expand(tail.shape[:LEAD] + shape)


def add(a: Operand, b: Operand, alpha: Number = 1) -> Operand:
    """``a + alpha * b``."""
    if alpha != 1:
        b = scale(b, alpha)
    if not isinstance(a, Jet) and not isinstance(b, Jet):
        return a + b
    if isinstance(a, Jet) and isinstance(b, Jet):
        constant = a.constant + b.constant
        return Jet(constant, _sum(constant, b, a) if b.factor is None else _sum(constant, a, b))
    jet, other = (a, b) if isinstance(a, Jet) else (b, a)
    assert isinstance(jet, Jet) and not isinstance(other, Jet)
    constant = jet.constant + other
    return Jet(constant, _expanded(jet.tail, constant.shape))


def subtract(a: Operand, b: Operand, alpha: Number = 1) -> Operand:
    """``a - alpha * b``."""
    if alpha == 1 and isinstance(a, Jet) and isinstance(b, Jet):
        constant = a.constant - b.constant
        return Jet(constant, _sum(constant, a, b, -1))
    return add(a, scale(b, -alpha))


def _sum(constant: Tensor, a: Jet, b: Jet, sign: int = 1) -> Tensor:
    """The tail of ``a + sign * b``, whose constant term this is. Factors are not multiplied for others to read."""
    ndim, factor = constant.dim(), b.factor
    first = align(a.base if a.factor is None else a.base * a.factor, ndim)
    second = align(b.base, ndim)
    if isinstance(factor, Tensor) and (factor.device != second.device or factor.dtype != second.dtype):
        second, factor = second * factor, None
    fits = first.shape[LEAD:] == constant.shape and first.dtype == second.dtype
    room = first if fits and a.factor is not None else None
    if isinstance(factor, Tensor):
        return torch.addcmul(first, second, factor, value=sign, out=room)
    return torch.add(first, second, alpha=sign if factor is None else sign * factor, out=room)


def scale(a: Operand, factor: Number) -> Operand:
    """``factor * a`` for a plain number."""
    return Jet(a.constant * factor, a.tail, factor) if isinstance(a, Jet) else a * factor


def multiply(a: Operand, b: Operand) -> Operand:
    """Elementwise product with broadcasting."""
    if isinstance(a, Jet) and isinstance(b, Jet):
        return square(a) if a is b else _multiply_jets(a, b)
    if not isinstance(a, Jet) and not isinstance(b, Jet):
        return a * b
    jet, other = (a, b) if isinstance(a, Jet) else (b, a)
    assert isinstance(jet, Jet) and not isinstance(other, Jet)
    constant = jet.constant * other
    return Jet(constant, align(jet.tail, constant.dim()), other)


def _multiply_jets(a: Jet, b: Jet) -> Jet:
    constant = a.constant * b.constant
    ndim = constant.dim()
    if a.degree == 1:
        return Jet(constant, _first_order(a, b, ndim))
    at, bt = align(a.tail, ndim), align(b.tail, ndim)
    tail = bt.new_empty(bt.shape[:LEAD] + constant.shape, dtype=torch.result_type(bt, a.constant))
    for cut in cuts(tail):
        u, v, total = at[:, :, cut], bt[:, :, cut], tail[:, :, cut]
        torch.mul(v, a.constant, out=total).addcmul_(u, b.constant)
        for i in range(1, a.degree):
            add_product(total[i:], u[i - 1 : i], v[: a.degree - i])
    return Jet(constant, tail)


def _first_order(a: Jet, b: Jet, ndim: int) -> Tensor:
    """``a_1 b_0 + a_0 b_1``, where factors of tails are multiplied to constants, which have no directions."""
    of_a, of_b = (c if f is None else f * c for f, c in ((a.factor, b.constant), (b.factor, a.constant)))
    return (align(b.base, ndim) * of_b).addcmul_(align(a.base, ndim), of_a)


def square(a: Jet) -> Jet:
    """``a * a``, using that the convolution is symmetric."""
    tail = a.tail * (2 * a.constant)
    accumulate_square(tail, a.tail)
    return Jet(a.constant * a.constant, tail)


def accumulate_square(total: Tensor, tail: Tensor, factor: Number = 1) -> None:
    """Add ``factor`` times the square of ``tail[0] z + tail[1] z^2 + ...`` to ``total``, which must be dense."""
    degree = tail.shape[0]
    for i in range(1, degree // 2 + 1):
        add_product(total[2 * i - 1 : 2 * i], tail[i - 1 : i], tail[i - 1 : i], factor)
        if 2 * i < degree:
            add_product(total[2 * i :], tail[i - 1 : i], tail[i : degree - i], 2 * factor)


def divide(a: Operand, b: Operand) -> Operand:
    """``a / b``, by ``q_r = (a_r - sum_{i=1..r} b_i q_(r-i)) / b_0`` (Griewank & Walther, table 13.1)."""
    if not isinstance(b, Jet):
        return Jet(a.constant / b, align(a.tail, (a.constant / b).dim()) / b) if isinstance(a, Jet) else a / b
    inverse = b.constant.reciprocal()
    constant = constant_of(a) / b.constant
    ndim = constant.dim()
    ratio = align(b.tail, ndim) * inverse
    tail = ratio * -constant
    if isinstance(a, Jet):
        tail.addcmul_(align(a.tail, ndim), inverse)
    for r in range(1, b.degree):
        add_product(tail[r:], tail[r - 1 : r], ratio[: b.degree - r], -1)
    return Jet(constant, tail)


def power_sums(tail: Tensor, coefficients: Sequence[Tensor | Number]) -> Tensor:
    """Coefficients 1..k of ``sum_j coefficients[j-1] u(z)^j`` for ``u(z) = tail[0] z + tail[1] z^2 + ...``.

    coefficients: ``k`` numbers, or tensors of shape ``[*S]``. One Taylor expansion inserted into another.
    """
    shapes = (c.shape for c in coefficients if isinstance(c, Tensor))
    shape = torch.broadcast_shapes(tail.shape, *shapes)  # type: ignore[no-untyped-call]
    total = tail.new_empty(shape, dtype=torch.result_type(tail, coefficients[0]))
    for cut in cuts(total):
        _insert(total[:, :, cut], tail[:, :, cut], coefficients)
    return total


def _insert(total: Tensor, tail: Tensor, coefficients: Sequence[Tensor | Number]) -> None:
    """`power_sums` of some directions, written over ``total``."""
    degree = len(tail)
    torch.mul(tail, coefficients[0], out=total)
    power = tail  # power[i] is the coefficient of z^(j+i) of u^j
    for j in range(2, degree + 1):
        terms = degree - j + 1
        if j == 2:
            # The square of u / z, whose series starts with a constant term: the symmetric shortcut shifts by one.
            following = _square_series(tail[:terms])
        else:
            following = product(tail[:1], power[:terms])
            for i in range(1, terms):
                add_product(following[i:], tail[i : i + 1], power[: terms - i])
        power = following
        coefficient = coefficients[j - 1]
        if isinstance(coefficient, Tensor):
            total[j - 1 :].addcmul_(power, coefficient)
        else:
            total[j - 1 :].add_(power, alpha=coefficient)


def _square_series(series: Tensor) -> Tensor:
    """First coefficients of the square of ``series[0] + series[1] z + ...``, as many as were given."""
    terms = series.shape[0]
    result = product(series[:1], series)
    if terms > 1:
        result[1:] *= 2
    for i in range(1, (terms + 1) // 2):
        add_product(result[2 * i : 2 * i + 1], series[i : i + 1], series[i : i + 1])
        if 2 * i + 1 < terms:
            add_product(result[2 * i + 1 :], series[i : i + 1], series[i + 1 : terms - i], 2)
    return result


Expansion: TypeAlias = Callable[[Tensor, int], list[Tensor]]


def compose(expansion: Expansion, x: Jet) -> Jet:
    """``f(x)`` for an analytic ``f`` applied elementwise.

    expansion: gives ``[f(c), f'(c), ..., f^(k)(c) / k!]`` at a real tensor ``c``.
    """
    value, *derivatives = expansion(x.constant, x.degree)
    if x.degree == 1:
        return Jet(value, x.tail, derivatives[0])
    return Jet(value, power_sums(x.tail, derivatives))


def power(x: Jet, exponent: Number) -> Jet:
    """``x ** exponent``. Whole exponents >= 0 are products and need no ``x != 0``; others are
    ``x_0^p (1 + v)^p`` with ``v = tail / x_0``, which keeps the numbers in range where ``x_0^(p-k)`` would overflow.
    """
    if exponent >= 0 and float(exponent).is_integer():
        return _whole_power(x, int(exponent))
    ratio = divide_tail(x.tail, x.constant)
    binomials = [float(exponent)]
    for j in range(2, x.degree + 1):
        binomials.append(binomials[-1] * (exponent - j + 1) / j)
    constant = torch.pow(x.constant, exponent)
    return Jet(constant, power_sums(ratio, binomials).mul_(constant))


def divide_tail(tail: Tensor, constant: Tensor) -> Tensor:
    """``tail / constant`` with ``0 / 0 = 0``: a series that vanishes identically has a square root that does too.

    A coefficient that does not vanish over a zero constant stays infinite: there the function is not analytic.
    """
    ratio = tail * constant.reciprocal()
    if bool((constant == 0).any()):
        ratio = torch.where(tail == 0, 0, ratio)
    return ratio


def _whole_power(x: Jet, exponent: int) -> Jet:
    if exponent == 0:
        return Jet(torch.ones_like(x.constant), torch.zeros_like(x.tail))
    result: Operand | None = None
    base: Jet = x
    while True:
        if exponent & 1:
            result = base if result is None else multiply(result, base)
        exponent >>= 1
        if not exponent:
            break
        base = square(base)
    assert isinstance(result, Jet)
    return result
