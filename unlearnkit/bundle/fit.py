"""Whether a model has the weights that a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlearnkit.bundle.integrity import listed

if TYPE_CHECKING:
    import torch


def require_fit(model: torch.nn.Module, stored: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError for a model with other weights than those that are stored, by name and shape."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if wrong := _difference(own, stored):
        raise ValueError(f"the model does not fit the bundle: {wrong}")


def _difference(own: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]]) -> str:
    """How a model's weights differ from the stored ones; empty when they do not."""
    parts = []
    if missing := sorted(stored.keys() - own.keys()):
        parts.append(f"it lacks {listed(missing)}")
    if extra := sorted(own.keys() - stored.keys()):
        parts.append(f"the bundle lacks {listed(extra)}")
    reshaped = sorted(name for name in own.keys() & stored.keys() if own[name] != stored[name])
    parts.extend(f"{name!r} has shape {own[name]}, the bundle's {stored[name]}" for name in reshaped[:10])
    return "; ".join(parts)
