"""Runs a traced graph over jets.

Which nodes are jets is known before the first run, from which inputs are. Every other node is an ordinary torch call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from unlearnkit.errors import NonFiniteError, TraceError
from unlearnkit.taylor.check import active_nodes
from unlearnkit.taylor.counts import Counts, Family, GuardChangedError, Literal, measured
from unlearnkit.taylor.draws import Draw, Following
from unlearnkit.taylor.fused import fuse
from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.kernels import call_directly
from unlearnkit.taylor.layout import rebuilder
from unlearnkit.taylor.replayed import OF_ANY_STRIDES, of_any_strides
from unlearnkit.taylor.rules import LOCALLY_CONSTANT, PIECEWISE, SMOOTH, WRITING
from unlearnkit.taylor.trace import Trace, location
from unlearnkit.taylor.trimmed import trim


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands for the value of a node in a prepared argument list."""

    index: int


@dataclass(frozen=True, slots=True)
class _Instruction:
    node: fx.Node
    plain: Callable[..., Any]
    rule: Callable[..., Any] | None  # used in place of ``plain`` when a jet is among the inputs
    inputs: tuple[int, ...]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    nested: bool  # whether slots hide inside lists
    result: int | None  # the place among the flat results, where its rule can write into memory that was given
    target: int
    last_used: tuple[int, ...]  # slots to free afterwards


