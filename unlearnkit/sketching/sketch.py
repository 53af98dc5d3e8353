"""``sketch``: from a recipe to a bundle on disk."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from unlearnkit.bundle import (
    Bundle,
    Directions,
    Manifest,
    PseudonymKey,
    SweptProbe,
    sign_bundle,
    write_bundle,
)
from unlearnkit.bundle.integrity import SIGNATURE
from unlearnkit.bundle.manifest import ExplicitDirections, RandomDirections, RecipeText, SaltFromLog
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.sketching.asked import Asked, directions, settled
from unlearnkit.sketching.assist import tell, tell_memory
from unlearnkit.sketching.expectation import announce, is_shown
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.memory import memory_for
from unlearnkit.sketching.ranks import Ranks
from unlearnkit.sketching.settings import Forward, Informed, Reverse, Solo
from unlearnkit.sketching.sizing import Sizing
from unlearnkit.sketching.stages import Found, Stages
from unlearnkit.sketching.store import PartialRun, Settings, open_partial, remove_stale, replaced
from unlearnkit.training.models import tied_weights
from unlearnkit.training.recipe import COUNTERFACTUAL, Recipe
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
    What an interrupted call had finished is kept: the same call goes on to the same bundle, byte for byte. Many
    processes (``unlearnkit sketch --workers``, or ``torchrun``) make the same one too, each with as many threads.

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
        memory_budget: bytes that the sketch may take beside recipe and data; states of a reverse sweep that have no
            room in it go to disk, beside the bundle. None: about a quarter of the free memory.
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
        RefusedError: unfinished work at ``path`` has other settings, or another process is at it; or the memory budget
            holds not even one direction or element, and then the message says what does.

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
    sketching, ranks = ForwardSketching(run, settings.degree), Ranks.here()
    tell(ranks, settings, asked.explicit)
    per_lane = ranks.together(sketching.prepare) * run.dtype.itemsize
    budget, exact = memory_for(settings.device, memory_budget), memory_budget is not None
    sizing = Sizing(sketching, asked.reverse, settings.informed, per_lane, budget, exact=exact)
    fresh = settled(settings, sizing.lanes(settings))
    with open_partial(final, settings, fresh, overwrite=overwrite) as partial:
        if final.exists() and not overwrite:  # another process has just finished it
            return _already_there(final, asked, settings, signer)
        key = PseudonymKey.for_bundle(final)  # before any work: a workspace whose key is destroyed makes no bundles
        source = directions(partial.settings, recipe, asked.explicit)
        if is_shown(progress=progress):
            announce(run, partial.settings, asked.reverse, per_lane, sizing.memory(partial.folder))
        tell(ranks, partial.settings)
        memory = tell_memory(ranks, sizing.memory(partial.folder))
        found = Stages(sketching, partial, source, memory, progress).found()
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


def _publish(
    final: Path,
    sketching: ForwardSketching,
    partial: PartialRun,
    source: Directions,
    asked: Asked,
    found: Found,
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
            **({"tf32": "off"} if settings.device == "cuda" else {}),
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
