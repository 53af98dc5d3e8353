"""Analytic functions applied elementwise: their Taylor expansions at the constant term.

Each expansion maps a real tensor ``c`` and a degree ``k >= 1`` to ``[f(c), f'(c), ..., f^(k)(c) / k!]``, most of them
from the differential equation that the function solves (Griewank & Walther, Evaluating Derivatives, 2nd ed., table
13.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch._ops import OpOverload

from unlearnkit.taylor.jet import Expansion, Jet, Operand, compose, divide_tail, multiply, power_sums
from unlearnkit.taylor.products import Number
from unlearnkit.taylor.rules.registry import aten, smooth


def exponential(c: Tensor, degree: int) -> list[Tensor]:
    """``exp``."""
    value = c.exp()
    return [value / math.factorial(j) for j in range(degree + 1)]


def _reciprocal_powers(c: Tensor, degree: int) -> list[Tensor]:
    """Expansion of ``1 / x``."""
    inverse = c.reciprocal()
    series = [inverse]
    for _ in range(degree):
        series.append(series[-1] * -inverse)
    return series


def integral(value: Tensor, derivative: list[Tensor]) -> list[Tensor]:
    """Expansion of the function with this value and this expansion of its derivative."""
    return [value, *(d / (j + 1) for j, d in enumerate(derivative))]


def derivative(expansion: Expansion) -> Expansion:
    """Expansion of the derivative."""

    def shifted(c: Tensor, degree: int) -> list[Tensor]:
        return [j * f for j, f in enumerate(expansion(c, degree + 1))][1:]

    return shifted


def product(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Product of two expansions of the same length."""
    return [sum((a[i] * b[r - i] for i in range(1, r + 1)), start=a[0] * b[r]) for r in range(len(a))]


def logarithm(c: Tensor, degree: int) -> list[Tensor]:
    """``log``."""
    return integral(c.log(), _reciprocal_powers(c, degree - 1))


def _log1p(c: Tensor, degree: int) -> list[Tensor]:
    return [c.log1p(), *logarithm(1 + c, degree)[1:]]


def _expm1(c: Tensor, degree: int) -> list[Tensor]:
    return [c.expm1(), *exponential(c, degree)[1:]]


def _exp2(c: Tensor, degree: int) -> list[Tensor]:
    value, log2 = c.exp2(), math.log(2.0)
    return [value * (log2**j / math.factorial(j)) for j in range(degree + 1)]


