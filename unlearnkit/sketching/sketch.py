"""``sketch``: from a recipe to a bundle on disk."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from unlearnkit.bundle import (
    INFORMED_START,
    RANGE,
    RESIDUAL,
    Bundle,
    Directions,
    Manifest,
    PseudonymKey,
    SweptProbe,
    direction_key,
    sign_bundle,
    write_bundle,
)
from unlearnkit.bundle.integrity import SIGNATURE
from unlearnkit.bundle.manifest import ExplicitDirections, RandomDirections, RecipeText, SaltFromLog
from unlearnkit.estimation import SoloSeries
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.sketching.asked import Asked, directions, settled
from unlearnkit.sketching.expectation import announce, is_shown
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.informed import InformedSketching
from unlearnkit.sketching.memory import memory_for
from unlearnkit.sketching.second_order import Keys, ReverseSketching, complete
from unlearnkit.sketching.settings import Forward, Informed, Reverse, Solo
from unlearnkit.sketching.solo import SoloSketching
from unlearnkit.sketching.store import PartialRun, Settings, open_partial, remove_stale, replaced
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.training.models import tied_weights
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.recipe import COUNTERFACTUAL, Array, Recipe
from unlearnkit.training.run import make_run


def sketch(
    recipe: Recipe,
    path: str | os.PathLike[str],
    *,
    forward: Forward | None = None,
    reverse: Mapping[str, Reverse] | None = None,
    informed: Informed | None = None,
    solo: Solo | None = None,
    seed: int | None = None,
    salt: bytes | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    device: str | torch.device | None = None,
    memory_budget: int | None = None,
    signer: PrivateKey | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Bundle:
    """Train the recipe once while pushing truncated power series through it; write a bundle (docs/theory.md section 2).

    Without ``forward``, ``reverse``, ``informed`` and ``solo``, every pinned probe gets its exact first order by a
    reverse sweep; own losses of 10,000 and more units do not, for that is a number for each pair of units.
    What an interrupted call had finished is kept: the same call goes on to the same bundle, byte for byte.

    Args:
        recipe: the training run.
        path: where the bundle goes, a directory that is not there yet.
        forward: random directions through the whole run.
        reverse: reverse sweeps, by the name of a pinned probe.
        informed: directions along which the trained weights move most.
        solo: series along units alone.
        seed: fixes the random directions, which also depend on the recipe; None: a fresh one.
        salt: the bytes of a checkpoint of the audit log that holds the commitment to this recipe: the random directions
            follow from both, so that nobody has chosen them.
        dtype: precision of the run.
        device: None takes a GPU when there is one.
        memory_budget: bytes that directions at once may take; None: a quarter of the free memory.
        signer: signs the bundle (P-256); None leaves it unsigned.
        overwrite: replace the bundle at ``path``, and drop unfinished work there, even with other settings.
        progress: say what time and memory to expect, and show a progress bar; None: on a terminal.

    Returns:
        The bundle, opened.

    Raises:
        UnsupportedOpsError: the run has operations without a Taylor rule.
        PiecewiseOpsError: it has operations that only ``allow_piecewise`` accepts.
        NonFiniteError: a coefficient overflowed.
        FileExistsError: another bundle is at ``path``.
        RefusedError: unfinished work at ``path`` has other settings, or another process is at it.

    Example:
        >>> bundle = uk.sketch(recipe, folder / "bundle", reverse={"test_loss": uk.Reverse(rank=2, residual=2)})
        >>> bundle.probe("test_loss").predict(["ann"]).change.shape
        ()

    """
    asked = Asked.of(recipe, forward, reverse, informed, solo, seed, salt)
    final, run = Path(path), make_run(recipe, dtype, device)
    settings = asked.settings(run)
    if final.exists() and not overwrite:
        return _already_there(final, asked, settings, signer)
    sketching = ForwardSketching(run, settings.degree)
    per_lane, memory = sketching.prepare() * run.dtype.itemsize, memory_for(settings.device, memory_budget)
    fresh = settled(settings, per_lane, memory)
    with open_partial(final, settings, fresh, overwrite=overwrite) as partial:
        if final.exists() and not overwrite:  # another process has just finished it
            return _already_there(final, asked, settings, signer)
        key = PseudonymKey.for_bundle(final)  # before any work: a workspace whose key is destroyed makes no bundles
        source = directions(partial.settings, recipe, asked.explicit)
        if is_shown(progress=progress):
            announce(run, partial.settings, asked.reverse, per_lane, memory)
        found = _found(sketching, partial, source, asked, memory_for(settings.device, memory_budget), progress=progress)
        with replaced(final) if overwrite else nullcontext():
            _publish(final, sketching, partial, source, asked, found, key, signer)
    remove_stale(final)
    return _opened(final, signer)


def _opened(final: Path, signer: PrivateKey | None) -> Bundle:
    return Bundle.open(final, trust=None if signer is None else [signer.public])


def _already_there(final: Path, asked: Asked, settings: Settings, signer: PrivateKey | None) -> Bundle:
    """A finished bundle at the path: the same call has nothing left to do, any other must not overwrite it."""
    if not asked.is_answered_by(Bundle.open(final), settings):
        raise FileExistsError(f"{final} holds another bundle; choose another path, or replace it with overwrite=True")
    remove_stale(final)
    if signer is not None and not (final / SIGNATURE).exists():
        sign_bundle(final, signer)
    return _opened(final, signer)


@dataclass(frozen=True)
class _Found:
    """What was found beside the forward sketch, as a bundle stores it."""

    reverse: dict[str, dict[str, Array]]
    informed: dict[str, Array] | None
    solo: dict[str, Array]
    solo_weight_files: list[tuple[int, int, Path]]


def _found(
    sketching: ForwardSketching,
    partial: PartialRun,
    source: Directions,
    asked: Asked,
    memory: int,
    *,
    progress: bool | None,
) -> _Found:
    """Everything, from what is on disk where it is there already."""
    plain: Trajectory | None = None
    if partial.settings.directions:
        sketching.compute(partial, source, progress=progress)
    else:
        plain = Trajectory(sketching.run, PlainSteps(sketching.trainer), memory)
        if not partial.is_finished(0, 0):
            sketching.plain(partial, plain, seen=bool(asked.reverse))
    alone: SoloSketching | None = None
    solo: dict[str, Array] = {}
    if asked.solo is not None:  # first: its diagonals make low ranks better
        alone = SoloSketching(sketching, asked.solo_units, partial, keep_weights=asked.solo.keep_weights)
        solo = _solo(alone, progress=progress)
    swept = _sweep(sketching, partial, asked, solo, plain, memory, progress=progress)
    informed = _inform(sketching, partial, memory, progress=progress)
    return _Found(swept, informed, solo, [] if alone is None else alone.weight_files())


def _diagonal(asked: Asked, solo: Mapping[str, Array], name: str, elements: int) -> Array | None:
    """Of each element's Hessian, ``[elements, units]``, as far as series along units alone tell; None: not at all."""
    wanted = asked.solo_units
    if wanted.degree < 2:
        return None
    places, series = np.array(wanted.units), solo[f"probes/{name}"].astype(np.float64)
    if name == asked.recipe.own_loss:
        found = SoloSeries(places, series, places)
    else:
        found = SoloSeries(places, series.reshape(len(places), wanted.degree, -1))
    return 2 * found.beside(np.zeros((len(asked.recipe.unit_names), elements)), 2).T


