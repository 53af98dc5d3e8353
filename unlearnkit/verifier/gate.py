"""The gate: what fulfils a request has to be shown, by a certificate that decided so and still holds.

A document instead, an attestation, counts only where the policy says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.compliance.policy.policy import Ending, Policy
from unlearnkit.compliance.releases.standing import answered
from unlearnkit.compliance.requests.register import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, Issued, issued_certificates
from unlearnkit.verifier.certificate import Outcome


def require_shown(view: LogView, request: Request, method: str, evidence: Sequence[str], policy: Policy) -> None:
    """Refuse what fulfils a request unless it is shown.

    That a model moves little without somebody is shown by a certificate of the request, which the log records. It must
    be the last one about this release, must have decided so, and nobody may have been answered without retraining
    since, but those whom it is about: it leaves them out.

    Args:
        view: The log, before the step.
        request: That is to be fulfilled.
        method: How.
        evidence: SHA-256 digests of the documents that show it.
        policy: That may accept an attestation.

    Raises:
        RefusedError: It is not shown; the reason, and what to do.
    """
    if method in policy.requests.attested:
        return
    if method != Ending.NEGLIGIBLE_EFFECT:
        raise _refusal(request, f"the policy accepts no attestation that it was {method}", None)
    about = [item for item in _issued(view) if {request.id, *request.duplicates} & set(item.requests)]
    given = [item for item in about if item.certificate in evidence]
    if not given:
        hint = f"`unlearnkit certify {request.id}`, and give the file: --evidence"
        raise _refusal(request, "no certificate of it, as the log records them, is among the documents", hint)
    last = {item.release: item for item in about}
    for item in given:
        _require_current(view, request, item, last[item.release])


def _require_current(view: LogView, request: Request, given: Issued, last: Issued) -> None:
    if given != last:
        hint = "give the newest one"
        raise _refusal(request, f"its certificate, entry {given.index}, is older than that of entry {last.index}", hint)
    if given.decision != Outcome.KEEP:
        raise _refusal(request, f"its certificate, entry {given.index}, decided {given.decision}", None)
    if given.release not in [release.id for release in view.registry.in_force]:
        hint = "certify it again, from a release in force"
        raise _refusal(request, f"its certificate, entry {given.index}, is about no release in force", hint)
    before = answered(view.register, Ending.NEGLIGIBLE_EFFECT, before=given.index)
    now = answered(view.register, Ending.NEGLIGIBLE_EFFECT)
    about = {view.register.original(view.register.get(name)).id for name in given.requests}
    since = sorted({now[who] for who in now.keys() - before.keys()} - about)
    if since:
        raise _refusal(
            request,
            f"since its certificate, entry {given.index}, others were answered without retraining: {', '.join(since)}",
            "certify again, together with them",
        )


def _issued(view: LogView) -> list[Issued]:
    return issued_certificates(view.of_type(CERTIFICATE_ISSUED))


def _refusal(request: Request, reason: str, hint: str | None) -> RefusedError:
    return RefusedError(f"{request.id} cannot become fulfilled: {reason}", hint=hint)
