"""``unlearnkit stability``: how large each degree's part of a probe is, measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .output import Document, Output, pass_output
from .trust import UNVERIFIED, open_bundle, trust_option

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.estimation.stability import Size


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--probe", required=True, help="Which probe; 'unlearnkit info' lists them.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a figure (SVG) to this new file.")
@trust_option
@pass_output
def stability(output: Output, *, bundle: Path, probe: str, plot: Path | None, trust: TrustStore | None) -> None:
    """Measure how large each degree's part of a probe is, with certified 95 % intervals.

    When the sizes fall by a factor from degree to degree, a policy may declare one ([certificate.stability]). Few
    directions and a high degree make a profile at little cost.

    \b
    Example:
      unlearnkit sketch examples/digits.py:recipe -o run/profile --directions 16 --degree 8
      unlearnkit stability run/profile --probe test_loss --plot run/profile.svg
    """
    opened = open_bundle(bundle, trust)
    if not opened.signers:
        output.say(UNVERIFIED)
    rows = opened.probe(probe).stability()
    if plot is not None:
        _plot(plot, probe, rows)
    degrees = tuple(_Degree(row.degree, row.norm, row.low, row.high if _known(row) else None) for row in rows)
    output.emit(_Profile(verified=bool(opened.signers), probe=probe, degrees=degrees, plot=plot), _render)


@dataclass(frozen=True, slots=True)
class _Degree:
    degree: int
    norm: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile(Document):
    schema: ClassVar[str] = "unlearnkit/stability/v1"

    verified: bool
    probe: str
    degrees: tuple[_Degree, ...]
    plot: Path | None


def _known(row: Size) -> bool:
    return math.isfinite(row.high)


def _plot(path: Path, probe: str, rows: Sequence[Size]) -> None:
    """What is not bounded from above ends at its estimate."""
    from unlearnkit.files import write_new
    from unlearnkit.report import stability_figure

    known = [(row.degree, row.low, row.norm, row.high if _known(row) else row.norm) for row in rows]
    write_new(path, stability_figure(probe, known).encode())


def _render(profile: _Profile) -> Iterable[str]:
    yield f"{profile.probe}: root mean square over its elements, of ||f_r||"
    yield f"{'degree':>6} {'size':>12}   certified, 95 %"
    for row in profile.degrees:
        above = "not known" if row.high is None else f"{row.high:.4g}"
        yield f"{row.degree:>6} {row.norm:>12.4g}   {row.low:.4g} to {above}"
    if not profile.degrees:
        yield "nothing is known of it: the bundle has neither random directions nor reverse sweeps for this probe"
