"""The random numbers of a training step: torch's, Python's and numpy's, the same in every run of a recipe.

They follow from the recipe's seed, or are those that a recorded run drew.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearnkit.taylor.draws import same_random_numbers


def seed(seed: int, step: int, number: int, device: torch.device) -> None:
    """Set the random states for batch ``number`` of a step, whatever was before."""
    name = f"unlearnkit/step/{seed}/{step}" + (f"/{number}" if number else "")
    digest = hashlib.sha256(name.encode()).digest()
    _seed(int.from_bytes(digest[:8], "big") >> 1, device)
    random.seed(digest)
    np.random.seed(np.frombuffer(digest, np.uint32))  # noqa: NPY002  the global one is what user code draws from


@contextmanager
def restored(device: torch.device) -> Iterator[None]:
    """Afterwards, the random states from before again, those of a GPU too."""
    with same_random_numbers([device] if device.type == "cuda" else []):
        yield


@dataclass(frozen=True, slots=True, eq=False)
class RandomState:
    """The global random states at one moment. cpu, cuda: torch's; the current GPU's where torch has used one."""

    cpu: Tensor
    cuda: Tensor | None
    python: Any
    numpy: Any

    @classmethod
    def now(cls, last: RandomState | None = None) -> RandomState:
        """The current states; those that are as they were share their memory with the last ones."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
        python, numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002  what user code draws from
        if last is not None and python == last.python:
            python = last.python
        if last is not None and _told(numpy) == _told(last.numpy):
            numpy = last.numpy
        return cls(torch.get_rng_state(), cuda, python, numpy)

    @contextmanager
    def again(self, device: torch.device) -> Iterator[None]:
        """These states within it; those from before again afterwards."""
        with restored(device):
            self.set(device)
            yield

    def set(self, device: torch.device) -> None:
        """Set them again."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and device.type == "cuda":
            torch.cuda.set_rng_state(self.cuda, device)
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002

    @property
    def digest(self) -> bytes:
        """SHA-256 of the states."""
        cuda = b"" if self.cuda is None else self.cuda.numpy().tobytes()
        outside = repr((self.python, _told(self.numpy))).encode()
        return hashlib.sha256(self.cpu.numpy().tobytes() + cuda + outside).digest()


def _told(numpy: Mapping[str, Any]) -> tuple[object, ...]:
    """Everything in a state of numpy's global generator."""
    return numpy["state"]["key"].tobytes(), numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"]


def _seed(seed: int, device: torch.device) -> None:
    """``torch.manual_seed``, which on the CPU alone spends more than a small step on devices that are not there."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
