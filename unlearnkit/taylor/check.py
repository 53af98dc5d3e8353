"""What in a traced graph cannot be sketched: every problem at once, with place and cure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor, fx

from unlearnkit.errors import PiecewiseOpsError, UnsupportedOpsError
from unlearnkit.names import counted
from unlearnkit.taylor.rules import INDIFFERENT, LOCALLY_CONSTANT, PIECEWISE, SMOOTH
from unlearnkit.taylor.trace import Trace, decided_by, location

aten = torch.ops.aten


class Kind(Enum):
    """How bad a problem is."""

    UNSUPPORTED = "unsupported"  # there is no Taylor rule, or there can be none
    PIECEWISE = "piecewise"  # analytic only between kinks: needs Recipe(allow_piecewise=True)
    DECISION = "decision"  # a comparison of values that depend on the weights; decided by the constant term
    COUPLED = "coupled"  # examples of a batch act on each other's losses: needs Recipe(coupled="accept")
    KINK = "kink"  # clipping, which the run asks for; differentiated on the branch that it takes
    ROUNDING = "rounding"  # a gradient that is rounding alone, held fixed where an optimizer divides by its size
    NOTE = "note"  # nothing in the way, but another run than one may think


@dataclass(frozen=True, slots=True)
class Problem:
    """One operation that cannot be sketched, or only with a reservation."""

    operation: str
    module: str  # path of the module inside the model, "" where it is not known
    where: str
    kind: Kind
    hint: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.where})" + (f": {self.hint}" if self.hint else "")


_BATCH_NORM_REASON = (
    "batch statistics let one example act on the others, which its loss weight does not undo; "
    "use GroupNorm, InstanceNorm or LayerNorm (unlearnkit.fix(model) does), or freeze the statistics with .eval()"
)

_FROZEN = (
    "Python branches, or a shape depends, on a value that moves with the weights; "
    "use torch.where, or multiply by the mask"
)

_JUMPS = "it only ever jumps, so that its series would say that nothing changes; use a loss, a logit or a margin"

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
    "aten.max_pool2d_with_indices_backward": "use average pooling",
    "aten.embedding_renorm": "leave max_norm out, which writes into the weights; normalise what is looked up",
    "aten._embedding_bag": "leave scale_grad_by_freq out",
    "aten.sort": "avoid sorting values that depend on the weights",
    "aten.topk": "avoid selecting by values that depend on the weights",
}


def active_nodes(graph: fx.Graph, active_inputs: Sequence[bool]) -> set[fx.Node]:
    """The nodes whose value varies continuously with an active input, that is, the ones that are jets."""
    return _downstream(graph, active_inputs, lambda node: node.target not in LOCALLY_CONSTANT and _is_real(node))


def _downstream(graph: fx.Graph, active_inputs: Sequence[bool], passes: Callable[[fx.Node], bool]) -> set[fx.Node]:
    """What depends on an active input through nodes that pass it on."""
    flags = iter(active_inputs)
    reached: set[fx.Node] = set()
    for node in graph.nodes:
        if next(flags) if node.op == "placeholder" else reached.intersection(node.all_input_nodes) and passes(node):
            reached.add(node)
    return reached


def _is_real(node: fx.Node) -> bool:
    """Whether the value can move continuously: not an integer, not a boolean."""
    value = node.meta.get("val")
    return not isinstance(value, Tensor) or value.is_floating_point()


def problems(trace: Trace, active_inputs: Sequence[bool]) -> tuple[Problem, ...]:
    """Every operation of the graph that has no smooth Taylor rule, in order, each place once.

    active_inputs: for each flat input of the trace, whether it is a jet.
    """
    graph = trace.module.graph
    active = active_nodes(graph, active_inputs)
    dependent = _downstream(graph, active_inputs, lambda node: node.target not in INDIFFERENT)
    moving = {guard.node for guard in trace.guards if dependent.intersection(decided_by(guard.node))}
    found: dict[Problem, None] = {}
    for node in graph.nodes:
        verdict = (Kind.PIECEWISE, _FROZEN) if node in moving else _verdict(node, active)
        if verdict is not None:
            module = node.meta.get("nn_module_stack") or ""
            found[Problem(_name(node), module, location(node), *verdict)] = None
    return tuple(found)


def _verdict(node: fx.Node, active: set[fx.Node]) -> tuple[Kind, str] | None:
    """Kind and hint of the problem that a node is, if it is one."""
    takes_jets = node.op == "call_function" and active.intersection(node.all_input_nodes)
    if not takes_jets or node.target is operator.getitem or node.target in INDIFFERENT:
        return None
    if node not in active:
        return _verdict_on_decision(node, active)
    hint = _BATCH_NORM_REASON if "batch_norm" in _name(node) else _HINTS.get(_name(node), "")
    if node.target in SMOOTH:
        return None
    return (Kind.PIECEWISE if node.target in PIECEWISE else Kind.UNSUPPORTED), hint


def _verdict_on_decision(node: fx.Node, active: set[fx.Node]) -> tuple[Kind, str] | None:
    """A comparison may choose a branch for a jet, or come to nothing; it must not be the answer itself."""
    seen, pending, verdict = {node}, list(node.users), None
    while pending:
        user = pending.pop()
        if user.op == "output":
            return Kind.PIECEWISE, _JUMPS
        if user in active:
            verdict = Kind.DECISION, ""
        elif user not in seen and user.target not in INDIFFERENT:
            seen.add(user)
            pending.extend(user.users)
    return verdict


def _name(node: fx.Node) -> str:
    return str(node.target).rsplit(".", 1)[0] if str(node.target).count(".") > 1 else str(node.target)


def require(found: Iterable[Problem], *, allow_piecewise: bool) -> tuple[Problem, ...]:
    """Raise for what cannot be sketched; return what is to be listed in the manifest.

    Raises UnsupportedOpsError, and PiecewiseOpsError unless ``allow_piecewise``; each names every offending operation.
    """
    found = tuple(found)
    unsupported = [p for p in found if p.kind is Kind.UNSUPPORTED]
    piecewise = [p for p in found if p.kind is Kind.PIECEWISE]
    if unsupported:
        offending = unsupported if allow_piecewise else [*unsupported, *piecewise]
        message = f"{counted(len(offending), 'operation')} cannot be sketched:"
        raise UnsupportedOpsError(message, offending, hint="replace them with smooth, supported operations")
    if piecewise and not allow_piecewise:
        message = f"{counted(len(piecewise), 'operation', 'are')} only piecewise analytic:"
        hint = "unlearnkit.fix(model) replaces modules; or Recipe(allow_piecewise=True), which the manifest will state"
        raise PiecewiseOpsError(message, piecewise, hint=hint)
    return tuple(p for p in found if p.kind is not Kind.UNSUPPORTED)
