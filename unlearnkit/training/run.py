"""A recipe made concrete on a device and in a precision: the pieces that sketching and retraining share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnkit.bundle.bfloat16 import BFLOAT16
from unlearnkit.taylor.function import JetFunction
from unlearnkit.taylor.layout import mapped
from unlearnkit.taylor.raised import COARSE
from unlearnkit.training.captured import Captured
from unlearnkit.training.data import Indices, collate
from unlearnkit.training.faults import raised_by
from unlearnkit.training.lookups import Renumbered
from unlearnkit.training.losses import verified_losses, verified_sums
from unlearnkit.training.models import uncompiled_inside
from unlearnkit.training.pages import keep_freed_memory
from unlearnkit.training.randomness import restored, seed
from unlearnkit.training.recipe import Recipe

Found = TypeVar("Found")
Precision: TypeAlias = Literal["float32", "float64"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}


def dtype_named(name: str) -> torch.dtype:
    """The torch dtype of a precision; ValueError for another name."""
    if name not in DTYPES:
        raise ValueError(f"dtype={name!r}, expected one of {', '.join(DTYPES)}")
    return DTYPES[name]


def own_precision(recipe: Recipe) -> str:
    """The precision that a recipe's model is trained in as it is; single where it lowers its weights by itself."""
    return "float64" if next(recipe.model.parameters()).dtype is torch.float64 else "float32"


