"""``unlearnkit check``: what stands in the way of sketching a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import click

from .output import Document, Output, pass_output
from .recipes import RecipeSource, RecipeType

_VERDICTS = {
    "unsupported": "cannot be sketched",
    "piecewise": "only piecewise analytic: needs Recipe(allow_piecewise=True)",
    "decision": "decided by the real run; listed in the manifest",
    "coupled": 'a deletion would leave traces in others: needs Recipe(coupled="accept")',
    "kink": "differentiated on the branch that training takes; listed in the manifest",
    "rounding": "moves by rounding errors alone, and has no series; listed in the manifest",
    "note": "nothing in the way, but worth knowing",
}
_SENTENCES = ("coupled", "rounding", "note")  # kinds whose place is told in a sentence


@dataclass(frozen=True, slots=True)
class _Problem:
    operation: str
    kind: str
    where: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked(Document):
    schema: ClassVar[str] = "unlearnkit/check/v1"

    recipe: str
    ready: bool
    problems: tuple[_Problem, ...]


@click.command()
@click.argument("recipe", type=RecipeType())
@click.pass_context
@pass_output
def check(output: Output, ctx: click.Context, recipe: RecipeSource) -> None:
    """List every operation of RECIPE that cannot be sketched, with its place and a replacement.

    Its first steps are trained on a copy, over jets and by plain torch, and compared. The exit code is 1 when something
    stands in the way.

    \b
    Example:
      unlearnkit check examples/digits.py:recipe
    """
    import unlearnkit as uk

    loaded = recipe.load()
    problems = uk.check(loaded)
    accepted = {"piecewise": loaded.allow_piecewise, "coupled": loaded.coupled == "accept"}
    blocking = {"unsupported", *(kind for kind, accepts in accepted.items() if not accepts)}
    ready = not any(problem.kind.value in blocking for problem in problems)
    rows = tuple(_Problem(p.operation, p.kind.value, p.where, p.hint) for p in problems)
    output.emit(_Checked(recipe=loaded.name, ready=ready, problems=rows), _render)
    ctx.exit(0 if ready else 1)


def _render(checked: _Checked) -> Iterable[str]:
    for problem in checked.problems:
        yield f"{problem.operation}: {_VERDICTS[problem.kind]}"
        yield f"    {'' if problem.kind in _SENTENCES else 'at '}{problem.where}"
        if problem.hint:
            yield f"    {problem.hint}"
    yield f"{checked.recipe}: {'can be sketched' if checked.ready else 'cannot be sketched as it is'}"
