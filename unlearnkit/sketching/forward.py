"""The forward sketch: the recipe's training pushed along blocks of directions, and its pinned probes at the end."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from unlearnkit.bundle import Directions
from unlearnkit.bundle.manifest import Piecewise
from unlearnkit.sketching.store import PartialRun
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.taylor.check import Problem
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.beside import plain_probe, train_beside_plain, verify_probe
from unlearnkit.training.clipping import kink_of
from unlearnkit.training.coupling import require_uncoupled
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.probes import ProbeFunction, coefficients, probe_function
from unlearnkit.training.recipe import Array
from unlearnkit.training.rehearsal import rehearse_loss, rehearse_probes
from unlearnkit.training.run import Run, numpy_state
from unlearnkit.training.state import Leaf, constant_of, trained
from unlearnkit.training.trainer import ACTIVE, Trainer


@dataclass(frozen=True, eq=False)
class Outcome:
    """What training along some directions gave: weights by name, and each probe's base and coefficients."""

    weights: dict[str, Leaf]
    probes: dict[str, tuple[Array, Array]]
    degree: int
    directions: int

    def tail(self, weight: str) -> Array:
        """A weight's coefficients, ``[directions, degree, *S]``."""
        return coefficients(self.weights[weight], self.degree, self.directions, of=f"weight {weight!r}")[1]


