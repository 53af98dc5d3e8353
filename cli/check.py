"""``unlearnkit check``: what stands in the way of sketching a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from .output import Document, Output, pass_output
from .recipes import RecipeSource, RecipeType

_VERDICTS = {
    "unsupported": "cannot be sketched",
    "piecewise": "only piecewise analytic: needs Recipe(allow_piecewise=True)",
    "decision": "decided by the real run; listed in the manifest",
    "coupled": 'a deletion would leave traces in others: needs Recipe(coupled="accept")',
    "note": "nothing in the way, but worth knowing",
}
_SENTENCES = ("coupled", "note")  # kinds whose place is told in a sentence


@click.command()
@click.argument("recipe", type=RecipeType())
@click.pass_context
@pass_output
def check(output: Output, ctx: click.Context, recipe: RecipeSource) -> None:
    """List every operation of RECIPE that cannot be sketched, with its place and a replacement.

    Nothing is trained. The exit code is 1 when something stands in the way.

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
    document = {
        "schema": "unlearnkit/check/v1",
        "recipe": loaded.name,
        "ready": ready,
        "problems": [
            {"operation": p.operation, "kind": p.kind.value, "where": p.where, "hint": p.hint} for p in problems
        ],
    }
    output.emit(document, _render)
    ctx.exit(0 if ready else 1)


def _render(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    for problem in record["problems"]:
        yield f"{problem['operation']}: {_VERDICTS[problem['kind']]}"
        yield f"    {'' if problem['kind'] in _SENTENCES else 'at '}{problem['where']}"
        if problem["hint"]:
            yield f"    {problem['hint']}"
    verdict = "can be sketched" if record["ready"] else "cannot be sketched as it is"
    yield f"{record['recipe']}: {verdict}"
