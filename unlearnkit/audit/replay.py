"""Replaying a bundle: train again along a few of its directions, and compare (docs/theory.md sections 2 and 4.3).

In the bundle's own precision it shows that the numbers are those of the recipe: whoever made the bundle did not know
which directions would be picked. In float64 the differences are the rounding error of the bundle.

Two honest runs differ by rounding: other machines, libraries and block sizes add in another order. Every training step
rounds anew, and errors of T steps that are independent grow like sqrt(T); so two numbers are *the same* when they are
at most ``64 eps sqrt(T)`` of the scale apart, with eps the resolution of the coarser of the two precisions, and the
scale that of a weight, or of each element of a probe by itself: its largest coefficient of that degree in the replay,
over the directions replayed. (Measured up to degree 3: honest float32 runs of 15 to 200 steps differ from float64 ones
by 0.2 to 2 eps sqrt(T), with Adam, which divides by small numbers, by up to 20.) Some numbers are zero but for
rounding; their least scale is in `unlearnkit.audit.natural`. (Measured: they reach the largest times eps sqrt(T), a
quarter of what is then allowed.) What is altered by less changes predictions as rounding may.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unlearnkit.audit.again import Again
from unlearnkit.audit.comparison import FACTOR, Comparison, Kind, verify_same_names
from unlearnkit.audit.replayed_forward import ForwardReplay
from unlearnkit.audit.replayed_reverse import ReverseReplay
from unlearnkit.bundle import Bundle
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.estimation import Differences
from unlearnkit.files import write_new
from unlearnkit.names import counted
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.recipe import COUNTERFACTUAL, Array, Recipe
from unlearnkit.training.run import Run, make_run
from unlearnkit.verifier.replayed import ReplayReport, directions_from_seed, pickable, sign_replay

if TYPE_CHECKING:
    from unlearnkit.signing.keys import PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Some directions of a bundle, trained again in ``dtype``.

    indices: what the auditor picked. names_units: whether the pseudonyms were seen to be those of the recipe's units,
    in their order, which takes the pseudonym key.
    """

    indices: tuple[int, ...]
    dtype: str
    names_units: bool
    comparisons: tuple[Comparison, ...]

    @property
    def agrees(self) -> bool:
        """Whether everything does."""
        return all(comparison.agrees for comparison in self.comparisons)

    def numeric_error(self, probe: str) -> Array:
        """Of a float64 replay: how far a probe's base and coefficients are off by rounding, ``[1 + degree, *P]``.

        Place 0 is the base; place r, ``e_r``, the largest of degree r over the replayed directions, which stand for all
        of them (without random directions the base is alone). It is what ``epsilon_numeric`` is made from
        (docs/theory.md section 4.3): estimates are linear in base and coefficients, so a prediction for the weights x
        is off by at most ``e_0 + sum_r e_r sum_j |w_{j,r}|``, where ``w_{j,r}`` is what coefficient j counts in the
        estimate of degree r; for an averaged one ``N_r h_j^r / m``. An audited bound needs no such term: it compares
        predictions as they are with retrainings in float64.

        ValueError for a replay in another precision.
        """
        self._require_double()
        found = [c for c in self.comparisons if c.name == probe and c.kind in ("base", "coefficients")]
        errors = [c.differences.max(axis=0) if c.degree else c.differences for c in found]
        return np.stack(errors)

    def differences(self, probe: str) -> Differences:
        """Of a float64 replay: what is off by rounding of all that claims about a probe use.

        ``Sketch.bound(rounding=...)`` takes it, and propagates it to the claim.

        ValueError for a replay in another precision.
        """
        self._require_double()
        return Differences(
            base=self._base(probe),
            gradient=self._largest("gradient", probe, (1,)),
            residual=self._largest("residual", probe, (0, 2)),
            coefficients=self._by_degree("coefficients", probe),
            slopes=self._largest("slopes", f"probe {probe!r}", (0,)),
            solo=self._by_degree("series", probe),
        )

    def report(self, bundle: Bundle, seed: str) -> ReplayReport:
        """What is signed of a float64 replay of this bundle. seed: what its directions followed from."""
        found = {name: self.differences(name) for name in bundle.probe_names}
        return ReplayReport.of(bundle, seed, self.indices, found, names_units=self.names_units)

    def _require_double(self) -> None:
        if self.dtype != "float64":
            raise ValueError(f"a replay in {self.dtype} does not tell rounding errors; replay in float64")

    def _found(self, kind: Kind, name: str) -> list[Comparison]:
        return [comparison for comparison in self.comparisons if (comparison.kind, comparison.name) == (kind, name)]

    def _base(self, probe: str) -> Array:
        (found,) = self._found("base", probe)
        return found.differences.reshape(-1)

    def _largest(self, kind: Kind, name: str, axes: tuple[int, ...]) -> Array | None:
        """Of each element, ``[E]``; None: there is no such comparison."""
        found = self._found(kind, name)
        return found[0].differences.max(axis=axes).reshape(-1) if found else None

    def _by_degree(self, kind: Kind, probe: str) -> Array | None:
        """Of each element, ``[degree, E]``; of own losses, where a unit's series has its own, the largest for all."""
        found, elements = self._found(kind, probe), len(self._base(probe))
        if not found:
            return None
        largest = [comparison.differences.max(axis=0).reshape(-1) for comparison in found]
        return np.stack([np.broadcast_to(one, elements) for one in largest])


