"""Weights and optimizer state during training, flat, as jets or as plain tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.products import LEAD
from unlearnkit.training.optimizers import Group

Leaf: TypeAlias = Jet | Tensor


def part(leaf: Leaf, piece: slice) -> Leaf:
    """A piece of the last dimension, without copying."""
    return Jet(leaf.constant[..., piece], leaf.tail[..., piece]) if isinstance(leaf, Jet) else leaf[..., piece]


def assign(target: Leaf, source: Leaf) -> None:
    """Write ``source`` into ``target``; a plain source leaves a zero tail."""
    if source is target:
        return
    if not isinstance(target, Jet):
        target.copy_(constant_of(source))
    elif isinstance(source, Jet):
        target.constant.copy_(source.constant)
        if source.tail.data_ptr() != target.tail.data_ptr():  # else it was written there
            target.tail.copy_(source.tail)
    else:
        target.constant.copy_(source)
        target.tail.zero_()


def accumulate(target: Leaf, source: Leaf) -> None:
    """Add ``source`` to ``target`` in place."""
    if not isinstance(target, Jet):
        target.add_(constant_of(source))
    elif isinstance(source, Jet):
        target.constant.add_(source.constant)
        target.tail.add_(source.tail)
    else:
        target.constant.add_(source)


def accumulate_all(targets: Sequence[Leaf], sources: Sequence[Leaf]) -> None:
    """`accumulate` for each pair, plain tensors in one call."""
    if any(isinstance(target, Jet) for target in targets):
        for target, source in zip(targets, sources, strict=True):
            accumulate(target, source)
    elif targets:
        torch._foreach_add_([constant_of(t) for t in targets], [constant_of(s) for s in sources])


def clone(leaf: Leaf) -> Leaf:
    """A copy with memory of its own."""
    return Jet(leaf.constant.clone(), leaf.tail.clone()) if isinstance(leaf, Jet) else leaf.clone()


def empty_like(leaf: Leaf) -> Leaf:
    """Room for another one."""
    if isinstance(leaf, Jet):
        return Jet(torch.empty_like(leaf.constant), torch.empty_like(leaf.tail))
    return torch.empty_like(leaf)


def is_finite(leaf: Leaf) -> bool:
    """Whether all coefficients are finite. A sum is cheap and carries any NaN or infinity; only then look closely."""
    tensors = (leaf.tail, leaf.constant) if isinstance(leaf, Jet) else (leaf,)
    return bool(total(leaf).isfinite()) or all(bool(t.isfinite().all()) for t in tensors)


def total(leaf: Leaf) -> Tensor:
    """The sum of all coefficients, which is not finite where one of them is not."""
    return leaf.constant.sum() + leaf.tail.sum() if isinstance(leaf, Jet) else leaf.sum()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of flat parameters ``[..., P]``, and the shape in which an update takes it."""

    place: slice
    shape: torch.Size

    def of(self, flat: Leaf) -> Leaf:
        """That stretch as ``[..., *shape]``, without copying."""
        if self.shape == constant_of(flat).shape[-1:]:
            return flat
        if isinstance(flat, Jet):
            return Jet(_shaped(flat.constant, self.place, self.shape), _shaped(flat.tail, self.place, self.shape))
        return _shaped(flat, self.place, self.shape)


@dataclass(eq=False)
class GroupState:
    """One parameter group, flat: jets of ``[P]``, or plain tensors."""

    group: Group
    shapes: tuple[torch.Size, ...]
    weights: Leaf
    moments: list[Leaf]
    gradient: Leaf

    def views(self, flat: Leaf) -> dict[str, Leaf]:
        """Each parameter's part of a flat leaf ``[..., P]``, as ``[..., *shape]``, without copying."""
        if isinstance(flat, Jet):
            constants, tails = self.views(flat.constant), self.views(flat.tail)
            return {name: Jet(constant_of(constants[name]), constant_of(tails[name])) for name in constants}
        named = zip(self.group.parameters, self.shapes, self.parts(flat), strict=True)
        return {name: part.view(flat.shape[:-1] + shape) for name, shape, part in named}

    def parts(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Each parameter's part of ``[..., P]``, flat, without copying."""
        return torch.split_with_sizes(flat, _lengths(self.shapes), -1)

    @property
    def result(self) -> Leaf:
        """What becomes of the weights: themselves, or their average."""
        return self.moments[-1] if self.group.averaged else self.weights

    def store(self, gradients: Mapping[str, Leaf]) -> None:
        """Keep the gradients of this group's parameters."""
        for name, place in self.views(self.gradient).items():
            assign(place, gradients[name])

    def pieces(self, elements: int) -> Iterator[Piece]:
        """Cut ``[P]`` so that a piece of a tail has about ``elements`` elements; or into whole parameters."""
        return self._whole() if self.group.rule.whole else self._cut(elements)

    def _whole(self) -> Iterator[Piece]:
        offset = 0
        for shape in self.shapes:
            yield Piece(slice(offset, offset + shape.numel()), shape)
            offset += shape.numel()

    def _cut(self, elements: int) -> Iterator[Piece]:
        size = constant_of(self.weights).numel()
        lanes = self.weights.tail.shape[:LEAD].numel() if isinstance(self.weights, Jet) else 1
        piece = max(1, elements // lanes)
        for start in range(0, size, piece):
            place = slice(start, min(start + piece, size))
            yield Piece(place, torch.Size([place.stop - start]))

    def name_at(self, position: int) -> str:
        """The parameter that a flat position belongs to."""
        for name, shape in zip(self.group.parameters, self.shapes, strict=True):
            if position < shape.numel():
                return name
            position -= shape.numel()
        raise IndexError(position)

    def copy(self) -> GroupState:
        """Weights and moments with memory of their own, and room for another gradient."""
        moments = [clone(moment) for moment in self.moments]
        return GroupState(self.group, self.shapes, clone(self.weights), moments, empty_like(self.gradient))

    def room(self) -> GroupState:
        """Memory for another state of the group."""
        moments = [empty_like(moment) for moment in self.moments]
        return GroupState(self.group, self.shapes, empty_like(self.weights), moments, self.gradient)


@lru_cache
def _lengths(shapes: tuple[torch.Size, ...]) -> list[int]:
    return [shape.numel() for shape in shapes]


def _shaped(flat: Tensor, piece: slice, shape: torch.Size) -> Tensor:
    return flat[..., piece].view(*flat.shape[:-1], *shape)


def constant_of(leaf: Leaf) -> Tensor:
    """The plain program's value."""
    return leaf.constant if isinstance(leaf, Jet) else leaf


def trained(states: list[GroupState]) -> dict[str, Leaf]:
    """What the run gives, by name, as views: the weights, or their average."""
    return {name: leaf for state in states for name, leaf in state.views(state.result).items()}


def merged(states: list[GroupState]) -> dict[str, Leaf]:
    """All weights by name, as views."""
    return {name: leaf for state in states for name, leaf in state.views(state.weights).items()}
