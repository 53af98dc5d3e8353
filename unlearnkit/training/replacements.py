"""``fix``: a model without what cannot be sketched, by replacements of the same shapes that train as well."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize, remove_spectral_norm

from unlearnkit.errors import RecipeError
from unlearnkit.training.models import has_spectral_norm, uncompiled

# By the kind of a module exactly: what else a class of the user's does is not known.
_SMOOTH: dict[type[nn.Module], Callable[[], nn.Module]] = {
    nn.ReLU: nn.GELU,
    nn.ReLU6: nn.SiLU,
    nn.LeakyReLU: nn.SiLU,
    nn.RReLU: nn.SiLU,
    nn.PReLU: nn.SiLU,
    nn.ELU: nn.SiLU,
    nn.SELU: nn.SiLU,
    nn.CELU: nn.SiLU,
    nn.Hardswish: nn.SiLU,
    nn.Hardsigmoid: nn.Sigmoid,
    nn.Hardtanh: nn.Tanh,
}
_MEANS = {nn.MaxPool1d: nn.AvgPool1d, nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement. module: path inside the model. before, after: what stood there, and what does now."""

    module: str
    before: str
    after: str

    def __str__(self) -> str:
        """As a line to print."""
        return f"{self.module or 'the model'}: {self.before} -> {self.after}"


def fix(
    model: nn.Module, *, batch_norm: Literal["group", "freeze"] = "group", smooth: bool = True
) -> tuple[nn.Module, tuple[Change, ...]]:
    r"""A copy of a model in which replacements stand for what cannot be sketched, or only with kinks.

    Batch norm becomes group norm, or keeps its statistics; spectral norm is taken off, and the weight stays as it is.
    ReLU and other activations with kinks become GELU, SiLU, tanh or sigmoid; max pooling becomes average pooling. It is
    another model: train it anew, or fine-tune it. What a forward pass does by functions stays as it is, and
    `unlearnkit.check` tells what is left.

    Args:
        model: stays as it is.
        batch_norm: "group" for group norm, with the weights of the batch norm; "freeze" for statistics as they are now.
        smooth: whether activations and pooling are replaced too; without, they need ``allow_piecewise``.

    Returns:
        The new model, whose parameters are others (make its optimizer of them), and what was changed.

    Raises:
        RecipeError: a batch norm that is to be frozen keeps no statistics.

    Example:
        >>> layers = torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU()
        >>> model, changes = uk.fix(torch.nn.Sequential(*layers))
        >>> print(*changes, sep="\n")
        1: BatchNorm1d -> GroupNorm(1, 8)
        2: ReLU -> GELU

    """
    if batch_norm not in ("group", "freeze"):
        raise RecipeError(f'batch_norm={batch_norm!r}, expected "group" or "freeze"')
    fixed = nn.ModuleDict({"model": copy.deepcopy(uncompiled(model))})
    known: dict[int, nn.Module] = {}
    changes: list[Change] = []
    for name, module in list(fixed.named_modules(remove_duplicate=False))[1:]:
        new = known.get(id(module)) or _replacement(module, batch_norm, smooth=smooth)
        known[id(module)] = new
        kept = list(_changed_inside(module, smooth=smooth)) if new is module else []
        changes += [Change(name.removeprefix("model").removeprefix("."), *what) for what in kept]
        if new is not module:
            parent, _, child = name.rpartition(".")
            setattr(fixed.get_submodule(parent), child, new)
            changes.append(Change(name.removeprefix("model").removeprefix("."), type(module).__name__, _described(new)))
    return fixed["model"], tuple(changes)


def _replacement(module: Any, batch_norm: str, *, smooth: bool) -> nn.Module:  # noqa: ANN401  with settings of its kind
    """What stands for a module: itself, mostly."""
    if isinstance(module, _BatchNorm) and module.training and batch_norm == "group":
        return _group_norm(module)
    if smooth and (make := _SMOOTH.get(type(module))):
        return make().train(module.training)
    if smooth and type(module) in _MEANS and module.dilation == 1 and not module.return_indices:
        new: nn.Module = _MEANS[type(module)](module.kernel_size, module.stride, module.padding, module.ceil_mode)
        return new
    return module  # type: ignore[no-any-return]


def _group_norm(module: Any) -> nn.Module:  # noqa: ANN401  a batch norm
    """Groups of at least four channels, for one alone may be a single number; all of them where there is no space."""
    channels = module.num_features
    flat = isinstance(module, nn.BatchNorm1d)
    groups = 1 if flat else math.gcd(32, max(1, channels // 4), channels)
    new = nn.GroupNorm(groups, channels, eps=module.eps, affine=module.affine)
    if module.affine:
        new.to(module.weight)
        new.load_state_dict({"weight": module.weight.data, "bias": module.bias.data})
    return new


def _changed_inside(module: Any, *, smooth: bool) -> Iterator[tuple[str, str]]:  # noqa: ANN401  with settings of its kind
    """Change what stays in its place, and tell what stood there and what does now."""
    if isinstance(module, _BatchNorm) and module.training:
        if module.running_mean is None:
            raise RecipeError("fix: a batch norm keeps no statistics to freeze", hint='use batch_norm="group"')
        module.eval()
        yield type(module).__name__, f"{type(module).__name__} with frozen statistics"
    if has_spectral_norm(module):
        _without_spectral_norm(module)
        yield "spectral norm", "the weight as it is now"
    activation = getattr(module, "activation", None)
    if smooth and isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) and activation is F.relu:
        module.activation = F.gelu
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 2
        yield "relu", "gelu"


def _without_spectral_norm(module: nn.Module) -> None:
    for name, parts in list(getattr(module, "parametrizations", {}).items()):
        if any(type(part).__name__ == "_SpectralNorm" for part in parts):
            parts.eval()  # or it would improve its singular vectors once more
            # Torch takes it off the class, which a copied module shares with the original.
            module.__class__ = type(type(module).__name__, type(module).__bases__, dict(vars(type(module))))
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for hook in list(module._forward_pre_hooks.values()):  # noqa: SLF001
        if type(hook).__name__ == "SpectralNorm":
            remove_spectral_norm(module, hook.name)  # type: ignore[attr-defined]


def _described(module: nn.Module) -> str:
    if isinstance(module, nn.GroupNorm):
        return f"GroupNorm({module.num_groups}, {module.num_channels})"
    return type(module).__name__
