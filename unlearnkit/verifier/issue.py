"""Issuing a certificate: claims, decision, delta account, signature, and the entry of the log, in one piece.

Claims take time, and are computed while others go on recording. Then, while no other writer records, everything that
depends on the log is decided again: whether the requests may be certified at all, and what is spent. So no two
certificates can spend the same delta, and none is issued for a request that was closed meanwhile. The certificate is
kept on disk, by whoever asks for it, before the log says that there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.compliance.log.clock import format_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, RefusedError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.verifier.account import DeltaAccount, account_of, spending
from unlearnkit.verifier.audits import required_evidence
from unlearnkit.verifier.certificate import Certificate, Claim, sign_certificate
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.recording import Record, issued_in, outdated, require_recent
from unlearnkit.verifier.replayed import SignedReplay
from unlearnkit.verifier.signers import policy_of
from unlearnkit.verifier.together import Together, together

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Issuance:
    """A certificate, its envelope, and the entry that records it; None while signatures are missing."""

    certificate: Certificate
    raw: bytes
    entry: Entry | None


Keep = Callable[[bytes], None]
"""Puts an envelope on disk; what it raises keeps the certificate from being recorded."""


def _keep_nothing(_envelope: bytes) -> None:
    pass


def certify(
    bundle: Bundle,
    requests: Sequence[str],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    evidence: Sequence[Evidence] = (),
    replay: SignedReplay | None = None,
    delta: Decimal | None = None,
    view: LogView | None = None,
    keep: Keep = _keep_nothing,
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
        signers: Keys that sign.
        evidence: All finished audits of this bundle that the log has. Where the policy's plan was carried out for so
            many people, claims are audited, and spend no delta; others are certified.
        replay: Of this bundle: certified claims take what rounding does to them from it, in the place of what the
            policy declares, and name it.
        delta: Of each certified claim; None: the largest that the policy accepts.
        view: A view of the log to go on from; None: one is made.
        keep: Puts the envelope on disk before the log says that there is such a certificate.

    Returns:
        The certificate, signed and recorded; only signed where the policy asks for more signatures than these.

    Raises:
        UnknownNameError: There is no such request, or the evidence of an audit is not there.
        VerificationError: Some evidence is of no audit that the log has, or not what the log committed to; the replay
            is of another bundle.
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
    asked = together(view, requests, policy, bundle, origin=origin)
    settled = _delta(policy, delta)
    found = required_evidence(asked.audits, bundle.digest, evidence, view)
    claims = make_claims(
        bundle, asked.deleted, policy, asking=asked.subjects, delta=settled, evidence=found, replay=replay
    )
    _logger.info("requests %s: %d claims made", " ".join(asked.requests), len(claims))
    return _record(bundle, asked, claims, log=log, origin=origin, policy=policy, signers=signers, view=view, keep=keep)


def record(
    file: CertificateFile, certificate: Certificate, *, bundle: Bundle, log: AuditLog, view: LogView, where: str
) -> Entry:
    """Record a certificate that was signed before, if it still holds; the entry that there is, if it was recorded.

    Args:
        file: What holds it. Whoever calls has verified signatures and contents.
        certificate: What it says.
        bundle: What it is about.
        log: Where it is recorded.
        view: What the log says so far; what came since is read under its lock.
        where: What to call the file in errors.

    Raises:
        RefusedError: It is not what would be certified now.
    """
    policy = policy_of(certificate, where)
    with log.exclusive() as writer:
        now = view.up_to(writer.end)
        if (found := Record.of(certificate, file.envelope).entry(now)) is not None:
            return found
        asked = together(view, certificate.requests, policy, bundle, origin=certificate.log)
        if asked.release != certificate.release:
            raise outdated(where, f"the release is {asked.release} now, and was {certificate.release}")
        if (asked.subjects, asked.standing) != (certificate.subjects, certificate.standing):
            raise outdated(where, "somebody was answered without retraining since")
        if asked.sketches != certificate.sketches:
            raise outdated(where, "its recipe was sketched again since")
        if asked.audits != certificate.audits:
            raise outdated(where, "an audit was recorded since")
        account = DeltaAccount(certificate.account, issued_in(now))
        if str(_spent(certificate.claims, policy, account)) != certificate.spent:
            raise outdated(where, "other certificates have spent delta since")
        require_recent(certificate.issued, log.now(), where=where)
        return Record.of(certificate, file.envelope).append(writer)


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
    asked: Together,
    claims: tuple[Claim, ...],
    *,
    log: AuditLog,
    origin: str,
    policy: Policy,
    signers: Sequence[PrivateKey],
    view: LogView,
    keep: Keep,
) -> Issuance:
    """Decide again, then sign, keep and record, while no other writer does."""
    with log.exclusive() as writer:
        if (now := together(view.up_to(writer.end), asked.requests, policy, bundle, origin=origin)) != asked:
            what = "an audit was recorded" if now.audits != asked.audits else "somebody was answered without retraining"
            raise RefusedError(
                f"{what} while claims were computed: they leave that out",
                hint="certify again; nothing was issued, and no delta spent",
            )
        account = DeltaAccount(account_of(bundle.manifest), issued_in(view))
        certificate = _certificate(
            bundle,
            asked,
            claims,
            policy=policy,
            account=account,
            origin=origin,
            issued=format_time(writer.now()),
        )
        raw = sign_certificate(certificate, signers)
        keep(raw)
        is_signed = len(signers) >= policy.signing.threshold
        return Issuance(certificate, raw, Record.of(certificate, raw).append(writer) if is_signed else None)


def _certificate(
    bundle: Bundle,
    asked: Together,
    claims: tuple[Claim, ...],
    *,
    policy: Policy,
    account: DeltaAccount,
    origin: str,
    issued: str,
) -> Certificate:
    """Everything that is said, and the account with it. BudgetExceededError if that does not have so much left."""
    manifest, rules = bundle.manifest, policy.certificate
    return Certificate(
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
        sketches=asked.sketches,
        audits=asked.audits,
        claims=claims,
        policy=policy.text,
        decision=decide(claims, policy, people=len(asked.deleted), directions=manifest.direction_count),
        spent=str(_spent(claims, policy, account)),
        budget=str(rules.delta_budget),
        log=origin,
        issued=issued,
        software=f"unlearnkit {version('unlearnkit')}",
    )


def _spent(claims: Sequence[Claim], policy: Policy, account: DeltaAccount) -> Decimal:
    """The account with these claims."""
    return account.spend(spending(claims), policy.certificate.delta_budget)
