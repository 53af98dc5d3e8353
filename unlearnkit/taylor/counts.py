"""Traces that differ only in counts that come from data, such as how many entries a mask selects, share one graph.

Python sizes what follows by such a count, so it is written all over a trace as plain numbers. Traces of the same form
tell which numbers follow which count: candidates are that a number is fixed, a multiple of a count, or next to one, and
every further trace rules some out. Where those that are left disagree, or the result is not the function's own, one
traces again, so a wrong guess costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from unlearnkit.taylor.trace import Trace, frozen

Number: TypeAlias = int | float
Counts: TypeAlias = tuple[int, ...]


class GuardChangedError(Exception):
    """A value or shape that was frozen into the graph is another one on these inputs: trace again. Internal."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Stands for a number in the arguments of a node."""

    position: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """``factor * counts[count] + offset``; a fixed number, ``factor``, where ``count`` is None."""

    count: int | None
    factor: Number
    offset: int = 0

    def value(self, counts: Sequence[int]) -> Number:
        return self.factor if self.count is None else self.factor * counts[self.count] + self.offset


def _rules(number: Number, counts: Sequence[int]) -> Iterator[_Rule]:
    """What a number may be, given the counts that were known by then."""
    yield _Rule(None, number)
    unit = type(number)(1)
    for i, count in enumerate(counts):
        if count and number > 0 and number % count == 0:
            yield _Rule(i, number // count)
        if abs(number - count) == 1:
            yield _Rule(i, unit, int(number - count))


def measured(result: object) -> tuple[Counts, tuple[object, ...]]:
    """The counts in what a guard saw, and everything else in it, which must stay as it is."""
    parts = list(_parts(frozen(result)))
    return tuple(p for p in parts if type(p) is int), tuple("count" if type(p) is int else p for p in parts)


def _parts(value: object) -> Iterator[object]:
    if isinstance(value, (tuple, list)):  # a torch.Size too
        yield f"{len(value)} parts"
        for part in value:
            yield from _parts(part)
    else:
        yield value


class Family:
    """Traces of one form, the first of which stands for all.

    arguments: positional and named arguments of each node, with a ``Literal`` for each number.
    verified: counts for which the graph was seen to be the function.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.verified: set[Counts] = set()
        self.arguments: dict[fx.Node, tuple[Any, Any]] = {}
        self._numbers, known = self._literals()
        self._form = _form(trace, self.arguments)
        self._counts = tuple(c for guard in trace.guards for c in measured(guard.expected)[0])
        self.is_open = False  # whether other counts than those of the first trace are taken
        self._left = [list(_rules(n, self._counts[:k])) for n, k in zip(self._numbers, known, strict=True)]
        self.verified.add(self._counts)

    def _literals(self) -> tuple[list[Number], list[int]]:
        """All numbers in the graph, and how many counts were known before each."""
        guards = {guard.node: len(measured(guard.expected)[0]) for guard in self.trace.guards}
        numbers: list[Number] = []
        places: list[int] = []
        known = 0

        def literal(x: object) -> object:
            if type(x) is not int and type(x) is not float:
                return x
            numbers.append(x)
            places.append(known)
            return Literal(len(numbers) - 1)

        for node in self.trace.module.graph.nodes:
            self.arguments[node] = fx.node.map_aggregate((node.args, node.kwargs), literal)  # type: ignore[arg-type]
            known += guards.get(node, 0)
        return numbers, places

    def joined(self, trace: Trace) -> bool:
        """Learn from another trace; False when it is of another form."""
        other = Family(trace)
        if other._form != self._form or not _same_constants(self.trace, trace):
            return False
        left = [
            [rule for rule in rules if rule.value(other._counts) == number]
            for rules, number in zip(self._left, other._numbers, strict=True)
        ]
        if not all(left):
            return False
        self._left, self.is_open = left, True
        self.verified.add(other._counts)
        return True

    def follows_counts(self, literal: Literal) -> bool:
        """Whether a number may be another one for other counts."""
        return self.is_open and any(rule.count is not None for rule in self._left[literal.position])

    def number(self, literal: Literal, counts: Sequence[int]) -> Number:
        """The number for these counts. GuardChangedError where the traces so far do not tell."""
        values = {rule.value(counts) for rule in self._left[literal.position]}
        if len(values) != 1:
            raise GuardChangedError("a size that follows from data")
        return values.pop()


def _form(trace: Trace, arguments: dict[fx.Node, tuple[Any, Any]]) -> list[object]:
    """Everything in a graph but its numbers and constants."""
    places = {node: i for i, node in enumerate(arguments)}
    guards = {guard.node: measured(guard.expected)[1] for guard in trace.guards}

    def name(x: object) -> object:
        return ("node", places[x]) if isinstance(x, fx.Node) else x

    form: list[object] = [str(trace.results)]
    for node, given in arguments.items():
        target = node.target if node.op == "call_function" else ""
        form.append((node.op, target, fx.node.map_aggregate(given, name), guards.get(node)))  # type: ignore[arg-type]
    return form


def _same_constants(one: Trace, other: Trace) -> bool:
    pairs = zip(*(t.module.graph.find_nodes(op="get_attr") for t in (one, other)), strict=True)
    held = ((getattr(one.module, str(a.target)), getattr(other.module, str(b.target))) for a, b in pairs)
    return all(isinstance(a, Tensor) and isinstance(b, Tensor) and _same(a, b) for a, b in held)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.dtype == b.dtype and torch.equal(a, b))
