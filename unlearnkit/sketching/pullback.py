"""The reverse of a probe: where a reverse sweep starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import vjp, vmap

from unlearnkit.training.losses import mean_losses
from unlearnkit.training.own_loss import OwnLoss, own_batches
from unlearnkit.training.recipe import Probe
from unlearnkit.training.run import Run
from unlearnkit.training.state import Leaf, accumulate, clone, constant_of

Weights = Mapping[str, Tensor]
# From weights, everything else in the model, and cotangents ``[elements, *P]`` to those of the weights.
Pullback: TypeAlias = Callable[..., Mapping[str, Leaf]]


def probe_pullback(run: Run, probe: Probe) -> Pullback:
    """The probe's reverse: ``(weights, fixed, basis [elements, *P]) -> {name: [elements, *S]}``."""
    if isinstance(probe, OwnLoss):
        return run.remembered("pull own losses", lambda: _own_loss_pullback(run))

    def value(weights: Weights, fixed: Weights, _basis: Tensor) -> Tensor:
        with run.evaluating():
            return run.call(probe, weights, fixed).to(run.dtype)

    def plain(weights: Weights, fixed: Weights, _basis: Tensor) -> Tensor:
        return run.plain_probe(probe, weights, fixed)

    return run.over_jets(("pull probe", id(probe)), _pull, plain, value)


@dataclass(frozen=True, slots=True)
class Picked:
    """Elements ``first`` up to but not including ``last`` of a probe of this shape, and the probe's reverse."""

    pull: Pullback
    shape: tuple[int, ...]
    first: int
    last: int

    def basis(self, run: Run) -> Tensor:
        """Their cotangents, ``[elements, *P]``."""
        size = torch.Size(self.shape).numel()
        basis = torch.zeros(self.last - self.first, size, dtype=run.dtype, device=run.device)
        basis[:, self.first : self.last].fill_diagonal_(1)
        return basis.view(-1, *self.shape)


def joint_pullback(run: Run, parts: Sequence[Picked]) -> Pullback:
    """The reverse of elements of several probes in one sweep, in this order, whatever basis it is handed."""

    def pull(weights: Weights, fixed: Weights, _basis: Tensor) -> dict[str, Leaf]:
        found = [part.pull(weights, fixed, part.basis(run)) for part in parts]
        return {name: torch.cat([constant_of(leaves[name]) for leaves in found]) for name in found[0]}

    key = ", ".join(f"{id(part.pull)} {part.first} {part.last}" for part in parts)
    return run.remembered(f"pull together: {key}", lambda: pull)


def weights_pullback(run: Run) -> Pullback:
    """The reverse of a probe that is all the trained weights: cotangents ``[elements, W]`` by weight."""
    return run.remembered("pull weights", lambda: partial(_split, run.trained_names))


def _split(names: Sequence[str], weights: Weights, _fixed: Weights, rows: Tensor) -> dict[str, Tensor]:
    parts = rows.split([weights[name].numel() for name in names], dim=1)  # type: ignore[no-untyped-call]
    return {name: part.reshape(-1, *weights[name].shape) for name, part in zip(names, parts, strict=True)}


def _pull(value: Callable[..., Tensor], weights: Weights, fixed: Weights, *arguments: object) -> dict[str, Tensor]:
    """The reverse of ``value(weights, fixed, ..., cotangents)``, for cotangents ``[elements, *P]``."""
    back = vjp(lambda w: value(w, fixed, *arguments), weights)[1]
    return vmap(back)(arguments[-1])[0]  # type: ignore[no-any-return]


def _own_loss_pullback(run: Run) -> Pullback:
    """Batch by batch, of the examples of those units alone that the cotangents touch."""

    def losses(weights: Weights, fixed: Weights, batch: object, _cotangents: Tensor) -> Tensor:
        with run.evaluating():
            return mean_losses(run.call(run.recipe.loss, weights, fixed, batch)).to(run.dtype)

    function = run.over_jets("pull own loss", _pull, inner=losses)

    def whole(weights: Weights, fixed: Weights, basis: Tensor) -> dict[str, Leaf]:
        touched = basis.any(0).nonzero()[:, 0]
        total: dict[str, Leaf] = {}
        for batch in own_batches(run.recipe, touched.cpu().numpy()):
            places = touched[torch.from_numpy(batch.places).to(basis.device)]
            shares = torch.from_numpy(batch.shares).to(basis)
            found = function(weights, fixed, run.examples(batch.rows), basis[:, places] * shares)
            for name, leaf in found.items():
                if name in total:
                    accumulate(total[name], leaf)
                else:
                    total[name] = clone(leaf)
        return total

    return whole