def _sine(c: Tensor, degree: int) -> list[Tensor]:
    cycle = [c.sin(), c.cos()]
    return [cycle[j % 2] * ((-1) ** (j // 2) / math.factorial(j)) for j in range(degree + 1)]


def _cosine(c: Tensor, degree: int) -> list[Tensor]:
    cycle = [c.cos(), -c.sin()]
    return [cycle[j % 2] * ((-1) ** (j // 2) / math.factorial(j)) for j in range(degree + 1)]


def _sinh(c: Tensor, degree: int) -> list[Tensor]:
    cycle = [c.sinh(), c.cosh()]
    return [cycle[j % 2] / math.factorial(j) for j in range(degree + 1)]


def _cosh(c: Tensor, degree: int) -> list[Tensor]:
    cycle = [c.cosh(), c.sinh()]
    return [cycle[j % 2] / math.factorial(j) for j in range(degree + 1)]


def _riccati(value: Tensor, a: Number, b: Number, c: Number, degree: int) -> list[Tensor]:
    """Solution of ``f' = a + b f + c f^2`` with this value: tanh (1, 0, -1), sigmoid (0, 1, -1), tan (1, 0, 1)."""
    series = [value]
    for j in range(degree):
        square = sum((series[i] * series[j - i] for i in range(1, j + 1)), start=series[0] * series[j])
        slope = b * series[j] + c * square
        series.append((slope + a if j == 0 else slope) / (j + 1))
    return series


def tanh(c: Tensor, degree: int) -> list[Tensor]:
    """``tanh``."""
    return _riccati(c.tanh(), 1, 0, -1, degree)


def sigmoid(c: Tensor, degree: int) -> list[Tensor]:
    """``1 / (1 + exp(-x))``."""
    return _riccati(c.sigmoid(), 0, 1, -1, degree)


def _tan(c: Tensor, degree: int) -> list[Tensor]:
    return _riccati(c.tan(), 1, 0, 1, degree)


def _bell(c: Tensor, degree: int, rate: float) -> list[Tensor]:
    """``exp(-rate x^2)``, from ``g' = -2 rate x g``."""
    series = [(c * c).mul_(-rate).exp_()]
    for j in range(degree):
        slope = c * series[j] if j == 0 else c * series[j] + series[j - 1]
        series.append(slope * (-2 * rate / (j + 1)))
    return series


def _erf(c: Tensor, degree: int) -> list[Tensor]:
    return integral(c.erf(), [s * (2 / math.sqrt(math.pi)) for s in _bell(c, degree - 1, 1.0)])


def _erfc(c: Tensor, degree: int) -> list[Tensor]:
    return [c.erfc(), *(-f for f in _erf(c, degree)[1:])]


def _atan(c: Tensor, degree: int) -> list[Tensor]:
    # (1 + x^2) f' = 1
    slope: list[Tensor] = []
    inverse = (1 + c * c).reciprocal()
    for j in range(degree):
        rest = torch.ones_like(c) if j == 0 else -2 * c * slope[j - 1]
        slope.append((rest - slope[j - 2] if j > 1 else rest) * inverse)
    return integral(c.atan(), slope)


def _times_x(c: Tensor, series: list[Tensor]) -> list[Tensor]:
    """Expansion of ``x f(x)``."""
    return [c * f + series[j - 1] if j else c * f for j, f in enumerate(series)]


def _gelu_exact(c: Tensor, degree: int) -> list[Tensor]:
    density = [d * (1 / math.sqrt(2 * math.pi)) for d in _bell(c, degree - 1, 0.5)]
    cumulative = integral(0.5 * (1 + torch.erf(c * math.sqrt(0.5))), density)
    return _times_x(c, cumulative)


def _gelu_tanh(c: Tensor, degree: int) -> list[Tensor]:
    # 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3); tanh(u(x)) from t' = (1 - t^2) u'.
    a, b = math.sqrt(2 / math.pi), 0.044715
    slope = [a * (1 + 3 * b * c * c), 6 * a * b * c, torch.full_like(c, 3 * a * b)]
    t = [torch.tanh(a * (c + b * c**3))]
    for j in range(degree):
        one_minus_square = [-s for s in product(t, t)]
        one_minus_square[0] = one_minus_square[0] + 1
        terms = [one_minus_square[j - i] * slope[i] for i in range(min(j, 2) + 1)]
        t.append(sum(terms[1:], start=terms[0]) / (j + 1))
    return _times_x(c, [0.5 * (1 + t[0]), *(0.5 * s for s in t[1:])])


def _silu(c: Tensor, degree: int) -> list[Tensor]:
    return _times_x(c, sigmoid(c, degree))


def _softplus(beta: Number, threshold: Number) -> Expansion:
    """``log(1 + exp(beta x)) / beta``; above the threshold torch returns x itself, equal to working precision."""

    def expansion(c: Tensor, degree: int) -> list[Tensor]:
        linear = c * beta > threshold
        value = torch.where(linear, c, torch.log1p(torch.exp(c * beta)) / beta)
        rises = [s * beta**j for j, s in enumerate(sigmoid(c * beta, degree - 1))]
        curved = integral(value, rises)[1:]
        straight = [1.0] + [0.0] * (degree - 1)
        return [value, *(torch.where(linear, s, f) for s, f in zip(straight, curved, strict=True))]

    return expansion


def _log_sigmoid(c: Tensor, degree: int) -> list[Tensor]:
    rises = [s * (-1) ** j for j, s in enumerate(sigmoid(-c, degree - 1))]
    return integral(torch.nn.functional.logsigmoid(c), rises)


_FUNCTIONS: dict[OpOverload, Expansion] = {
    aten.exp.default: exponential,
    aten.exp2.default: _exp2,
    aten.expm1.default: _expm1,
    aten.log1p.default: _log1p,
    aten.sin.default: _sine,
    aten.cos.default: _cosine,
    aten.sinh.default: _sinh,
    aten.cosh.default: _cosh,
    aten.tan.default: _tan,
    aten.tanh.default: tanh,
    aten.sigmoid.default: sigmoid,
    aten.erf.default: _erf,
    aten.erfc.default: _erfc,
    aten.atan.default: _atan,
    aten.silu.default: _silu,
}


def _register(operation: OpOverload, expansion: Expansion) -> None:
    smooth(operation)(lambda x: compose(expansion, x))


for _operation, _expansion in _FUNCTIONS.items():
    _register(_operation, _expansion)


def _logarithm_of_jet(base: float) -> Callable[[Jet], Jet]:
    """``log`` through ``log(1 + tail / constant)``, which stays in range where powers of the constant would not."""

    def rule(x: Jet) -> Jet:
        ratio = divide_tail(x.tail, x.constant)
        factor = 1 / math.log(base)
        coefficients = [factor * (-1) ** (j + 1) / j for j in range(1, x.degree + 1)]
        return Jet(x.constant.log() * factor, power_sums(ratio, coefficients))

    return rule


smooth(aten.log.default)(_logarithm_of_jet(math.e))
smooth(aten.log2.default)(_logarithm_of_jet(2.0))
smooth(aten.log10.default)(_logarithm_of_jet(10.0))


def _gelu(approximate: str) -> Expansion:
    return _gelu_tanh if approximate == "tanh" else _gelu_exact


@smooth(aten.gelu.default)
def _gelu_rule(x: Jet, *, approximate: str = "none") -> Jet:
    return compose(_gelu(approximate), x)


@smooth(aten.softplus.default)
def _softplus_rule(x: Jet, beta: Number = 1, threshold: Number = 20) -> Jet:
    return compose(_softplus(beta, threshold), x)


@smooth(aten.log_sigmoid_forward.default)
def _log_sigmoid_rule(x: Jet) -> tuple[Jet, Tensor]:
    return compose(_log_sigmoid, x), x.constant.new_empty(0)


# Backward forms: the incoming gradient times the derivative at x.


def times_derivative(expansion: Expansion, gradient: Operand, x: Operand) -> Operand:
    """``gradient * f'(x)``."""
    slope = derivative(expansion)
    return multiply(gradient, compose(slope, x) if isinstance(x, Jet) else slope(torch.as_tensor(x), 0)[0])


@smooth(aten.gelu_backward.default)
def _gelu_backward(gradient: Operand, x: Operand, *, approximate: str = "none") -> Operand:
    return times_derivative(_gelu(approximate), gradient, x)


@smooth(aten.softplus_backward.default)
def _softplus_backward(gradient: Operand, x: Operand, beta: Number, threshold: Number) -> Operand:
    return times_derivative(_softplus(beta, threshold), gradient, x)


@smooth(aten.log_sigmoid_backward.default)
def _log_sigmoid_backward(gradient: Operand, x: Operand, _buffer: Operand) -> Operand:
    return times_derivative(_log_sigmoid, gradient, x)
