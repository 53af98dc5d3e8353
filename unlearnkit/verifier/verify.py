"""Verifying a certificate offline: signatures, digests, log, budget and policy, and every number made again.

Needs the certificate, the bundle, the log, and public keys; no training data, no torch. Each check is reported when it
has passed; the first that does not is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.clock import parse_time
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.policy.policy import Policy, Role, parse_policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.compliance.releases.standing import standing_set
from unlearnkit.compliance.requests.register import CLOSING, Register
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import VerificationError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, DeltaAccount, account_of, issued_certificates, log_body
from unlearnkit.verifier.agreement import disagreements
from unlearnkit.verifier.audits import logged_audits, required_evidence
from unlearnkit.verifier.certificate import Certificate, parse_certificate
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.materials import Materials

# Between making a certificate and recording it, under the lock of the log.
_MOST_SECONDS = 60
# Of a certificate without certified claims, where it decides nothing.
_ANY_DELTA = Decimal("0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCertificate:
    """A certificate, as far as it was checked.

    digest: SHA-256 of the file. signers: key ids, in the order of the signatures. checks: those that have passed.
    unchecked: what nobody looked at, in words.
    """

    certificate: Certificate
    digest: str
    signers: tuple[str, ...]
    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]


def verify_signed_certificate(
    raw: bytes, *, where: str, trust: TrustStore, checks: Checklist | None = None
) -> VerifiedCertificate:
    """Verify the signatures, and that who signed meets the policy in it; nothing of what it claims.

    Args:
        raw: The file.
        where: What to call it in errors.
        trust: Who may sign.
        checks: Filled in on the way.

    Raises:
        SignatureError: Nobody who is trusted signed it.
        ThresholdError: Fewer than its policy asks for.
        FormatError: It is malformed.
    """
    checks = checks or Checklist(where)
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    verified = verify_envelope(raw, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=1)
    certificate = parse_certificate(verified.payload, where=where)
    policy = _policy(certificate, where)
    allowed = [key for role in policy.signing.roles for key in trust.keys(role)]
    verified = verify_envelope(
        raw, where=where, payload_type=PAYLOAD_TYPE, keys=allowed, threshold=policy.signing.threshold
    )
    signers = tuple(key.key_id for key in verified.keys)
    checks.add("signature", f"signed by {_short(signers)}")
    return VerifiedCertificate(
        certificate=certificate,
        digest=sha256_hex(raw),
        signers=signers,
        checks=checks.passed,
        unchecked=("what it says: only who signed it was looked at",),
    )


def verify_certificate(
    raw: bytes, *, where: str, beside: Materials, checks: Checklist | None = None
) -> VerifiedCertificate:
    """Check everything that a certificate says; the log is read once.

    Args:
        raw: The file.
        where: What to call it in errors.
        beside: Trusted keys, the bundle that it is about, the log that records it, and the evidence that it rests on.
        checks: Filled in on the way; there, also what has passed before an error is to be found.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: The bundle or the log is not at hand, or nobody is trusted to keep such a log.
    """
    checks = checks or Checklist(where)
    verified = verify_signed_certificate(raw, where=where, trust=beside.trust, checks=checks)
    certificate, policy = verified.certificate, _policy(verified.certificate, where)
    bundle = beside.opened()
    checks.add("bundle", f"signed by {_short(bundle.signers)}; every file and direction agrees")
    _verify_subjects(certificate, bundle)
    checks.add("artefacts", "the certificate is about this bundle and this model")
    view = beside.view(origin=certificate.log)
    entry = _verify_logged(certificate, raw, view)
    checks.add("log", f"entry {entry.index} of {certificate.log} records this certificate")
    _verify_release(certificate, bundle, view)
    checks.add("release", f"{certificate.release} was in force then, with this bundle")
    for name in certificate.requests:
        _verify_request(certificate, name, view.register)
    asked = ", ".join(certificate.requests)
    checks.add("request", f"request {asked} asks for the deletion of whose data was left out")
    _verify_together(certificate, view.register, bundle)
    checks.add("standing set", f"{len(certificate.standing)} people answered without retraining are left out, too")
    _verify_budget(certificate, policy, view)
    checks.add("delta budget", f"{certificate.spent} of {certificate.budget} is spent")
    _verify_audits(certificate, view)
    checks.add("audits", f"{len(certificate.audits)} audits of the recipe, all that the log had then, are named")
    _verify_claims(certificate, policy, bundle, beside.audits(bundle), view)
    checks.add("numbers", f"{len(certificate.claims)} claims, made again from the bundle, agree")
    _verify_decision(certificate, policy)
    checks.add("decision", f"policy {policy.name} decides {certificate.decision.outcome}")
    _leave_out(checks, certificate, view, beside.trust)
    return replace(verified, checks=checks.passed, unchecked=checks.unchecked)


def _short(signers: tuple[str, ...]) -> str:
    return ", ".join(signer[:16] for signer in signers)


def _leave_out(checks: Checklist, certificate: Certificate, view: LogView, trust: TrustStore) -> None:
    """What takes more than these files."""
    checks.leave_out("whether the bundle's numbers are those of its recipe, which training again tells")
    if any(claim.evidence for claim in certificate.claims):
        checks.leave_out("whether the evidence is of real retrainings, which its signers vouch for")
    if not trust.witness_quorum:
        checks.leave_out("whether others are shown the same log, which witnesses would tell")
    if view.unsigned:
        checks.leave_out(f"who vouches for the last {view.unsigned} entries of the log: no checkpoint has them yet")


def _policy(certificate: Certificate, where: str) -> Policy:
    return parse_policy(certificate.policy.encode(), where=f"{where}: policy")


def _verify_subjects(certificate: Certificate, bundle: Bundle) -> None:
    manifest = bundle.manifest
    said = {
        "bundle": (certificate.bundle, bundle.digest),
        "model": (certificate.model, next(file.sha256 for file in manifest.files if file.path == MODEL)),
        "account": (certificate.account, account_of(manifest)),
        "recipe": (certificate.recipe, manifest.recipe_digest),
        "counterfactual": (certificate.counterfactual, manifest.counterfactual),
        "units": (certificate.units, manifest.units),
        "directions": (certificate.directions, manifest.direction_count),
    }
    for name, (claimed, found) in said.items():
        _require(claimed == found, f"its {name} is {claimed!r}, the bundle has {found!r}")


def _verify_logged(certificate: Certificate, raw: bytes, view: LogView) -> Entry:
    """The entry is under the log's checkpoint, and records these very bytes."""
    size = 0 if view.signed is None else view.signed.checkpoint.size
    _require(
        certificate.index < size, f"its entry {certificate.index} is not under the log's checkpoint, of size {size}"
    )
    entry = view.entry(certificate.index)
    _require(entry.type == CERTIFICATE_ISSUED, f"entry {entry.index} of the log is a {entry.type}, not a certificate")
    _require(entry.body == log_body(certificate, raw), f"entry {entry.index} of the log records another certificate")
    elapsed = (entry.time - parse_time(certificate.issued, where="issued")).total_seconds()
    _require(0 <= elapsed <= _MOST_SECONDS, f"it says it was issued {certificate.issued}, the log says {entry.time}")
    return entry


