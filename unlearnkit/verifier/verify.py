"""Verifying a certificate offline: signatures, digests, log, budget and policy, and every number made again.

Needs the certificate, the bundle, the log, and public keys; no training data, no torch. Each check is reported when it
has passed; the first that does not is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.compliance.policy.policy import BoundMethod, Policy, Role, parse_policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, ThresholdError, VerificationError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.keys import PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.account import DeltaAccount, Issued, account_of
from unlearnkit.verifier.asking import verify_origin, verify_release, verify_requests, verify_together, verify_union
from unlearnkit.verifier.certificate import Certificate, Claim, parse_certificate
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.claims import disagreements, make_claim
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.origin import require_salt
from unlearnkit.verifier.recording import issued_in, verify_by_proof, verify_in_log


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCertificate:
    """A certificate, as far as it was checked.

    digest: SHA-256 of the envelope. signers: key ids, in the order of the signatures. checks: those that have passed.
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
        raw: The file, or the envelope alone.
        where: What to call it in errors.
        trust: Who may sign.
        checks: Filled in on the way.

    Raises:
        SignatureError: Nobody who is trusted signed it.
        ThresholdError: Fewer than its policy asks for.
        FormatError: It is malformed.
    """
    checks = checks or Checklist(where)
    file = parse_certificate_file(raw, where=where)
    certificate, keys = trusted_signers(file, trust, where=where)
    threshold = policy_of(certificate, where).signing.threshold
    if len(keys) < threshold:
        raise ThresholdError(
            f"{where} has too few trusted signatures: got {len(keys)}, its policy asks for {threshold}",
            hint="`unlearnkit certify --countersign FILE` adds one",
        )
    signers = tuple(key.key_id for key in keys)
    checks.add("signature", f"signed by {_short(signers)}")
    return VerifiedCertificate(
        certificate=certificate,
        digest=file.digest,
        signers=signers,
        checks=checks.passed,
        unchecked=("what it says: only who signed it was looked at",),
    )


def trusted_signers(
    file: CertificateFile, trust: TrustStore, *, where: str
) -> tuple[Certificate, tuple[PublicKey, ...]]:
    """A certificate that somebody trusted signed, and those keys of them that its policy lets sign.

    There may be fewer than the policy asks for. Raises SignatureError, ThresholdError if there is nobody, FormatError.
    """
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    verified = verify_envelope(file.envelope, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=1)
    certificate = parse_certificate(verified.payload, where=where)
    allowed = signing_keys(policy_of(certificate, where), trust)
    verified = verify_envelope(file.envelope, where=where, payload_type=PAYLOAD_TYPE, keys=allowed, threshold=1)
    return certificate, verified.keys


def signing_keys(policy: Policy, trust: TrustStore) -> list[PublicKey]:
    """The trusted keys that a policy lets sign certificates."""
    return list(dict.fromkeys(key for role in policy.signing.roles for key in trust.keys(role)))


def verify_certificate(
    raw: bytes, *, where: str, beside: Materials, checks: Checklist | None = None
) -> VerifiedCertificate:
    """Check everything that a certificate says; the log is read once.

    Without the log, the proof in the file shows that it is recorded, and what then nobody looked at is listed.

    Args:
        raw: The file, or the envelope alone.
        where: What to call it in errors.
        beside: Trusted keys, the bundle that it is about, the log that records it, and the evidence that it rests on.
        checks: Filled in on the way; there, also what has passed before an error is to be found.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: The bundle is not at hand, or neither log nor proof is, or nobody is trusted to keep such a
            log.
    """
    checks = checks or Checklist(where)
    verified = verify_signed_certificate(raw, where=where, trust=beside.trust, checks=checks)
    certificate, file = verified.certificate, parse_certificate_file(raw, where=where)
    policy, bundle = policy_of(certificate, where), beside.opened()
    checks.add("bundle", f"signed by {_short(bundle.signers)}; every file and direction agrees")
    verify_subjects(certificate, bundle)
    checks.add("artefacts", "the certificate is about this bundle and this model")
    _verify_salt(bundle, policy)
    proven = verify_by_proof(file, certificate, beside.trust, where=where)
    if proven is not None:
        beside.seen(proven.checkpoint)
        checks.add("proof", f"entry {proven.entry.index} of {certificate.log}, as its checkpoint proves, records it")
    view = beside.view_of(certificate.log, is_needed=proven is None)
    if view is not None:
        _verify_beside_log(file, certificate, bundle, view, checks)
    else:
        _verify_alone(certificate, policy, checks, beside.sizes_seen(certificate.log))
    verify_contents(certificate, bundle, beside.audits(bundle), checks)
    _leave_out(checks, certificate, view, beside.trust)
    return replace(verified, checks=checks.passed, unchecked=checks.unchecked)


def verify_contents(
    certificate: Certificate, bundle: Bundle, audits: Mapping[str, Evidence], checks: Checklist
) -> None:
    """Check what follows from the bundle and the evidence alone, wherever the certificate is recorded.

    Raises:
        VerificationError: The first thing that is not so.
    """
    policy = policy_of(certificate, "certificate")
    _verify_claims(certificate, policy, bundle, audits)
    checks.add("numbers", f"{len(certificate.claims)} claims, made again from the bundle, agree")
    _verify_decision(certificate, policy)
    checks.add("decision", f"policy {policy.name} decides {certificate.decision.outcome}")


def _verify_beside_log(
    file: CertificateFile, certificate: Certificate, bundle: Bundle, view: LogView, checks: Checklist
) -> None:
    issued = issued_in(view)
    entry = verify_in_log(file, certificate, view, issued)
    checks.add("log", f"entry {entry.index} of {certificate.log} records this certificate")
    verify_release(certificate, bundle, view.registry, index=entry.index)
    checks.add("release", f"{certificate.release} was in force then, with this bundle")
    origin = verify_origin(certificate, bundle, view, index=entry.index)
    chosen = "somebody chose its directions"
    came = chosen if origin.commitment is None else f"its directions follow from entry {origin.commitment}"
    checks.add("sketch", f"{came}; the recipe has {len(origin.others)} other sketches")
    verify_requests(certificate, view.register, index=entry.index)
    asked = ", ".join(certificate.requests)
    checks.add("request", f"request {asked} asks for the deletion of whose data was left out")
    verify_together(certificate, view.register, bundle, index=entry.index)
    checks.add("standing set", f"{len(certificate.standing)} people answered without retraining are left out, too")
    _verify_budget(certificate, [item for item in issued if item.index <= entry.index])
    checks.add("delta budget", f"{certificate.spent} of {certificate.budget} is spent")


def _verify_alone(certificate: Certificate, policy: Policy, checks: Checklist, sizes: Sequence[int]) -> None:
    """What the certificate says of itself fits together; the rest only the log tells. sizes: of checkpoints seen."""
    verify_union(certificate)
    _verify_limit(certificate, policy)
    told = "which the log tells: --log"
    checks.leave_out(
        f"that {certificate.release} was in force, with this bundle, {told}",
        f"that its directions follow from it, and its recipe has {len(certificate.sketches)} other sketches, {told}",
        f"that {', '.join(certificate.requests)} asked, and when, and that no request was closed, {told}",
        f"that these {len(certificate.standing)} people stand, and nobody else, {told}",
        f"that {certificate.spent} is what was spent together with other certificates, {told}",
    )
    if len(sizes) > 1:
        seen = ", ".join(map(str, sizes))
        checks.leave_out(f"whether the histories of {seen} entries, of different proofs, are one, {told}")


def _short(signers: tuple[str, ...]) -> str:
    return ", ".join(signer[:16] for signer in signers)


def _leave_out(checks: Checklist, certificate: Certificate, view: LogView | None, trust: TrustStore) -> None:
    """What takes more than these files."""
    checks.leave_out("whether the bundle's numbers are those of its recipe, which training again tells")
    if any(claim.kind == BoundMethod.AUDITED for claim in certificate.claims):
        checks.leave_out("whether the evidence is of real retrainings, which its signers vouch for")
    if not trust.witness_quorum:
        checks.leave_out("whether others are shown the same log, which witnesses would tell")
    if view is not None and view.unsigned:
        checks.leave_out(f"who vouches for the last {view.unsigned} entries of the log: no checkpoint has them yet")


def policy_of(certificate: Certificate, where: str) -> Policy:
    """The policy that a certificate was made under."""
    return parse_policy(certificate.policy.encode(), where=f"{where}: policy")


def verify_subjects(certificate: Certificate, bundle: Bundle) -> None:
    """The certificate is about this bundle and its model; VerificationError if not."""
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


def _verify_salt(bundle: Bundle, policy: Policy) -> None:
    try:
        require_salt(bundle.manifest, policy)
    except PolicyError as err:
        raise VerificationError(f"the certificate is wrong: {err}") from None


def _verify_budget(certificate: Certificate, issued: Sequence[Issued]) -> None:
    """issued: the certificates that the log records, up to this one."""
    account = DeltaAccount(certificate.account, issued)
    _require(not account.disputed, f"the log records a question with two deltas: {', '.join(account.disputed)}")
    _require(Decimal(certificate.spent) == account.spent, f"it says {certificate.spent}, the log says {account.spent}")
    _verify_limit(certificate, policy_of(certificate, "certificate"))


def _verify_limit(certificate: Certificate, policy: Policy) -> None:
    budget, spent = policy.certificate.delta_budget, Decimal(certificate.spent)
    _require(
        budget is not None and Decimal(certificate.budget) == budget, f"its delta budget is not the policy's, {budget}"
    )
    _require(spent <= Decimal(certificate.budget), f"its delta budget was overdrawn: {spent} is spent")


def _verify_claims(certificate: Certificate, policy: Policy, bundle: Bundle, audits: Mapping[str, Evidence]) -> None:
    claimed = tuple(claim.probe for claim in certificate.claims)
    wanted = policy.certificate.probes
    _require(claimed == wanted, f"it claims something of {claimed}, the policy names the probes {wanted}")
    for claim in certificate.claims:
        audit = _audit_of(claim, audits)
        again = make_claim(
            bundle,
            certificate.deleted,
            claim.probe,
            asking=certificate.subjects,
            delta=Decimal(claim.delta),
            audit=audit,
            rules=policy.certificate,
        )
        for difference in disagreements(claim, again):
            raise VerificationError(f"{claim.probe}: {difference}")


def _audit_of(claim: Claim, audits: Mapping[str, Evidence]) -> Evidence | None:
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
