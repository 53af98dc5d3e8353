"""The gate: what fulfils a request has to be shown, by certificates that still hold for every model in use.

That a model moves little without somebody is shown by a certificate of the effect, of each release in force that holds
their data; that they were left out of a new training by one of exclusion; that the weights in use were corrected for
them by one of correction; that no model has their data by one of absence. A document instead, an attestation, counts
only where the policy says so, and is recorded as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import date
from typing import TypeAlias

from unlearnkit.compliance.log.clock import earliest_day
from unlearnkit.compliance.policy.policy import Ending, Policy
from unlearnkit.compliance.releases.standing import answered
from unlearnkit.compliance.releases.whereabouts import People
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import Fulfilled, Shown
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.verifier.absence import ABSENCE_ISSUED, EXCLUSION_ISSUED, Cleared, parse_cleared
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, Issued, issued_certificates
from unlearnkit.verifier.certificate import Outcome
from unlearnkit.verifier.correction import CORRECTION_ISSUED, LoggedCorrection, parse_logged_correction

_KINDS = {
    Ending.NEGLIGIBLE_EFFECT: "effect",
    Ending.RETRAINED: "exclusion",
    Ending.CORRECTED: "correction",
    Ending.NO_DATA_HELD: "absence",
}


_Shows: TypeAlias = Issued | Cleared | LoggedCorrection
"""What the log records of a certificate."""


def require_shown(view: LogView, request: Request, said: Fulfilled, policy: Policy, people: People) -> Shown:
    """Refuse what fulfils a request unless it is shown; returns by what it is.

    Args:
        view: The log, before the step.
        request: That is to be fulfilled.
        said: How, when, and the SHA-256 digests of the documents that show it.
        policy: That may accept an attestation.
        people: Who is in a release.

    Raises:
        RefusedError: It is not shown; the reason, and what to do. Or nobody can tell who is in a release in force.
        UnknownNameError: The list of people of a release in force is not at hand.
    """
    about = _about(view, request, said.method)
    given = [item for item in about if item.certificate in said.evidence]
    if not given and said.method in policy.requests.attested:
        _require_no_contradiction(view, request, said.method, people)
        return Shown.ATTESTATION
    if not given:
        kind = _KINDS[Ending(said.method)]
        reason = f"no certificate of {kind} of it, as the log records them, is among the documents"
        how = "correct" if kind == "correction" else f"certify --kind {kind}"
        hint = f"`unlearnkit {how} {request.id}`, and give the file: --evidence"
        raise _refusal(request, reason, hint)
    _require_issued_before(view, request, given, said.on)
    cleared = [item for item in given if isinstance(item, Cleared)]
    corrected = [item for item in given if isinstance(item, LoggedCorrection)]
    if cleared:
        _require_cleared(view, request, cleared[-1])
    elif corrected:
        _require_corrected(view, request, corrected[-1], people)
    else:
        effects = [item for item in about if isinstance(item, Issued)]
        _require_effects(view, request, effects, said.evidence, people)
    return Shown.CERTIFICATE


def _require_effects(
    view: LogView, request: Request, about: Sequence[Issued], evidence: Sequence[str], people: People
) -> None:
    """Of each release in force that holds their data there is a certificate, the newest, that decided so and holds."""
    in_force, there = view.registry.in_force, {release.id for release in view.registry.in_force}
    if old := [item for item in about if item.certificate in evidence and item.release not in there]:
        hint = "certify it again, from a release in force"
        raise _refusal(request, f"its certificate, entry {old[0].index}, is about no release in force", hint)
    holding = [release for release in in_force if request.subject in people(release)]
    if not holding:
        hint = f"`unlearnkit certify {request.id}` certifies that they are in none"
        raise _refusal(request, "no release in force holds their data", hint)
    for release in holding:
        mine = [item for item in about if item.release == release.id]
        given = [item for item in mine if item.certificate in evidence]
        if not given:
            hint = f"`unlearnkit certify {request.id} --release {release.id}`, and give that file, too"
            raise _refusal(request, f"{release.id} holds their data, and no certificate about it is given", hint)
        _require_current(view, request, given[-1], mine[-1], people(release))


def _require_current(view: LogView, request: Request, given: Issued, last: Issued, people: AbstractSet[str]) -> None:
    if given != last:
        hint = "give the newest one"
        raise _refusal(request, f"its certificate, entry {given.index}, is older than that of entry {last.index}", hint)
    if given.decision != Outcome.KEEP:
        raise _refusal(request, f"its certificate, entry {given.index}, decided {given.decision}", None)
    before = answered(view.register, Ending.NEGLIGIBLE_EFFECT, before=given.index)
    now = answered(view.register, Ending.NEGLIGIBLE_EFFECT)
    about = {view.register.original(view.register.get(name)).id for name in given.requests}
    since = sorted({now[who] for who in (now.keys() - before.keys()) & people} - about)
    if since:
        raise _refusal(
            request,
            f"since its certificate, entry {given.index}, others were answered without retraining: {', '.join(since)}",
            "certify again, together with them",
        )


def _require_corrected(view: LogView, request: Request, given: LoggedCorrection, people: People) -> None:
    """The corrected model is in use, and no other that holds their data."""
    if given.decision != Outcome.CORRECT:
        raise _refusal(request, f"its certificate, entry {given.index}, decided {given.decision}", None)
    in_force = view.registry.in_force
    served = [item for item in in_force if item.corrects and item.corrects.certificate == given.certificate]
    later = [item for item in in_force if item.corrects and request.subject in item.without]
    if not served and not later:
        hint = "`unlearnkit release add CERTIFICATE --replaces ...` records that it is"
        raise _refusal(request, f"the corrected model of entry {given.index} is not in use", hint)
    if holding := [item.id for item in in_force if request.subject in people(item)]:
        raise _refusal(request, f"{', '.join(holding)} is in force and holds their data", None)


def _require_cleared(view: LogView, request: Request, given: Cleared) -> None:
    """It looked at every release that is in force now."""
    if new := [release.id for release in view.registry.in_force if release.id not in given.releases]:
        reason = f"since its certificate, entry {given.index}, {', '.join(new)} came into use"
        raise _refusal(request, reason, f"`unlearnkit certify {request.id}` again")


def _require_no_contradiction(view: LogView, request: Request, method: str, people: People) -> None:
    """What somebody attests is not what the signed lists say."""
    if method == Ending.NEGLIGIBLE_EFFECT:
        return
    if holding := [release.id for release in view.registry.in_force if request.subject in people(release)]:
        raise _refusal(
            request, f"{', '.join(holding)} is in force and holds their data: that it was {method} is not so", None
        )


def _require_issued_before(view: LogView, request: Request, given: Sequence[_Shows], on: date) -> None:
    """What shows it was there on the day that it was done, wherever that was."""
    for item in given:
        day = earliest_day(view.entry(item.index).time)
        if on < day:
            raise _refusal(
                request, f"its certificate, entry {item.index}, was issued on {day}, which is after {on}", None
            )


def _about(view: LogView, request: Request, method: str) -> list[_Shows]:
    """All certificates of the kind that shows the request to be met so, in order."""
    found: list[_Shows] = []
    if method == Ending.NEGLIGIBLE_EFFECT:
        found += issued_certificates(view.of_type(CERTIFICATE_ISSUED))
    elif method == Ending.CORRECTED:
        found += [parse_logged_correction(entry.index, entry.body) for entry in view.of_type(CORRECTION_ISSUED)]
    else:
        kind = EXCLUSION_ISSUED if method == Ending.RETRAINED else ABSENCE_ISSUED
        found += [parse_cleared(entry.index, entry.type, entry.body) for entry in view.of_type(kind)]
    names = {request.id, *request.duplicates}
    return [item for item in found if names & set(item.requests)]


def _refusal(request: Request, reason: str, hint: str | None) -> RefusedError:
    return RefusedError(f"{request.id} cannot become fulfilled: {reason}", hint=hint)
