"""``unlearnkit plan``: what sketches of a recipe cost; or how many directions a certified bound will take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import click

from unlearnkit.names import counted

from .errors import values_from_options
from .output import Document, Output, columns, pass_output
from .recipes import RecipeSource, RecipeType

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.policy import Policy

Method = Literal["catoni", "median-of-means"]
_ABOVE_ZERO = click.FloatRange(0, min_open=True)


@click.command()
@click.argument("recipe", type=RecipeType(), required=False)
@click.option("--epsilon", type=_ABOVE_ZERO, help="The certified error to reach, in the probe's unit.")
@click.option("--delta", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Its chance.")
@click.option("--degree", type=click.IntRange(min=1), default=1, show_default=True, help="Of the part to be bounded.")
@click.option("--size", type=click.IntRange(min=1), default=1, show_default=True, help="Units deleted at once.")
@click.option("--units", type=click.IntRange(min=2), help="Units in the training data. Default: the bundle's.")
@click.option("--norm", type=_ABOVE_ZERO, help="||f_r||, see 'unlearnkit stability'. Default: the bundle's.")
@click.option("--elements", type=click.IntRange(min=1), help="Numbers in the probe. Default: the bundle's, or 1.")
@click.option("--bundle", type=click.Path(path_type=Path), help="A pilot sketch with a few directions.")
@click.option("--probe", help="Which of its probes.")
@click.option("--policy", help="Whose audit counts, with a recipe. Default: the workspace's, or gdpr.")
@click.option("--method", type=click.Choice(["catoni", "median-of-means"]), default="catoni", show_default=True)
@pass_output
def plan(
    output: Output,
    *,
    recipe: RecipeSource | None,
    epsilon: float | None,
    delta: float | None,
    degree: int,
    size: int,
    units: int | None,
    norm: float | None,
    elements: int | None,
    bundle: Path | None,
    probe: str | None,
    policy: str | None,
    method: Method,
) -> None:
    """Say what each way to sketch RECIPE costs, in time, plain trainings and storage, and what it buys.

    With the retrainings that the policy's audit takes, each pays after as many separate occasions on which one would
    train again as they cost plain trainings; where that is more than there are people, never.

    Or, with --epsilon and --delta, how many random directions make the certified error of a degree's part at most that:
    what to expect of a deletion in general position; one that is aligned with the change may need more.

    \b
    Example:
      unlearnkit plan examples/digits.py:recipe
      unlearnkit plan --epsilon 0.01 --delta 0.05 --units 1000 --norm 0.002 --degree 2
      unlearnkit plan --epsilon 0.01 --delta 0.05 --bundle run/pilot --probe test_loss
    """
    if recipe is not None:
        output.emit(_Costs.of(recipe, policy), _render_costs)
        return
    if epsilon is None or delta is None:
        raise click.UsageError("give a recipe, or --epsilon and --delta")
    if (bundle is None) != (probe is None):
        raise click.UsageError("--bundle and --probe belong together")
    if bundle is not None and probe is not None:
        units, norm, elements = _pilot(bundle, probe, degree, units, norm, elements)
    if units is None or norm is None:
        raise click.UsageError("give --units and --norm, or a pilot sketch with --bundle and --probe")
    with values_from_options():
        planned = _Plan.made(epsilon, delta, degree, units, size, norm, elements or 1, method)
    output.emit(planned, _render)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    name: str
    plain_trainings: float
    seconds: float
    bytes: int
    occasions: int
    buys: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs(Document):
    """training: seconds of a plain one. audit: retrainings that the policy plans.

    states: how those of the run are kept for reverse sweeps, with the memory that is free now.

    Of an option, occasions: after so many it has paid, with the audit.
    """

    schema: ClassVar[str] = "unlearnkit/costs/v1"

    training: float
    weights: int
    units: int
    elements: int
    states: str
    policy: str
    audit: int
    options: tuple[_Option, ...]

    @classmethod
    def of(cls, source: RecipeSource, policy: str | None) -> _Costs:
        from unlearnkit.sketching.cost import costs

        rules, found = _policy(policy), costs(source.load())
        audit = sum(stratum.count for stratum in rules.audit.within(found.units))
        options = tuple(
            _Option(
                name=item.name,
                plain_trainings=round(item.work, 1),
                seconds=round(item.work * found.training, 1),
                bytes=item.storage,
                occasions=ceil(item.work + audit),
                buys=item.buys,
            )
            for item in found.options
        )
        return cls(
            training=round(found.training, 3),
            weights=found.weights,
            units=found.units,
            elements=found.elements,
            states=str(found.states),
            policy=rules.name,
            audit=audit,
            options=options,
        )


def _policy(name: str | None) -> Policy:
    """One that is named; else that of the workspace around, or a packaged one."""
    from unlearnkit.compliance.policy.policy import Policy
    from unlearnkit.compliance.workspace import WorkspaceFiles

    workspace = None if name else WorkspaceFiles.nearest()
    return Policy.load(name or "gdpr") if workspace is None else workspace.policy()


def _render_costs(found: _Costs) -> Iterable[str]:
    yield f"a plain training takes about {found.training:.3g} s, by its first steps; {counted(found.weights, 'weight')}"
    yield f"{counted(found.units, 'unit')}, {counted(found.elements, 'number')} in all pinned probes"
    yield f"reverse sweeps: {found.states}"
    yield f"{'way to sketch':<36} {'trainings':>9} {'seconds':>9} {'MB':>9} {'pays after':>10}  what it buys"
    for item in found.options:
        size, pays = item.bytes / 1e6, item.occasions if item.occasions <= found.units else "never"
        numbers = f"{item.plain_trainings:>9.4g} {item.seconds:>9.4g} {size:>9.3g} {pays:>10}"
        yield f"{item.name:<36} {numbers}  {item.buys}"
    yield "Of that order: the factors are those of a small model."
    cost = counted(found.audit, "training")
    yield f"The audit of policy {found.policy} costs {cost}: with a sketch it pays after as many"
    yield "separate occasions on which one would train again; before, train again: in computing that is cheaper."
    if any(item.occasions > found.units for item in found.options):
        who = counted(found.units, "person")
        yield f"Never: the data are those of {who}, and it would take more occasions than that."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan(Document):
    schema: ClassVar[str] = "unlearnkit/plan/v1"

    degree: int
    units: int
    size: int
    norm: float
    method: str
    elements: int
    delta: float
    epsilon: float
    directions: int
    planned_epsilon: float

    @classmethod
    def made(
        cls,
        epsilon: float,
        delta: float,
        degree: int,
        units: int,
        size: int,
        norm: float,
        elements: int,
        method: Method,
    ) -> _Plan:
        from unlearnkit.estimation.planning import directions_needed, planned_epsilon

        count = directions_needed(
            epsilon, delta, degree=degree, units=units, size=size, norm=norm, elements=elements, method=method
        )
        reached = planned_epsilon(
            count, degree=degree, units=units, size=size, norm=norm, delta=delta / elements, method=method
        )
        return cls(
            degree=degree,
            units=units,
            size=size,
            norm=norm,
            method=method,
            elements=elements,
            delta=delta,
            epsilon=epsilon,
            directions=count,
            planned_epsilon=reached,
        )


def _pilot(
    path: Path, probe: str, degree: int, units: int | None, norm: float | None, elements: int | None
) -> tuple[int, float, int]:
    """What the options do not say, from a sketch."""
    from unlearnkit.bundle import Bundle
    from unlearnkit.errors import EstimationError

    sketch = Bundle.open(path).probe(probe)
    found = next((row.norm for row in sketch.stability() if row.degree == degree), None)
    if norm is None and found is None:
        raise EstimationError(f"{path} does not tell the size of degree {degree} of {probe}", hint="give --norm")
    return units or sketch.directions.units, norm or found or 0.0, elements or int(sketch.base.size)


def _render(plan: _Plan) -> Iterable[str]:
    yield f"{plan.directions} random directions"
    yield from columns(
        [
            (
                "bounds",
                f"degree {plan.degree} for {counted(plan.elements, 'number')}, {counted(plan.size, 'unit')} deleted",
            ),
            ("epsilon", f"{plan.planned_epsilon:.4g} expected, {plan.epsilon:g} asked"),
            ("delta", f"{plan.delta:g}"),
            ("given", f"{counted(plan.units, 'unit')}, ||f_{plan.degree}|| = {plan.norm:.4g}"),
        ]
    )