def _solo(work: SoloSketching, *, progress: bool | None) -> dict[str, Array]:
    """The series along units alone."""
    total, finished = work.steps()
    with tqdm(
        total=total,
        initial=finished,  # no part of the rate
        disable=None if progress is None else not progress,
        unit="unit-step",
        unit_scale=True,
        desc=f"{work.forward.run.recipe.name}: units alone",
    ) as bar:
        return work.compute(bar.update)


def _sweep(
    sketching: ForwardSketching,
    partial: PartialRun,
    asked: Asked,
    solo: Mapping[str, Array],
    plain: Trajectory | None,
    memory: int,
    *,
    progress: bool | None,
) -> dict[str, dict[str, Array]]:
    """The reverse sweeps of all probes that ask for them.

    solo: what series along units alone are known. plain: the training without directions, where it is at hand.
    """
    run, settings = sketching.run, partial.settings
    recipe, salt = run.recipe, bytes.fromhex(settings.salt)
    bases = {name: base for name, (base, _) in partial.probes().items()}
    found = {}
    for name, wanted in sorted(asked.reverse.items()):
        work = ReverseSketching(run, recipe.probes[name], bases[name].shape, wanted, plain)
        residual = Directions.random(
            recipe.digest, salt, wanted.residual, len(recipe.unit_names), settings.dtype, RESIDUAL
        )
        keys = Keys(direction_key(recipe.digest, salt, RANGE), residual)
        sweeps = list(work.sweeps(settings.lanes))
        finished = [sweep for sweep in sweeps if partial.has_piece("reverse", f"{name}-{sweep}")]
        with tqdm(
            total=work.steps(sweeps),
            initial=work.steps(finished),  # no part of the rate
            disable=None if progress is None else not progress,
            unit="step",
            desc=f"{recipe.name}: {name}, reverse",
        ) as bar:
            diagonal = _diagonal(asked, solo, name, work.elements)
            found[name] = complete(work, partial, name, keys, memory, bar, diagonal)
    return found


