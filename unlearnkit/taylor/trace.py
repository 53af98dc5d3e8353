"""From a torch function to a flat graph of primitive operations that the Taylor rules know.

``make_fx`` records what the function does to real tensors: forward, backward and update alike, mutations removed,
composite operations taken apart. What Python reads out of a tensor on the way (``.item()``, ``if mask.all()``), and
shapes that come from data (boolean indexing), are frozen into the graph; each is kept as a *guard* that every later run
checks. Random numbers are drawn as the plain function draws them (`unlearnkit.taylor.draws`); what the function
computes in low precision, the graph computes in float32 (`unlearnkit.taylor.raised`).
"""

from __future__ import annotations

import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch import Tensor, fx, nn
from torch._guards import TracingContext, tracing
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unlearnkit.errors import TraceError
from unlearnkit.names import counted
from unlearnkit.taylor.causes import trace_error
from unlearnkit.taylor.decompositions import table
from unlearnkit.taylor.draws import Draw, Following, is_random, outside_state, same_random_numbers, watched
from unlearnkit.taylor.raised import in_single, raised, without_autocast
from unlearnkit.taylor.replayed import replayed
from unlearnkit.taylor.simplified import simplify
from unlearnkit.taylor.substitutes import SUBSTITUTES, without_checkpointing

aten = torch.ops.aten

