"""A model of the zoo trained as people train: AdamW with torch's defaults, clipping, dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import unlearnkit as uk
from tests.zoo.architectures import EXAMPLES, OF_PICTURES, OF_TEXT, Architecture
from tests.zoo.modules import OF_TORCH

ZOO: dict[str, Architecture] = {**OF_TEXT, **OF_PICTURES, **OF_TORCH}
DELETED = [0, 2]
# Adam divides a gradient by its size, so that a small one turns round within a small step.
STEP = 1e-6


class InDouble(TorchFunctionMode):
    """Many models compute parts in float32 whatever their weights are; finite differences would be its rounding."""

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if any(isinstance(a, Tensor) and a.dtype is torch.float64 for a in args):
            if func is torch.Tensor.float or (func is torch.Tensor.to and args[1:2] == (torch.float32,)):
                return args[0]
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def recipe(name: str) -> uk.Recipe:
    """Two steps of two examples, each example its own unit."""
    architecture, data = ZOO[name], ZOO[name].examples()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = architecture.make().double()

    def loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
        rows, dtype = batch[0], next(model.parameters()).dtype
        batch = (rows.to(dtype) if rows.is_floating_point() else rows,)
        if dtype is torch.float32:
            return architecture.loss(model, batch)
        with InDouble():
            return architecture.loss(model, batch)

    return uk.Recipe(
        name=name,
        model=model,
        loss=loss,
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2),
        data=(data,),
        units=list(range(EXAMPLES)),
        epochs=1,
        batch_size=2,
        clip_grad_norm=1.0,
        allow_piecewise=architecture.piecewise,
        probes={"loss": lambda model: loss(model, (data[:2],)).mean()},
    )


def deleted() -> np.ndarray:
    """The direction in which the deleted units leave."""
    return np.isin(np.arange(EXAMPLES), DELETED).astype(float)


def plain(made: uk.Recipe, weight: float, dtype: str = "float64") -> float:
    """The probe after a real training without so much of the deleted units."""
    model = uk.retrain(made, DELETED, weight=weight, dtype=dtype, device="cpu").eval()
    with torch.no_grad():
        return float(made.probes["loss"](model))


def slope(made: uk.Recipe) -> float:
    """The derivative of the probe at no deletion, from real trainings."""
    base, once, twice = (plain(made, h) for h in (0.0, STEP, 2 * STEP))
    return (4 * once - twice - 3 * base) / (2 * STEP)
