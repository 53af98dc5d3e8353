"""How many directions, units and elements go at once, so that a sketch keeps its memory budget.

What a lane takes depends on the model, the optimizer and the rules of its operations. So it is found by doing one step
with few lanes and counting the bytes of all tensors, where somebody set the budget or a rough estimate comes near it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from unlearnkit.bundle import InformedDirections
from unlearnkit.errors import RefusedError
from unlearnkit.sketching.cost import model_copies, plain_beside, probe_shapes
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.memory import Memory, peak_of
from unlearnkit.sketching.partition import DIRECTIONS, ELEMENTS, piece_of
from unlearnkit.sketching.pullback import Pullback, probe_pullback, weights_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.settings import FORWARD_LANES, LARGEST_CHUNK, SOLO_LANES, SWEEP_LANES, Reverse
from unlearnkit.sketching.store import Settings
from unlearnkit.sketching.trajectory import state_bytes

# Of a budget, what tensors may take: allocators, and kernels while they run, need the rest.
TENSORS = 0.9

# How many rough estimates a budget must hold so that nothing is tried.
_AMPLE = 8

# How often what is known of the weights along informed directions is in memory, as it is written.
_COPIES = 3

# How many lanes are tried: more tell nothing new.
_TRIED = 4


@dataclass(frozen=True, slots=True)
class Lanes:
    """What fits at once. directions: complex ones. alone: units. swept: elements times real directions of a sweep."""

    directions: int
    alone: int
    swept: int


def most_within(room: int, held: Callable[[int], int], most: int) -> int:
    """How many lanes fit, of at most so many; 0 for none. held: what is held with some, tried where that fits too."""
    one = held(1)
    few = min(most, _TRIED, room // max(1, one))  # together they hold no more than so many alone
    if few < 2:
        return few
    each = max(1, -(-(held(few) - one) // (few - 1)))
    return min(most, 1 + (room - one) // each)


def _limit(found: int, most: int) -> int:
    """Lanes of a sweep, where so many fit of at most so many that were asked for: all, where these do."""
    return found if found < most else SWEEP_LANES


class Sizing:
    """The sizes of one sketch.

    rough: bytes of one real tail of degree one, about. budget: bytes that somebody set, or a share of what is free,
    which is no promise. exact: whether somebody set it.
    """

    def __init__(
        self,
        sketching: ForwardSketching,
        reverse: Mapping[str, Reverse],
        informed: InformedDirections,
        rough: int,
        budget: int,
        *,
        exact: bool,
    ) -> None:
        self.sketching = sketching
        self.run = sketching.run
        self.exact = exact
        self._reverse = reverse
        self._informed = informed
        self._rough = rough
        self._budget = budget
        self._standing = model_copies(self.run) + (self._results() if exact else 0)
        self.room = max(0, int(TENSORS * budget) - self._standing)

    def memory(self, folder: Path) -> Memory:
        """What the sweeps may take. folder: where states may go."""
        return Memory(self.room, folder, exact=self.exact)

    def lanes(self, settings: Settings) -> Lanes:
        """What fits. Raises RefusedError where somebody set a budget in which one lane does not."""
        directions = alone = LARGEST_CHUNK
        if settings.directions:
            largest = FORWARD_LANES.get(settings.device, LARGEST_CHUNK)
            most = settings.chunk or piece_of(self.run, settings.directions, largest, DIRECTIONS)
            directions = self._along(settings.degree, most, is_complex=True)
            if directions < settings.chunk:
                raise self._too_little(None, f"chunk={settings.chunk}")
        if settings.solo.units:
            largest = SOLO_LANES.get(settings.device, LARGEST_CHUNK)
            most = piece_of(self.run, len(settings.solo.units), largest, DIRECTIONS)
            alone = self._along(settings.solo.degree, most, is_complex=False)
        return Lanes(directions, alone, self._all_swept())

    def _all_swept(self) -> int:
        """How many elements times real directions fit in every sweep."""
        if not self.exact:  # a reverse step holds about twice what a step does
            return max(1, min(SWEEP_LANES, self.room // (2 * self._rough)))
        fitting = [self._swept(name, wanted) for name, wanted in self._reverse.items()]
        return min([SWEEP_LANES, *fitting, *([self._pushed()] if self._informed.count else [])])

    @cached_property
    def _shapes(self) -> dict[str, torch.Size]:
        return probe_shapes(self.run)

    def _along(self, degree: int, most: int, *, is_complex: bool) -> int:
        """How many directions fit."""
        rough = self._rough * degree * (1 + is_complex)
        if not self.exact or most * rough * _AMPLE <= self.room:
            return max(1, min(most, self.room // rough))
        sketching = self.sketching.to_degree(degree)

        @cache  # the first time it is traced too
        def held(count: int) -> int:
            return peak_of(lambda: sketching.first_step(self._ones(count, is_complex=is_complex)))

        if not (found := most_within(self.room, held, most)):
            raise self._too_little(held(1), "one direction")
        return found

    def _ones(self, count: int, *, is_complex: bool) -> Tensor:
        dtype = self.run.dtype.to_complex() if is_complex else self.run.dtype
        return torch.ones(count, len(self.run.recipe.unit_names), dtype=dtype, device=self.run.device)

    @cached_property
    def _weights(self) -> int:
        return sum(tensor.numel() for tensor in self.run.initial_weights().values())

    def _pushed(self) -> int:
        """How many informed directions fit, of any degree."""
        informed, weights = self._informed, self._weights
        most = piece_of(self.run, informed.count, SWEEP_LANES, DIRECTIONS)
        pulled = self._elements(weights_pullback(self.run), (weights,), most, ())
        fitting = [_limit(pulled, most), _limit(self._along(1, most, is_complex=False), most)]
        for degree in informed.degrees:  # as `InformedSketching.pieces` takes them
            most = piece_of(self.run, informed.points(degree), SWEEP_LANES, DIRECTIONS)
            points = self._along(degree, most, is_complex=False)
            fitting.append(max(1, _limit(points, most) * degree // 2))
        return min(fitting)

    def _swept(self, name: str, wanted: Reverse) -> int:
        """How many elements times real directions fit in a sweep of a probe."""
        sweeps, shape = ReverseSweeps(self.run, 1), self._shapes[name]
        pull = probe_pullback(self.run, self.run.recipe.probes[name])
        along = (2,) if wanted.residual or wanted.cubic else (1,) if wanted.rank else ()  # real lanes of a direction
        together = sum(self._shapes[swept].numel() for swept in self._reverse)  # elements of all probes go together
        most = min(shape.numel(), SWEEP_LANES) if along else piece_of(self.run, together, SWEEP_LANES, ELEMENTS)
        elements = self._elements(pull, shape, most, along)
        if not along:
            return _limit(elements, most)
        basis = self._basis(elements, shape)
        directions = most_within(
            self.room // 2,
            lambda n: sweeps.held(pull, basis, self._ones(n, is_complex=along == (2,))).again,
            max(1, SWEEP_LANES // (elements * along[0])),
        )
        return min(SWEEP_LANES, elements * along[0] * max(1, directions))

    def _elements(self, pull: Pullback, shape: tuple[int, ...], most: int, along: tuple[int, ...]) -> int:
        """How many elements fit, with one direction if there are any, in half the room: states need the rest."""
        sweeps = ReverseSweeps(self.run, 1)
        direction = self._ones(1, is_complex=along == (2,)) if along else None

        def held(elements: int) -> int:
            found = sweeps.held(pull, self._basis(elements, shape), direction)
            return max(found.first, 2 * found.again)

        if found := most_within(self.room, held, most):
            return found
        one = sweeps.held(pull, self._basis(1, shape), direction)
        states = 3 * state_bytes(self.run, sweeps.trainer.start(direction))
        if (least := max(one.first, one.again + states)) > self.room:
            raise self._too_little(least, "one element of a probe in a reverse sweep")
        return 1

    def _basis(self, elements: int, shape: tuple[int, ...]) -> Tensor:
        size = torch.Size(shape).numel()
        return torch.eye(elements, size, dtype=self.run.dtype, device=self.run.device).view(-1, *shape)

    def _too_little(self, held: int | None, what: str) -> RefusedError:
        if held is None:
            hint = "give a smaller chunk, or a larger memory_budget"
            return RefusedError(f"memory_budget={self._budget} bytes: it does not hold {what}", hint=hint)
        least = int((held + self._standing) / TENSORS) + 1
        message = f"memory_budget={self._budget} bytes: {what} takes {least}"
        return RefusedError(message, hint=f"memory_budget={least}, or a smaller model: adapters in a frozen one (LoRA)")

    def _results(self) -> int:
        """What reverse sweeps and informed directions find, and what is made of it: the latter go to disk as copies."""
        units, size = len(self.run.recipe.unit_names), self.run.dtype.itemsize
        rows = self._informed.count + sum(self._informed.points(degree) for degree in self._informed.degrees)
        found = _COPIES * rows * self._weights * size
        if self._reverse or rows:
            found += plain_beside(self.run)  # the plain run, also while sweeps go along directions
        for name, wanted in self._reverse.items():
            each = 8 + size + 2 * wanted.rank * (size + 16) + 16 * wanted.residual + 8 * wanted.cubic**2
            found += self._shapes[name].numel() * units * each
        return found