_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True, slots=True)
class Guard:
    """A value or shapes that came from data and are frozen into the graph; ``expected`` is ``frozen(result)``."""

    node: fx.Node
    expected: object


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A traced function: its graph, how arguments and results are laid out, and its guards.

    outside: `outside_state` before the call where that draws from ``random`` or ``numpy.random``, whose numbers are
    then frozen into the graph; None where it does not. draws: how the plain function draws torch's. resolution: the
    machine epsilon of the coarsest real numbers that the plain function computes.
    """

    module: fx.GraphModule
    arguments: pytree.TreeSpec
    results: pytree.TreeSpec
    guards: tuple[Guard, ...]
    draws: Mapping[fx.Node, Draw]
    outside: bytes | None
    resolution: float


def trace(
    function: Callable[..., Any],
    *arguments: object,
    model: nn.Module | None = None,
    plain: Callable[..., object] | None = None,
    inner: Callable[..., Any] | None = None,
    rounded: bool = False,
) -> Trace:
    """Record ``function(*arguments)`` as a graph of primitive operations.

    arguments: nested containers whose leaves are all tensors; they stay as they are. model: names its modules in error
    messages. plain: takes the same arguments, and draws random numbers as the graph is to draw them; None: ``function``
    itself, which torch's function transforms would make draw others. inner: takes the same arguments, is recorded
    first, and handed to ``function`` before them as what was recorded: then ``function`` may differentiate all of it,
    also through what stops gradients inside (``detach``, ``torch.no_grad``), which has done its work by then. rounded:
    let the graph compute in low precision what the function does.
    Raises TraceError when torch cannot trace the function; what the function itself raises passes through.
    """
    leaves, arguments_spec = pytree.tree_flatten(arguments)
    if strange := [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)]:
        raise TypeError(f"arguments have a leaf of type {strange[0]}, expected tensors only")
    results_spec: list[pytree.TreeSpec] = []
    if inner is not None:
        recorded = trace(inner, *arguments, model=model, plain=plain)
        function = partial(function, replayed(recorded.module, recorded.results))
    before = outside_state()
    with _again(leaves), _as_trace_errors(), sdpa_kernel(SDPBackend.MATH):
        draws, resolution = watched(plain or function, *pytree.tree_unflatten(_copied(leaves), arguments_spec))
        outside = before if outside_state() != before else None

    def flat(*flat_leaves: Tensor) -> list[Tensor]:
        given = list(flat_leaves) if rounded else in_single(list(flat_leaves))
        outputs, spec = pytree.tree_flatten(function(*pytree.tree_unflatten(given, arguments_spec)))
        results_spec[:] = [spec]
        return outputs

    names = {id(module): name for name, module in model.named_modules()} if model is not None else {}
    with _tracing(names, rounded=rounded), _as_trace_errors():
        module = _recorded(flat, leaves, draws)
        if any(_mutates(node) for node in module.graph.nodes):
            # Composite operations that no gradient runs through write to temporaries of their own (an LSTM's
            # forward pass); a second recording removes those mutations too.
            module = _recorded(fx.Interpreter(module).run, leaves, draws)
        _refuse_generators(module)
        _share_constants(module.graph)
        _drop_unused(module.graph)
        _pin_precision(module.graph)
        if not any(decided_by(node) for node in module.graph.nodes):
            simplify(module.graph)
            _drop_unused(module.graph)
        module.recompile()
    guards = _guards(module, leaves, draws)
    return Trace(module, arguments_spec, results_spec[0], guards, _matched(module.graph, draws), outside, resolution)


@contextmanager
def _as_trace_errors() -> Iterator[None]:
    """What torch itself cannot do with the function, as a TraceError."""
    try:
        yield
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise trace_error(error) from error


def _recorded(function: Callable[..., Any], leaves: list[Tensor], draws: tuple[Draw, ...]) -> fx.GraphModule:
    functional = functionalize(function, remove="mutations")
    recorder = make_fx(functional, decomposition_table=table(), _error_on_data_dependent_ops=False)
    # Every node keeps a fake tensor of its value. Each would make a mode of its own, which takes half of the tracing.
    one_mode = tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))
    with _again(leaves), Following(draws, tracing=True), one_mode:
        return recorder(*_copied(leaves))


def _copied(leaves: list[Tensor]) -> list[Tensor]:
    """The tensors with memory and identity of their own: what the function writes into them is lost."""
    return [leaf.detach().clone() for leaf in leaves]


@contextmanager
def _again(leaves: list[Tensor]) -> Iterator[None]:
    """Every time from the same random states."""
    with same_random_numbers(list({leaf.device for leaf in leaves if leaf.is_cuda})):
        yield


def _matched(graph: fx.Graph, draws: tuple[Draw, ...]) -> dict[fx.Node, Draw]:
    """The plain draw that each random node of the graph stands for."""
    nodes = [node for node in graph.nodes if is_random(node.target)]
    if len(nodes) != len(draws):
        message = (
            f"plain torch draws random numbers {counted(len(draws), 'time')}, its trace {counted(len(nodes), 'time')}"
        )
        raise TraceError(message, hint="draw as often whatever happens, by torch's own functions")
    matched = dict(zip(nodes, draws, strict=True))
    for node, draw in matched.items():
        values = (argument.meta["val"] for argument in node.args if isinstance(argument, fx.Node))
        draw.fits(node.target, [value.shape for value in values if isinstance(value, Tensor)])
    return matched


@contextmanager
def _tracing(names: Mapping[int, str], *, rounded: bool) -> Iterator[None]:
    """Settings under which models trace: math attention, no fused recurrent kernels, module names on the nodes.

    rounded: in the precision that the function lowers itself to.
    """
    stack: list[str] = []

    def enter(module: nn.Module, _inputs: object) -> None:
        stack.append(names.get(id(module), type(module).__name__))
        fx_traceback.get_current_meta()["nn_module_stack"] = stack[-1]

    def leave(_module: nn.Module, _inputs: object, _output: object) -> None:
        stack.pop()
        fx_traceback.get_current_meta()["nn_module_stack"] = stack[-1] if stack else ""

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        precision = nullcontext() if rounded else without_autocast()
        calls = _Calls(rounded=rounded)
        with fx_traceback.preserve_node_meta(), calls, _plain_kernels(), without_checkpointing(), precision:
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Calls(TorchFunctionMode):
    """Writes the user's source line of every torch call on the nodes that it records; swaps what has a substitute.

    rounded: let calls compute in low precision.
    """

    def __init__(self, *, rounded: bool) -> None:
        super().__init__()
        self.rounded = rounded

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any function
        meta = fx_traceback.get_current_meta()
        outside = meta.get("stack_trace")
        if line := _users_line():
            meta["stack_trace"] = line
        try:
            if not self.rounded:
                func, args, kwargs = raised(func), in_single(args), in_single(kwargs)
            return SUBSTITUTES.get(func, func)(*args, **(kwargs or {}))
        finally:
            meta["stack_trace"] = outside


def _users_line() -> str | None:
    """The innermost source line between torch and this file; None where torch called itself, as in a backward pass."""
    frame = sys._getframe(2)  # noqa: SLF001
    while frame.f_back and _is_between(frame):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    if file == __file__:
        return None
    code = linecache.getline(file, line).strip()
    return f"{file}:{line}: {code}" if code else f"{file}:{line}"


def _is_between(frame: types.FrameType) -> bool:
    """Whether a call only passes through here: torch's own code, and modes that hand calls on."""
    code = frame.f_code
    return code.co_filename.startswith((_TORCH, "<string>")) or code.co_name == "__torch_function__"


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Attention and recurrent layers as operations, not as one kernel."""
    with sdpa_kernel(SDPBackend.MATH), _without_mkldnn():
        yield


@contextmanager
def _without_mkldnn() -> Iterator[None]:
    """Recurrent layers call one opaque kernel under mkldnn. Its context manager warns on some builds; this does not."""
    before = torch._C._get_mkldnn_enabled()  # noqa: SLF001
    torch._C._set_mkldnn_enabled(False)  # noqa: FBT003, SLF001
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)  # noqa: SLF001


def reads_data(node: fx.Node) -> bool:
    """Whether the node turns a tensor into a Python number."""
    return node.target is aten._local_scalar_dense.default  # noqa: SLF001


def decided_by(node: fx.Node) -> list[fx.Node]:
    """The inputs whose values decide a Python number or the shape of the result; none for most operations."""
    if not isinstance(node.target, OpOverload) or not (reads_data(node) or _has_dynamic_shape(node.target)):
        return []
    if node.target is not aten.index.Tensor:
        return list(node.all_input_nodes)
    indices = node.args[1]
    assert isinstance(indices, (list, tuple))
    return [i for i in indices if isinstance(i, fx.Node) and i.meta["val"].dtype in (torch.bool, torch.uint8)]


def _has_dynamic_shape(operation: OpOverload) -> bool:
    return torch.Tag.dynamic_output_shape in operation.tags


def _mutates(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable  # noqa: SLF001


def _refuse_generators(module: fx.GraphModule) -> None:
    """A generator of the function's own would go on from run to run, and every run would see other numbers."""
    for node in module.graph.nodes:
        given = [*node.args, *node.kwargs.values()]
        held = [getattr(module, str(a.target)) if isinstance(a, fx.Node) and a.op == "get_attr" else a for a in given]
        if any(isinstance(argument, torch.Generator) for argument in held):
            message = f"the function draws random numbers from a torch.Generator of its own ({location(node)})"
            raise TraceError(message, hint="draw them beforehand; dropout and the like use torch's global generator")


