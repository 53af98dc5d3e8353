"""``unlearnkit info``: what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Document, Output, fields, pass_output
from .trust import UNVERIFIED, open_bundle, trust_option

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@trust_option
@pass_output
def info(output: Output, *, bundle: Path, trust: TrustStore | None) -> None:
    """Say what BUNDLE holds, after checking its signature and every file against its manifest.

    Without --trust and outside a workspace, no signature is checked.

    \b
    Example:
      unlearnkit info run/bundle
    """
    output.emit(document_of(open_bundle(bundle, trust)), render_info)


def document_of(bundle: Bundle) -> dict[str, Any]:
    """What ``info`` and ``sketch`` print."""
    manifest = bundle.manifest
    return {
        "schema": "unlearnkit/info/v1",
        "path": str(bundle.path),
        "verified": bool(bundle.signers),
        "signers": list(bundle.signers),
        "digest": bundle.digest,
        "recipe": {"name": manifest.recipe.description.get("name"), "digest": manifest.recipe_digest},
        "counterfactual": manifest.counterfactual,
        "units": manifest.units,
        "directions": {"kind": "explicit" if manifest.is_explicit else "random", "count": manifest.direction_count},
        "informed": {"count": manifest.informed.count, "power_iterations": manifest.informed.power_iterations},
        "degree": manifest.degree,
        "dtype": manifest.dtype,
        "probes": {probe.name: list(probe.shape) for probe in manifest.probes},
        "reverse": {entry.name: {"rank": entry.rank, "residual": entry.residual} for entry in manifest.reverse},
        "weight_sketches": bundle.keeps_weights,
        "piecewise": [asdict(entry) for entry in manifest.piecewise],
        "versions": dict(manifest.versions),
        "bytes": sum(file.size for file in manifest.files),
    }


def render_info(document: Document) -> Iterable[str]:
    """The same as text."""
    record: dict[str, Any] = dict(document)
    probes = [f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in record["probes"].items()]
    directions = (
        f"{record['directions']['count']} {record['directions']['kind']}, {record['informed']['count']} informed"
    )
    yield f"VERIFIED: signed by {', '.join(record['signers'])}" if record["verified"] else UNVERIFIED
    yield from fields(
        [
            ("bundle", record["path"]),
            ("digest", record["digest"]),
            ("recipe", f"{record['recipe']['name']} ({record['recipe']['digest']})"),
            ("units", record["units"]),
            ("directions", directions),
            ("degree", f"{record['degree']}, computed in {record['dtype']}"),
            ("probes", ", ".join(probes) or "none pinned"),
            ("reverse", ", ".join(f"{name} (rank {a['rank']})" for name, a in record["reverse"].items()) or "none"),
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
