"""How much memory a sketch may take, and how much a piece of work takes, found by doing it once."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# Share of the free memory that a sketch may take when nobody says how much.
MEMORY_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Memory:
    """What a piece of work may take: bytes of tensors, and where states may go that have no room in them.

    folder: None for nowhere. exact: whether what a sweep holds is found by trying; without, it is taken to be half.
    """

    bytes: int
    folder: Path | None = None
    exact: bool = False


def memory_for(device: str, budget: int | None) -> int:
    """Bytes: the budget, or a share of what is free on the device, beside other processes of the group there."""
    return budget if budget is not None else int(MEMORY_SHARE * _free(device)) // _processes(device)


def _processes(device: str) -> int:
    """How many of the group are on this machine, and at one GPU where it has some."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, -(-beside // torch.cuda.device_count())) if device == "cuda" else beside


def _free(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except OSError:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made within, until they are freed. peak: the most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._alive: dict[weakref.ref[Any], int] = {}
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  whatever the operation gives
        """Do the operation, and count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if type(leaf) in (Tensor, nn.Parameter):
                for tensor in _dense(leaf):
                    self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        known = self._known.get(id(storage))
        if known is not None and known() is storage:
            return
        reference = weakref.ref(storage, self._freed)
        self._known[id(storage)] = reference
        self._alive[reference] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def _freed(self, reference: weakref.ref[Any]) -> None:
        self.now -= self._alive.pop(reference, 0)


def _dense(tensor: Tensor) -> tuple[Tensor, ...]:
    """What a tensor consists of: a sparse one of where its rows are, and of these."""
    return (tensor._indices(), tensor._values()) if tensor.is_sparse else (tensor,)  # noqa: SLF001


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes of tensors at once that a piece of work makes."""
    counted = Counted()
    with counted:
        work()
    gc.collect()  # models refer to themselves through their hooks: they would stay in memory beside what comes next
    return counted.peak
