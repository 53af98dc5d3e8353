"""Softmax and its kin. Shifting by the largest entry changes nothing, so the shift comes from the constant term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, add, compose, divide, subtract
from unlearnkit.taylor.products import LEAD
from unlearnkit.taylor.rules.arithmetic import total
from unlearnkit.taylor.rules.elementwise import exponential
from unlearnkit.taylor.rules.registry import SMOOTH, aten, smooth


def _shift(x: Jet, dims: Sequence[int]) -> Tensor:
    """Largest entries of the constant term, 0 where none is finite."""
    largest = x.constant.amax(tuple(dims), keepdim=True)
    return torch.where(largest.isfinite(), largest, 0)


def _exponentials(x: Jet, dims: Sequence[int]) -> tuple[Jet, Jet, Tensor]:
    """``exp(x - shift)``, its sum over ``dims`` (kept), and the shift."""
    shift = _shift(x, dims)
    powers = compose(exponential, Jet(x.constant - shift, x.tail))
    return powers, total(powers, dims, keepdim=True), shift


def _log(x: Jet) -> Jet:
    result = SMOOTH[aten.log.default](x)
    assert isinstance(result, Jet)
    return result


@smooth(aten._softmax.default)
def _softmax(x: Jet, dim: int, _half_to_float: bool) -> Jet:
    powers, norm, _ = _exponentials(x, [dim])
    result = divide(powers, norm)
    assert isinstance(result, Jet)
    return result


@smooth(aten._safe_softmax.default)
def _safe_softmax(x: Jet, dim: int, dtype: torch.dtype | None = None) -> Jet:
    """Softmax in which a row of nothing but -inf gives zeros."""
    result = _softmax(x, dim, False)
    blank = (x.constant == -torch.inf).all(dim, keepdim=True)
    return Jet(torch.where(blank, 0, result.constant), torch.where(blank, 0, result.tail))


@smooth(aten._log_softmax.default)
def _log_softmax(x: Jet, dim: int, _half_to_float: bool) -> Jet:
    _, norm, shift = _exponentials(x, [dim])
    result = subtract(Jet(x.constant - shift, x.tail), _log(norm))
    assert isinstance(result, Jet)
    return result


@smooth(aten.logsumexp.default)
def _logsumexp(x: Jet, dim: Sequence[int], keepdim: bool = False) -> Jet:
    _, norm, shift = _exponentials(x, dim)
    result = add(_log(norm), shift)
    assert isinstance(result, Jet)
    if keepdim:
        return result
    drop = sorted((d % x.constant.dim() for d in dim), reverse=True)
    constant, tail = result.constant, result.tail
    for d in drop:
        constant, tail = constant.squeeze(d), tail.squeeze(d + LEAD)
    return Jet(constant, tail)
