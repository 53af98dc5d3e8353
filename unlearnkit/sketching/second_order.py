"""Sketching a probe by reverse sweeps: exact gradients, low-rank Hessians, residual products
(docs/theory.md section 8).

The work is cut into sweeps, each for some elements of the probe and some directions, so that each fits the memory, a
finished one can be kept, and many processes share them. All elements go along the same directions, which costs little
more than one of them alone; elements without directions share nothing but the run itself:

0. *gradient*: the first order, whose leading directions begin the range where diagonals are known;
1. *range*: products of the Hessians with these and random real vectors, from which the shared basis ``Q`` is made;
2. *product*: products with Q;
3. *residual*: products with independent random complex directions, for the error of what the low rank leaves out;
4. *cubic*: sweeps of degree two along the leading directions that this gives, and their pairs, for the third order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unlearnkit.bundle.manifest import eigenpairs_kept
from unlearnkit.estimation.cubic import pair_directions, slices
from unlearnkit.estimation.low_rank import eigenpairs, outside, shared_basis, started_from, widened
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.partition import ELEMENTS, piece_of
from unlearnkit.sketching.pullback import Picked, joint_pullback, probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.settings import Reverse
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.recipe import Array, Probe
from unlearnkit.training.run import Run
from unlearnkit.training.state import constant_of

Stage = Literal["gradient", "range", "product", "residual", "cubic"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One piece of the work: elements ``e0..e1`` of the probe along directions ``d0..d1`` of a stage."""

    stage: Stage
    e0: int
    e1: int
    d0: int
    d1: int

    @property
    def lanes(self) -> int:
        """Elements times directions."""
        return (self.e1 - self.e0) * max(1, self.d1 - self.d0)

    def __str__(self) -> str:
        return f"{self.stage}-{self.e0}-{self.e1}-{self.d0}-{self.d1}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What a sweep found: gradients ``[elements, units]``, and ``H psi``, or of a cubic stage ``grad f_3(psi)``."""

    gradient: Array
    products: Array  # [directions, elements, units]