class Interpreter:
    """A traced function, ready to run on jets wherever ``active_inputs`` says so (one flag for each flat input).

    family: the traces that it stands for; None: this one alone. spare: which of the results is None where there are
    jets, and not computed.
    """

    def __init__(
        self,
        trace: Trace,
        active_inputs: Sequence[bool],
        family: Family | None = None,
        *,
        spare: int | None = None,
    ) -> None:
        self.trace = trace
        self.family = family or Family(trace)
        self.active_inputs = tuple(active_inputs)
        self._slots = {node: i for i, node in enumerate(trace.module.graph.nodes)}
        self._guards = {guard.node: guard.expected for guard in trace.guards}
        active = self._active = active_nodes(trace.module.graph, active_inputs)
        spared = _spared(trace, spare) if any(self.active_inputs) else frozenset()
        needed = _needed(trace, spared)
        last = self._last_uses(needed)
        results = _written(trace.module.graph)
        self._inputs: list[int] = []
        self._constants: list[tuple[int, Any]] = []
        self._program: list[_Instruction] = []
        self._plain: fx.GraphModule | None = None
        self._rebuilt = rebuilder(trace.results)
        self.resolution = max(trace.resolution, _resolution(trace.module.graph))
        for node in trace.module.graph.nodes:
            slot = self._slots[node]
            if node.op == "placeholder":
                self._inputs.append(slot)
            elif node.op == "get_attr":
                self._constants.append((slot, getattr(trace.module, str(node.target))))
            elif node.op == "output":
                self._output = [None if i in spared else s for i, s in enumerate(self._prepared(node)[0][0])]
            elif node in needed:
                self._program.append(self._instruction(node, active, last.get(node, ()), results.get(node)))

    def _last_uses(self, needed: set[fx.Node]) -> dict[fx.Node, tuple[int, ...]]:
        """For each node, the slots that nothing reads after it."""
        seen: set[fx.Node] = set()
        last: dict[fx.Node, tuple[int, ...]] = {}
        for node in (n for n in reversed(self.trace.module.graph.nodes) if n in needed):
            fresh = [n for n in node.all_input_nodes if n not in seen]
            seen.update(fresh)
            unused = [self._slots[node]] if node not in seen and node.op == "call_function" else []
            last[node] = (*(self._slots[n] for n in fresh), *unused)
        return last

    def _prepared(self, node: fx.Node) -> Any:  # noqa: ANN401  arguments are whatever operations take
        """Positional and named arguments, with slots for nodes, and a literal where a number follows from data."""
        fixed = dict(zip(_numbers(self.family.arguments[node]), _numbers((node.args, node.kwargs)), strict=True))

        def prepared(x: object) -> object:
            if isinstance(x, Literal):
                return x if self.family.follows_counts(x) else fixed[x]
            return _Slot(self._slots[x]) if isinstance(x, fx.Node) else x

        return fx.node.map_aggregate(self.family.arguments[node], prepared)  # type: ignore[arg-type]

    def _instruction(
        self, node: fx.Node, active: set[fx.Node], last_used: tuple[int, ...], result: int | None
    ) -> _Instruction:
        positional, named = self._prepared(node)
        arguments, options = tuple(positional), dict(named)
        given = (*arguments, *options.values())
        nested = any(isinstance(a, (list, tuple, dict, slice, Literal)) for a in given)
        inputs = tuple(self._slots[n] for n in node.all_input_nodes)
        rule = _rule(node, is_jet=node in active) if active.intersection(node.all_input_nodes) else None
        plain = OF_ANY_STRIDES.get(node.target, node.target)
        assert callable(plain)
        if draw := self.trace.draws.get(node):
            rule, plain = rule and _drawing(rule, draw), _drawing(plain, draw)
        return _Instruction(node, plain, rule, inputs, arguments, options, nested, result, self._slots[node], last_used)

    def peak_elements(self) -> int:
        """Most tail elements alive at once, per direction and degree: what a run needs memory for beside its inputs."""
        live: dict[int, int] = {}
        peak = 0
        for step in self._program:
            live[step.target] = _elements(step.node) if step.node in self._active else 0
            peak = max(peak, sum(live.values()))
            for slot in step.last_used:
                live.pop(slot, None)
        return peak

    def __call__(self, *arguments: object, verify_finite: bool = False) -> Any:  # noqa: ANN401  as the traced function
        """The result of ``run`` alone."""
        return self.run(*arguments, verify_finite=verify_finite)[0]

    def run(self, *arguments: object, verify_finite: bool = False) -> tuple[Any, Counts]:
        """Run the function; arguments and results are laid out as they were when tracing, with jets as leaves.

        Returns the result, and the counts that came from data.

        verify_finite: look at every coefficient and raise NonFiniteError at the first operation that breaks one.
        Raises GuardChangedError where the graph does not fit these inputs.
        """
        leaves, layout = pytree.tree_flatten(arguments)
        if layout != self.trace.arguments:
            raise ValueError(
                f"arguments are laid out otherwise than when tracing: {layout}, not {self.trace.arguments}"
            )
        return self.run_flat(leaves, verify_finite=verify_finite)

    @torch.no_grad()
    def run_flat(self, leaves: list[Any], *, room: object = None, verify_finite: bool = False) -> tuple[Any, Counts]:
        """`run` on the leaves of its arguments.

        room: jets, laid out as the results, in whose memory tails of results may then be.
        """
        if not (verify_finite or any(self.active_inputs) or self.trace.guards or self.trace.draws):
            with suppress(RuntimeError, IndexError, ValueError):  # told below, with the operation
                return self._run_plainly(leaves), ()
        values: list[Any] = [None] * len(self._slots)
        counts: list[int] = []
        for slot, leaf in zip(self._inputs, leaves, strict=True):
            values[slot] = leaf
        for slot, value in self._constants:
            values[slot] = value
        rooms, layout = pytree.tree_flatten(room)
        rooms = rooms if layout == self.trace.results else []
        for step in self._program:
            try:
                result = self._run(step, values, counts, rooms)
            except (RuntimeError, IndexError, ValueError, TraceError) as error:
                raise self._failure(step.node, error) from error
            if verify_finite:
                _verify_finite(step.node, result, [values[self._slots[n]] for n in step.node.all_input_nodes])
            values[step.target] = result
            for slot in step.last_used:
                values[slot] = None
        results = self._filled(self._output, values, counts)
        for result in results:
            _ = isinstance(result, Jet) and result.tail  # of its own, before anybody writes over the arguments
        return self._rebuilt(results), tuple(counts)

    def _run_plainly(self, leaves: list[Tensor]) -> Any:  # noqa: ANN401  as the traced function
        """Without jets, guards and draws nothing is decided on the way: the graph as torch generates its code."""
        if self._plain is None:
            self._plain = of_any_strides(self.trace.module)
            trim(self._plain)
            fuse(self._plain.graph)
            call_directly(self._plain.graph)
            self._plain.recompile()
        return self._rebuilt(self._plain.forward(*leaves))

    def _failure(self, node: fx.Node, error: Exception) -> Exception:
        """What to raise for an operation that fails: with guessed sizes it may; a full memory passes through."""
        if isinstance(error, torch.OutOfMemoryError):
            return error
        if self.family.is_open:
            return GuardChangedError(f"{location(node)}: {error}")
        message = f"{node.target} cannot be carried out over jets: {error} ({location(node)})"
        return TraceError(message, hint="write it with other operations, and tell us")

    def _run(self, step: _Instruction, values: list[Any], counts: list[int], rooms: list[Any]) -> Any:  # noqa: ANN401  the result of any operation
        if step.nested:
            arguments = self._filled(step.arguments, values, counts)
            options = self._filled(step.options, values, counts)
        else:
            arguments = [values[a.index] if type(a) is _Slot else a for a in step.arguments]
            options = {k: values[v.index] if type(v) is _Slot else v for k, v in step.options.items()}
        meets_jet = step.rule is not None and any(isinstance(values[slot], Jet) for slot in step.inputs)
        if rooms and step.result is not None and meets_jet:
            options["room"] = rooms[step.result].tail
        result = step.rule(*arguments, **options) if step.rule and meets_jet else step.plain(*arguments, **options)
        if step.node in self._guards:
            found, expected = measured(result), measured(self._guards[step.node])
            if found[1] != expected[1] or (found[0] != expected[0] and not self.family.is_open):
                raise GuardChangedError(location(step.node))
            counts.extend(found[0])
        return result

    def _filled(self, tree: Any, values: list[Any], counts: list[int]) -> Any:  # noqa: ANN401  whatever operations take
        """Replace the slots in nested lists by their values, and literals by numbers."""
        if type(tree) is _Slot:
            return values[tree.index]
        if type(tree) is Literal:
            return self.family.number(tree, counts)
        if isinstance(tree, (list, tuple)):
            return [self._filled(item, values, counts) for item in tree]
        if isinstance(tree, dict):
            return {key: self._filled(item, values, counts) for key, item in tree.items()}
        return tree