class ForwardSketching:
    """One sketch in the making: a run, its probes, and the directions it is pushed along."""

    def __init__(self, run: Run, degree: int) -> None:
        self.run = run
        self.degree = degree
        self.trainer = Trainer(run, degree)
        self.probes = {name: probe_function(run, name, probe) for name, probe in run.recipe.probes.items()}

    def to_degree(self, degree: int) -> ForwardSketching:
        """The same sketching to another degree, with the same traces."""
        other, trainer = copy.copy(self), copy.copy(self.trainer)
        trainer.degree = other.degree = degree
        other.trainer = trainer
        return other

    @cached_property
    def coupled(self) -> tuple[Problem, ...]:
        """What the manifest must state of coupled examples. RecipeError where the recipe does not accept them."""
        return require_uncoupled(self.run)

    def prepare(self) -> int:
        """Trace and check everything before any work is done. Returns the tail elements that one direction needs."""
        rehearse_loss(self.run)
        run, weights = self.run, self.run.initial_weights()
        batch, at_first = self.trainer.first(weights)
        arguments = self.trainer.arguments(at_first, batch, None)
        with run.random_numbers(0):
            peak = self.trainer.gradient.prepare(*arguments, active=ACTIVE).peak_elements()
        _ = self.trainer.idle, self.coupled
        rehearse_probes(run)
        peaks = [p.prepare(weights, run.fixed, active=[True, False]).peak_elements() for p in self.probes.values()]
        size, narrow = (sum(tensor.numel() for tensor in leaves.values()) for leaves in (weights, at_first))
        clipped = 0 if self.trainer.clipping.limit is None else 2
        moments = max(group.states for group in run.recipe.groups)
        standing = (1 + moments) * size if self.trainer.tables else 0  # beside the states of a step, in its rows
        return standing + (2 + clipped + moments) * narrow + max([peak, *peaks])

    def reservations(self) -> tuple[Piecewise, ...]:
        """What the manifest must list: by name and module, so that the machine's paths stay out of it.

        Complete after the first block: every block makes the same decisions, those of the constant term.
        """
        functions: list[ProbeFunction] = [self.trainer.gradient, *self.probes.values()]
        problems = [*self.coupled, *self.trainer.held.problems(), *self.trainer.clipping.problems()]
        problems += [kink_of(group.rule) for group in self.run.recipe.groups if group.rule.kink]
        problems += [problem for function in functions for problem in function.reservations]
        found = {(p.operation, p.module, p.kind.value) for p in problems}
        return tuple(Piecewise(*members) for members in sorted(found))

    def along(
        self,
        directions: torch.Tensor,
        progress: Callable[[int], None] = lambda _: None,
        *,
        beside_plain: bool = False,
    ) -> Outcome:
        """Train along directions ``[directions, units]``, complex or real, and evaluate the pinned probes.

        beside_plain: see that training and probes are those of plain torch, which costs about a plain run.
        """
        train = partial(train_beside_plain, self.trainer) if beside_plain else self.trainer.train
        weights = train(directions, progress)
        probes = self._evaluated(weights, len(directions), beside_plain=beside_plain)
        return Outcome(weights, probes, self.degree, len(directions))

    def first_step(self, directions: torch.Tensor) -> None:
        """Everything that training along directions does, over one step, to see what it takes."""
        weights = train_beside_plain(self.trainer, directions, steps=1)
        self._evaluated(weights, len(directions), beside_plain=True)

    def _evaluated(
        self, weights: dict[str, Leaf], directions: int, *, beside_plain: bool
    ) -> dict[str, tuple[Array, Array]]:
        """Base and coefficients of the pinned probes."""
        probes = {}
        for name, function in self.probes.items():
            with torch.no_grad(), self.run.random_numbers(self.run.recipe.steps):
                found = function(weights, self.run.fixed)
                base, block = coefficients(found, self.degree, directions, of=f"probe {name!r}")
            if beside_plain:
                verify_probe(self.run, name, weights, base)
            if function.resolution > np.finfo(np.float32).eps:  # rounded as torch rounds it, not only nearly
                base = plain_probe(self.run, name, weights)
            probes[name] = base, block
        return probes

    def plain(self, partial: PartialRun, trajectory: Trajectory, *, seen: bool) -> None:
        """Base and model of the run without directions. seen: whether reverse sweeps will see that this is traced.

        Where traces may differ from step to step it is trained over jets too, so that all that is piecewise is listed.
        """
        steps, dtype = trajectory.steps, np.result_type(self.run.precision, np.complex64)
        constants = {name: constant_of(leaf) for name, leaf in trained(trajectory.final).items()}
        if not (seen and isinstance(steps, PlainSteps) and steps.settled):
            nowhere = torch.zeros(1, len(self.run.recipe.unit_names), dtype=self.run.dtype, device=self.run.device)
            trajectory.release()  # its states would be in memory beside those along it
            constants = {n: constant_of(leaf) for n, leaf in train_beside_plain(self.trainer, nowhere).items()}
        weights: dict[str, Leaf] = {n: Jet.of(c, c.new_zeros(self.degree, 1, *c.shape)) for n, c in constants.items()}
        probes: dict[str, Array] = {}
        for name, (base, block) in self._evaluated(weights, 1, beside_plain=True).items():
            probes |= {f"base/{name}": base, f"coefficients/{name}": block[:0].astype(dtype)}
        partial.store_model(numpy_state(self.run.model, constants), self.reservations())
        partial.store(0, 0, probes, None)

    def block(self, partial: PartialRun, first: int, last: int, directions: torch.Tensor, bar: tqdm[Any]) -> None:
        """Train along directions ``first`` to ``last`` and keep the outcome."""
        outcome = self.along(directions, lambda _: bar.update(last - first), beside_plain=first == 0)
        probes: dict[str, Array] = {}
        for name, (base, block) in outcome.probes.items():
            probes |= {f"base/{name}": base, f"coefficients/{name}": block}
        tails = None
        if partial.settings.keep_weights:
            tails = {name: outcome.tail(name) for name in outcome.weights}
        if first == 0:
            constants = {name: constant_of(leaf) for name, leaf in outcome.weights.items()}
            partial.store_model(numpy_state(self.run.model, constants), self.reservations())
        partial.store(first, last, probes, tails)

    def compute(self, partial: PartialRun, source: Directions, *, progress: bool | None) -> None:
        """Work through the blocks of directions that are not on disk yet."""
        finished = sum(last - first for first, last in partial.blocks() if partial.is_finished(first, last))
        steps = self.run.recipe.steps
        # In directions times steps, because the last block may be smaller; finished blocks are no part of the rate.
        with tqdm(
            total=partial.settings.directions * steps,
            initial=finished * steps,
            disable=None if progress is None else not progress,
            unit="direction-step",
            unit_scale=True,
            desc=self.run.recipe.name,
        ) as bar:

            def work(first: int, last: int) -> None:
                psi = source.block(first, last)
                directions = torch.from_numpy(psi).to(device=self.run.device, dtype=self.run.dtype.to_complex())
                self.block(partial, first, last, directions, bar)

            partial.spread_blocks(work, lambda first, last: bar.update((last - first) * steps))
