"""Sketching a probe by reverse sweeps: exact gradients, low-rank Hessians, residual products (THEORY.md section 8).

The work is cut into sweeps, each for some elements of the probe and some directions, so that each fits the memory and a
finished one can be kept:

1. *range*: products of the Hessians with random real vectors, shared by all elements; their span is the basis ``Q``;
2. *product*: for each element, its Hessian times its own ``Q``;
3. *residual*: products with independent random complex directions, for the error of what ``Q`` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unlearnkit.bundle import Directions, complex_numbers, random_directions
from unlearnkit.sketch.adjoint import Adjoint, probe_pullback
from unlearnkit.sketch.partial import PartialRun
from unlearnkit.sketch.recipe import Array, Probe
from unlearnkit.sketch.run import Run
from unlearnkit.taylor.jet import Jet
from unlearnkit.verifier.adjoint import range_basis


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjointSettings:
    """How a probe is sketched by reverse sweeps.

    rank: columns of the basis for the second order; 0: first order alone.
    directions: random directions for the error of the second order; 0: it is not known.
    """

    rank: int = 64
    directions: int = 32

    def __post_init__(self) -> None:
        for name in ("rank", "directions"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}, expected a whole number >= 0")
        if self.directions and not self.rank:
            raise ValueError("directions without a rank: they measure what the low-rank second order leaves out")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where random vectors come from: the range's key and, independent of it, the directions of the residual."""

    range: bytes
    residual: Directions


# Elements times real directions of one sweep: more gain nothing.
SWEEP_LANES = 1280

