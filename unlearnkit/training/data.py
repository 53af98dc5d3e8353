"""The examples of a recipe, and the batches they make."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader, default_collate

from unlearnkit.errors import RecipeError
from unlearnkit.training.faults import raised_by

# Examples that are read twice to see whether a dataset augments; a coin for each shows itself with near certainty.
_READ_TWICE = 16


Indices: TypeAlias = Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]
Collate: TypeAlias = Callable[[list[Any]], Any]


class MapDataset(Protocol):
    """Any map-style dataset."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  whatever the user's loss takes
        """One example: nested containers of tensors, arrays or numbers."""
        ...


def as_dataset(data: MapDataset | tuple[Tensor, ...]) -> MapDataset:
    """A dataset as it is; a tuple of tensors ``[examples, ...]`` as a dataset of their rows."""
    if isinstance(data, tuple):
        if not data or not all(isinstance(part, Tensor) for part in data):
            hint = "pass tensors (torch.from_numpy makes them), or a map-style dataset"
            raise RecipeError("data: got a tuple that is not all tensors", hint=hint)
        if len({part.shape[:1] for part in data}) != 1 or data[0].dim() == 0:
            shapes = ", ".join(str(tuple(part.shape)) for part in data)
            raise RecipeError(f"data: got tensors of shapes {shapes}, expected [examples, ...], equally many in each")
        return TensorRows(data)
    if isinstance(data, DataLoader):
        hint = "pass loader.dataset; batch_size, order and drop_last of the recipe say how it is read"
        raise RecipeError("data: got DataLoader, expected what it loads from", hint=hint)
    if isinstance(data, Mapping):
        hint = "pass a tuple of its tensors, or a map-style dataset whose examples are dictionaries"
        raise RecipeError(f"data: got {type(data).__name__}, expected examples that are counted", hint=hint)
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise RecipeError(f"data: {type(data).__name__} has no length or no indexing", hint="use a map-style dataset")
    return data


class Augmented:
    """The examples of one epoch of a dataset that takes ``dataset[epoch, i]``."""

    def __init__(self, data: Any, epoch: int = 0) -> None:  # noqa: ANN401  takes pairs, as no Protocol of torch does
        self.data = data
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  whatever the user's loss takes
        with raised_by(f"data: dataset[{self.epoch}, {index}]", "augmented=True is for datasets that take both"):
            return self.data[self.epoch, index]


class TensorRows:
    """Tensors of the same length, row by row."""

    def __init__(self, parts: tuple[Tensor, ...]) -> None:
        self.parts = tuple(part.detach() for part in parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(part[index] for part in self.parts)

    def batch(self, indices: Indices) -> tuple[Tensor, ...]:
        """Many rows at once, without stacking them one by one."""
        return tuple(part.index_select(0, torch.as_tensor(indices, device=part.device)) for part in self.parts)


def collate(dataset: MapDataset, indices: Indices, function: Collate | None = None) -> Any:  # noqa: ANN401  the layout of the user's examples
    """The batch of these examples, as ``torch.utils.data.DataLoader`` would make it. Every leaf is a tensor."""
    if isinstance(dataset, TensorRows) and function is None:
        return dataset.batch(indices)
    examples = [_example(dataset, int(i)) for i in indices]
    batch = _stacked(examples) if function is None else _collated(function, examples)
    for leaf in pytree.tree_leaves(batch):
        if not isinstance(leaf, Tensor):
            message = f"data: a batch holds a {type(leaf).__name__}, expected tensors only"
            hint = "encode text and labels as tensors in the dataset, or in collate_fn, and leave out what is no number"
            raise RecipeError(message, hint=hint)
    return batch


def _collated(function: Collate, examples: list[Any]) -> Any:  # noqa: ANN401  the layout of the user's examples
    with raised_by("collate_fn", "it takes a list of examples, as a DataLoader gives it"):
        batch = function(examples)
    return dict(batch) if isinstance(batch, Mapping) else batch  # as transformers' BatchEncoding, which is no dict


def _example(dataset: MapDataset, index: int) -> Any:  # noqa: ANN401  the layout of the user's examples
    with raised_by(f"data: dataset[{index}]", "a dataset gives an example for every index below its length"):
        return dataset[index]


def _stacked(examples: list[Any]) -> Any:  # noqa: ANN401  the layout of the user's examples
    try:
        return default_collate(examples)
    except (TypeError, RuntimeError) as error:
        hint = "pad the examples to one shape, here or in collate_fn, or use batch_size=1"
        raise RecipeError(f"data: the examples of a batch cannot be stacked: {error}", hint=hint) from error


def data_digest(dataset: MapDataset) -> str:
    """SHA-256 over every example, in order: place, dtype, shape and bytes of each leaf.

    Raises RecipeError when one of the first examples comes out different the second time, as augmentation makes it.
    """
    state = hashlib.sha256()
    if isinstance(dataset, TensorRows):
        for part in dataset.parts:
            update_with_tensor(state, part)
        return state.hexdigest()
    for i in range(len(dataset)):
        digest = _example_digest(_example(dataset, i))
        if i < _READ_TWICE and digest != _example_digest(_example(dataset, i)):
            raise _unrepeatable(dataset, i)
        state.update(digest)
    return state.hexdigest()


def _unrepeatable(dataset: MapDataset, index: int) -> RecipeError:
    if isinstance(dataset, Augmented):
        hint = "seed a generator of its own by epoch and i, each time"
        return RecipeError(f"data: dataset[{dataset.epoch}, {index}] gave two different examples", hint=hint)
    hint = "draw augmentations beforehand, so that dataset[i] is always the same; or Recipe(augmented=True)"
    return RecipeError(f"data: dataset[{index}] gave two different examples", hint=hint)


def _example_digest(example: object) -> bytes:
    state = hashlib.sha256()
    for path, leaf in pytree.tree_flatten_with_path(example)[0]:
        state.update(pytree.keystr(path).encode())
        if isinstance(leaf, (str, bytes, type(None))):
            state.update(f"{type(leaf).__name__} {leaf!r}".encode())  # what a collate_fn encodes, or leaves out
        else:
            update_with_tensor(state, _as_tensor(leaf))
    return state.digest()


def _as_tensor(leaf: object) -> Tensor:
    """A leaf of an example as ``default_collate`` takes it, so Python's floats in double precision."""
    try:
        return torch.as_tensor(leaf, dtype=torch.float64 if isinstance(leaf, float) else None)
    except (TypeError, ValueError, RuntimeError):
        message = f"data: an example holds a {type(leaf).__name__}, expected tensors, numbers or text"
        raise RecipeError(message, hint="encode it as tensors in the dataset") from None


def update_with_tensor(state: hashlib._Hash, tensor: Tensor) -> None:
    """Feed dtype, shape and little-endian bytes of a tensor to a hash."""
    tensor = tensor.detach().cpu().contiguous()
    state.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    state.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
