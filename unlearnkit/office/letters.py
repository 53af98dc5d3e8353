"""Letters about requests: which one may be written now, and what the log says that it may say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from unlearnkit.compliance.policy.policy import OWN_LOSS, Ending, Policy
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import (
    Acted,
    AppealExtended,
    Event,
    Extended,
    Fulfilled,
    Refused,
    Shown,
)
from unlearnkit.compliance.settings import Sender
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.office.recorded import cleared_in
from unlearnkit.report.letters import Letters, LetterWords
from unlearnkit.verifier.account import Issued
from unlearnkit.verifier.audits import Committed, commitments, logged_audits
from unlearnkit.verifier.recording import issued_in

_NOT_NEEDED = "not-needed"
"""The word for that nobody has to show who they are."""


class Kind(StrEnum):
    """The letters that there are."""

    RECEIPT = "receipt"
    IDENTITY = "identity"
    EXTENSION = "extension"
    REFUSAL = "refusal"
    COMPLETION = "completion"
    RECIPIENTS = "recipients"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What a letter is made from."""

    request: Request
    view: LogView
    policy: Policy
    sender: Sender
    words: LetterWords

    def said(self, event: Event, kind: Kind) -> Acted:
        """What was recorded when this happened; RefusedError if it has not."""
        step = self.request.last(event)
        if step is None or not isinstance(step.body, Acted):
            raise RefusedError(
                f"{self.request.id} is {self.request.state}: a letter of {kind} says that it was {event.state}",
                hint="record the step first; the letter is written from the log",
            )
        return step.body


def write_letter(
    request: Request, kind: Kind, *, view: LogView, policy: Policy, sender: Sender, letters: Letters, today: date
) -> str:
    """A letter, as text, from the log alone.

    Args:
        request: That it is about.
        kind: Which.
        view: The log.
        policy: Whose ways of showing an identity are listed.
        sender: Who writes.
        letters: The templates of a language.
        today: The day of the letter.

    Raises:
        RefusedError: The log does not say what the letter would.
        UnknownNameError: The language has no words for something.
    """
    original = view.register.original(request)
    case = _Case(request=original, view=view, policy=policy, sender=sender, words=letters.words)
    template, facts = _FACTS[kind](case)
    words, due = letters.words, original.respond
    common = {
        "sender": sender,
        "today": words.day(today),
        "request": request.id,
        "received": words.day(request.received),
        "due": words.day(due.day),
        "rule": words.rule(due.rule),
        "rights": words.rights_in(case.request.receipt.jurisdiction, sender.authority),
    }
    return letters.write(template, {**common, **facts})


_Facts = tuple[str, Mapping[str, object]]


def _receipt(case: _Case) -> _Facts:
    verified = case.request.last(Event.IDENTITY_VERIFIED) is not None
    return "receipt", {"identity": not verified and case.policy.words.identity_methods != (_NOT_NEEDED,)}


def _identity(case: _Case) -> _Facts:
    if case.request.is_closed or case.request.last(Event.IDENTITY_VERIFIED):
        raise RefusedError(f"{case.request.id} is {case.request.state}: nobody has to be asked who they are")
    ways = [word for word in case.policy.words.identity_methods if word != _NOT_NEEDED]
    if not ways:
        raise RefusedError(f"policy {case.policy.name} asks nobody who they are", hint="record verify-identity")
    return "identity", {"identity": [case.words.say("identity", word) for word in ways]}


def _extension(case: _Case) -> _Facts:
    of_appeal = case.request.last(Event.APPEAL_EXTENDED) is not None
    body = case.said(Event.APPEAL_EXTENDED if of_appeal else Event.EXTENDED, Kind.EXTENSION)
    assert isinstance(body, Extended | AppealExtended)  # noqa: S101 - what these events say
    words, appealed = case.words, case.request.last(Event.APPEALED)
    return "extension", {
        "reason": words.say("reasons", body.reason),
        "appealed": words.day(appealed.on) if of_appeal and appealed else "",
        "due": words.day(body.respond.day),
        "rule": words.rule(body.respond.rule),
    }


def _refusal(case: _Case) -> _Facts:
    body = case.said(Event.REFUSED, Kind.REFUSAL)
    assert isinstance(body, Refused)  # noqa: S101 - what this event says
    return "refusal", {"reason": case.words.say("reasons", body.reason), "decided": case.words.day(body.on)}


