"""``unlearnkit audit``: check a bundle, or its predictions, by training again."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, fields, number, pass_output
from .recipes import RecipeSource, RecipeType
from .trust import UNVERIFIED, file_or_workspace_signer, open_bundle, trust_option

if TYPE_CHECKING:
    from unlearnkit.audit.comparison import Comparison
    from unlearnkit.audit.replay import Replay
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.signing.keys import PrivateKey
    from unlearnkit.verifier.evidence import Evidence
    from unlearnkit.verifier.plan import Distribution

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_SHARE = click.FloatRange(0, 1, min_open=True)


@click.group()
def audit() -> None:
    """Check a bundle by training again: its own numbers, or how good its predictions are."""


class _Indices(click.ParamType[tuple[int, ...]]):
    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"got {value!r}, expected directions counted from 0, for example 4,17,99", param, ctx)
        return tuple(int(part) for part in parts)


class _Size(click.ParamType[tuple[int, int]]):
    name = "LEAST:MOST"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(":")
        if not 1 <= len(parts) <= 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"got {value!r}, expected numbers of units, for example 10:50 or 1", param, ctx)
        return int(parts[0]), int(parts[-1])


@audit.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recipe", type=RecipeType())
@click.option("--directions", type=click.IntRange(min=1), default=3, show_default=True, help="How many, from a seed.")
@click.option("--indices", type=_Indices(), help="Exactly these instead, counted from 0.")
@click.option("--seed", help="Text that the choice follows from. Default: a fresh one, which is shown.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Default: the bundle's own.")
@click.option("--device", help="A torch device. Default: a GPU when there is one.")
@click.option("--tolerance", type=click.FloatRange(min=0), help="Relative. Default: 64 eps sqrt(steps).")
@trust_option
@pass_output
def replay(
    output: Output,
    *,
    bundle: Path,
    recipe: RecipeSource,
    directions: int,
    indices: tuple[int, ...] | None,
    seed: str | None,
    dtype: str | None,
    device: str | None,
    tolerance: float | None,
    trust: TrustStore | None,
) -> None:
    """Train RECIPE again along a few directions of BUNDLE, and compare every number that they gave.

    Whoever made the bundle must not know the directions beforehand: pick them, or a seed, when you have the bundle.
    With --dtype float64 the differences are the bundle's rounding error. The exit code is 4 when something differs by
    more than the tolerance, which is relative to the largest coefficient of the same degree. An index counts modulo the
    number of directions of each kind, random, informed or residual; a bundle without any has its trained weights, bases
    and gradients compared.

    \b
    Example:
      unlearnkit audit replay run/bundle examples/digits.py:recipe --directions 3
    """
    from unlearnkit.audit.replay import directions_from_seed, verify_replay
    from unlearnkit.audit.replay import replay as run_replay

    if indices is not None and seed is not None:
        raise click.UsageError("--indices and --seed exclude each other")
    opened = _open(output, bundle, trust)
    loaded = recipe.load()
    text = (seed or secrets.token_hex(16)) if indices is None else None
    with values_from_options():
        chosen = (indices or ()) if text is None else directions_from_seed(opened, text, directions)
        found = run_replay(opened, loaded, chosen, dtype=dtype, device=device, tolerance=tolerance)
    output.emit(_replay_document(opened, found, text), _render_replay)
    verify_replay(found)


def _open(output: Output, path: Path, trust: TrustStore | None) -> Bundle:
    opened = open_bundle(path, trust)
    if not opened.signers:
        output.say(UNVERIFIED)
    return opened


def _replay_document(bundle: Bundle, found: Replay, seed: str | None) -> Document:
    return {
        "schema": "unlearnkit/replay/v1",
        "bundle": bundle.digest,
        "signers": list(bundle.signers),
        "agrees": all(comparison.agrees for comparison in found.comparisons),
        "seed": seed,
        "directions": list(found.indices),
        "dtype": found.dtype,
        "bundle_dtype": bundle.manifest.dtype,
        "names_units": found.names_units,
        "tolerance": found.comparisons[0].tolerance,
        "comparisons": [_comparison(comparison) for comparison in found.comparisons],
        "numeric_error": _numeric_error(bundle, found) if found.dtype == "float64" else None,
    }


def _numeric_error(bundle: Bundle, found: Replay) -> dict[str, list[float]]:
    """Of each probe the largest rounding error: of its base, then of its coefficients, degree by degree."""
    errors = {name: found.numeric_error(name) for name in bundle.probe_names}
    return {name: [float(degree.max(initial=0)) for degree in error] for name, error in errors.items()}


def _comparison(comparison: Comparison) -> dict[str, object]:
    return {
        "kind": comparison.kind,
        "name": comparison.name,
        "degree": comparison.degree,
        "rows": list(comparison.rows),
        "scale": comparison.scale,
        "difference": comparison.difference,
        "agrees": comparison.agrees,
        "worst": None if comparison.agrees else comparison.worst(),
        "what": str(comparison),
    }


def _render_replay(document: Document) -> Iterator[str]:
    record: dict[str, Any] = dict(document)
    chosen = ", ".join(map(str, record["directions"])) or "none: the bundle has none, only what needs none is compared"
    yield from fields(
        [
            ("directions", chosen),
            ("seed", record["seed"]),
            ("units", "those of the recipe" if record["names_units"] else "not compared, without the pseudonym key"),
            ("precision", f"{record['dtype']}, the bundle's is {record['bundle_dtype']}"),
            ("tolerance", f"{record['tolerance']:.3g} of the largest number of the same kind and degree"),
        ]
    )
    for row in record["comparisons"]:
        share = row["difference"] / row["scale"] if row["scale"] else row["difference"]
        yield f"  {'same' if row['agrees'] else 'DIFFERENT'}  {row['what']}: off by {share:.2g} of {row['scale']:.3g}"
    for name, (base, *errors) in (record["numeric_error"] or {}).items():
        degrees = ", ".join(f"degree {degree} {error:.2g}" for degree, error in enumerate(errors, start=1))
        yield f"rounding of {name}: base {base:.2g}{', ' if degrees else ''}{degrees}"
    yield f"the bundle {'holds' if record['agrees'] else 'does NOT hold'} what its recipe gives"


@audit.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recipe", type=RecipeType())
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="Where the evidence goes.")
@click.option("--key", type=_FILE, help="Private key (P-256, PEM) that signs the evidence. Default: the workspace's.")
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="Retrainings.")
@click.option("--delta", type=float, default=0.05, show_default=True, help="The least that bounds shall have.")
@click.option("--size", type=_Size(), help="Delete so many units at random, every number from LEAST to MOST alike.")
@click.option("--groups", type=_FILE, help='Or one of these groups: JSON {"unit": "label", ...}.')
@click.option("--share", type=_SHARE, default=1.0, show_default=True, help="Of the group, rounded up.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@trust_option
@passphrase_options
@pass_output
def retrain(
    output: Output,
    /,
    *,
    bundle: Path,
    recipe: RecipeSource,
    path: Path,
    key: Path | None,
    size: tuple[int, int] | None,
    groups: Path | None,
    share: float,
    trust: TrustStore | None,
    passphrase: PassphraseSource,
    **settings: Any,
) -> None:
    """Retrain RECIPE without drawn sets of units, and sign what the probes are then: evidence for audited bounds.

    The draws follow from the digest of BUNDLE, which must be signed by a trusted key, so nobody can pick them. Bounds
    from the evidence hold for deletions of the stated kind alone, and 1/delta - 1 retrainings are the fewest for a
    delta. An interrupted audit is continued by the same command.

    \b
    Example:
      unlearnkit audit retrain run/bundle examples/digits.py:recipe --size 10:50 -o run/audit.json
    """
    import unlearnkit as uk
    from unlearnkit.verifier.evidence import verify_evidence

    if (size is None) == (groups is None):
        raise click.UsageError("state what is deleted: either --size or --groups")
    signer = _signer(key, passphrase)
    opened = _open(output, bundle, trust)
    source = recipe.load if settings["workers"] > 1 else recipe.load()
    with values_from_options():
        distribution = _distribution(opened, size, groups, share)
        progress = False if output.verbosity < 0 else None
        settings |= {"deletions": distribution, "signer": signer, "out": path, "progress": progress}
        raw = uk.audit_retraining(source, opened, **settings)
    evidence = verify_evidence(raw, where=str(path), keys=[signer.public], bundle=opened)
    output.emit(_evidence_document(opened, path, evidence), _render_evidence)


def _signer(key: Path | None, passphrase: PassphraseSource) -> PrivateKey:
    from unlearnkit.compliance.workspace import Workspace

    return file_or_workspace_signer(key, passphrase) or Workspace.find().signer_key()  # says that there is none


def _distribution(bundle: Bundle, size: tuple[int, int] | None, groups: Path | None, share: float) -> Distribution:
    from unlearnkit.verifier.plan import GroupDeletions, UnitDeletions

    if size is not None:
        if share != 1:
            raise click.UsageError("--share is of a group: it goes with --groups")
        return UnitDeletions(least=size[0], most=size[1])
    return GroupDeletions.of_labels(_labels(bundle, groups or Path()), Decimal(str(share)))


def _labels(bundle: Bundle, file: Path) -> Mapping[int, str]:
    """The label of each unit position, from a JSON object by name or pseudonym."""
    from unlearnkit.canonical import parse_json
    from unlearnkit.errors import FormatError

    record = parse_json(file.read_bytes(), where=str(file))
    if not isinstance(record, dict) or not all(isinstance(label, str) for label in record.values()):
        raise FormatError(f'{file}: expected an object with a label for each unit: {{"unit": "label", ...}}')
    return dict(zip(bundle.unit_indices(list(record)).tolist(), record.values(), strict=True))


def _evidence_document(bundle: Bundle, path: Path, evidence: Evidence) -> Document:
    from unlearnkit.records import to_json

    found = evidence.audit
    return {
        "schema": "unlearnkit/retraining-audit/v1",
        "path": str(path),
        "sha256": evidence.digest,
        "bundle": found.bundle,
        "signers": list(evidence.signers),
        "distribution": to_json(found.distribution),
        "deletions": str(found.distribution),
        "count": len(found.deletions),
        "least_delta": 1 / (len(found.deletions) + 1),
        "probes": [_errors(bundle, evidence, name) for name in evidence.probes],
    }


def _errors(bundle: Bundle, evidence: Evidence, name: str) -> dict[str, object]:
    """What deletions really changed, and how far predictions were off: root mean squares over sets and elements."""
    sketch, truth = bundle.probe(name), evidence.audit.probes[name]
    predicted = sketch.predict(evidence.masks()).value
    rms = [float((difference**2).mean() ** 0.5) for difference in (truth - sketch.base, truth - predicted)]
    return {"name": name, "change": rms[0], "error": rms[1]}


def _render_evidence(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    rows: list[tuple[str, object]] = [
        ("evidence", record["path"]),
        ("sha256", record["sha256"]),
        ("retrainings", record["count"]),
        ("deletions", record["deletions"]),
        ("least delta", number(record["least_delta"])),
    ]
    for probe in record["probes"]:
        error, change = number(probe["error"]), number(probe["change"])
        rows.append((probe["name"], f"predicted to {error} where deletions change it by {change} (root mean square)"))
    return fields(rows)
