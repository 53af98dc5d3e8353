"""How many deletion sets a second a bundle answers, from reverse sweeps of rank 64.

    OMP_NUM_THREADS=1 python benchmarks/prediction.py [--elements 1,40,1000] [--sets 10000,10000,1000]

A bundle on disk, opened with its pseudonym key: so many units, one probe of so many elements, its gradient, the
eigenpairs that rank 64 keeps, and 32 directions for what these leave out; random numbers, for what is in them takes no
time. Each set names ten people; their pseudonyms, second order, standard errors and convergence are part of it. Seconds
of a processor with one thread. Seed 0. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import unlearnkit as uk
from unlearnkit.bundle import Directions, Manifest, PseudonymKey, SoloUnits, SweptProbe, salt_from_seed, write_bundle
from unlearnkit.bundle.manifest import RecipeText
from unlearnkit.canonical import canonicalize, sha256_hex

RANK, RESIDUAL, ALONE = 64, 32, 20


def names(units: int) -> list[str]:
    """Of the people."""
    return [f"person-{i}" for i in range(units)]


def made(folder: Path, units: int, elements: int) -> uk.Bundle:
    """The bundle."""
    description, random, salt = {"name": "prediction"}, np.random.default_rng(0), salt_from_seed(0)
    digest, key, entry = (
        sha256_hex(canonicalize(description)),
        PseudonymKey.generate(),
        SweptProbe("probe", RANK, RESIDUAL),
    )
    pairs = entry.eigenpairs(units, SoloUnits())
    manifest = Manifest(
        recipe=RecipeText(digest, description),
        counterfactual="",
        units=units,
        pseudonym_key=key.fingerprint,
        degree=1,
        directions=Directions.random(digest, salt, 0, units, "float32").record,
        dtype="float32",
        piecewise=(),
        versions={},
        reverse=(entry,),
    )
    found = {
        "gradient": random.standard_normal((elements, units)),
        "vectors": random.standard_normal((elements, units, pairs)) / units**0.5,
        "values": random.standard_normal((elements, pairs)) / 100,
        "residual": random.standard_normal((RESIDUAL, elements, units, 2)).view(complex)[..., 0] / 1000,
    }
    write_bundle(
        folder / "bundle",
        manifest=manifest,
        units=key.pseudonyms(names(units)),
        model={"weight": np.zeros(1, dtype=np.float32)},
        probes={"probe": (np.zeros(elements), np.zeros((0, 1, elements), dtype=complex))},
        reverse={"probe": found},
    )
    return uk.Bundle.open(folder / "bundle", pseudonym_key=key)


def seconds(work: Callable[[], object]) -> float:
    """Of a processor, for one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Measure, and print a line for each number of elements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", default="1,40,1000")
    parser.add_argument("--sets", default="10000,10000,1000")
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--units", type=int, default=1000)
    options = parser.parse_args()
    print("| elements | sets | together | one after another |\n| --- | --- | --- | --- |")
    for elements, count in zip(*(map(int, text.split(",")) for text in (options.elements, options.sets)), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            sketch = made(Path(folder), options.units, elements).probe("probe")
        everybody, random = np.array(names(options.units)), np.random.default_rng(0)
        sets = [random.choice(everybody, options.people, replace=False).tolist() for _ in range(count)]
        sketch.predict(sets[0])  # what is worked out once
        alone = seconds(lambda: [sketch.predict(one) for one in sets[:ALONE]])  # noqa: B023
        rate = count / seconds(lambda: sketch.predict_many(sets))  # noqa: B023
        print(f"| {elements} | {count} | {rate:,.0f} a second | {ALONE / alone:,.0f} a second |", flush=True)


if __name__ == "__main__":
    main()
