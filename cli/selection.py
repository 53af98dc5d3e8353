"""Steps for many requests at once: which they are, and what became of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from unlearnkit.names import counted

from .errors import exit_code, values_from_options
from .output import Output
from .request_views import FailedView, Look, Requests, RequestView, render_list

if TYPE_CHECKING:
    from unlearnkit.compliance.requests.request import Request
    from unlearnkit.errors import UnlearnkitError
    from unlearnkit.office.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which requests a step is for: ids; or terms that must hold. closed: not only for open ones."""

    ids: tuple[str, ...]
    where: tuple[str, ...]
    everybody: bool
    closed: bool = False

    def of(self, office: Workspace) -> tuple[str, ...]:
        """Their ids, each once. UsageError for none said, or both ways; ValueError for a term that there is not."""
        from unlearnkit.office.cases import cases, pick

        if bool(self.ids) == bool(self.where or self.everybody):
            raise click.UsageError("name requests, or pick them with --where or --open")
        if self.ids:
            return tuple(dict.fromkeys(self.ids))
        terms = self.where if self.closed and not self.everybody else [*self.where, "open"]
        found = pick(cases(office.view(), office.today), terms, everything=self.closed)
        return tuple(case.request.id for case in found if not case.request.duplicate_of)


def chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument REQUEST... and the options --where and --open, as its argument ``chosen``."""
    return _chosen(command, closed=False)


def chosen_of_all(command: Callable[..., None]) -> Callable[..., None]:
    """`chosen`, where --where picks closed requests, too."""
    return _chosen(command, closed=True)


def _chosen(command: Callable[..., None], *, closed: bool) -> Callable[..., None]:
    @wraps(command)
    def run(*args: Any, requests: tuple[str, ...], where: tuple[str, ...], everybody: bool, **options: Any) -> None:
        command(*args, chosen=Chosen(requests, where, everybody, closed), **options)

    kind = "Those" if closed else "Open ones"
    for decorate in (
        click.option("--open", "everybody", is_flag=True, help="All open requests."),
        click.option("--where", multiple=True, help=f"{kind} for which this holds: see 'unlearnkit requests list'."),
        click.argument("requests", metavar="REQUEST...", nargs=-1),
    ):
        run = decorate(run)
    return run


NARROWED = click.option("--where", multiple=True, help="With --open: only those for which this holds.")


def narrowed(office: Workspace, found: Sequence[Request], where: Sequence[str]) -> tuple[str, ...]:
    """The ids of those requests for which all terms hold."""
    from unlearnkit.office.cases import cases, pick

    if not where:
        return tuple(request.id for request in found)
    held = {case.request.id for case in pick(cases(office.view(), office.today), where)}
    return tuple(request.id for request in found if request.id in held)


def each(output: Output, chosen: Chosen, step: Callable[[Workspace, str], Request], *, by: str | None = None) -> None:
    """Take a step for each under one lock, and say what became of it. The first refusal is the exit code."""
    import unlearnkit as uk

    office = uk.Workspace.find()
    with values_from_options():
        names = chosen.of(office)
        with office.together(by=by):
            done, failed = _taken(office, names, step)
    emit(output, office, done, failed=[FailedView.of(name, err) for name, err in failed])
    if len(names) != 1:
        output.say(f"{len(done)} of {counted(len(names), 'request')}: done")
    if failed:
        raise click.exceptions.Exit(exit_code(failed[0][1]))


def _taken(
    office: Workspace, names: Sequence[str], step: Callable[[Workspace, str], Request]
) -> tuple[list[Request], list[tuple[str, UnlearnkitError]]]:
    from unlearnkit import errors

    done, failed = [], []
    for name in names:
        try:
            done.append(step(office, name))
        except errors.UnlearnkitError as err:
            if len(names) == 1:
                raise
            failed.append((name, err))
    return done, failed


def emit(output: Output, office: Workspace, found: Sequence[Request], *, failed: Sequence[FailedView] = ()) -> None:
    """Print requests, as the log has them."""
    look = Look(office.view(), office.today, office.timezone, office.origin, office)
    views = tuple(RequestView.of(look.view.register.get(request.id), look) for request in found)
    output.emit(Requests(today=look.today, requests=views, failed=tuple(failed)), render_list)