def _verify_release(certificate: Certificate, bundle: Bundle, view: LogView) -> None:
    release = view.registry.releases.get(certificate.release)
    _require(release, f"the log has no release {certificate.release}")
    assert release is not None  # noqa: S101 - required above
    in_force = release.was_in_force(before=certificate.index)
    _require(in_force, f"release {release.id} was not in force at entry {certificate.index}")
    _require(release.artefacts == Artefacts.of(bundle), f"release {release.id} was registered with another bundle")


def _verify_request(certificate: Certificate, name: str, register: Register) -> None:
    """A request was there, and open, when the certificate was recorded."""
    _require(name in register.requests, f"the log has no request {name}")
    request = register.get(name)
    received = request.steps[0]
    _require(received.index < certificate.index, f"request {request.id} was received after it")
    _require(request.subject in certificate.subjects, f"request {request.id} was made by somebody else")
    _require(
        request.policy_digest == certificate.policy_digest,
        f"its policy is {certificate.policy_digest}, the request was received under {request.policy_digest}",
    )
    for step in register.original(request).steps:
        is_before = step.event in CLOSING and step.index < certificate.index
        _require(not is_before, f"request {request.id} was {step.event.state} before it, with entry {step.index}")


def _verify_together(certificate: Certificate, register: Register, bundle: Bundle) -> None:
    """The claims are about those who ask, and everybody who stood when it was recorded, and nobody else."""
    asking = tuple(sorted({register.get(name).subject for name in certificate.requests}))
    _require(certificate.subjects == asking, "it names somebody as asking whose request it does not name")
    standing = standing_set(register, bundle, before=certificate.index)
    _require(
        certificate.standing == standing,
        f"its standing set has {len(certificate.standing)} people, the log and the bundle give {len(standing)}",
    )
    together = tuple(sorted({*asking, *standing}))
    _require(certificate.deleted == together, "it deletes other data than that of who asks and who stands")