def default_device() -> str:
    """A GPU when there is one, the CPU otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class _Call(nn.Module):
    """Makes ``function(model, *arguments)`` a module, so that ``functional_call`` can swap the model's tensors."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: object) -> Tensor:
        return self.function(self.model, *arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch of a step.

    number: which of the step's. examples: in the user's layout. units: for each example its unit's position, further
    ones for groups of owners, -1 for nobody's, ``[B]``. denominator: of the sum of its losses, 0-dimensional.
    rows: of tables, those at hand (`unlearnkit.training.rows`); of others all are.
    """

    number: int
    examples: Any
    units: Tensor
    denominator: Tensor
    rows: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of a recipe on a device in a precision. The recipe's own model stays untouched.

    In float32 a model with weights in bfloat16 or float16 stays as it is, and its data is left as it is.

    source: what ``model`` is a copy of; None: the recipe's.
    """

    recipe: Recipe
    dtype: torch.dtype
    device: torch.device
    source: nn.Module | None = None

    @property
    def precision(self) -> Literal["float32", "float64"]:
        """The dtype's name."""
        return "float64" if self.dtype == torch.float64 else "float32"

    def fresh(self) -> Run:
        """The same run with a model of its own, whatever became of this one's."""
        return replace(self)

    @cached_property
    def model(self) -> nn.Module:
        """A copy of the recipe's model, to compute with."""
        model = copy.deepcopy(self.recipe.model if self.source is None else self.source)
        dtypes = {tensor.dtype for tensor in (*model.parameters(), *model.buffers())}
        if self.dtype is torch.float32 and not dtypes.isdisjoint(COARSE):
            return model.to(self.device)
        return model.to(device=self.device, dtype=self.dtype)

    @cached_property
    def _low(self) -> dict[str, torch.dtype]:
        """The trained parameters that are in lower precision than the run."""
        dtypes = {name: p.dtype for name, p in self.model.named_parameters()}
        return {name: dtype for name, dtype in dtypes.items() if dtype is not self.dtype}

    @cached_property
    def _known(self) -> dict[str, Any]:
        return {}

    def remembered(self, key: str, find: Callable[[], Found]) -> Found:
        """What ``find`` gives, looked for once in a run."""
        if key not in self._known:
            self._known[key] = find()
        return self._known[key]  # type: ignore[no-any-return]

    @cached_property
    def _functions(self) -> dict[object, JetFunction]:
        return {}

    def over_jets(
        self,
        key: object,
        function: Callable[..., Any],
        plain: Callable[..., object] | None = None,
        inner: Callable[..., Any] | None = None,
        spare: int | None = None,
        *,
        rounded: bool = False,
    ) -> JetFunction:
        """``function`` over jets, one for each key, so that all who train or sweep over this run share its traces."""
        if key not in self._functions:
            allow = self.recipe.allow_piecewise
            self._functions[key] = JetFunction(
                function,
                model=self.model,
                allow_piecewise=allow,
                plain=plain,
                inner=inner,
                dtype=self.dtype,
                spare=spare,
                rounded=rounded,
            )
        return self._functions[key]

    @cached_property
    def trained_names(self) -> tuple[str, ...]:
        """Names of the parameters that the optimizer moves, group by group."""
        return tuple(name for group in self.recipe.groups for name in group.parameters)

    @cached_property
    def fixed(self) -> dict[str, Tensor]:
        """Everything else in the model: buffers, and parameters that no group holds."""
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        return {name: t.detach() for name, t in tensors.items() if name not in set(self.trained_names)}

    def initial_weights(self) -> dict[str, Tensor]:
        """Fresh copies of the trained parameters."""
        parameters = dict(self.model.named_parameters())
        return {name: parameters[name].detach().to(self.dtype, copy=True) for name in self.trained_names}

    def batches(self, step: int) -> Iterator[Batch]:
        """The batches of a step, in this run's precision and place."""
        denominators = self._denominators(step)
        for number, (indices, denominator) in enumerate(zip(self.recipe.parts[step], denominators, strict=True)):
            units = torch.from_numpy(self.recipe.unit_of_example[indices]).to(self.device)
            scale = torch.tensor(denominator, dtype=self.dtype, device=self.device)
            yield Batch(number, self.examples(indices, step), units, scale)

    def first_batch(self) -> Batch:
        """The batch that traces and trials start with."""
        return next(self.batches(0))

    def _denominators(self, step: int) -> list[float]:
        """What the losses of each batch of a step are divided by."""
        batches = self.recipe.parts[step]
        if self.recipe.reduction == "mean":
            recorded = self.recipe.recording
            over = (recorded and recorded.accumulate) or len(batches)
            return [float(len(batch) * over) for batch in batches]
        tokens = self._tokens(step) if self.recipe.reduction == "tokens" else 1.0
        return [tokens] * len(batches)

    def _tokens(self, step: int) -> float:
        """The tokens of a step, which follow from its data, as the loss counts them."""

        def count() -> float:
            total, weights = 0.0, self.initial_weights()
            for number, indices in enumerate(self.recipe.parts[step]):
                with torch.no_grad(), self.random_numbers(step, number):
                    result = self.call(self.recipe.loss, weights, self.fixed, self.examples(indices, step))
                    total += float(verified_sums(result, len(indices))[1].sum())
            return total

        return self.remembered(f"tokens of step {step}", count)

    def examples(self, indices: Indices, step: int = 0) -> Any:  # noqa: ANN401  the layout of the user's examples
        """These examples as a batch of a step, in this run's precision and place."""
        dataset = self.recipe.dataset_at(step)
        return mapped(self._cast, collate(dataset, indices, self.recipe.collate_fn))

    def _cast(self, x: object) -> object:
        return self._to_here(x) if isinstance(x, Tensor) else x

    def _to_here(self, x: Tensor) -> Tensor:
        return x.to(device=self.device, dtype=self.dtype if x.is_floating_point() and not self._low else None)

    def loss(
        self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object, w: Tensor, denominator: Tensor
    ) -> Tensor:
        """``sum_i (1 - w_i) loss_i / denominator`` as a function of the trained weights (docs/theory.md section 1)."""
        return ((1 - w) * self.losses(weights, fixed, batch, len(w))).sum() / denominator

    def losses(self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object, count: int) -> Tensor:
        """One loss for each of ``count`` examples, ``[count]``; with ``reduction="tokens"`` their sums over tokens."""
        result = self.call(self.recipe.loss, weights, fixed, batch)
        return verified_sums(result, count)[0] if self.recipe.reduction == "tokens" else verified_losses(result, count)

    def plain_loss(
        self,
        weights: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        batch: object,
        w: Tensor,
        denominator: Tensor,
        *_: object,
    ) -> Tensor:
        """``loss`` as a plain training step computes it: in the memory layout of the model, with gradients wanted."""
        with torch.enable_grad():
            return self.loss(self._in_layout(weights), fixed, batch, w, denominator)

    def plain_probe(
        self, probe: Callable[..., Tensor], weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
    ) -> Tensor:
        """``probe(model)`` as plain torch evaluates it after training: in eval mode, in the model's memory layout."""
        with torch.no_grad(), self.evaluating(), sdpa_kernel(SDPBackend.MATH):
            return self.call(probe, self._in_layout(weights), fixed)

    def _in_layout(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parameters = dict(self.model.named_parameters())
        return {n: _like(parameters[n], w.detach()).requires_grad_() for n, w in weights.items()}

    def call(
        self,
        function: Callable[..., Tensor],
        weights: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        *arguments: object,
    ) -> Tensor:
        """``function(model, *arguments)`` with these tensors in the model's places.

        Tables of which `with_rows` says so hold some rows alone.
        """
        rows = {name: fixed[key] for name in weights if (key := _rows_of(name)) in fixed} if fixed else {}
        if rows:
            keys = {_rows_of(name) for name in rows}
            with Renumbered({name: weights[name] for name in rows}, rows):
                return self.call(function, weights, {n: t for n, t in fixed.items() if n not in keys}, *arguments)
        here = self.casting_inputs(), self.captured.following(function)
        with uncompiled_inside(), here[0], here[1], raised_by(*self._blame(function)):
            if self._holds(weights, fixed):
                return function(self.model, *arguments)
            own = {n: tensor.to(self._low[n]) if n in self._low else tensor for n, tensor in weights.items()}
            tensors = {f"model.{name}": tensor for name, tensor in (*fixed.items(), *own.items())}
            return functional_call(_Call(self.model, function), tensors, arguments)  # type: ignore[no-any-return]

    @cached_property
    def _state(self) -> dict[str, Tensor]:
        """All tensors of the model."""
        return {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}

    def _holds(self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> bool:
        """Whether these are all the tensors of the model, in their places already."""
        if fixed or len(weights) != len(self._state):
            return False
        return all(self._state.get(name) is tensor for name, tensor in weights.items())

    def _blame(self, function: Callable[..., Tensor]) -> tuple[str, str]:
        """What messages call a function of the user's, and what to do when it fails."""
        if function is self.recipe.loss:
            return "loss(model, batch)", "try it on its own, on the model and a batch as a DataLoader makes it"
        names = [f" {name!r}" for name, probe in self.recipe.probes.items() if probe is function]
        return f"probe{''.join(names[:1])}", "try it on its own, on the model in eval mode"

    @cached_property
    def captured(self) -> Captured:
        """What loss, probes and model bring along besides the model's state."""
        return Captured(self.model, self._to_here, self.dtype, self.device)

    @contextmanager
    def casting_inputs(self) -> Iterator[None]:
        """Probes bring their own data, in the precision of the recipe: give it this run's at the model's door."""

        def cast(_module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[Any, Any]:
            return mapped(self._cast, (args, kwargs))  # type: ignore[no-any-return]

        hook = self.model.register_forward_pre_hook(cast, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode, in which probes are evaluated."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    @contextmanager
    def random_numbers(self, step: int, number: int = 0) -> Iterator[None]:
        """The random numbers of a batch, or of what comes after all steps: the same in every run."""
        with restored(self.device):
            self.seed(step, number)
            yield

    def seed(self, step: int, number: int = 0) -> None:
        """Set the random states of `random_numbers`: for many steps in a row, of which nobody else sees anything."""
        recorded = self.recipe.recording
        if recorded is not None and step < len(recorded.steps):
            recorded.steps[step].batches[number].random.set(self.device)
        else:
            seed(self.recipe.seed, step, number, self.device)


def make_run(recipe: Recipe, dtype: str, device: str | torch.device | None) -> Run:
    """A run on ``device`` (None: a GPU when there is one), always the same one of a recipe: it keeps what was traced.

    On a GPU, TF32 is off from then on. ValueError for a device that this machine or torch lacks.
    """
    keep_freed_memory()
    chosen = default_device() if device is None else device
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as err:  # an unknown name; a device that this build of torch cannot use
        raise ValueError(f"device={str(chosen)!r}: {str(err).splitlines()[0]}") from err
    run = Run(recipe, dtype_named(dtype), torch.device(chosen))
    if run.device.type == "cuda":  # ten bits of a factor are too few for derivatives, and for retrainings beside them
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return recipe.runs.setdefault((run.dtype, run.device), run)  # type: ignore[no-any-return]


def with_rows(fixed: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """``fixed`` beside weights that hold these rows of some tables alone."""
    return {**fixed, **{_rows_of(name): numbers for name, numbers in rows.items()}} if rows else fixed


def _rows_of(table: str) -> str:
    """What the rows of a table are called among the other tensors of a model."""
    return f"{table}.rows"


def _like(parameter: Tensor, weight: Tensor) -> Tensor:
    """A copy of a weight in the memory layout of its parameter; of some rows of it, in that of rows."""
    return torch.empty_like(parameter).copy_(weight) if parameter.shape == weight.shape else weight.clone()


def numpy_state(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The model's state dict with these trained weights, as arrays."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    tied = {id(p): name for name, p in model.named_parameters()}
    for name, p in model.named_parameters(remove_duplicate=False):
        source = tied[id(p)]
        if source in weights:
            state[name] = weights[source]
    own = model.state_dict()
    return {name: _array(tensor.detach().to(own[name].dtype).cpu()) for name, tensor in state.items()}


def _array(tensor: Tensor) -> Any:  # noqa: ANN401  an array
    """A tensor for numpy, which lacks bfloat16."""
    if tensor.dtype is torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(BFLOAT16)
    return tensor.numpy()
