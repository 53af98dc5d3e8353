"""Jets whose tails wait for a factor are those whose tails are multiplied out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unlearnkit.taylor.jet import Jet, add, multiply, scale, subtract

FACTORS = {
    "number": 1.5,
    "tensor": torch.tensor([0.5, -2.0, 3.0]),
    "no dimensions": torch.tensor(0.25),
    "double": torch.tensor(0.25, dtype=torch.float64),
    "truth": torch.tensor([True, False, True]),
}


def jet(seed: int, degree: int, *shape: int) -> Jet:
    torch.manual_seed(seed)
    return Jet(torch.randn(shape), torch.randn(degree, 2, 4, *shape))


def waiting(x: Jet, factor: object) -> Jet:
    """A jet whose tail is still to be multiplied."""
    return Jet(x.constant, x.base, factor)  # type: ignore[arg-type]


def ready(x: Jet, factor: object) -> Jet:
    return Jet(x.constant, x.base * factor)  # type: ignore[operator]


OPERATIONS: dict[str, Callable[[Jet, Jet], object]] = {
    "a + b": add,
    "b + a": lambda a, b: add(b, a),
    "a + 2 b": lambda a, b: add(a, b, 2),
    "a - b": subtract,
    "b - a": lambda a, b: subtract(b, a),
    "a - 2 b": lambda a, b: subtract(a, b, 2),
    "a b": multiply,
    "b a": lambda a, b: multiply(b, a),
    "b + b": lambda _, b: add(b, b),
    "b - b": lambda _, b: subtract(b, b),
    "b b": lambda _, b: multiply(b, b),
    "3 b": lambda _, b: scale(b, 3),
    "b + 3": lambda _, b: add(b, torch.full((2, 3), 3.0)),
}


@pytest.mark.parametrize("factor", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("shape", [(2, 3), (3,), (1, 3)], ids=str)
@pytest.mark.parametrize("degree", [1, 2])
def test_a_factor_that_waits_is_one_that_is_multiplied(
    degree: int, shape: tuple[int, ...], operation: Callable[[Jet, Jet], Jet], factor: object
):
    a, b = jet(0, degree, 2, 3), jet(1, degree, *shape)
    tails = a.base.clone(), b.base.clone()
    for make in (lambda: a, lambda: waiting(a, factor)):
        first = make()
        late = waiting(b, factor)
        found = operation(first, late)
        expected = operation(Jet(a.constant, first.tail), ready(b, factor))
        assert found.tail.shape == expected.tail.shape
        assert found.tail.dtype == expected.tail.dtype
        torch.testing.assert_close(found.constant, expected.constant, rtol=0, atol=0)
        torch.testing.assert_close(found.tail, expected.tail)
        torch.testing.assert_close(late.tail, ready(b, factor).tail, rtol=0, atol=0)
    assert torch.equal(a.base, tails[0])
    assert torch.equal(b.base, tails[1])
