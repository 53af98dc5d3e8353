"""Issuing a certificate: claims, decision, delta account, signature, and the entry of the log, in one piece.

Claims take time, and are computed while others go on recording. Then, while no other writer records, everything that
depends on the log is decided again: whether the request may be certified at all, what is spent, and the position that
the certificate names. So no two certificates can spend the same delta, and none is issued for a request that was closed
meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import Entry, draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.requests.register import Register, Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.account import (
    CERTIFICATE_ISSUED,
    DeltaAccount,
    account_of,
    issued_certificates,
    log_body,
    spending,
)
from unlearnkit.verifier.audits import LoggedAudit, logged_audits, required_evidence
from unlearnkit.verifier.certificate import Certificate, Claim, sign_certificate
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Together:
    """Who is answered together, of which release. subjects: who asks. standing: who was answered without retraining."""

    release: str
    requests: tuple[str, ...]
    subjects: tuple[str, ...]
    standing: tuple[str, ...]
    audits: tuple[LoggedAudit, ...]

    @property
    def deleted(self) -> tuple[str, ...]:
        return tuple(sorted({*self.subjects, *self.standing}))


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate, the file it is in, and the entry that records it."""

    certificate: Certificate
    raw: bytes
    entry: Entry


def certify(
    bundle: Bundle,
    requests: Sequence[str],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    evidence: Sequence[Evidence] = (),
    delta: Decimal | None = None,
    view: LogView | None = None,
) -> Issuance:
    """Certify what the probes that the policy names would be without the data of those who made some requests.

    The model lives with everybody who was answered without retraining. So the claims are about all of them and those
    who ask now, together.

    Args:
        bundle: The sketch of the model, of a release in force.
        requests: Their ids, answered together by one certificate.
        log: Where the certificate is recorded.
        origin: The log's name.
        policy: The one that the requests were received under.
        signers: Keys that sign, as many as the policy asks for.
        evidence: All finished audits of this bundle that the log has. Where the policy's plan was carried out for so
            many people, claims are audited, and spend no delta; others are certified.
        delta: Of each certified claim; None: the largest that the policy accepts.
        view: A view of the log to go on from; None: one is made.

    Returns:
        The certificate, signed and recorded.

    Raises:
        UnknownNameError: There is no such request, or the evidence of an audit is not there.
        VerificationError: Some evidence is of no audit that the log has, or not what the log committed to.
        ValueError: None was given, or one twice.
        RefusedError: One is closed, also by now while claims were computed; the bundle is of no release in force, or
            has no data of a person; somebody was answered without retraining meanwhile.
        PolicyError: The policy allows no certificate.
        BudgetExceededError: The bundle's delta budget does not have so much left.
        EstimationError: The bundle's numbers do not carry a bound at this delta.

    Example:
        >>> policy = office.policy()
        >>> (request,) = office.desk(with_key=True).receive(["ann"], source="experiment")
        >>> issued = uk.certify(
        ...     bundle,
        ...     [request.id],
        ...     log=office.open_log(),
        ...     origin=office.origin,
        ...     policy=policy,
        ...     signers=[office.signer_key()],
        ... )
        >>> str(issued.certificate.decision.outcome)
        'insufficient'

    """
    view = LogView.read(log.path) if view is None else view
    asked = _together(view, requests, policy, bundle)
    settled = _delta(policy, delta)
    found = required_evidence(asked.audits, bundle.digest, evidence, view)
    claims = make_claims(bundle, asked.deleted, policy, asking=asked.subjects, delta=settled, evidence=found)
    _logger.info("requests %s: %d claims made", " ".join(asked.requests), len(claims))
    return _record(bundle, asked, claims, log=log, origin=origin, policy=policy, signers=signers, view=view)


def _together(view: LogView, names: Sequence[str], policy: Policy, bundle: Bundle) -> _Together:
    """Who is to be answered together, if that may be done now."""
    if not names or len(set(names)) < len(names):
        raise ValueError(f"requests: got {', '.join(names) or 'none'}, expected at least one, each once")
    register = view.register
    asked = [_certifiable(register, name, policy) for name in names]
    if absent := [request.id for request in asked if request.subject not in bundle.units]:
        raise RefusedError(
            f"the bundle has no data of the person who made request {', '.join(absent)}",
            hint="there is nothing to certify; if the data is in another bundle, name that one",
        )
    return _Together(
        release=view.registry.in_force_as(Artefacts.of(bundle)).id,
        requests=tuple(request.id for request in sorted(asked, key=lambda request: request.steps[0].index)),
        subjects=tuple(sorted({request.subject for request in asked})),
        standing=standing_set(register, bundle),
        audits=logged_audits(view, bundle.manifest.recipe_digest),
    )


def _certifiable(register: Register, name: str, policy: Policy) -> Request:
    """The request, if a certificate of it may be issued now."""
    request = register.get(name)
    original = register.original(request)
    if original.is_closed:
        step = original.steps[-1]
        raise RefusedError(
            f"request {name} is closed: it was {step.event.state}, with entry {step.index}",
            hint="no certificate was issued, and no delta spent",
        )
    if request.policy_digest != policy.digest:
        raise PolicyError(
            f"request {name} was received under another version of its policy than {policy.name} is now",
            hint="certify it under that version; requests that come in now are under the new one",
        )
    return request


def _delta(policy: Policy, wanted: Decimal | None) -> Decimal:
    rules = policy.certificate
    if not rules.probes or rules.largest_delta is None:
        missing = "probe" if not rules.probes else "largest_delta"
        raise PolicyError(f"policy {policy.name} names no {missing}: it allows no certificate")
    delta = rules.largest_delta if wanted is None else wanted
    if not (delta.is_finite() and 0 < delta <= rules.largest_delta):
        raise PolicyError(f"delta must be above 0 and at most {rules.largest_delta}: got {delta}")
    return delta


def _record(
    bundle: Bundle,
    asked: _Together,
    claims: tuple[Claim, ...],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    view: LogView,
) -> Issuance:
    """Decide again, then sign and record, while no other writer does."""
    manifest, rules = bundle.manifest, policy.certificate
    with log.exclusive() as writer:
        if (now := _together(view.up_to(writer.end), asked.requests, policy, bundle)) != asked:
            what = "an audit was recorded" if now.audits != asked.audits else "somebody was answered without retraining"
            raise RefusedError(
                f"{what} while claims were computed: they leave that out",
                hint="certify again; nothing was issued, and no delta spent",
            )
        account = DeltaAccount(account_of(manifest), issued_certificates(view.of_type(CERTIFICATE_ISSUED)))
        spent = account.spend(spending(claims), rules.delta_budget)
        certificate = Certificate(
            bundle=bundle.digest,
            model=next(file.sha256 for file in manifest.files if file.path == MODEL),
            release=asked.release,
            recipe=manifest.recipe_digest,
            account=account.account,
            requests=asked.requests,
            subjects=asked.subjects,
            standing=asked.standing,
            deleted=asked.deleted,
            counterfactual=manifest.counterfactual,
            units=manifest.units,
            directions=manifest.direction_count,
            audits=asked.audits,
            claims=claims,
            policy=policy.text,
            decision=decide(claims, policy, people=len(asked.deleted), directions=manifest.direction_count),
            spent=str(spent),
            budget=str(rules.delta_budget),
            log=origin,
            index=writer.end.index,
            issued=format_time(log.now()),
            software=f"unlearnkit {version('unlearnkit')}",
        )
        raw = sign_certificate(certificate, signers)
        (entry,) = writer.record_many([draft(CERTIFICATE_ISSUED, log_body(certificate, raw))])
    return Issuance(certificate, raw, entry)