def _inform(
    sketching: ForwardSketching, partial: PartialRun, memory: int, *, progress: bool | None
) -> dict[str, Array] | None:
    """The informed directions and the slopes along them."""
    run, settings = sketching.run, partial.settings
    if not settings.informed.count:
        return None
    work = InformedSketching(run, settings.informed, partial, memory)
    total, finished = work.steps()
    with tqdm(
        total=total,
        initial=finished,  # no part of the rate
        disable=None if progress is None else not progress,
        unit="step",
        desc=f"{run.recipe.name}: informed directions",
    ) as bar:
        key = direction_key(run.recipe.digest, bytes.fromhex(settings.salt), INFORMED_START)
        return work.compute(key, bar.update)


def _publish(
    final: Path,
    sketching: ForwardSketching,
    partial: PartialRun,
    source: Directions,
    asked: Asked,
    found: _Found,
    key: PseudonymKey,
    signer: PrivateKey | None,
) -> None:
    recipe, settings = sketching.run.recipe, partial.settings
    manifest = Manifest(
        recipe=RecipeText(recipe.digest, recipe.description),
        counterfactual=COUNTERFACTUAL,
        units=source.units,
        pseudonym_key=key.fingerprint,
        degree=settings.degree,
        directions=_record(source, settings.checkpoint),
        dtype=settings.dtype,
        informed=asked.informed_directions,
        solo=asked.solo_units,
        own_loss=recipe.own_loss,
        tied=tied_weights(recipe.model),
        reverse=tuple(SweptProbe(n, r.rank, r.residual, r.cubic) for n, r in sorted(asked.reverse.items())),
        piecewise=partial.piecewise(),
        versions={
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "unlearnkit": version("unlearnkit"),
        },
    )
    write_bundle(
        final,
        manifest=manifest,
        units=key.pseudonyms(recipe.unit_names),
        model=partial.model(),
        probes=partial.probes(),
        directions=source.array,
        weight_sketch_files=partial.weight_files(),
        reverse=found.reverse,
        informed=found.informed,
        solo=found.solo,
        solo_weight_files=found.solo_weight_files,
        signer=signer,
    )


def _record(source: Directions, checkpoint: str) -> RandomDirections | ExplicitDirections:
    """What the manifest says of the directions."""
    record = source.record
    if checkpoint and isinstance(record, RandomDirections):
        return replace(record, salt_from=SaltFromLog(checkpoint=checkpoint))
    return record
