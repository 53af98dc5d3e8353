"""``sketch``: from a recipe to a bundle on disk."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from collections.abc import Mapping
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
    Adjoint,
    Bundle,
    Directions,
    InformedDirections,
    Manifest,
    PseudonymKey,
    direction_key,
    salt_from_seed,
    sign_bundle,
    write_bundle,
)
from unlearnkit.bundle.integrity import SIGNATURE
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import UnknownNameError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.sketch.forward import Sketching
from unlearnkit.sketch.informed import InformedSettings, InformedSketching
from unlearnkit.sketch.memory import memory_for
from unlearnkit.sketch.partial import PartialRun, Settings, open_partial, remove_stale
from unlearnkit.sketch.recipe import COUNTERFACTUAL, Array, Recipe
from unlearnkit.sketch.run import make_run
from unlearnkit.sketch.second_order import SWEEP_LANES, AdjointSettings, AdjointSketching, Keys, complete

# More directions at once than this gain nothing and make the pieces that an interrupted run loses larger.
LARGEST_CHUNK = 256


def sketch(
    recipe: Recipe,
    path: str | os.PathLike[str],
    *,
    directions: int | Array = 256,
    degree: int = 2,
    seed: int | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    device: str | torch.device | None = None,
    keep_weights: bool = False,
    informed: int = 0,
    power_iterations: int = 1,
    chunk: int | Literal["auto"] = "auto",
    memory_budget: int | None = None,
    adjoint: Mapping[str, AdjointSettings] | None = None,
    signer: PrivateKey | None = None,
    resume: bool = True,
    progress: bool | None = None,
) -> Bundle:
    """Train the recipe once while pushing truncated power series through it; write a bundle (THEORY.md section 2).

    directions: how many random directions, or an explicit complex array ``[directions, units]`` for studies; 0 where
    reverse sweeps or informed directions are to answer alone.
    degree: highest power kept. seed: fixes the random directions, which also depend on the recipe; None: a fresh one.
    dtype: precision of the run. device: None takes a GPU when there is one.
    keep_weights: store the weights' sketches too, for probes that nobody pinned.
    informed: so many directions along which the trained weights move most, found with ``power_iterations`` rounds of
    refinement, for first orders of any probe (THEORY.md section 9); their weights' sketches are always kept.
    chunk: directions at once; "auto" fits ``memory_budget`` bytes (None: a quarter of the free memory).
    adjoint: pinned probes that are to be sketched by reverse sweeps too: exact first order, low-rank second order.
    signer: signs the bundle (P-256); None leaves it unsigned.
    resume: finished blocks of an interrupted call are kept; the same call goes on to the same bundle, byte for byte.
    progress: show a progress bar; None: on a terminal.

    Raises UnsupportedOpsError, PiecewiseOpsError, NonFiniteError, FileExistsError when another bundle is at ``path``,
    RefusedError when an unfinished sketch there has other settings.
    """
    final = Path(path)
    explicit = None if isinstance(directions, int) else _explicit(directions, recipe)
    count = directions if isinstance(directions, int) else len(directions)
    if degree < 1 or (chunk != "auto" and chunk < 1):
        raise ValueError(f"degree={degree}, chunk={chunk}: expected whole numbers >= 1")
    if count < 0 or not (count or adjoint or informed):
        raise ValueError(f"directions={count}: expected at least 1, or 0 together with adjoint= or informed=")
    if not 0 <= informed <= len(recipe.unit_names) or power_iterations < 0:
        n = len(recipe.unit_names)
        raise ValueError(f"informed={informed}, power_iterations={power_iterations}: expected 0 to units={n}, and >= 0")
    if explicit is not None and seed is not None:
        raise ValueError(f"seed={seed}: explicit directions leave nothing to a seed")
    run = make_run(recipe, dtype, device)
    asked = Settings(
        recipe=recipe.digest,
        degree=degree,
        directions=count,
        explicit="" if explicit is None else _digest(explicit),
        salt="" if seed is None else salt_from_seed(seed).hex(),
        dtype=dtype,
        device=run.device.type,
        keep_weights=keep_weights,
        chunk=0 if chunk == "auto" else min(chunk, count),
        adjoint=_adjoint_settings(adjoint or {}, recipe),
        informed=informed,
        power_iterations=power_iterations if informed else 0,
        lanes=0,
    )
    if explicit is not None and (adjoint or informed):
        raise ValueError("reverse sweeps and informed directions go with random directions, got explicit ones")
    if final.exists():
        return _already_there(final, asked, signer)
    sketching = Sketching(run, degree)
    fresh = _settled(asked, sketching.prepare() * run.dtype.itemsize, memory_for(asked.device, memory_budget))
    with open_partial(final, asked, fresh, resume=resume) as partial:
        if final.exists():  # another process has just finished it
            return _already_there(final, asked, signer)
        source = _directions(partial.settings, recipe, explicit)
        key = PseudonymKey.for_bundle(final)  # before any work: a workspace whose key is destroyed makes no bundles
        sketching.compute(partial, source, progress=progress)
        memory = memory_for(asked.device, memory_budget)
        swept = _sweep(sketching, partial, adjoint or {}, memory, progress=progress)
        found = _inform(sketching, partial, memory, progress=progress)
        _publish(final, sketching, partial, source, adjoint or {}, swept, found, key, signer)
    remove_stale(final)
    return _opened(final, signer)


def _explicit(directions: Array, recipe: Recipe) -> Array:
    array = np.ascontiguousarray(directions, dtype=np.complex128)
    if array.ndim != 2 or array.shape[1] != len(recipe.unit_names):
        units = len(recipe.unit_names)
        raise ValueError(f"directions: got an array of shape {array.shape}, expected [directions, units={units}]")
    if not np.isfinite(array).all():
        raise ValueError("directions: not all numbers are finite")
    return array


def _digest(directions: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(directions, dtype="<c16").tobytes()).hexdigest()


def _adjoint_settings(adjoint: Mapping[str, AdjointSettings], recipe: Recipe) -> str:
    """The settings of all reverse sweeps as text, for comparison."""
    unknown = sorted(set(adjoint) - set(recipe.probes))
    if unknown:
        raise UnknownNameError(f"adjoint: the recipe has no probe {', '.join(map(repr, unknown))}")
    units = len(recipe.unit_names)
    if too_high := [name for name, settings in adjoint.items() if settings.rank > units]:
        raise ValueError(f"adjoint: the rank of {', '.join(too_high)} is above the number of units, {units}")
    return canonicalize({name: asdict(settings) for name, settings in adjoint.items()}).decode()


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
        canonicalize({a.name: {"rank": a.rank, "directions": a.directions} for a in manifest.adjoint}).decode(),
        manifest.informed,
    )
    wanted = (
        asked.recipe,
        asked.degree,
        asked.directions,
        asked.dtype,
        asked.keep_weights and asked.directions > 0,
        asked.adjoint,
        InformedDirections(asked.informed, asked.power_iterations),
    )
    explicit = "" if bundle.directions.array is None else _digest(bundle.directions.array)
    if there != wanted or asked.explicit != explicit or (asked.salt and asked.salt != manifest.salt):
        raise FileExistsError(f"{final} holds another bundle; choose another path or remove it")
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
    sketching: Sketching,
    partial: PartialRun,
    adjoint: Mapping[str, AdjointSettings],
    memory: int,
    *,
    progress: bool | None,
) -> dict[str, dict[str, Array]]:
    """The reverse sweeps of all probes that ask for them."""
    run, settings = sketching.run, partial.settings
    recipe, salt = run.recipe, bytes.fromhex(settings.salt)
    bases = {name: base for name, (base, _) in partial.probes().items()}
    found = {}
    for name, wanted in sorted(adjoint.items()):
        work = AdjointSketching(run, recipe.probes[name], bases[name].shape, wanted)
        residual = Directions.random(
            recipe.digest, salt, wanted.directions, len(recipe.unit_names), settings.dtype, RESIDUAL
        )
        keys = Keys(direction_key(recipe.digest, salt, RANGE), residual)
        sweeps = list(work.sweeps(settings.lanes))
        finished = [sweep for sweep in sweeps if partial.has_piece("adjoint", f"{name}-{sweep}")]
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
    sketching: Sketching, partial: PartialRun, memory: int, *, progress: bool | None
) -> dict[str, Array] | None:
    """The informed directions and the slopes along them."""
    run, settings = sketching.run, partial.settings
    if not settings.informed:
        return None
    wanted = InformedSettings(count=settings.informed, power_iterations=settings.power_iterations)
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
    sketching: Sketching,
    partial: PartialRun,
    source: Directions,
    adjoint: Mapping[str, AdjointSettings],
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
        adjoint=tuple(Adjoint(name, wanted.rank, wanted.directions) for name, wanted in sorted(adjoint.items())),
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
        adjoint=swept,
        informed=informed,
        signer=signer,
    )