def replay(
    bundle: Bundle,
    recipe: Recipe,
    indices: Sequence[int],
    *,
    dtype: str | None = None,
    device: str | torch.device | None = None,
    tolerance: float | None = None,
) -> Replay:
    """Train the recipe again along the directions ``indices`` of the bundle, and compare everything that they gave.

    Compared are the trained weights, each probe's base, its coefficients and the weights' sketches along the
    directions; slopes along informed directions, and forms at points on their span; series along units alone, of probes
    and weights; gradients of reverse sweeps, their products with residual directions, and slices of the cubic form. An
    index counts modulo the number of what there is of each kind: random, informed and residual directions, points,
    units with series, pairs of basis vectors.

    Not replayed is how informed directions and eigenpairs were found. They only have to be made without looking at the
    random and the residual directions, which measure what they leave out: they are tried on a fresh one, and must not
    leave out far more along it.

    What the bundle is compared with is itself compared, step by step, with plain torch (`unlearnkit.training.beside`).

    indices: below `pickable`; none where that is 0. dtype: "float32" or "float64"; None is the bundle's own.
    tolerance: relative to the scale; None follows from precision and steps.
    Raises VerificationError for a bundle that is not of this recipe, or says something else about itself than it gives,
    and when training over jets is another run than plain training;
    ValueError for directions that the bundle does not have.
    """
    require_same_recipe(recipe, bundle)
    names_units = _verify_claims(recipe, bundle)
    chosen = _checked(indices, bundle)
    run = make_run(recipe, dtype or bundle.manifest.dtype, device)
    _require_unrounded(recipe, bundle, run)
    allowed = default_tolerance(bundle.manifest.dtype, run.precision, recipe.steps) if tolerance is None else tolerance
    comparisons = tuple(_comparisons(Again(bundle, run, chosen, allowed)))
    return Replay(indices=chosen, dtype=run.precision, names_units=names_units, comparisons=comparisons)


def _require_unrounded(recipe: Recipe, bundle: Bundle, run: Run) -> None:
    """RefusedError where a precision would take away the rounding that the sketched run does by itself."""
    if run.precision != bundle.manifest.dtype and is_lowered(make_run(recipe, bundle.manifest.dtype, run.device)):
        message = f"the run lowers its precision by itself: in {run.precision} it would be another run"
        raise RefusedError(message, hint="replay it in the bundle's own precision, or audit it by retraining")


def audit_replay(
    recipe: Recipe,
    bundle: Bundle,
    *,
    seed: str,
    directions: int = 3,
    signer: PrivateKey,
    out: str | os.PathLike[str],
    device: str | torch.device | None = "cpu",
) -> bytes:
    """Replay directions that follow from a seed in float64, and write what is off by rounding, signed, to ``out``.

    Args:
        recipe: the one that was sketched.
        bundle: of it.
        seed: a text that whoever made the bundle did not know, such as a later checkpoint of the audit log.
        directions: how many of each kind, at most.
        signer: signs the report (P-256).
        out: where it goes, a file that is not there yet.
        device: a torch device; None takes a GPU when there is one.

    Returns:
        The bytes of the file.

    Raises:
        FileExistsError: there is something at ``out``.
        VerificationError: the bundle does not hold what its recipe gives.

    Example:
        >>> raw = uk.audit_replay(
        ...     recipe, bundle, seed="heads", directions=1, signer=office.signer_key(), out=folder / "replay.json"
        ... )
        >>> raw == (folder / "replay.json").read_bytes()
        True

    """
    final = Path(out)
    if final.exists():
        raise FileExistsError(f"{final} exists already; choose another name or remove it")
    if directions < 1:
        raise ValueError(f"directions={directions}: expected a whole number >= 1")
    chosen = directions_from_seed(bundle, seed, directions)
    found = verify_replay(replay(bundle, recipe, chosen, dtype="float64", device=device))
    raw = sign_replay(found.report(bundle, seed), [signer])
    write_new(final, raw)
    return raw


