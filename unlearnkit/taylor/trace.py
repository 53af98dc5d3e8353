"""From a torch function to a flat graph of primitive operations that the Taylor rules know.

``make_fx`` records what the function does to real tensors: forward, backward and update alike, mutations removed,
composite operations taken apart. What Python reads out of a tensor on the way (``.item()``, ``if mask.all()``), and shapes
that come from data (boolean indexing), are frozen into the graph; each is kept as a *guard* that every later run checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils import _pytree as pytree

from unlearnkit.errors import TraceError
from unlearnkit.taylor.decompositions import table

aten = torch.ops.aten

@dataclass(frozen=True, slots=True)
class Guard:
    """A value or a shape that came from data and is frozen into the graph."""

    node: fx.Node
    expected: object  # the Python number, or the torch.Size


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A traced function: its graph, how arguments and results are laid out, and its guards."""

    module: fx.GraphModule
    arguments: pytree.TreeSpec
    results: pytree.TreeSpec
    guards: tuple[Guard, ...]


def flatten(tree: object) -> tuple[list[Any], pytree.TreeSpec]:
    """Leaves of nested containers, and the layout to put them back."""
    return pytree.tree_flatten(tree)


def trace(function: Callable[..., Any], *arguments: object, model: nn.Module | None = None) -> Trace:
    """Record ``function(*arguments)`` as a graph of primitive operations.

    arguments: nested containers whose leaves are all tensors. model: names its modules in error messages.
    Raises TraceError when torch cannot trace the function.
    """
    leaves, arguments_spec = flatten(arguments)
    # One tensor passed twice would become one input of the graph: give every leaf an identity of its own.
    leaves = [leaf.detach() for leaf in leaves]
    results_spec: list[pytree.TreeSpec] = []

    def flat(*flat_leaves: Tensor) -> list[Tensor]:
        outputs, spec = flatten(function(*pytree.tree_unflatten(list(flat_leaves), arguments_spec)))
        results_spec[:] = [spec]
        return outputs

    names = {id(module): name for name, module in model.named_modules()} if model is not None else {}
    with _tracing(names):
        try:
            module = make_fx(
                functionalize(flat, remove="mutations"),
                decomposition_table=table(),
                record_stack_traces=True,
                _error_on_data_dependent_ops=False,
            )(*leaves)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            message = f"the function could not be traced: {type(error).__name__}: {error}"
            raise TraceError(message, hint="run it once on its own: it must be ordinary torch code") from error
    _drop_unused(module.graph)
    module.recompile()
    return Trace(module, arguments_spec, results_spec[0], _guards(module, leaves))


@contextmanager
def _tracing(names: Mapping[int, str]) -> Iterator[None]:
    """Settings under which models trace: math attention, no fused recurrent kernels, module names on the nodes."""
    stack: list[str] = []

    def enter(module: nn.Module, _inputs: object) -> None:
        stack.append(names.get(id(module), type(module).__name__))
        fx_traceback.get_current_meta()["nn_module_stack"] = stack[-1]

    def leave(_module: nn.Module, _inputs: object, _output: object) -> None:
        stack.pop()
        fx_traceback.get_current_meta()["nn_module_stack"] = stack[-1] if stack else ""

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        with fx_traceback.preserve_node_meta(), sdpa_kernel(SDPBackend.MATH), _without_mkldnn():
            yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _without_mkldnn() -> Iterator[None]:
    """Recurrent layers call one opaque kernel under mkldnn. (Its context manager warns on some builds; the flag does not.)"""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def reads_data(node: fx.Node) -> bool:
    """Whether the node turns a tensor into a Python number."""
    return node.target in (aten._local_scalar_dense.default, aten.item.default)


def draws_random(node: fx.Node) -> bool:
    """Whether the node consumes random numbers, which must go on in the same order."""
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _shape_from_data(node: fx.Node) -> bool:
    if not isinstance(node.target, OpOverload) or torch.Tag.dynamic_output_shape not in node.target.tags:
        return False
    if node.target is not aten.index.Tensor:
        return True
    indices = node.args[1]
    assert isinstance(indices, (list, tuple))
    return any(isinstance(i, fx.Node) and i.meta["val"].dtype in (torch.bool, torch.uint8) for i in indices)


def _drop_unused(graph: fx.Graph) -> None:
    """Remove nodes that nothing uses, but keep what draws random numbers or reads data."""
    for node in reversed(graph.nodes):
        used = node.users or node.op in ("output", "placeholder") or reads_data(node) or draws_random(node)
        if not used:
            graph.erase_node(node)


class _Recorder(fx.Interpreter):
    """Runs the graph once on the inputs it was traced with, and keeps what the guards will compare with."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, object] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401  the result of any operation
        result = super().run_node(n)
        if n.op == "call_function" and (reads_data(n) or _shape_from_data(n)):
            self.seen[n] = result.shape if isinstance(result, Tensor) else result
        return result


def _guards(module: fx.GraphModule, leaves: list[Tensor]) -> tuple[Guard, ...]:
    if not any(node.op == "call_function" and (reads_data(node) or _shape_from_data(node)) for node in module.graph.nodes):
        return ()
    recorder = _Recorder(module)
    with torch.random.fork_rng(), torch.no_grad():
        recorder.run(*leaves)
    return tuple(Guard(node, value) for node, value in recorder.seen.items())


def location(node: fx.Node) -> str:
    """Where an operation comes from, for messages: module path and the user's source line."""
    module = node.meta.get("nn_module_stack") or ""
    lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
    calls = [(head, lines[i + 1] if i + 1 < len(lines) else "") for i, head in enumerate(lines) if head.startswith("File")]
    own = [call for call in calls if "/torch/" not in call[0]] or calls
    parts = [f"module {module!r}"] if module else []
    if own:
        head, code = own[-1]
        parts.append(f"{head.removeprefix('File ').replace(', line ', ':').split(', in ')[0]}: {code}")
    return ", ".join(parts) or "the backward pass or the update"
