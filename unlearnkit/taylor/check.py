"""What in a traced graph cannot be sketched: every problem at once, with place and cure."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import fx

from unlearnkit.errors import PiecewiseOpsError, UnsupportedOpsError
from unlearnkit.taylor.rules import DECISIONS, LOCALLY_CONSTANT, PIECEWISE, SMOOTH
from unlearnkit.taylor.trace import Trace, location

aten = torch.ops.aten


class Kind(Enum):
    """How bad a problem is."""

    UNSUPPORTED = "unsupported"  # there is no Taylor rule, or there can be none
    PIECEWISE = "piecewise"  # analytic only between kinks: needs Recipe(allow_piecewise=True)
    DECISION = "decision"  # a comparison of values that depend on the weights; decided by the constant term


@dataclass(frozen=True, slots=True)
class Problem:
    """One operation that cannot be sketched, or only with a reservation."""

    operation: str
    where: str
    kind: Kind
    hint: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.where})" + (f": {self.hint}" if self.hint else "")


_BATCH_NORM_REASON = (
    "batch statistics let one example act on the others, which its loss weight does not undo; "
    "use GroupNorm or LayerNorm, or freeze the statistics with .eval()"
)

_HINTS = {
    "aten.relu": "use GELU, SiLU or softplus",
    "aten.leaky_relu": "use GELU, SiLU or softplus",
    "aten.elu": "use GELU, SiLU or softplus",
    "aten.hardtanh": "use tanh",
    "aten.abs": "use sqrt(x * x + eps)",
    "aten.clamp": "use a smooth saturation such as tanh or softplus",
    "aten.clamp_min": "use softplus, or add an epsilon instead of clamping",
    "aten.clamp_max": "use a smooth saturation such as tanh or softplus",
    "aten.maximum": "use logaddexp",
    "aten.minimum": "use -logaddexp(-a, -b)",
    "aten.amax": "use logsumexp",
    "aten.amin": "use logsumexp of the negative",
    "aten.max": "use logsumexp",
    "aten.max_pool2d_with_indices": "use average pooling",
    "aten.sort": "avoid sorting values that depend on the weights",
    "aten.topk": "avoid selecting by values that depend on the weights",
    "aten._local_scalar_dense": "do not branch in Python on a value that depends on the weights",
    "aten.linalg_vector_norm": "only the Euclidean norm is analytic: use ord=2",
}


def active_nodes(graph: fx.Graph, active_inputs: Sequence[bool]) -> set[fx.Node]:
    """The nodes whose value depends on an active input, that is, the ones that are jets."""
    flags = iter(active_inputs)
    active: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            if next(flags):
                active.add(node)
        elif node.op != "output" and node.target not in LOCALLY_CONSTANT and active.intersection(node.all_input_nodes):
            active.add(node)
    return active


def problems(trace: Trace, active_inputs: Sequence[bool]) -> tuple[Problem, ...]:
    """Every operation of the graph that has no smooth Taylor rule, in order, each place once.

    active_inputs: for each flat input of the trace, whether it is a jet.
    """
    active = active_nodes(trace.module.graph, active_inputs)
    guarded = {guard.node for guard in trace.guards}
    found: dict[Problem, None] = {}
    for node in trace.module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem or not active.intersection(node.all_input_nodes):
            continue
        kind = _kind(node, guarded, active)
        if kind is not None:
            found[Problem(_name(node), location(node), kind, _hint(node))] = None
    return tuple(found)


def _kind(node: fx.Node, guarded: set[fx.Node], active: set[fx.Node]) -> Kind | None:
    if _is_training_batch_norm(node):
        return Kind.UNSUPPORTED
    if node in guarded and node.target in LOCALLY_CONSTANT:
        return Kind.PIECEWISE
    if node.target in LOCALLY_CONSTANT:
        return Kind.DECISION if node.target in DECISIONS and _decides(node, active) else None
    if node.target is aten.linalg_vector_norm.default and len(node.args) > 1 and node.args[1] != 2:
        return Kind.UNSUPPORTED
    if node.target in SMOOTH:
        return None
    return Kind.PIECEWISE if node.target in PIECEWISE else Kind.UNSUPPORTED


def _decides(node: fx.Node, active: set[fx.Node]) -> bool:
    """Whether the outcome of a comparison meets an active value again, so that it chooses a branch of the function."""
    seen, pending = {node}, list(node.users)
    while pending:
        user = pending.pop()
        if user in active:
            return True
        if user not in seen:
            seen.add(user)
            pending.extend(user.users)
    return False


def _is_training_batch_norm(node: fx.Node) -> bool:
    name = _name(node)
    return "batch_norm" in name and "no_training" not in name


def _name(node: fx.Node) -> str:
    return str(node.target).rsplit(".", 1)[0] if str(node.target).count(".") > 1 else str(node.target)


def _hint(node: fx.Node) -> str:
    return _BATCH_NORM_REASON if _is_training_batch_norm(node) else _HINTS.get(_name(node), "")


def require(found: Iterable[Problem], *, allow_piecewise: bool) -> tuple[Problem, ...]:
    """Raise for what cannot be sketched; return what is to be listed in the manifest.

    Raises UnsupportedOpsError, and PiecewiseOpsError unless ``allow_piecewise``; each names every offending operation.
    """
    found = tuple(found)
    unsupported = [p for p in found if p.kind is Kind.UNSUPPORTED]
    piecewise = [p for p in found if p.kind is Kind.PIECEWISE]
    if unsupported:
        offending = unsupported if allow_piecewise else [*unsupported, *piecewise]
        message = f"{len(offending)} operation(s) cannot be sketched:"
        raise UnsupportedOpsError(message, offending, hint="replace them with smooth, supported operations")
    if piecewise and not allow_piecewise:
        message = f"{len(piecewise)} operation(s) are only piecewise analytic:"
        hint = "use the smooth replacement, or Recipe(allow_piecewise=True), which the manifest will state"
        raise PiecewiseOpsError(message, piecewise, hint=hint)
    return tuple(p for p in found if p.kind is not Kind.UNSUPPORTED)
