"""States of a training run on disk: one safetensors file each, in a private folder that is gone when they are."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Size, Tensor

from unlearnkit.taylor.jet import Jet
from unlearnkit.training.state import GroupState, Leaf, constant_of, empty_like


class SpilledStates:
    """A list of states. folder: where a folder for them is made. like: a state of the same groups."""

    def __init__(self, folder: Path, like: list[GroupState]) -> None:
        self._parent = folder
        self._folder: Path | None = None
        self._groups = [state.group for state in like]
        self._forms: list[list[tuple[tuple[Size, ...], int]]] = []
        self._device = str(constant_of(like[0].weights).device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, states: list[GroupState]) -> None:
        """Write the state of a step. OSError where the disk is full; then nothing stays of any of them."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="states-", dir=self._parent))  # of mode 0700
        tensors: dict[str, Tensor] = {}
        for number, state in enumerate(states):
            for name, leaf in zip(_names(number, len(state.moments)), [state.weights, *state.moments], strict=True):
                tensors |= _stored(name, leaf)
        try:
            safetensors.torch.save_file(tensors, self._file(self._count))
        except (OSError, SafetensorError) as err:
            folder, done = self._folder, self._count
            self.clear()
            raise _full(folder, done, sum(map(_bytes, tensors.values())), err) from err
        self._forms.append([(state.shapes, len(state.moments)) for state in states])
        self._count += 1

    def __getitem__(self, number: int) -> list[GroupState]:
        """The state that was written as this one, bit for bit."""
        tensors = safetensors.torch.load_file(self._file(number), device=self._device)
        states = []
        for place, (shapes, moments) in enumerate(self._forms[number]):
            weights, *others = (_leaf(name, tensors) for name in _names(place, moments))
            states.append(GroupState(self._groups[place], shapes, weights, others, empty_like(weights)))
        return states

    def clear(self) -> None:
        """Remove all of them."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder, self._count = None, 0
        self._forms.clear()

    def _file(self, number: int) -> Path:
        assert self._folder is not None  # noqa: S101  only what was written is read
        return self._folder / f"{number}.safetensors"


def remove_states(folder: Path) -> None:
    """Remove the states that anybody left in ``folder``."""
    for place in folder.glob("states-*"):
        shutil.rmtree(place, ignore_errors=True)


def _names(group: int, moments: int) -> list[str]:
    return [f"{group}.weights", *(f"{group}.moment-{i}" for i in range(moments))]


def _stored(name: str, leaf: Leaf) -> dict[str, Tensor]:
    parts = {name: leaf.constant, f"{name}.tail": leaf.tail} if isinstance(leaf, Jet) else {name: leaf}
    return {key: part.contiguous() for key, part in parts.items()}


def _leaf(name: str, tensors: Mapping[str, Tensor]) -> Leaf:
    tail = tensors.get(f"{name}.tail")
    return tensors[name] if tail is None else Jet(tensors[name], tail)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _full(folder: Path, done: int, size: int, err: Exception) -> OSError:
    """The error for states that cannot be written."""
    number = err.errno if isinstance(err, OSError) and err.errno else errno.ENOSPC
    message = (
        f"the states of a reverse sweep cannot be written, {done} of them were: {err}; each takes {size / 1e6:.3g} MB. "
        "Free some disk, or give a larger memory_budget, with which fewer are written, or none"
    )
    return OSError(number, message, str(folder))