class ReverseSketching:
    """The sweeps of one probe. Each is independent of the others, but products need the whole range first.

    plain: the training without directions, which all sweeps without any share, where there are more of them.
    """

    def __init__(
        self, run: Run, probe: Probe, shape: tuple[int, ...], settings: Reverse, plain: Trajectory | None = None
    ) -> None:
        self.run = run
        self._plain = plain
        self.shape = shape
        self.settings = settings
        self.elements = int(np.prod(shape, dtype=int))
        self._reverse = ReverseSweeps(run, 1)
        self._pull = probe_pullback(run, probe)

    def sweeps(self, chunk: int) -> Iterator[Sweep]:
        """All the work, in an order that can be followed. chunk: elements times directions of one sweep, about."""
        settings = self.settings
        yield from self._stage("gradient", 0, piece_of(self.run, self.elements, chunk, ELEMENTS))
        yield from self._stage("range", settings.rank, chunk)
        yield from self._stage("product", settings.rank, chunk)
        yield from self._stage("residual", settings.residual, chunk // 2)  # complex directions are two real ones
        yield from self._stage("cubic", settings.cubic * (settings.cubic + 1) // 2, chunk // 2)  # so are two degrees

    def _stage(self, stage: Stage, directions: int, lanes: int) -> Iterator[Sweep]:
        elements = max(1, min(self.elements, lanes))
        width = max(1, lanes // elements)
        for e0 in range(0, self.elements, elements):
            for d0 in range(0, directions or (stage == "gradient"), width):
                yield Sweep(stage, e0, min(e0 + elements, self.elements), d0, min(d0 + width, directions))

    def steps(self, sweeps: Iterable[Sweep]) -> int:
        """Training steps of some sweeps, forward and backward, not counting what has to be computed again."""
        return 2 * self.run.recipe.steps * sum(1 for _ in sweeps)

    def run_sweep(
        self, sweep: Sweep, directions: Array | None, memory: Memory, progress: Callable[[], None] = lambda: None
    ) -> Piece:
        """Do one piece. directions: ``[d1 - d0, units]``, real or complex; None for the plain gradient."""
        psi = None if directions is None else self._tensor(directions)
        sweeps = self._reverse.to_degree(2 if sweep.stage == "cubic" else 1)
        trajectory = self._trajectory(sweeps, psi, memory, progress)
        result = sweeps.sweep(self._pull, self.picked(sweep).basis(self.run), trajectory, progress)
        if trajectory is not self._plain:
            trajectory.release()
        if isinstance(result, Jet):
            return Piece(result.constant.cpu().numpy(), result.coefficients[-1].cpu().numpy())
        return Piece(result.cpu().numpy(), np.zeros((0, *result.shape)))

    def gradients_with(
        self,
        others: Sequence[tuple[ReverseSketching, Sweep]],
        sweep: Sweep,
        memory: Memory,
        progress: Callable[[], None] = lambda: None,
    ) -> list[Piece]:
        """Do gradients of this probe and of others in one sweep."""
        parts = [work.picked(part) for work, part in ((self, sweep), *others)]
        counts = [part.last - part.first for part in parts]
        lanes = torch.zeros(sum(counts), 0, dtype=self.run.dtype, device=self.run.device)
        trajectory = self._trajectory(self._reverse, None, memory, progress)
        found = self._reverse.sweep(joint_pullback(self.run, parts), lanes, trajectory, progress)
        rows = torch.split_with_sizes(constant_of(found), counts)
        return [Piece(gradient.cpu().numpy(), np.zeros((0, *gradient.shape))) for gradient in rows]

    def picked(self, sweep: Sweep) -> Picked:
        """The elements of a sweep, with the reverse of the probe."""
        return Picked(self._pull, self.shape, sweep.e0, sweep.e1)

    def _trajectory(
        self, sweeps: ReverseSweeps, psi: Tensor | None, memory: Memory, progress: Callable[[], None]
    ) -> Trajectory:
        """What a sweep goes back through: the training that sweeps without directions share, or one of its own."""
        if self._plain is not None and psi is None:
            for _ in range(self.run.recipe.steps):  # it has been, or is about to be
                progress()
            return self._plain
        if self._plain is not None:
            self._plain.release()  # its states would be in memory beside those along directions
        return sweeps.forward(psi, memory, progress)

    def _tensor(self, directions: Array) -> Tensor:
        dtype = self.run.dtype.to_complex() if np.iscomplexobj(directions) else self.run.dtype
        return torch.from_numpy(directions).to(device=self.run.device, dtype=dtype)


class Pieces:
    """The pieces of one probe that are finished.

    vectors: random ones, ``[rank, units]``. diagonal: of each Hessian, as far as it is known from elsewhere,
    ``[elements, units]``; None: nowhere.
    """

    def __init__(self, sketching: ReverseSketching, vectors: Array, diagonal: Array | None) -> None:
        elements, units, settings = sketching.elements, vectors.shape[1], sketching.settings
        self._precision = sketching.run.precision
        self._vectors = vectors
        self._diagonal = diagonal
        self._gradient = np.empty((elements, units))
        self._range = np.empty((elements, units, settings.rank), dtype=self._precision)
        self._product = np.empty_like(self._range)
        self._residual = np.empty((settings.residual, elements, units), dtype=np.complex128)
        self._rank = settings.cubic
        self._cubic = np.empty((settings.cubic * (settings.cubic + 1) // 2, elements, units))

    def add(self, sweep: Sweep, piece: Piece) -> None:
        """Put a piece in its place."""
        elements, directions = slice(sweep.e0, sweep.e1), slice(sweep.d0, sweep.d1)
        if sweep.stage == "gradient":  # those of other stages are rounded otherwise
            self._gradient[elements] = piece.gradient
        elif sweep.stage in ("residual", "cubic"):
            (self._residual if sweep.stage == "residual" else self._cubic)[directions, elements] = piece.products
        else:
            place = self._range if sweep.stage == "range" else self._product
            place[elements, :, directions] = piece.products.transpose(1, 2, 0)

    @cached_property
    def _start(self) -> tuple[Array, int]:
        """The range's vectors as training goes along them, and how many belong to the basis. Takes the gradients."""
        if self._diagonal is None:
            return self._vectors.astype(self._precision), 0
        return started_from(self._gradient, self._vectors).astype(self._precision), len(self._vectors)

    def vectors(self, stage: Stage) -> Array:
        """The directions of a stage, as rows; none where they follow from no other stage."""
        if stage == "range":
            return self.start
        if stage == "product":
            return self.basis.T
        return self.pairs if stage == "cubic" else np.empty((0, 0))

    @property
    def start(self) -> Array:
        """The vectors of the range, ``[rank, units]``."""
        return self._start[0]

    @cached_property
    def basis(self) -> Array:
        """The shared basis as training goes along it: ``[units, rank]``. Takes the whole range."""
        products = np.stack([self._beside(e, self.start.T, found) for e, found in enumerate(self._range)])
        further = outside(products, self.start[: self._inside])
        return shared_basis(further, self._range.shape[2]).astype(self._precision)

    @property
    def _inside(self) -> int:
        """How many vectors of the range belong to the basis: all where the diagonal is known, else none."""
        return self._start[1]

    def _beside(self, element: int, vectors: Array, products: Array) -> Array:
        """Products of a Hessian without its diagonal, as far as that is known."""
        return products if self._diagonal is None else products - self._diagonal[element][:, None] * vectors

    @cached_property
    def _eigenpairs(self) -> tuple[Array, Array]:
        """Of each element: vectors ``[elements, units, count]`` and values ``[elements, count]``."""
        elements, units = self._gradient.shape
        count = eigenpairs_kept(self._range.shape[2], units, beside_diagonal=self._diagonal is not None)
        vectors, values = np.zeros((elements, units, count)), np.zeros((elements, count))
        for e in range(elements if count else 0):
            vectors[e], values[e] = self._eigenpairs_of(e, count)
        return vectors, values

    def _eigenpairs_of(self, element: int, count: int) -> tuple[Array, Array]:
        inside, start = self._inside, self.start.T
        started = self._beside(element, start, self._range[element])
        product = self._beside(element, self.basis, self._product[element])
        columns = np.concatenate([start[:, :inside], self.basis], axis=1)
        basis, product = widened(columns, np.concatenate([started[:, :inside], product], axis=1))
        return eigenpairs(basis, product, start[:, inside:], started[:, inside:], count)

    @property
    def pairs(self) -> Array:
        """The directions of the cubic stage."""
        return pair_directions(self._leading)

    @cached_property
    def _leading(self) -> Array:
        """The leading directions of all elements' second orders, as rows."""
        vectors, values = self._eigenpairs
        return shared_basis(vectors * values[:, None], self._rank).T.astype(self._precision)

    def arrays(self) -> dict[str, Array]:
        """Everything that ``ReverseSketch`` takes."""
        vectors, values = self._eigenpairs
        found = {"gradient": self._gradient, "vectors": vectors, "values": values, "residual": self._residual}
        if self._rank:
            found |= {"basis": self._leading, "cubic": slices(self._cubic, self._rank)}
        return found
