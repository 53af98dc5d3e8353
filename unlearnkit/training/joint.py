"""Downweights of examples of several owners, as power series, and derivatives back from them to the owners.

``w = 1 - prod_k (1 - w_k)`` where deleting any owner deletes the example, ``w = sum_k share_k w_k`` with shares: both
are polynomials in the downweights of units, so along ``w_k = z psi_k`` their series are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearnkit.taylor.jet import Jet, multiply
from unlearnkit.training.owners import Ownership
from unlearnkit.training.state import Leaf, constant_of


def joint_downweights(ownership: Ownership, groups: Tensor, directions: Tensor, degree: int) -> Tensor:
    """Tails ``[degree, directions, B]`` of the downweights of these groups, ``[B]``, along ``[directions, units]``."""
    members, shares = _tables(ownership, directions.device)
    psi, shares = _along(directions, members[groups]), shares[groups].to(directions)
    any_of = -_product(psi, degree)[1:]
    shared = torch.zeros_like(any_of)
    shared[0] = (shares * psi).sum(-1)
    return torch.where(_is_shared(shares), shared, any_of)


def to_units(ownership: Ownership, gradient: Leaf, directions: Tensor | None) -> Leaf:
    """Gradients over units ``[elements, units]`` from those over units and groups ``[elements, units + groups]``."""
    count = len(ownership.names)
    if not ownership.joint:
        return gradient
    result, joint = _columns(gradient, slice(0, count)), _columns(gradient, slice(count, None))
    members, shares = _tables(ownership, constant_of(gradient).device)
    for k in range(members.shape[1]):
        there = (members[:, k] >= 0).nonzero()[:, 0]
        factor = _derivative(members[there], shares[there].to(constant_of(gradient)), k, gradient, directions)
        moved = multiply(_columns(joint, there), factor)
        _add(result, members[there, k], moved)  # type: ignore[arg-type]
    return result


def _derivative(members: Tensor, shares: Tensor, k: int, like: Leaf, directions: Tensor | None) -> Leaf:
    """Of the downweights of groups, ``[groups]``, with respect to their k-th owner's."""
    shared = _is_shared(shares)
    constant = torch.where(shared, shares[:, k], 1.0)
    if directions is None or not isinstance(like, Jet):
        return constant
    psi = _along(directions, members)
    psi[..., k] = 0
    return Jet.of(constant, torch.where(shared, 0, _product(psi, like.degree)[1:]))


def _tables(ownership: Ownership, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(ownership.members).to(device), torch.from_numpy(ownership.shares).to(device)


def _is_shared(shares: Tensor) -> Tensor:
    return (shares != 0).any(-1)


def _along(directions: Tensor, members: Tensor) -> Tensor:
    """Directions of the owners, ``[directions, groups, owners]``, 0 where there are fewer."""
    return torch.where(members < 0, 0, directions[:, members.clamp_min(0)])


def _product(psi: Tensor, degree: int) -> Tensor:
    """``prod_k (1 - z psi_k)`` to the degree: coefficients ``[degree + 1, directions, groups]``."""
    product = psi.new_zeros(degree + 1, *psi.shape[:-1])
    product[0] = 1
    for k in range(psi.shape[-1]):
        product[1:] = product[1:] - psi[..., k] * product[:-1]
    return product


def _columns(leaf: Leaf, places: slice | Tensor) -> Leaf:
    """Copies of some columns."""
    if isinstance(leaf, Jet):
        return Jet(leaf.constant[..., places].clone(), leaf.tail[..., places].clone())
    return leaf[..., places].clone()


def _add(total: Leaf, columns: Tensor, contribution: Leaf) -> None:
    if not isinstance(total, Jet):
        total.index_add_(-1, columns, constant_of(contribution))
        return
    total.constant.index_add_(-1, columns, constant_of(contribution))
    if isinstance(contribution, Jet):
        total.tail.index_add_(-1, columns, contribution.tail)