def _comparisons(again: Again) -> Iterator[Comparison]:
    """Train along the directions, and compare everything that they gave."""
    swept = again.bundle.manifest.reverse
    highest = max((3 if entry.cubic else 2 if entry.residual else 1 for entry in swept), default=1)
    forward = ForwardReplay(again, highest)
    yield from forward.comparisons()
    for entry in swept:
        sketch = again.bundle.probe(entry.name)
        if sketch.reverse is not None:
            shape = sketch.base.shape
            yield from ReverseReplay(again, forward.natural, entry.name, shape, sketch.reverse).comparisons()


def verify_replay(found: Replay) -> Replay:
    """``found`` when everything agrees; VerificationError with all that does not, the worst number of each."""
    if wrong := [comparison.worst() for comparison in found.comparisons if not comparison.agrees]:
        raise VerificationError(
            "the bundle does not hold what its recipe gives:\n" + "\n".join(f"  - {line}" for line in wrong),
            hint="the bundle was altered, or made by other code, or training amplifies rounding: see a float64 replay",
        )
    return found


def default_tolerance(stored: str, replayed: str, steps: int) -> float:
    """``64 eps sqrt(steps)`` for the coarser of two precisions; see the module for why."""
    return FACTOR * max(float(np.finfo(name).eps) for name in (stored, replayed)) * math.sqrt(steps)


def require_same_recipe(recipe: Recipe, bundle: Bundle) -> None:
    """VerificationError unless this is the recipe that was sketched."""
    if recipe.digest != bundle.manifest.recipe_digest:
        message = f"the recipe is not the one of the bundle: its digest is {recipe.digest}, the bundle's is "
        hint = "use the very recipe that was sketched: model, data, order, optimizer and probes all count"
        raise VerificationError(message + bundle.manifest.recipe_digest, hint=hint)


def _verify_claims(recipe: Recipe, bundle: Bundle) -> bool:
    """What the bundle says about its recipe; returns whether it could be seen which unit is which."""
    manifest = bundle.manifest
    if sha256_hex(canonicalize(manifest.recipe.description)) != recipe.digest:
        raise VerificationError("the bundle's description of its recipe is not that of the recipe")
    if manifest.counterfactual != COUNTERFACTUAL:
        raise VerificationError(f"the bundle says it predicts {manifest.counterfactual!r}, not {COUNTERFACTUAL!r}")
    if manifest.units != len(recipe.unit_names):
        raise VerificationError(
            f"the bundle has {counted(manifest.units, 'unit')}, its recipe {len(recipe.unit_names)}"
        )
    verify_same_names("probes", bundle.probe_names, recipe.probes)
    return _verify_units(recipe, bundle)


def _verify_units(recipe: Recipe, bundle: Bundle) -> bool:
    """Each unit of the recipe is where the bundle says; False when the key at hand names none, or there is no key."""
    try:
        positions = [_position(name, bundle) for name in recipe.unit_names]
    except RefusedError:
        return False
    if not any(position is not None for position in positions):
        return False
    if positions != list(range(bundle.manifest.units)):
        raise VerificationError("the bundle's units are not those of its recipe, or in another order")
    return True


def _position(name: str, bundle: Bundle) -> int | None:
    try:
        return int(bundle.unit_indices([name])[0])
    except UnknownNameError:
        return None


def _checked(indices: Sequence[int], bundle: Bundle) -> tuple[int, ...]:
    total, chosen = pickable(bundle), tuple(sorted(set(indices)))
    if wrong := [index for index in chosen if not 0 <= index < total]:
        raise ValueError(f"directions {wrong}: the bundle has {total}, counted from 0")
    if total and not chosen:
        raise ValueError("no directions were picked")
    return chosen
