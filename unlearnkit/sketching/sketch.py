"""``sketch``: from a recipe to a bundle on disk."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
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
    InformedDirections,
    Manifest,
    PseudonymKey,
    SweptProbe,
    direction_key,
    salt_from_seed,
    sign_bundle,
    write_bundle,
)
from unlearnkit.bundle.integrity import SIGNATURE
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import UnknownNameError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.informed import InformedSketching
from unlearnkit.sketching.memory import memory_for
from unlearnkit.sketching.second_order import SWEEP_LANES, Keys, ReverseSketching, complete
from unlearnkit.sketching.settings import FIRST_ORDER, LARGEST_CHUNK, Forward, Informed, Reverse
from unlearnkit.sketching.store import PartialRun, Settings, open_partial, remove_stale, replaced
from unlearnkit.training.recipe import COUNTERFACTUAL, Array, Recipe
from unlearnkit.training.run import Run, make_run


def sketch(
    recipe: Recipe,
    path: str | os.PathLike[str],
    *,
    forward: Forward | None = None,
    reverse: Mapping[str, Reverse] | None = None,
    informed: Informed | None = None,
    seed: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    device: str | torch.device | None = None,
    memory_budget: int | None = None,
    signer: PrivateKey | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Bundle:
    """Train the recipe once while pushing truncated power series through it; write a bundle (THEORY.md section 2).

    Without ``forward``, ``reverse`` and ``informed``, every pinned probe gets its exact first order by a reverse sweep.
    What an interrupted call had finished is kept: the same call goes on to the same bundle, byte for byte.

    Args:
        recipe: the training run.
        path: where the bundle goes, a directory that is not there yet.
        forward: random directions through the whole run.
        reverse: reverse sweeps, by the name of a pinned probe.
        informed: directions along which the trained weights move most.
        seed: fixes the random directions, which also depend on the recipe; None: a fresh one.
        dtype: precision of the run.
        device: None takes a GPU when there is one.
        memory_budget: bytes that directions at once may take; None: a quarter of the free memory.
        signer: signs the bundle (P-256); None leaves it unsigned.
        overwrite: replace the bundle at ``path``, and drop unfinished work there, even with other settings.
        progress: show a progress bar; None: on a terminal.

    Returns:
        The bundle, opened.

    Raises:
        UnsupportedOpsError, PiecewiseOpsError: the run cannot be sketched, or only with ``allow_piecewise``.
        NonFiniteError: a coefficient overflowed.
        FileExistsError: another bundle is at ``path``.
        RefusedError: unfinished work at ``path`` has other settings, or another process is at it.

    Example:
        >>> bundle = uk.sketch(recipe, folder / "bundle", reverse={"test_loss": uk.Reverse(rank=2, residual=2)})
        >>> bundle.probe("test_loss").predict(["ann"]).change.shape
        ()

    """
    final, units = Path(path), len(recipe.unit_names)
    if forward is None and informed is None and reverse is None:
        reverse = dict.fromkeys(recipe.probes, FIRST_ORDER)
    reverse = reverse or {}
    if forward is None and informed is None and not reverse:
        raise ValueError("nothing to sketch: the recipe pins no probe, and neither forward= nor informed= is given")
    if informed is not None and informed.count > units:
        raise ValueError(f"informed: {informed.count} directions, expected at most one for each of {units} units")
    explicit = None if forward is None else forward.explicit(units)
    if explicit is not None and (seed is not None or reverse or informed):
        raise ValueError("explicit directions go with no seed, no reverse sweeps and no informed directions")
    run = make_run(recipe, dtype, device)
    asked = _asked(run, forward, reverse, informed, seed, explicit)
    if final.exists() and not overwrite:
        return _already_there(final, asked, signer)
    sketching = ForwardSketching(run, asked.degree)
    fresh = _settled(asked, sketching.prepare() * run.dtype.itemsize, memory_for(asked.device, memory_budget))
    with open_partial(final, asked, fresh, overwrite=overwrite) as partial:
        if final.exists() and not overwrite:  # another process has just finished it
            return _already_there(final, asked, signer)
        source = _directions(partial.settings, recipe, explicit)
        key = PseudonymKey.for_bundle(final)  # before any work: a workspace whose key is destroyed makes no bundles
        sketching.compute(partial, source, progress=progress)
        memory = memory_for(asked.device, memory_budget)
        swept = _sweep(sketching, partial, reverse, memory, progress=progress)
        found = _inform(sketching, partial, memory, progress=progress)
        with replaced(final) if overwrite else nullcontext():
            _publish(final, sketching, partial, source, reverse, swept, found, key, signer)
    remove_stale(final)
    return _opened(final, signer)


def _asked(
    run: Run,
    forward: Forward | None,
    reverse: Mapping[str, Reverse],
    informed: Informed | None,
    seed: int | None,
    explicit: Array | None,
) -> Settings:
    """What decides every byte of the bundle, as far as the caller said."""
    chunk = 0 if forward is None or forward.chunk == "auto" else min(forward.chunk, forward.count)
    return Settings(
        recipe=run.recipe.digest,
        degree=1 if forward is None else forward.degree,
        directions=0 if forward is None else forward.count,
        explicit="" if explicit is None else _digest(explicit),
        salt="" if seed is None else salt_from_seed(seed).hex(),
        dtype=run.precision,
        device=run.device.type,
        keep_weights=forward is not None and forward.keep_weights,
        chunk=chunk,
        reverse=_reverse_settings(reverse, run.recipe),
        informed=0 if informed is None else informed.count,
        power_iterations=0 if informed is None else informed.power_iterations,
        lanes=0,
    )


def _digest(directions: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(directions, dtype="<c16").tobytes()).hexdigest()


def _reverse_settings(reverse: Mapping[str, Reverse], recipe: Recipe) -> str:
    """The settings of all reverse sweeps as text, for comparison."""
    unknown = sorted(set(reverse) - set(recipe.probes))
    if unknown:
        raise UnknownNameError(
            f"reverse: the recipe has no probe {', '.join(map(repr, unknown))}; it has: {', '.join(recipe.probes)}"
        )
    units = len(recipe.unit_names)
    if too_high := [name for name, settings in reverse.items() if settings.rank > units]:
        raise ValueError(f"reverse: the rank of {', '.join(too_high)} is above the number of units, {units}")
    return canonicalize({name: asdict(settings) for name, settings in reverse.items()}).decode()


def _opened(final: Path, signer: PrivateKey | None) -> Bundle:
    return Bundle.open(final, trust=None if signer is None else [signer.public])


def _already_there(final: Path, asked: Settings, signer: PrivateKey | None) -> Bundle:
    """A finished bundle at the path: the same call has nothing left to do, any other must not overwrite it."""
    bundle = Bundle.open(final)
    manifest = bundle.manifest
    there = (
        manifest.recipe_digest,
        manifest.degree,
        manifest.direction_count,
        manifest.dtype,
        bool(manifest.weight_sketches),
        canonicalize({a.name: {"rank": a.rank, "residual": a.residual} for a in manifest.reverse}).decode(),
        manifest.informed,
    )
    wanted = (
        asked.recipe,
        asked.degree,
        asked.directions,
        asked.dtype,
        asked.keep_weights and asked.directions > 0,
        asked.reverse,
        InformedDirections(asked.informed, asked.power_iterations),
    )
    explicit = "" if bundle.directions.array is None else _digest(bundle.directions.array)
    if there != wanted or asked.explicit != explicit or (asked.salt and asked.salt != manifest.salt):
        raise FileExistsError(f"{final} holds another bundle; choose another path, or replace it with overwrite=True")
    remove_stale(final)
    if signer is not None and not (final / SIGNATURE).exists():
        sign_bundle(final, signer)
    return _opened(final, signer)


def _settled(asked: Settings, per_lane: int, budget: int) -> Settings:
    """Fill in what the caller left open. per_lane: bytes of one real tail of degree one."""
    complex_tails = max(1, budget // (2 * asked.degree * per_lane))
    blocks = max(1, -(-asked.directions // min(complex_tails, LARGEST_CHUNK)))
    return replace(
        asked,
        salt=asked.salt or ("" if asked.explicit else secrets.token_hex(32)),
        chunk=asked.chunk or max(1, -(-asked.directions // blocks)),
        lanes=min(SWEEP_LANES, max(1, budget // (2 * per_lane))),  # a reverse step holds about twice what a step does
    )


def _directions(settings: Settings, recipe: Recipe, explicit: Array | None) -> Directions:
    if explicit is not None:
        return Directions.explicit(explicit)
    salt = bytes.fromhex(settings.salt)
    return Directions.random(recipe.digest, salt, settings.directions, len(recipe.unit_names), settings.dtype)


def _sweep(
    sketching: ForwardSketching,
    partial: PartialRun,
    reverse: Mapping[str, Reverse],
    memory: int,
    *,
    progress: bool | None,
) -> dict[str, dict[str, Array]]:
    """The reverse sweeps of all probes that ask for them."""
    run, settings = sketching.run, partial.settings
    recipe, salt = run.recipe, bytes.fromhex(settings.salt)
    bases = {name: base for name, (base, _) in partial.probes().items()}
    found = {}
    for name, wanted in sorted(reverse.items()):
        work = ReverseSketching(run, recipe.probes[name], bases[name].shape, wanted)
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
            found[name] = complete(work, partial, name, keys, memory, bar)
    return found


def _inform(
    sketching: ForwardSketching, partial: PartialRun, memory: int, *, progress: bool | None
) -> dict[str, Array] | None:
    """The informed directions and the slopes along them."""
    run, settings = sketching.run, partial.settings
    if not settings.informed:
        return None
    wanted = Informed(settings.informed, settings.power_iterations)
    work = InformedSketching(run, wanted, partial, memory)
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
    reverse: Mapping[str, Reverse],
    swept: dict[str, dict[str, Array]],
    informed: dict[str, Array] | None,
    key: PseudonymKey,
    signer: PrivateKey | None,
) -> None:
    recipe, settings = sketching.run.recipe, partial.settings
    manifest = Manifest(
        recipe_digest=recipe.digest,
        recipe=recipe.description,
        counterfactual=COUNTERFACTUAL,
        units=source.units,
        degree=settings.degree,
        direction_count=source.count,
        salt=source.salt.hex(),
        key=source.key.hex(),
        dtype=settings.dtype,
        informed=InformedDirections(settings.informed, settings.power_iterations),
        reverse=tuple(SweptProbe(name, wanted.rank, wanted.residual) for name, wanted in sorted(reverse.items())),
        piecewise=tuple(partial.piecewise()),
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
        units=[key.pseudonym(name) for name in recipe.unit_names],
        model=partial.model(),
        probes=partial.probes(),
        directions=source.array,
        weight_sketch_files=partial.weight_files(),
        reverse=swept,
        informed=informed,
        signer=signer,
    )
