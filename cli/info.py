"""``unlearnkit info``: what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Document, Output, fields, pass_output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle

UNVERIFIED = "UNVERIFIED: every file fits the manifest, but no signature was checked"


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@pass_output
def info(output: Output, bundle: Path) -> None:
    """Say what BUNDLE holds, after checking every file against its manifest.

    \b
    Example:
      unlearnkit info run/bundle
    """
    from unlearnkit.bundle import Bundle

    output.emit(document_of(Bundle.open(bundle)), render_info)


def document_of(bundle: Bundle) -> dict[str, Any]:
    """What ``info`` and ``sketch`` print."""
    manifest = bundle.manifest
    return {
        "schema": "unlearnkit/info/v1",
        "path": str(bundle.path),
        "verified": False,
        "digest": bundle.digest,
        "recipe": {"name": manifest.recipe.get("name"), "digest": manifest.recipe_digest},
        "counterfactual": manifest.counterfactual,
        "units": manifest.units,
        "directions": {"kind": "explicit" if manifest.is_explicit else "random", "count": manifest.direction_count},
        "degree": manifest.degree,
        "dtype": manifest.dtype,
        "probes": {probe.name: list(probe.shape) for probe in manifest.probes},
        "adjoint": {entry.name: {"rank": entry.rank, "directions": entry.directions} for entry in manifest.adjoint},
        "weight_sketches": bool(manifest.weight_sketches),
        "piecewise": [dict(entry) for entry in manifest.piecewise],
        "versions": dict(manifest.versions),
        "bytes": sum(file.size for file in manifest.files),
    }


def render_info(document: Document) -> Iterable[str]:
    """The same as text."""
    record: dict[str, Any] = dict(document)
    probes = [f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in record["probes"].items()]
    yield UNVERIFIED
    yield from fields(
        [
            ("bundle", record["path"]),
            ("digest", record["digest"]),
            ("recipe", f"{record['recipe']['name']} ({record['recipe']['digest']})"),
            ("units", record["units"]),
            ("directions", f"{record['directions']['count']} {record['directions']['kind']}"),
            ("degree", f"{record['degree']}, computed in {record['dtype']}"),
            ("probes", ", ".join(probes) or "none pinned"),
            ("reverse", ", ".join(f"{name} (rank {a['rank']})" for name, a in record["adjoint"].items()) or "none"),
            ("weights", "kept: new probes can be evaluated" if record["weight_sketches"] else "not kept"),
            (
                "piecewise",
                "; ".join(f"{e['operation']} ({e['kind']}) in {e['where']!r}" for e in record["piecewise"]) or "none",
            ),
            ("size", f"{record['bytes'] / 1e6:.1f} MB"),
            ("made with", ", ".join(f"{name} {version}" for name, version in record["versions"].items())),
            ("predicts", record["counterfactual"]),
        ]
    )
