"""Issuing a certificate: claims, decision, delta account, signature, and the entry of the log, in one piece.

The entry is recorded before the certificate is handed out, while no other writer records: so the position that the
certificate names is its own, and no two certificates can spend the same delta.
"""

from __future__ import annotations

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
from unlearnkit.compliance.requests.register import Register, Request
from unlearnkit.errors import PolicyError, RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, DeltaAccount, issued_certificates, log_body
from unlearnkit.verifier.certificate import Certificate, Claim, sign_certificate
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate, the file it is in, and the entry that records it."""

    certificate: Certificate
    raw: bytes
    entry: Entry


def certify(
    bundle: Bundle,
    request: str,
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    evidence: Sequence[Evidence] = (),
    delta: Decimal | None = None,
) -> Issuance:
    """Certify what the probes that the policy names would be without the data of the person who made a request.

    origin: the log's name. evidence: retraining audits of this bundle; a probe that one of them covers gets an audited
    bound where the policy accepts those, any other a certified one. delta: of each claim; None: the largest that the
    policy accepts.

    Raises UnknownNameError for a request that there is none of; RefusedError when it is closed, or the bundle has no
    data of the person; PolicyError when the policy allows no certificate; BudgetExceededError; EstimationError when the
    bundle's numbers do not carry a bound at this delta.
    """
    asked = _open_request(log, request)
    if asked.policy_digest != policy.digest:
        raise PolicyError(
            f"request {request} was received under another version of its policy than {policy.name} is now",
            hint="certify it under that version; requests that come in now are under the new one",
        )
    if asked.subject not in bundle.units:
        raise RefusedError(
            f"the bundle has no data of the person who made request {request}",
            hint="there is nothing to certify; if the data is in another bundle, name that one",
        )
    claims = make_claims(bundle, (asked.subject,), policy, delta=_delta(policy, delta), evidence=evidence)
    return _record(bundle, asked, claims, log=log, origin=origin, policy=policy, signers=signers)


def _open_request(log: AuditLog, name: str) -> Request:
    request = Register().replay(log.entries()).get(name)
    if request.is_closed:
        raise RefusedError(f"request {name} is closed: it was {request.state}")
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
    request: Request,
    claims: tuple[Claim, ...],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
) -> Issuance:
    manifest, rules = bundle.manifest, policy.certificate
    with log.exclusive() as writer:
        account = DeltaAccount(bundle.digest, issued_certificates(log.entries()))
        spent = account.spend([(claim.question, Decimal(claim.delta)) for claim in claims], rules.delta_budget)
        certificate = Certificate(
            bundle=bundle.digest,
            model=next(file.sha256 for file in manifest.files if file.path == MODEL),
            recipe=manifest.recipe_digest,
            request=request.id,
            subject=request.subject,
            deleted=(request.subject,),
            counterfactual=manifest.counterfactual,
            units=manifest.units,
            directions=manifest.direction_count,
            claims=claims,
            policy=policy.text,
            decision=decide(claims, rules, manifest.direction_count),
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
