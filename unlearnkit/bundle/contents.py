"""What a bundle holds, as a table for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.bundle.manifest import Manifest
from unlearnkit.names import counted
from unlearnkit.notebook import html_table


def contents_table(manifest: Manifest, *, path: str, signers: Sequence[str]) -> str:
    """HTML: a row for each pinned probe, and below whose data, which run, and who signed."""
    swept = {entry.name: entry for entry in manifest.reverse}
    rows = []
    for probe in manifest.probes:
        found = swept.get(probe.name)
        shape = " x ".join(map(str, probe.shape)) or "1 number"
        order = "" if found is None else "1" if not found.rank else f"1, 2 by rank {found.rank}"
        rows.append((probe.name, shape, order + (f", 3 by rank {found.cubic}" if found and found.cubic else "")))
    solo, name = manifest.solo, manifest.recipe.description.get("name")
    along = (
        [f"{counted(manifest.direction_count, 'direction')} of degree {manifest.degree}"]
        if manifest.direction_count
        else []
    )
    along += [f"{counted(len(solo.units), 'unit')} alone of degree {solo.degree}"] if solo.units else []
    along += [str(manifest.informed)] if manifest.informed.count else []
    signed = f"signed by {', '.join(signer[:16] for signer in signers)}" if signers else "no signature was checked"
    below = f"Recipe {name}, {counted(manifest.units, 'unit')}; series along {'; '.join(along) or 'nothing'}; {signed}."
    return html_table(f"Bundle {path}", ("probe", "shape", "orders by reverse sweeps"), rows, below=below)
