"""Bags of embeddings as rows that are looked up and then summed, averaged or compared bag by bag."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def embedding_bag(
    ids: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,  # noqa: FBT001, FBT002  as torch's
    mode: str = "mean",
    sparse: bool = False,  # noqa: FBT001, FBT002  dense gradients have the same numbers
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,  # noqa: FBT001, FBT002
    padding_idx: int | None = None,
) -> Tensor:
    """``torch.nn.functional.embedding_bag``; what it does not cover goes there."""
    if max_norm is not None or scale_grad_by_freq:
        settings = (max_norm, norm_type, scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset)
        return F.embedding_bag(ids, weight, offsets, *settings, padding_idx)
    flat = ids.reshape(-1)
    rows = F.embedding(flat, weight, padding_idx)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    if offsets is not None and include_last_offset:
        offsets = offsets[:-1]
    counted = torch.ones_like(flat, dtype=torch.bool) if padding_idx is None else flat != padding_idx
    return _largest(rows, counted, ids, offsets) if mode == "max" else _total(rows, counted, ids, offsets, mode)


def _total(rows: Tensor, counted: Tensor, ids: Tensor, offsets: Tensor | None, mode: str) -> Tensor:
    bag, bags = _bag_of_each(ids, offsets), len(ids) if offsets is None else len(offsets)
    shares = rows * counted.to(rows.dtype).unsqueeze(1)
    total = rows.new_zeros(bags, rows.shape[1]).index_add(0, bag, shares)
    if mode == "sum":
        return total
    sizes = torch.zeros(bags, dtype=bag.dtype, device=ids.device).index_add(0, bag, counted.to(bag.dtype))
    return total / sizes.clamp_min(1).unsqueeze(1).to(total.dtype)


def _largest(rows: Tensor, counted: Tensor, ids: Tensor, offsets: Tensor | None) -> Tensor:
    """The largest of each column among what counts of a bag, 0 where nothing does."""
    if offsets is None:
        inside, candidates = counted.view(ids.shape), rows.view(*ids.shape, -1)
    else:
        bags = torch.arange(len(offsets), device=ids.device).unsqueeze(1)
        inside = (_bag_of_each(ids, offsets) == bags) & counted
        candidates = rows.expand(len(offsets), *rows.shape)
    largest = torch.where(inside.unsqueeze(2), candidates, -torch.inf).max(1).values
    return torch.where(inside.any(1, keepdim=True), largest, 0.0)


def _bag_of_each(ids: Tensor, offsets: Tensor | None) -> Tensor:
    """In which bag each id is."""
    places: Any = torch.arange(ids.numel(), device=ids.device)
    if offsets is None:
        return places // ids.shape[1]  # type: ignore[no-any-return]
    return (places.unsqueeze(1) >= offsets.unsqueeze(0)).sum(1) - 1  # type: ignore[no-any-return]