def _share_constants(graph: fx.Graph) -> None:
    """Without mutations nobody needs a copy of a constant, which may be a whole data set."""
    for node in graph.find_nodes(op="call_function", target=aten.lift_fresh_copy.default):
        node.replace_all_uses_with(node.args[0])


def _pin_precision(graph: fx.Graph) -> None:
    """Tensors made out of nothing keep the precision that torch's default gave them: random ones are others in it."""
    for node in graph.nodes:
        made = isinstance(node.target, OpOverload) and not node.all_input_nodes and node.kwargs.get("dtype") is None
        if made and any(argument.name == "dtype" for argument in node.target._schema.arguments):  # noqa: SLF001
            node.kwargs = {**node.kwargs, "dtype": node.meta["val"].dtype}


def _drop_unused(graph: fx.Graph) -> None:
    """Remove nodes that nothing uses, but keep what draws random numbers or reads data."""
    for node in reversed(graph.nodes):
        used = node.users or node.op in ("output", "placeholder") or reads_data(node) or is_random(node.target)
        if not used:
            graph.erase_node(node)


def frozen(result: object) -> object:
    """What a guard compares: a Python number, or the shapes of tensors (and jets)."""
    if isinstance(result, (tuple, list)):
        return tuple(frozen(part) for part in result)
    return getattr(result, "shape", result)


class _Recorder(fx.Interpreter):
    """Runs the graph once on the inputs it was traced with, and keeps what the guards will compare with."""

    def __init__(self, module: fx.GraphModule, guarded: set[fx.Node]) -> None:
        super().__init__(module)
        self.guarded = guarded
        self.guards: list[Guard] = []

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401  the result of any operation
        result = super().run_node(n)
        if n in self.guarded:
            self.guards.append(Guard(n, frozen(result)))
        return result


def _guards(module: fx.GraphModule, leaves: list[Tensor], draws: tuple[Draw, ...]) -> tuple[Guard, ...]:
    guarded = {node for node in module.graph.nodes if decided_by(node)}
    if not guarded:
        return ()
    recorder = _Recorder(module, guarded)
    with _again(leaves), Following(draws), torch.no_grad():
        recorder.run(*leaves)
    return tuple(recorder.guards)


def location(node: fx.Node) -> str:
    """Where an operation comes from, for messages: module path and the user's source line."""
    module = node.meta.get("nn_module_stack")
    parts = [f"module {module!r}" if module else "", node.stack_trace or ""]
    return ", ".join(filter(None, parts)) or "the backward pass or the update"
