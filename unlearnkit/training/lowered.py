"""Whether a run lowers its precision by itself: weights in bfloat16 or float16, autocast, casts of its own."""

from __future__ import annotations

from functools import partial

import torch

from unlearnkit.taylor.draws import watched
from unlearnkit.training.run import Run


def is_lowered(run: Run) -> bool:
    """Whether the losses of the first batch are computed more coarsely than in single precision."""
    return run.remembered("resolution", partial(_resolution, run)) > torch.finfo(torch.float32).eps


def _resolution(run: Run) -> float:
    trial = run.fresh()
    batch = trial.first_batch()
    weights = {name: weight.requires_grad_() for name, weight in trial.initial_weights().items()}
    with torch.enable_grad(), trial.random_numbers(0):
        return watched(trial.losses, weights, trial.fixed, batch.examples, len(batch.units))[1]
