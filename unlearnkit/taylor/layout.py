"""How arguments and results are nested: their leaves in a row, and put together again.

Torch's pytree says the same of any container. It takes longer than the arithmetic of a small training step, so what it
knows of tuples, lists and dictionaries is done here, and it is asked for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils import _pytree as pytree

from unlearnkit.taylor.jet import Jet

Form: TypeAlias = tuple[object, ...]
"""How containers nest, with shape and dtype of every leaf, as something to look up."""


def flattened(tree: object) -> tuple[list[Any], Form]:
    """The leaves of ``tree`` in the order of pytree's, jets among them, and its form."""
    leaves: list[Any] = []
    form: list[object] = []
    _flatten(tree, leaves, form)
    return leaves, tuple(form)


def _flatten(tree: Any, leaves: list[Any], form: list[object]) -> None:  # noqa: ANN401  whatever functions take
    kind = type(tree)
    if kind is Tensor or kind is Jet:
        leaves.append(tree)
        constant = tree.constant if kind is Jet else tree
        form += (constant.shape, constant.dtype)
    elif kind is dict:
        form.append((dict, *tree))
        for item in tree.values():
            _flatten(item, leaves, form)
    elif kind is tuple or kind is list:
        form.append((kind, len(tree)))
        for item in tree:
            _flatten(item, leaves, form)
    else:
        others, spec = pytree.tree_flatten(tree)
        form.append(spec)
        leaves += others
        constants = (leaf.constant if isinstance(leaf, Jet) else leaf for leaf in others)
        form += [(constant.shape, constant.dtype) for constant in constants]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:  # noqa: ANN401  whatever functions take
    """``tree`` with ``function`` of each leaf in its place."""
    kind = type(tree)
    if kind is Tensor:
        return function(tree)
    if kind is dict:
        return {key: mapped(function, item) for key, item in tree.items()}
    if kind is tuple or kind is list:
        return kind([mapped(function, item) for item in tree])
    return pytree.tree_map(function, tree)


def rebuilder(spec: pytree.TreeSpec) -> Callable[[Sequence[Any]], Any]:
    """The function that puts leaves in a row together again as ``spec`` says."""
    build = _builder(spec)
    if build is None:
        return lambda leaves: pytree.tree_unflatten(leaves, spec)
    return lambda leaves: build(iter(leaves))


def _builder(spec: pytree.TreeSpec) -> Callable[[Iterator[Any]], Any] | None:
    """None for containers that only pytree knows."""
    if spec.is_leaf():
        return next
    parts = [_builder(child) for child in spec.children()]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or spec.type not in (dict, list, tuple):
        return None
    if spec.type is dict:
        keys = tuple(spec.context)
        return lambda leaves: {key: part(leaves) for key, part in zip(keys, known, strict=True)}
    kind: Callable[[list[Any]], Any] = spec.type
    return lambda leaves: kind([part(leaves) for part in known])