def _verify_budget(certificate: Certificate, policy: Policy, view: LogView) -> None:
    recorded = issued_certificates(view.of_type(CERTIFICATE_ISSUED))
    account = DeltaAccount(certificate.account, [item for item in recorded if item.index <= certificate.index])
    _require(not account.disputed, f"the log records a question with two deltas: {', '.join(account.disputed)}")
    _require(Decimal(certificate.spent) == account.spent, f"it says {certificate.spent}, the log says {account.spent}")
    budget = policy.certificate.delta_budget
    _require(
        budget is not None and Decimal(certificate.budget) == budget, f"its delta budget is not the policy's, {budget}"
    )
    _require(account.spent <= Decimal(certificate.budget), f"its delta budget was overdrawn: {account.spent} is spent")


def _verify_audits(certificate: Certificate, view: LogView) -> None:
    audits = logged_audits(view, certificate.recipe, before=certificate.index)
    _require(certificate.audits == audits, f"it names {len(certificate.audits)} audits, the log has {len(audits)}")


def _verify_claims(
    certificate: Certificate, policy: Policy, bundle: Bundle, audits: Mapping[str, Evidence], view: LogView
) -> None:
    named = {digest for claim in certificate.claims for digest in claim.evidence}
    if missing := sorted(named - audits.keys()):
        raise VerificationError(
            f"it rests on evidence {', '.join(missing)}, which is not there",
            hint="give the file of the retraining audit: --evidence",
        )
    finished = {audit.evidence for audit in certificate.audits}
    given = [audit for digest, audit in audits.items() if digest in finished]
    again = make_claims(
        bundle,
        certificate.deleted,
        policy,
        asking=certificate.subjects,
        delta=next((Decimal(claim.delta) for claim in certificate.claims if claim.delta is not None), _ANY_DELTA),
        evidence=required_evidence(certificate.audits, bundle.digest, given, view),
    )
    said, found = ([claim.probe for claim in claims] for claims in (certificate.claims, again))
    _require(said == found, f"it claims something of {said}, the policy names the probes {found}")
    for claim, made in zip(certificate.claims, again, strict=True):
        for difference in disagreements(claim, made):
            raise VerificationError(f"{claim.probe}: {difference}")


def _verify_decision(certificate: Certificate, policy: Policy) -> None:
    people, directions = len(certificate.deleted), certificate.directions
    decision = decide(certificate.claims, policy, people=people, directions=directions)
    _require(
        certificate.decision == decision,
        f"it decides {certificate.decision.outcome} by {certificate.decision.rule}, "
        f"the policy decides {decision.outcome} by {decision.rule}",
    )


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
