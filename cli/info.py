"""``unlearnkit info``: what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .output import Document, Output, columns, pass_output
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
    output.emit(BundleInfo.of(open_bundle(bundle, trust)), render_info)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo(Document):
    """What ``info`` and ``sketch`` print of a bundle."""

    schema: ClassVar[str] = "unlearnkit/info/v1"

    path: Path
    verified: bool
    signers: tuple[str, ...]
    digest: str
    recipe: _Recipe
    counterfactual: str
    units: int
    directions: _Directions
    informed: _Informed
    degree: int
    dtype: str
    probes: Mapping[str, tuple[int, ...]]
    reverse: Mapping[str, _Reverse]
    solo: _Solo
    salt_from: str
    weight_sketches: bool
    piecewise: tuple[Mapping[str, str], ...]
    versions: Mapping[str, str]
    bytes: int

    @classmethod
    def of(cls, bundle: Bundle) -> BundleInfo:
        """What a bundle holds."""
        manifest = bundle.manifest
        return cls(
            path=bundle.path,
            verified=bool(bundle.signers),
            signers=bundle.signers,
            digest=bundle.digest,
            recipe=_Recipe(str(manifest.recipe.description.get("name")), manifest.recipe_digest),
            counterfactual=manifest.counterfactual,
            units=manifest.units,
            directions=_Directions("explicit" if manifest.is_explicit else "random", manifest.direction_count),
            informed=_Informed(**asdict(manifest.informed)),
            degree=manifest.degree,
            dtype=manifest.dtype,
            probes={probe.name: probe.shape for probe in manifest.probes},
            reverse={entry.name: _Reverse(entry.rank, entry.residual, entry.cubic) for entry in manifest.reverse},
            solo=_Solo(manifest.solo.degree, len(manifest.solo.units)),
            salt_from="" if manifest.is_explicit else "log" if manifest.checkpoint else "chosen",
            weight_sketches=bundle.keeps_weights,
            piecewise=tuple(asdict(entry) for entry in manifest.piecewise),
            versions=dict(manifest.versions),
            bytes=sum(file.size for file in manifest.files),
        )


@dataclass(frozen=True, slots=True)
class _Recipe:
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class _Directions:
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class _Informed:
    count: int
    degree: int
    leading: int
    power_iterations: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.count} informed" + (
            f" (degree {self.degree} on the span of {self.leading})" if self.leading else ""
        )


@dataclass(frozen=True, slots=True)
class _Reverse:
    rank: int
    residual: int
    cubic: int


@dataclass(frozen=True, slots=True)
class _Solo:
    degree: int
    units: int


def render_info(info: BundleInfo) -> Iterable[str]:
    """The same as text."""
    probes = [f"{name} {'x'.join(map(str, shape)) or 'scalar'}" for name, shape in info.probes.items()]
    piecewise = [f"{item['operation']} ({item['kind']}) in {item['where']!r}" for item in info.piecewise]
    yield f"VERIFIED: signed by {', '.join(info.signers)}" if info.verified else UNVERIFIED
    yield from columns(
        [
            ("bundle", info.path),
            ("digest", info.digest),
            ("recipe", f"{info.recipe.name} ({info.recipe.digest})"),
            ("units", info.units),
            ("directions", f"{info.directions.count} {info.directions.kind}, {info.informed}"),
            ("degree", f"{info.degree}, computed in {info.dtype}"),
            ("probes", ", ".join(probes) or "none pinned"),
            ("reverse", ", ".join(f"{name} (rank {r.rank})" for name, r in info.reverse.items()) or "none"),
            (
                "solo",
                f"degree {info.solo.degree} along {counted(info.solo.units, 'unit')}" if info.solo.units else "none",
            ),
            (
                "salt",
                {"log": "from the log", "chosen": "chosen by somebody, not by a log"}.get(info.salt_from, "none"),
            ),
            ("weights", "kept: new probes can be evaluated" if info.weight_sketches else "not kept"),
            ("piecewise", "; ".join(piecewise) or "none"),
            ("size", f"{info.bytes / 1e6:.1f} MB"),
            ("made with", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
            ("predicts", info.counterfactual),
        ]
    )