def _drawing(function: Callable[..., Any], draw: Draw) -> Callable[..., Any]:
    """``function``, which draws random numbers once, so that it draws them as plain torch does."""

    def drawing(*args: object, **options: object) -> Any:  # noqa: ANN401  as the function
        with Following((draw,)):
            return function(*args, **options)

    return drawing


def _rule(node: fx.Node, *, is_jet: bool) -> Callable[..., Any] | None:
    """How an operation acts on jets; None where it only hands them on. is_jet: whether its result is one."""
    if node.target is operator.getitem:
        return None
    operation = node.target
    assert isinstance(operation, OpOverload)
    if operation in LOCALLY_CONSTANT or not is_jet:
        return lambda *args, **options: operation(*_constants(args), **options)
    rule = SMOOTH.get(operation) or PIECEWISE.get(operation)
    assert rule is not None, f"no rule for {operation}: check() comes before the interpreter"
    return rule


def _spared(trace: Trace, spare: int | None) -> frozenset[int]:
    """Which flat results are part of the one that is spare."""
    places = pytree.tree_unflatten(list(range(trace.results.num_leaves)), trace.results)
    return frozenset() if spare is None else frozenset(pytree.tree_leaves(places[spare]))


def _needed(trace: Trace, spared: frozenset[int]) -> set[fx.Node]:
    """What has to run for all results but the spared ones, and for guards and random numbers."""
    nodes = list(reversed(trace.module.graph.nodes))
    output = nodes[0]
    results = [node for i, node in enumerate(output.args[0]) if i not in spared]
    needed = {output, *results, *trace.draws, *(guard.node for guard in trace.guards)}
    for node in nodes[1:]:
        if node in needed:
            needed.update(node.all_input_nodes)
    return needed


def _written(graph: fx.Graph) -> dict[fx.Node, int]:
    """Which nodes are results whose rules write where they are told to, and which results."""
    (output,) = graph.find_nodes(op="output")
    return {node: i for i, node in enumerate(output.args[0]) if node.target in WRITING}


def _resolution(graph: fx.Graph) -> float:
    """The machine epsilon of the coarsest real numbers in the graph, 0 without any: models may lower precision."""
    values = (value for node in graph.nodes for value in pytree.tree_leaves(node.meta.get("val")))
    dtypes = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
    return max((torch.finfo(dtype).eps for dtype in dtypes), default=0.0)


def _elements(node: fx.Node) -> int:
    """Number of elements of a node's value, as seen when tracing."""
    return sum(value.numel() for value in pytree.tree_leaves(node.meta.get("val")) if isinstance(value, Tensor))


def _numbers(tree: Any) -> list[Any]:  # noqa: ANN401  whatever operations take
    """The numbers, or literals, in nested arguments."""
    found: list[Any] = []
    kinds = (int, float, Literal)
    fx.node.map_aggregate(tree, lambda x: found.append(x) if type(x) in kinds else None)
    return found


def _constants(arguments: Sequence[Any]) -> list[Any]:
    return [
        _constants(a) if isinstance(a, (list, tuple)) else a.constant if isinstance(a, Jet) else a for a in arguments
    ]


def is_finite(value: Jet | Tensor) -> bool:
    """Whether every coefficient is finite."""
    if isinstance(value, Jet):
        return bool(value.tail.isfinite().all()) and bool(value.constant.isfinite().all())
    return not value.is_floating_point() or bool(value.isfinite().all())


def _verify_finite(node: fx.Node, result: object, inputs: Sequence[object]) -> None:
    """Raise where an operation makes non-finite coefficients out of finite ones.

    Infinite constants are legitimate on the way (masks of -inf), so only tails are looked at, and NaN constants.
    """
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    broken = any(isinstance(r, Jet) and not bool(r.tail.isfinite().all()) for r in outputs)
    broken = broken or any(isinstance(r, Jet) and bool(r.constant.isnan().any()) for r in outputs)
    if broken and all(not isinstance(x, Jet) or bool(x.tail.isfinite().all()) for x in inputs):
        raise non_finite(node, None)


def non_finite(node: fx.Node, step: int | None) -> NonFiniteError:
    """The error for an operation whose result is not finite."""
    at = "" if step is None else f" at training step {step}"
    message = f"a Taylor coefficient is not finite{at}: first seen in {node.name} = {node.target} ({location(node)})"
    hint = (
        "lower the degree or the learning rate; with Adam, put epsilon inside the root: uk.Adam(eps_inside_sqrt=True)"
    )
    return NonFiniteError(message, step=step, node=f"{node.name} = {node.target}", where=location(node), hint=hint)
