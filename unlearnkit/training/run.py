"""A recipe made concrete on a device and in a precision: the pieces that sketching and retraining share."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.draws import same_random_numbers
from unlearnkit.taylor.function import JetFunction
from unlearnkit.training.captured import Captured
from unlearnkit.training.data import Indices, collate
from unlearnkit.training.faults import raised_by
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
    """The precision of the recipe's model as it is."""
    return str(next(recipe.model.parameters()).dtype).removeprefix("torch.")


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


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of a recipe on a device in a precision. The recipe's own model stays untouched.

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
        source = self.recipe.model if self.source is None else self.source
        return copy.deepcopy(source).to(device=self.device, dtype=self.dtype)

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
    ) -> JetFunction:
        """``function`` over jets, one for each key, so that all who train or sweep over this run share its traces."""
        if key not in self._functions:
            allow = self.recipe.allow_piecewise
            self._functions[key] = JetFunction(
                function, model=self.model, allow_piecewise=allow, plain=plain, inner=inner, dtype=self.dtype
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
        return {name: parameters[name].detach().clone() for name in self.trained_names}

    def batch(self, step: int) -> Any:  # noqa: ANN401  the layout of the user's examples
        """The examples of a step, in this run's precision and place."""
        return self.examples(self.recipe.indices[step])

    def examples(self, indices: Indices) -> Any:  # noqa: ANN401  the layout of the user's examples
        """These examples as a batch, in this run's precision and place."""
        return pytree.tree_map(self._cast, collate(self.recipe.dataset, indices))

    def _cast(self, x: object) -> object:
        return self._to_here(x) if isinstance(x, Tensor) else x

    def _to_here(self, x: Tensor) -> Tensor:
        return x.to(device=self.device, dtype=self.dtype if x.is_floating_point() else None)

    def units(self, step: int) -> Tensor:
        """For each example of a step, its unit's position, -1 for nobody's: ``[batch_size]``."""
        return torch.from_numpy(self.recipe.unit_of_example[self.recipe.indices[step]]).to(self.device)

    def loss(self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object, w: Tensor) -> Tensor:
        """``sum_i (1 - w_i) loss_i / batch_size`` as a function of the trained weights (docs/theory.md section 1)."""
        return ((1 - w) * self.losses(weights, fixed, batch, len(w))).sum() / self.recipe.batch_size

    def losses(self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object, count: int) -> Tensor:
        """One loss for each of ``count`` examples, ``[count]``."""
        losses = self.call(self.recipe.loss, weights, fixed, batch)
        if not isinstance(losses, Tensor):
            found = f"is a {type(losses).__name__}"
        elif losses.shape != (count,):
            found = f"has shape {tuple(losses.shape)}"
        elif not losses.is_floating_point():
            found = f"is {losses.dtype}"
        else:
            return losses
        message = (
            f"loss(model, batch) {found}, expected a tensor of one loss per example, shape {(count,)}, real numbers"
        )
        raise RecipeError(message, hint='use reduction="none", and average over everything but the examples')

    def plain_loss(
        self, weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor], batch: object, w: Tensor, *_: object
    ) -> Tensor:
        """``loss`` as a plain training step computes it: in the memory layout of the model, with gradients wanted."""
        with torch.enable_grad():
            return self.loss(self._in_layout(weights), fixed, batch, w)

    def plain_probe(
        self, probe: Callable[..., Tensor], weights: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
    ) -> Tensor:
        """``probe(model)`` as plain torch evaluates it after training: in eval mode, in the model's memory layout."""
        with torch.no_grad(), self.evaluating(), sdpa_kernel(SDPBackend.MATH):
            return self.call(probe, self._in_layout(weights), fixed)

    def _in_layout(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        parameters = dict(self.model.named_parameters())
        return {n: torch.empty_like(parameters[n]).copy_(w.detach()).requires_grad_() for n, w in weights.items()}

    def call(
        self,
        function: Callable[..., Tensor],
        weights: Mapping[str, Tensor],
        fixed: Mapping[str, Tensor],
        *arguments: object,
    ) -> Tensor:
        """``function(model, *arguments)`` with these tensors in the model's places."""
        tensors = {f"model.{name}": tensor for name, tensor in (*fixed.items(), *weights.items())}
        with self.casting_inputs(), self.captured.following(function), raised_by(*self._blame(function)):
            return functional_call(_Call(self.model, function), tensors, arguments)  # type: ignore[no-any-return]

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
            return pytree.tree_map(self._cast, (args, kwargs))  # type: ignore[no-any-return]

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
    def random_numbers(self, step: int) -> Iterator[None]:
        """The random numbers of a step, torch's, Python's and numpy's: the same in every run, whatever was before."""
        digest = hashlib.sha256(f"unlearnkit/step/{self.recipe.seed}/{step}".encode()).digest()
        with same_random_numbers([self.device] if self.device.type == "cuda" else []):
            _seed(int.from_bytes(digest[:8], "big") >> 1, self.device)
            random.seed(digest)
            np.random.seed(np.frombuffer(digest, np.uint32))  # noqa: NPY002  the global one is what user code draws from
            yield


def _seed(seed: int, device: torch.device) -> None:
    """``torch.manual_seed``, which on the CPU alone spends more than a small step on devices that are not there."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def make_run(recipe: Recipe, dtype: str, device: str | torch.device | None) -> Run:
    """A run on ``device`` (None: a GPU when there is one), always the same one of a recipe: it keeps what was traced.

    ValueError for a device that this machine or torch lacks.
    """
    chosen = default_device() if device is None else device
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as err:  # an unknown name; a device that this build of torch cannot use
        raise ValueError(f"device={str(chosen)!r}: {str(err).splitlines()[0]}") from err
    run = Run(recipe, dtype_named(dtype), torch.device(chosen))
    return recipe.runs.setdefault((run.dtype, run.device), run)  # type: ignore[no-any-return]


def numpy_state(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The model's state dict with these trained weights, as arrays."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    tied = {id(p): name for name, p in model.named_parameters()}
    for name, p in model.named_parameters(remove_duplicate=False):
        source = tied[id(p)]
        if source in weights:
            state[name] = weights[source]
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}
