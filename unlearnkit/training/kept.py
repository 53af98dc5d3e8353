"""What model and loss keep from one call to the next besides weights and buffers: counters, schedules, generators."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from unlearnkit.training.fingerprint import function_digest
from unlearnkit.training.run import Run


def kept(run: Run) -> dict[str, str]:
    """A digest of each attribute of the run's model, by its path in the model, and of what the loss refers to."""
    return {name: function_digest(partial(id, _state(value))) for name, value in _values(run)}


def changes(before: Mapping[str, str], run: Run) -> list[str]:
    """What is not as it was, by name."""
    after = kept(run)
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def _values(run: Run) -> Iterator[tuple[str, object]]:
    yield "what the loss refers to", run.recipe.loss
    for path, module in run.model.named_modules():
        for name, value in vars(module).items():
            if name not in _TORCHS_OWN:
                yield f"model.{path}.{name}" if path else f"model.{name}", value


# What torch keeps in every module; buffers and parameters are looked at elsewhere.
_TORCHS_OWN = frozenset(vars(torch.nn.Module()))


def _state(value: object) -> Any:  # noqa: ANN401  whatever an attribute holds
    """The value itself, or the numbers that a generator goes on from."""
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, np.random.RandomState):
        return value.get_state()
    return value.get_state() if isinstance(value, torch.Generator) else value
