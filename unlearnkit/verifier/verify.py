"""Verifying a certificate offline: signatures, digests, log, budget and policy, and every number made again.

Needs the certificate, the bundle, the log, and public keys; no training data, no torch. Each check is reported when it
has passed; the first that does not is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.clock import parse_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.reader import read_entries
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.compliance.policy.policy import BoundMethod, Policy, Role, parse_policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.requests.register import Register
from unlearnkit.errors import VerificationError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, DeltaAccount, issued_certificates, log_body
from unlearnkit.verifier.certificate import Certificate, Claim, parse_certificate
from unlearnkit.verifier.claims import disagreements, make_claim
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence, verify_evidence

# Between making a certificate and recording it, under the lock of the log.
_MOST_SECONDS = 60

Report = Callable[[str, str], None]
"""Called with the name of each check that has passed, and what it found."""


@dataclass(frozen=True, slots=True)
class VerifiedCertificate:
    """A certificate of which everything was checked. signers: key ids, in the order of the signatures."""

    certificate: Certificate
    digest: str
    signers: tuple[str, ...]


def verify_signed_certificate(raw: bytes, *, where: str, trust: TrustStore) -> VerifiedCertificate:
    """The signatures, and that the policy in it is met by who signed; nothing of what it claims.

    Raises SignatureError, ThresholdError, FormatError.
    """
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    verified = verify_envelope(raw, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=1)
    certificate = parse_certificate(verified.payload, where=where)
    policy = _policy(certificate, where)
    allowed = [key for role in policy.signing.roles for key in trust.keys(role)]
    verified = verify_envelope(
        raw, where=where, payload_type=PAYLOAD_TYPE, keys=allowed, threshold=policy.signing.threshold
    )
    return VerifiedCertificate(certificate, sha256_hex(raw), tuple(key.key_id for key in verified.keys))


def verify_certificate(
    raw: bytes,
    *,
    where: str,
    bundle: Path,
    log: Path,
    trust: TrustStore,
    evidence: Sequence[bytes] = (),
    report: Report = lambda _name, _found: None,
) -> VerifiedCertificate:
    """Check everything that a certificate says. evidence: the files that its audited claims rest on.

    Raises VerificationError with the first thing that is not so, FormatError for malformed files.
    """
    verified = verify_signed_certificate(raw, where=where, trust=trust)
    certificate, policy = verified.certificate, _policy(verified.certificate, where)
    report("signature", f"signed by {', '.join(signer[:16] for signer in verified.signers)}")
    opened = Bundle.open(bundle, trust=trust.keys(Role.SKETCH_SIGNER))
    report(
        "bundle", f"signed by {', '.join(signer[:16] for signer in opened.signers)}; every file and direction agrees"
    )
    _verify_subjects(certificate, opened)
    report("artefacts", "the certificate is about this bundle and this model")
    entry = _verify_logged(certificate, raw, log, trust)
    report("log", f"entry {entry.index} of {certificate.log} records this certificate")
    _verify_request(certificate, log)
    report("request", f"request {certificate.request} asks for the deletion of whose data was left out")
    _verify_budget(certificate, policy, log)
    report("delta budget", f"{certificate.spent} of {certificate.budget} is spent")
    _verify_claims(certificate, policy, opened, _verified_evidence(evidence, opened, trust))
    report("numbers", f"{len(certificate.claims)} claims, made again from the bundle, agree")
    _verify_decision(certificate, policy)
    report("decision", f"policy {policy.name} decides {certificate.decision.outcome}")
    return verified


def _policy(certificate: Certificate, where: str) -> Policy:
    return parse_policy(certificate.policy.encode(), where=f"{where}: policy")


def _verify_subjects(certificate: Certificate, bundle: Bundle) -> None:
    manifest = bundle.manifest
    said = {
        "bundle": (certificate.bundle, bundle.digest),
        "model": (certificate.model, next(file.sha256 for file in manifest.files if file.path == MODEL)),
        "recipe": (certificate.recipe, manifest.recipe_digest),
        "counterfactual": (certificate.counterfactual, manifest.counterfactual),
        "units": (certificate.units, manifest.units),
        "directions": (certificate.directions, manifest.direction_count),
    }
    for name, (claimed, found) in said.items():
        _require(claimed == found, f"its {name} is {claimed!r}, the bundle has {found!r}")


def _verify_logged(certificate: Certificate, raw: bytes, log: Path, trust: TrustStore) -> Entry:
    """The log is whole and signed, the entry is under its checkpoint, and records these very bytes."""
    verified = verify_log(log, log=trust.log(certificate.log), witnesses=trust.witnesses, quorum=trust.witness_quorum)
    _require(
        certificate.index < verified.checkpoint.size,
        f"its entry {certificate.index} is not under the log's checkpoint, of size {verified.checkpoint.size}",
    )
    entry = next(entry for entry in read_entries(log) if entry.index == certificate.index)
    _require(entry.type == CERTIFICATE_ISSUED, f"entry {entry.index} of the log is a {entry.type}, not a certificate")
    _require(entry.body == log_body(certificate, raw), f"entry {entry.index} of the log records another certificate")
    elapsed = (entry.time - parse_time(certificate.issued, where="issued")).total_seconds()
    _require(0 <= elapsed <= _MOST_SECONDS, f"it says it was issued {certificate.issued}, the log says {entry.time}")
    return entry


def _verify_request(certificate: Certificate, log: Path) -> None:
    register = Register().replay(islice(read_entries(log), certificate.index))
    request = register.get(certificate.request)
    _require(request.subject == certificate.subject, f"request {request.id} was made by somebody else")
    _require(certificate.deleted == (certificate.subject,), "it deletes other data than that of who made the request")
    _require(
        request.policy_digest == certificate.policy_digest,
        f"its policy is {certificate.policy_digest}, the request was received under {request.policy_digest}",
    )


def _verify_budget(certificate: Certificate, policy: Policy, log: Path) -> None:
    issued = [item for item in issued_certificates(read_entries(log)) if item.index <= certificate.index]
    account = DeltaAccount(certificate.bundle, issued)
    _require(Decimal(certificate.spent) == account.spent, f"it says {certificate.spent}, the log says {account.spent}")
    budget = policy.certificate.delta_budget
    _require(
        budget is not None and Decimal(certificate.budget) == budget, f"its delta budget is not the policy's, {budget}"
    )
    _require(account.spent <= Decimal(certificate.budget), f"its delta budget was overdrawn: {account.spent} is spent")


def _verified_evidence(files: Sequence[bytes], bundle: Bundle, trust: TrustStore) -> dict[str, Evidence]:
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    audits = [verify_evidence(raw, where=f"evidence {n}", keys=keys, bundle=bundle) for n, raw in enumerate(files, 1)]
    return {audit.digest: audit for audit in audits}


def _verify_claims(certificate: Certificate, policy: Policy, bundle: Bundle, audits: dict[str, Evidence]) -> None:
    claimed = tuple(claim.probe for claim in certificate.claims)
    wanted = policy.certificate.probes
    _require(claimed == wanted, f"it claims something of {claimed}, the policy names the probes {wanted}")
    for claim in certificate.claims:
        audit = _audit_of(claim, audits)
        again = make_claim(
            bundle,
            certificate.deleted,
            claim.probe,
            delta=Decimal(claim.delta),
            audit=audit,
            rules=policy.certificate,
        )
        for difference in disagreements(claim, again):
            raise VerificationError(f"{claim.probe}: {difference}")


def _audit_of(claim: Claim, audits: dict[str, Evidence]) -> Evidence | None:
    """The evidence that an audited claim rests on; None for a certified one."""
    if claim.kind != BoundMethod.AUDITED:
        return None
    for digest in claim.evidence:
        if digest in audits:
            return audits[digest]
    raise VerificationError(
        f"{claim.probe}: it rests on evidence {', '.join(claim.evidence) or 'without a name'}, which is not there",
        hint="give the file of the retraining audit: --evidence",
    )


def _verify_decision(certificate: Certificate, policy: Policy) -> None:
    decision = decide(certificate.claims, policy.certificate, certificate.directions)
    _require(
        certificate.decision == decision,
        f"it decides {certificate.decision.outcome} by {certificate.decision.rule}, "
        f"the policy decides {decision.outcome} by {decision.rule}",
    )


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
