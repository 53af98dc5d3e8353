"""Every Taylor rule against torch's own nested forward-mode derivatives, and against laws that hold for any rule."""

from __future__ import annotations

import cmath
import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.taylor import cases, cases_layout
from tests.taylor.cases import Case
from tests.taylor.slow_path import coefficients, distance, tail_of
from unlearnkit.taylor.check import Kind, active_nodes, problems
from unlearnkit.taylor.interpreter import Interpreter
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.rules import PIECEWISE, SMOOTH
from unlearnkit.taylor.trace import Trace, trace

DEGREE, DIRECTIONS = 5, 3
TABLE = [
    case
    for module in (cases, cases_layout)
    for table in vars(module).values()
    if isinstance(table, list)
    for case in table
]
every_case = pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)


def with_gradient(case: Case):
    """The case's function together with the gradient of half the sum of squares of what it returns."""

    def outputs_and_gradients(*xs: Tensor) -> Any:
        def loss(*xs: Tensor) -> Any:
            outputs = pytree.tree_leaves(case.function(*xs))
            return sum(y.square().sum() for y in outputs) / 2, outputs

        gradients, outputs = torch.func.grad(loss, tuple(range(len(xs))), has_aux=True)(*xs)
        return outputs, gradients

    return outputs_and_gradients


@functools.cache
def traced(case: Case) -> Trace:
    return trace(with_gradient(case), *case.constants(torch.Generator().manual_seed(0)))


def run(case: Case, arguments: Sequence[Jet | Tensor]) -> list[Jet | Tensor]:
    """What the engine makes of the arguments, flat."""
    interpreter = Interpreter(traced(case), case.jets)  # tracing draws random numbers too
    torch.manual_seed(0)
    return pytree.tree_leaves(interpreter(*arguments))


def arguments(case: Case, *, degree: int = DEGREE, directions: int = DIRECTIONS) -> list[Jet | Tensor]:
    """Random jets with real tails, and plain tensors; shorter ones are the beginnings of longer ones."""
    constants = case.constants(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    tails = [torch.randn(DEGREE, DIRECTIONS, *x.shape, generator=generator, dtype=x.dtype) / 2 for x in constants]
    return [
        Jet.of(x, tail[:degree, :directions]) if jet else x
        for x, tail, jet in zip(constants, tails, case.jets, strict=True)
    ]


def constants(values: Sequence[Jet | Tensor]) -> list[Tensor]:
    return [x.constant if isinstance(x, Jet) else x for x in values]


def map_tails(function: Any, values: Sequence[Jet | Tensor]) -> list[Jet | Tensor]:
    return [Jet.of(x.constant, function(x.coefficients)) if isinstance(x, Jet) else x for x in values]


@every_case
def test_coefficients_agree_with_nested_derivatives(case: Case):
    degree = DEGREE if all(case.jets) else 3
    longest = arguments(case, degree=degree)
    torch.manual_seed(0)
    expected = coefficients(with_gradient(case), longest)
    for r in range(1, degree + 1):
        for directions in (1, DIRECTIONS):
            xs = arguments(case, degree=r, directions=directions)
            found = [tail_of(y, xs) for y in run(case, xs)]
            assert max(map(distance, found, [y[:r, :directions] for y in expected])) < 1e-9


@every_case
def test_the_constant_term_is_the_plain_function(case: Case):
    xs = arguments(case)
    torch.manual_seed(0)
    expected = pytree.tree_leaves(with_gradient(case)(*constants(xs)))
    for found, y in zip(constants(run(case, xs)), expected, strict=True):
        torch.testing.assert_close(found, y, rtol=1e-13, atol=1e-13)


@every_case
def test_turning_a_direction_turns_coefficient_r_by_r_times_the_angle(case: Case):
    angle = 0.7
    turns = torch.tensor([cmath.exp(1j * angle * r) for r in range(1, DEGREE + 1)], dtype=torch.complex128)

    def turned(tail: Tensor) -> Tensor:
        return tail * turns.view(-1, *[1] * (tail.dim() - 1))

    xs = arguments(case)
    expected = [turned(tail_of(y, xs)) for y in run(case, xs)]
    turned_xs = map_tails(turned, xs)
    found = [tail_of(y, turned_xs) for y in run(case, turned_xs)]
    assert max(map(distance, found, expected)) < 1e-11


@every_case
def test_complex_directions_continue_real_ones_analytically(case: Case):
    """Along ``x + s y`` coefficient ``r`` is a polynomial of degree ``r`` in ``s``; real ``s`` fix it at ``i``."""
    nodes = torch.cos(torch.linspace(0, torch.pi, DEGREE + 1, dtype=torch.float64))
    powers = torch.linalg.inv(torch.linalg.vander(nodes))
    at_i = torch.tensor([1j**n for n in range(DEGREE + 1)], dtype=torch.complex128) @ powers.to(torch.complex128)

    def on_a_line(tail: Tensor) -> Tensor:
        return torch.stack([tail[:, 0] + s * tail[:, 1] for s in nodes], 1)

    xs = arguments(case)
    line = map_tails(on_a_line, xs)
    expected = [
        torch.einsum("s,rs...->r...", at_i, tail_of(y, line).to(at_i.dtype)).unsqueeze(1) for y in run(case, line)
    ]
    ahead = map_tails(lambda tail: torch.complex(tail[:, :1], tail[:, 1:2]), xs)
    found = [tail_of(y, ahead) for y in run(case, ahead)]
    assert max(map(distance, found, expected)) < 1e-8


@every_case
def test_neither_memory_layout_nor_precision_matters_and_nothing_is_written_into_the_arguments(case: Case):
    xs = map_tails(lambda tail: torch.complex(tail, tail.flip(1)), arguments(case))
    strided = [
        Jet(x.constant, x.tail.permute(order := [*reversed(range(x.tail.dim()))]).contiguous().permute(order))
        if isinstance(x, Jet)
        else x
        for x in xs
    ]
    before = [x.tail.clone() for x in strided if isinstance(x, Jet)]
    expected, found = run(case, xs), run(case, strided)
    for y, z in zip(expected, found, strict=True):
        torch.testing.assert_close(tail_of(z, xs), tail_of(y, xs), rtol=1e-12, atol=1e-12)
    assert all(
        torch.equal(x.tail, old) for x, old in zip((x for x in strided if isinstance(x, Jet)), before, strict=True)
    )


@every_case
def test_kinks_are_reported_and_nothing_else_is(case: Case):
    kinds = {problem.kind for problem in problems(traced(case), case.jets)} - {Kind.DECISION}
    assert kinds == ({Kind.PIECEWISE} if case.piecewise else set())


def test_every_rule_has_a_case():
    met: set[object] = set()
    for case in TABLE:
        graph = traced(case).module.graph
        active = active_nodes(graph, case.jets)
        met.update(node.target for node in graph.nodes if active.intersection(node.all_input_nodes))
    assert (SMOOTH.keys() | PIECEWISE.keys()) - met == {torch.ops.aten.detach.default}


def test_what_detach_hides_from_gradients_moves_with_the_weights_all_the_same():
    """Retraining changes a detached value as well; torch's derivatives would call it constant."""
    x = Jet.of(torch.tensor([2.0]), torch.tensor([[[3.0]]]))
    graph = trace(lambda x: x.detach() * x, x.constant)
    assert Interpreter(graph, [True])(x).coefficients.item() == 2 * 2 * 3
