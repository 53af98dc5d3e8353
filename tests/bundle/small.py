"""A small bundle with known contents, without a training run: a polynomial of five units' weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.estimation.polynomials import Polynomial
from unlearnkit.bundle import (
    RESIDUAL,
    Directions,
    InformedDirections,
    Manifest,
    PseudonymKey,
    SweptProbe,
    real_pairs,
    salt_from_seed,
    write_bundle,
)
from unlearnkit.bundle.manifest import Piecewise, RecipeText
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.estimation.lattice import lattice_points

UNITS = ["ann", "ben", "cat", "dan", "17"]
COUNT, DEGREE = 6, 2
RANK, LEFT = 2, 5  # of the reverse sweeps: columns of the basis, directions for what that leaves


def description(name: str) -> dict[str, Any]:
    """What a recipe of that name would say of itself."""
    return {"name": name, "optimizer": {"lr": 0.05}}


DIGEST = sha256_hex(canonicalize(description("small")))
KEY = PseudonymKey(bytes(range(32)))
TRAINED = ("layer.weight", "layer.bias")


@dataclass(frozen=True)
class Small:
    """Everything that goes into the bundle."""

    polynomial: Polynomial  # the two elements of the probe "margins"; "test_loss" is the first of them, as a scalar
    directions: Directions
    contents: Mapping[str, Any]  # the arguments of write_bundle but the manifest
    manifest: Manifest

    def write(self, final: Path) -> Path:
        write_bundle(final, manifest=self.manifest, **self.contents)
        return final


def small(
    folder: Path,
    *,
    dtype: str = "float64",
    explicit: bool = False,
    weights: bool = True,
    swept: bool = False,
    informed: int = 0,
    informed_degree: int = 1,
    leading: int = 2,
    count: int = COUNT,
    own: bool = False,
    key: PseudonymKey = KEY,
    units: Sequence[str] = UNITS,
    recipe: str = "small",
) -> Small:
    """folder: for the weight sketches that a training run would have left. informed, count: directions of each kind.

    informed_degree, leading: of what is known on the span of some of the informed ones.

    own: with the probe "own_loss", of `own_losses`. units: five names. recipe: its name.
    """
    digest = sha256_hex(canonicalize(description(recipe)))
    rng = np.random.default_rng(0)
    salt = salt_from_seed(1)
    directions = Directions.random(digest, salt, count, len(UNITS), dtype)
    if explicit:
        directions = Directions.explicit(directions.block(0, count))
    polynomial = Polynomial.random(rng, units=len(UNITS), elements=2, degree=DEGREE, scale=0.1)
    coefficients = polynomial.coefficients(directions.block(0, count))
    real, complex_ = (np.float32, np.complex64) if dtype == "float32" else (np.float64, np.complex128)
    base, coefficients = polynomial.base.astype(real), coefficients.astype(complex_)
    model = {
        "layer.weight": rng.standard_normal((3, 2)).astype(real),
        "layer.bias": rng.standard_normal(3).astype(real),
        "steps": np.array(7),
    }
    manifest = Manifest(
        recipe=RecipeText(digest, description(recipe)),
        counterfactual="loss weight zero, same schedule",
        units=len(UNITS),
        pseudonym_key=key.fingerprint,
        degree=DEGREE,
        directions=directions.record,
        dtype=dtype,
        piecewise=(Piecewise("aten.relu", "layer", "kink"),),
        versions={"unlearnkit": "0", "numpy": "2"},
        informed=_informed_directions(informed, informed_degree, leading),
        reverse=(SweptProbe("margins", RANK, LEFT),) if swept else (),
        own_loss="own_loss" if own else "",
    )
    probes = {"test_loss": (base[0], coefficients[..., 0]), "margins": (base, coefficients)}
    if own:
        losses = own_losses()
        along = losses.coefficients(directions.block(0, count)).astype(complex_)
        probes["own_loss"] = (losses.base.astype(real), along)
    contents = {
        "units": [key.pseudonym(name) for name in units],
        "model": model,
        "probes": probes,
        "directions": directions.array,
        "weight_sketch_files": _weight_sketches(folder, rng, model, complex_) if weights and count else (),
        "reverse": {"margins": _reverse_sweeps(polynomial, rng, salt)} if swept else None,
        "informed": _informed(polynomial, rng, model, manifest.informed) if informed else None,
    }
    return Small(polynomial, directions, contents, manifest)


def own_losses() -> Polynomial:
    """The mean loss of each unit on its own examples."""
    return Polynomial.random(np.random.default_rng(5), units=len(UNITS), elements=len(UNITS), degree=DEGREE, scale=0.1)


def _reverse_sweeps(polynomial: Polynomial, rng, salt: bytes) -> dict[str, np.ndarray]:
    """Exact: gradient, the Hessian's largest eigenpairs, and its products with directions."""
    hessian = 2 * polynomial.tensors[1]
    values, vectors = np.linalg.eigh(hessian)
    order = np.argsort(-np.abs(values), axis=1)[:, : 2 * RANK]
    psi = Directions.random(DIGEST, salt, LEFT, len(UNITS), "float64", RESIDUAL).block(0, LEFT)
    return {
        "gradient": polynomial.tensors[0],
        "vectors": np.take_along_axis(vectors, order[:, None], axis=2),
        "values": np.take_along_axis(values, order, axis=1),
        "residual": np.einsum("euv,jv->jeu", hessian, psi),
    }


