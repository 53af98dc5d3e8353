"""Whether a run lowers its precision by itself: weights in bfloat16 or float16, autocast, casts of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from unlearnkit.taylor.raised import COARSE
from unlearnkit.training.run import Run


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether any result is coarser than single precision."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any operation
        result = func(*args, **(kwargs or {}))
        self.seen |= any(isinstance(x, Tensor) and x.dtype in COARSE for x in pytree.tree_leaves(result))
        return result


def is_lowered(run: Run) -> bool:
    """Whether the losses of the first batch are computed more coarsely than in single precision."""
    return run.remembered("lowered", partial(_look, run))


def _look(run: Run) -> bool:
    trial = run.fresh()
    batch = trial.first_batch()
    weights = {name: weight.requires_grad_() for name, weight in trial.initial_weights().items()}
    with torch.enable_grad(), trial.random_numbers(0), _Watch() as watch:
        trial.losses(weights, trial.fixed, batch.examples, len(batch.units))
    return bool(watch.seen)
