"""What a shell can complete: ids of requests and releases, words of the policy, terms, languages.

The shells ask by running the program, so that what is offered is what the workspace has now; files they know
themselves. Nothing is offered where there is no workspace, or where it cannot be read: a completion never fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from unlearnkit.office.workspace import Workspace

Offer = Callable[["Workspace"], Iterable[tuple[str, str]]]
"""What can stand there, each with a word of help."""


def _requests(office: Workspace) -> Iterable[tuple[str, str]]:
    for request in office.requests():
        due = request.next_due
        yield request.id, f"{request.state}, due {due.day}" if due else request.state


def _all_requests(office: Workspace) -> Iterable[tuple[str, str]]:
    return ((request.id, request.state) for request in office.requests(everything=True))


def _releases(office: Workspace) -> Iterable[tuple[str, str]]:
    for release in office.registry().releases.values():
        yield release.id, "in force" if release.is_in_force else f"retired {release.retired}"


def _words(kind: str) -> Offer:
    """Those of one list of the policy."""

    def offer(office: Workspace) -> Iterable[tuple[str, str]]:
        listed: tuple[str, ...] = getattr(office.policy().words, kind)
        return ((word, "") for word in listed)

    return offer


def _terms(office: Workspace) -> Iterable[tuple[str, str]]:
    from unlearnkit.office.cases import STATES

    yield from ((flag, "") for flag in ("open", "closed", "overdue", "late", "uncertified"))
    yield from ((f"state={state}", "") for state in STATES)
    yield from ((f"release={release.id}", "") for release in office.registry().releases.values())
    yield from ((start, "") for start in ("jurisdiction=", "source=", "decision=", "due<", "received>"))


def _languages(office: Workspace) -> Iterable[tuple[str, str]]:
    from unlearnkit.report.letters import FOLDER, packaged_languages

    own = {place.name for place in (office.root / FOLDER).glob("*") if place.is_dir()}
    return ((name, "") for name in sorted({*packaged_languages(), *own}))


_ANYWHERE: Mapping[str, Offer] = {
    "actor": _words("actors"),
    "to": _words("actors"),
    "source": _words("sources"),
    "release": _releases,
    "replaces": _releases,
    "language": _languages,
    "where": _terms,
    "recipient": _words("recipients"),
    "requests": _requests,
    "request": _all_requests,
}
"""By the name of a parameter, whatever the command."""
_OF_COMMANDS: Mapping[tuple[str, str], Offer] = {
    ("verify-identity", "method"): _words("identity_methods"),
    ("fail-identity", "method"): _words("identity_methods"),
    ("extend", "reason"): _words("extension_reasons"),
    ("assess", "ground"): _words("grounds"),
    ("refuse", "reason"): _words("refusal_reasons"),
    ("withdraw", "reason"): _words("withdrawal_reasons"),
    ("pause", "reason"): _words("pause_reasons"),
    ("fulfil", "notified"): _words("recipients"),
    ("fulfil", "refused"): _words("refusal_reasons"),
    ("appeal", "kind"): _words("appeals"),
    ("receipt", "requests"): _all_requests,
    ("letter", "requests"): _all_requests,
    ("appeal", "requests"): _all_requests,
}


def offer_completions(command: click.Command) -> None:
    """Let the parameters of a command, and of all below it, be completed."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            offer_completions(below)
    for parameter in command.params:
        offer = _OF_COMMANDS.get((command.name or "", parameter.name or "")) or _ANYWHERE.get(parameter.name or "")
        if offer is not None and isinstance(parameter.type, click.types.StringParamType):
            parameter.shell_complete = _completer(offer)  # type: ignore[method-assign, assignment]


def _completer(offer: Offer) -> Callable[[click.Context, str], list[CompletionItem]]:
    def complete(context: click.Context, incomplete: str) -> list[CompletionItem]:
        given = {value for values in context.params.values() if isinstance(values, tuple) for value in values}
        found = ((word, about) for word, about in _asked(offer) if word.startswith(incomplete) and word not in given)
        return [CompletionItem(word, help=about or None) for word, about in found]

    return complete


def _asked(offer: Offer) -> list[tuple[str, str]]:
    """What is offered in the workspace around; nothing if that cannot be told."""
    import unlearnkit as uk
    from unlearnkit.errors import UnlearnkitError

    try:
        return list(offer(uk.Workspace.find()))
    except (UnlearnkitError, OSError, ValueError, AttributeError):
        return []