def _informed_directions(count: int, degree: int, leading: int) -> InformedDirections:
    if not count:
        return InformedDirections()
    return InformedDirections(count, degree, leading if degree > 1 else 0, power_iterations=1)


def _informed(polynomial: Polynomial, rng, model, wanted: InformedDirections) -> dict[str, np.ndarray]:
    """Random orthonormal directions, the polynomial's slopes along them, and those of weights that move linearly.

    Above degree one the polynomial's forms, and those of weights that move quadratically.
    """
    directions = np.linalg.qr(rng.standard_normal((len(UNITS), wanted.count)))[0].T
    margins = directions @ polynomial.tensors[0].T
    jacobian = {name: rng.standard_normal((len(UNITS), *model[name].shape)) for name in TRAINED}
    slopes = {f"weights/{name}": np.tensordot(directions, array, axes=1) for name, array in jacobian.items()}
    found = {"directions": directions, "probes/margins": margins, "probes/test_loss": margins[:, 0], **slopes}
    for degree in wanted.degrees:
        points = lattice_points(wanted.leading, degree) @ directions[: wanted.leading]
        values = polynomial.term(degree, points)
        hessian = {n: 0.1 * rng.standard_normal((len(UNITS), len(UNITS), *model[n].shape)) for n in TRAINED}
        forms = {f"weights/{n}": np.einsum("ju,uv...,jv->j...", points, h, points) for n, h in hessian.items()}
        forms |= {"probes/margins": values, "probes/test_loss": values[:, 0]}
        found |= {f"degree-{degree}/{name}": array for name, array in forms.items()}
    return found


def _weight_sketches(folder: Path, rng, model, kind) -> list[tuple[int, int, Path]]:
    blocks = []
    for first, last in ((0, 4), (4, 6)):
        shapes = {name: (last - first, DEGREE, *model[name].shape) for name in TRAINED}
        tails = {n: (rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(kind) for n, s in shapes.items()}
        path = folder / f"{first}-{last}"
        path.write_bytes(tensor_bytes({name: real_pairs(tail) for name, tail in tails.items()}))
        blocks.append((first, last, path))
    return blocks


def rewrite(path: Path, name: str, raw: bytes) -> None:
    """Put other bytes into a bundle, with a manifest that agrees."""
    (path / name).unlink()  # weight sketches are links
    (path / name).write_bytes(raw)
    manifest = json.loads((path / "manifest.json").read_bytes())
    for file in manifest["files"]:
        if file["path"] == name:
            file |= {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (path / "manifest.json").write_bytes(canonicalize(manifest))
