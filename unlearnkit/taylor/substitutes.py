"""Torch functions that are taken apart another way than torch does it, before a trace sees them.

Some are analytic, but torch computes them with clamps; some end in one opaque kernel; some make sparse gradients, whose
numbers are the same. Values are torch's, up to rounding. A call that a substitute does not cover goes to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor

from unlearnkit.taylor import packed
from unlearnkit.taylor.bags import embedding_bag

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "mean": torch.mean, "sum": torch.sum}


def _bce_with_logits(logits: Tensor, target: Tensor, **settings: Any) -> Tensor:  # noqa: ANN401  as torch's
    """``F.binary_cross_entropy_with_logits`` without the clamp that torch's composite form computes it with."""
    plain = {"weight": None, "pos_weight": None, "reduction": "mean", "size_average": None, "reduce": None} | settings
    unusual = plain["size_average"] is not None or plain["reduce"] is not None or target.shape != logits.shape
    if unusual or plain["reduction"] not in _REDUCTIONS:
        return F.binary_cross_entropy_with_logits(logits, target, **settings)
    factor = 1 if plain["pos_weight"] is None else 1 + (plain["pos_weight"] - 1) * target
    losses = (1 - target) * logits - factor * F.logsigmoid(logits)
    return _REDUCTIONS[plain["reduction"]](losses if plain["weight"] is None else losses * plain["weight"])


def _norm_above(x: Tensor, dim: Any, eps: float) -> Tensor:  # noqa: ANN401  one dimension or several
    """The Euclidean norm along ``dim``, and ``eps`` where it is smaller: a kink that nothing comes near."""
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return torch.where(norm > eps, norm, eps)


def _normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    return x / _norm_above(x, dim, eps) if p == 2 and out is None else F.normalize(x, p, dim, eps, out)


def _cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    x1, x2 = torch.broadcast_tensors(x1, x2)  # type: ignore[no-untyped-call]
    return (x1 / _norm_above(x1, dim, eps) * (x2 / _norm_above(x2, dim, eps))).sum(dim)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    if p != 2:
        return torch.cdist(x1, x2, p, compute_mode)
    distances: Tensor = torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), dim=-1)
    return distances


def _bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result = torch.einsum("...i,kij,...j->...k", x1, weight, x2)
    return result if bias is None else result + bias


def _embedding(
    ids: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,  # noqa: FBT001, FBT002  as torch's
    sparse: bool = False,  # noqa: ARG001, FBT001, FBT002  dense gradients have the same numbers
) -> Tensor:
    return F.embedding(ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, False)  # noqa: FBT003


SUBSTITUTES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.binary_cross_entropy_with_logits: _bce_with_logits,
    F.normalize: _normalize,
    F.cosine_similarity: _cosine_similarity,
    torch.cosine_similarity: _cosine_similarity,
    torch.cdist: _cdist,
    F.bilinear: _bilinear,
    F.embedding: _embedding,
    F.embedding_bag: embedding_bag,
    **packed.SUBSTITUTES,
}


@contextmanager
def without_checkpointing() -> Iterator[None]:
    """Activation checkpointing switched off: parts are called directly, which gives the same gradients.

    ``torch.utils.checkpoint.checkpoint`` looks these two names up in its module at every call.
    """
    directly = patch.object(torch_checkpoint, "CheckpointFunction", _Directly)
    with directly, patch.object(torch_checkpoint, "_checkpoint_without_reentrant_generator", _nothing_around):
        yield


class _Directly:
    """In place of ``CheckpointFunction``."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: object, *arguments: object) -> Any:  # noqa: ANN401  the result
        """Call the part."""
        return function(*arguments)


def _nothing_around(*_: object, **_more: object) -> Iterator[None]:
    """In place of what torch does before and after the part."""
    yield