Stage = Literal["gradient", "range", "product", "residual"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One piece of the work: elements ``e0..e1`` of the probe along directions ``d0..d1`` of a stage."""

    stage: Stage
    e0: int
    e1: int
    d0: int
    d1: int

    def __str__(self) -> str:
        return f"{self.stage}-{self.e0}-{self.e1}-{self.d0}-{self.d1}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What a sweep found: gradients ``[elements, units]``, and ``H psi`` ``[directions, elements, units]``."""

    gradient: Array
    products: Array


class AdjointSketching:
    """The sweeps of one probe. Each is independent of the others, but products need the whole range first."""

    def __init__(self, run: Run, probe: Probe, shape: tuple[int, ...], settings: AdjointSettings) -> None:
        self.run = run
        self.shape = shape
        self.settings = settings
        self.elements = int(np.prod(shape, dtype=int))
        self._adjoint = Adjoint(run, 1)
        self._pull = probe_pullback(run, probe)

    def sweeps(self, chunk: int) -> Iterator[Sweep]:
        """All the work, in an order that can be followed. chunk: elements times directions of one sweep, about."""
        rank, elements = self.settings.rank, min(self.elements, chunk)
        for e0 in range(0, self.elements, elements):
            e1 = min(e0 + elements, self.elements)
            if not rank:
                yield Sweep("gradient", e0, e1, 0, 0)
            width = max(1, chunk // (e1 - e0))
            yield from (Sweep("range", e0, e1, d, min(d + width, rank)) for d in range(0, rank, width))
        if rank:
            yield from (Sweep("product", e, e + 1, 0, rank) for e in range(self.elements))
        for e0 in range(0, self.elements, elements):
            e1, count = min(e0 + elements, self.elements), self.settings.directions
            width = max(1, chunk // (2 * (e1 - e0)))  # complex directions are two real ones
            yield from (Sweep("residual", e0, e1, d, min(d + width, count)) for d in range(0, count, width))

    def steps(self) -> int:
        """Training steps of all sweeps, forward and backward, when nothing has to be computed twice."""
        return 2 * self.run.recipe.steps * sum(1 for _ in self.sweeps(SWEEP_LANES))

    def run_sweep(
        self, sweep: Sweep, directions: Array | None, memory_budget: int, progress: Callable[[], None] = lambda: None
    ) -> Piece:
        """Do one piece. directions: ``[d1 - d0, units]``, real or complex; None for the plain gradient."""
        basis = torch.zeros(sweep.e1 - sweep.e0, self.elements, dtype=self.run.dtype, device=self.run.device)
        basis[:, sweep.e0 : sweep.e1].fill_diagonal_(1)
        psi = None if directions is None else self._tensor(directions)
        cotangents = basis.view(-1, *self.shape)
        result = self._adjoint.sweep(self._pull, cotangents, psi, memory_budget=memory_budget, progress=progress)
        if isinstance(result, Jet):
            return Piece(result.constant.cpu().numpy(), result.tail[0].cpu().numpy())
        return Piece(result.cpu().numpy(), np.zeros((0, *result.shape)))

    def _tensor(self, directions: Array) -> Tensor:
        dtype = self.run.dtype.to_complex() if np.iscomplexobj(directions) else self.run.dtype
        return torch.from_numpy(directions).to(device=self.run.device, dtype=dtype)


def basis_of(pieces: list[tuple[Sweep, Piece]], element: int) -> Array:
    """The orthonormal basis ``[units, rank]`` of an element, from all pieces of the range."""
    found = [(s.d0, p.products[:, element - s.e0]) for s, p in pieces if s.stage == "range" and s.e0 <= element < s.e1]
    stacked = np.concatenate([products for _, products in sorted(found, key=lambda item: item[0])])
    return np.asarray(range_basis(stacked.T[None])[0])


def assemble(
    pieces: list[tuple[Sweep, Piece]], elements: int, units: int, settings: AdjointSettings
) -> dict[str, Array]:
    """Gradient, basis, product and residual of all elements, from all pieces, as ``AdjointSketch`` takes them."""
    gradient = np.empty((elements, units))
    basis = np.empty((elements, units, settings.rank))
    product = np.empty_like(basis)
    residual = np.empty((settings.directions, elements, units), dtype=np.complex128)
    for sweep, piece in pieces:
        if sweep.stage in ("gradient", "range"):
            gradient[sweep.e0 : sweep.e1] = piece.gradient
        elif sweep.stage == "product":
            product[sweep.e0] = piece.products[:, 0].T
        else:
            residual[sweep.d0 : sweep.d1, sweep.e0 : sweep.e1] = piece.products
    if settings.rank:
        basis = np.stack([basis_of(pieces, element) for element in range(elements)])
    return {"gradient": gradient, "basis": basis, "product": product, "residual": residual}


def complete(
    sketching: AdjointSketching, partial: PartialRun, name: str, keys: Keys, memory_budget: int, bar: tqdm[Any]
) -> dict[str, Array]:
    """Do the sweeps of probe ``name`` that are not on disk yet, and put all of them together.

    keys: of the random vectors of the range and of the residual. bar: counts steps, forward and backward.
    """
    pieces: list[tuple[Sweep, Piece]] = []
    for sweep in sketching.sweeps(SWEEP_LANES):
        stored = partial.load_sweep(name, str(sweep))
        if stored is None:
            piece = sketching.run_sweep(sweep, _directions(sketching, sweep, keys, pieces), memory_budget, bar.update)
            partial.store_sweep(name, str(sweep), {"gradient": piece.gradient, "products": piece.products})
        else:
            products = stored["products"]
            complex_products = complex_numbers(products) if sweep.stage == "residual" else products
            piece = Piece(stored["gradient"], complex_products)
        pieces.append((sweep, piece))
    units = len(sketching.run.recipe.unit_names)
    return assemble(pieces, sketching.elements, units, sketching.settings)


def _directions(
    sketching: AdjointSketching, sweep: Sweep, keys: Keys, pieces: list[tuple[Sweep, Piece]]
) -> Array | None:
    units = len(sketching.run.recipe.unit_names)
    if sweep.stage == "gradient":
        return None
    if sweep.stage == "product":
        return np.ascontiguousarray(basis_of(pieces, sweep.e0).T)
    if sweep.stage == "range":
        return np.ascontiguousarray(random_directions(keys.range, sweep.d0, sweep.d1, units).real)
    return keys.residual.block(sweep.d0, sweep.d1)