def _completion(case: _Case) -> _Facts:
    body = case.said(Event.FULFILLED, Kind.COMPLETION)
    assert isinstance(body, Fulfilled)  # noqa: S101 - what this event says
    words = case.words
    facts = {
        "decided": words.day(body.on),
        "retain_until": words.day(body.retain_until),
        "records": body.records,
        "kept": words.say("reasons", body.refused) if body.refused else "",
        "notified": words.listed([words.say("recipients", name) for name in body.notified or ()]),
        "attested": body.shown is Shown.ATTESTATION,
    }
    return f"completion-{body.method}", {**facts, **_shown(case, body)}


def _shown(case: _Case, body: Fulfilled) -> Mapping[str, object]:
    """What the certificates say by which it was fulfilled, as far as the log repeats it."""
    if body.method == Ending.NEGLIGIBLE_EFFECT:
        issued = [item for item in issued_in(case.view) if item.certificate in body.evidence]
        return _predicted(case, issued)
    if body.method == Ending.CORRECTED:
        return _corrected(case)
    excluded = body.method == Ending.RETRAINED
    cleared = [item for item in cleared_in(case.view) if bool(item.before) is excluded]
    cleared = [item for item in cleared if item.certificate in body.evidence]
    names = dict.fromkeys(name for item in cleared for name in item.releases)
    before = next((item.before for item in cleared if item.before), "")
    return {
        "releases": _named(case, names),
        "before": case.words.release(before) if before else "",
        "retired": _retired(case, [before]) if before else "",
    }


def _predicted(case: _Case, issued: Sequence[Issued]) -> Mapping[str, object]:
    """What certificates of the effect say, and how sure that is: proved up to a chance; or as audits before found."""
    delta = sum((Decimal(question.delta) for item in issued for question in item.questions), Decimal(0))
    audits = [said for item in issued for said in _audits(case.view, item)]
    names = list(dict.fromkeys(item.release for item in issued))
    share = case.words.share
    return {
        "releases": _named(case, names),
        "since": case.words.day(case.view.registry.get(names[0]).registered) if len(names) == 1 else "",
        "retired": _retired(case, names),
        "own": OWN_LOSS in case.policy.certificate.probes,
        "delta": share(delta) if delta else "",
        "content": share(Decimal(audits[-1].content)) if audits else "",
        "confidence": share(Decimal(audits[-1].confidence)) if audits else "",
    }


def _audits(view: LogView, issued: Issued) -> Sequence[Committed]:
    """The audits of its bundle that were finished before a certificate was recorded."""
    return [
        said
        for index, said in commitments(view)
        if said.bundle == issued.bundle
        and any(
            audit.committed == index and audit.evidence
            for audit in logged_audits(view, said.recipe, before=issued.index)
        )
    ]


def _named(case: _Case, names: Iterable[str]) -> str:
    return case.words.listed([case.words.release(name) for name in names])


def _retired(case: _Case, names: Sequence[str]) -> str:
    """The day on which the last of some releases went out of use; nothing while one is in use."""
    days = [case.view.registry.get(name).retired for name in names]
    ended = [day for day in days if day is not None]
    return case.words.day(max(ended)) if ended and len(ended) == len(days) else ""


def _corrected(case: _Case) -> Mapping[str, object]:
    """The corrected model that came into use, and the one before it, which was trained with their data."""
    registry = case.view.registry
    made = next(item for item in registry.releases.values() if item.corrects and case.request.subject in item.without)
    assert made.corrects is not None  # noqa: S101 - it was chosen for that
    trained = registry.get(made.corrects.release)
    return {
        "releases": case.words.release(made.id),
        "before": case.words.release(trained.id),
        "retired": _retired(case, [trained.id]),
    }


def _recipients(case: _Case) -> _Facts:
    if case.request.last(Event.REFUSED) or case.request.last(Event.WITHDRAWN):
        raise RefusedError(f"{case.request.id} is {case.request.state}: nobody has to be told")
    return "recipients", {}


_FACTS: Mapping[Kind, Callable[[_Case], _Facts]] = {
    Kind.RECEIPT: _receipt,
    Kind.IDENTITY: _identity,
    Kind.EXTENSION: _extension,
    Kind.REFUSAL: _refusal,
    Kind.COMPLETION: _completion,
    Kind.RECIPIENTS: _recipients,
}
