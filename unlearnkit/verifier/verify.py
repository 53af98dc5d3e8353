"""Verifying a certificate offline: signatures, digests, log, budget and policy, and every number made again.

Needs the certificate, the bundle, the log, and public keys; no training data, no torch. Each check is reported when it
has passed; the first that does not is raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, VerificationError
from unlearnkit.names import counted
from unlearnkit.verifier.account import DeltaAccount, Issued, account_of
from unlearnkit.verifier.asking import verify_origin, verify_release, verify_requests, verify_together, verify_union
from unlearnkit.verifier.audits import logged_audits, verify_planned
from unlearnkit.verifier.certificate import Certificate, Kind, parse_certificate
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.contents import verify_contents
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.expected import verify_expected
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.origin import require_salt
from unlearnkit.verifier.recording import issued_in, leave_out_histories, leave_out_log, verify_recorded
from unlearnkit.verifier.replayed import NOT_REPLAYED
from unlearnkit.verifier.served import verify_in_use
from unlearnkit.verifier.signers import policy_of, require_threshold, trusted_signers


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
    certificate, keys = trusted_signers(file.envelope, trust, where=where, parse=parse_certificate)
    require_threshold(policy_of(certificate, where), keys, where=where)
    signers = tuple(key.key_id for key in keys)
    checks.add("signature", f"signed by {_short(signers)}")
    return VerifiedCertificate(
        certificate=certificate,
        digest=file.digest,
        signers=signers,
        checks=checks.passed,
        unchecked=("what it says: only who signed it was looked at",),
    )


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
    file = parse_certificate_file(raw, where=where)
    beside.recorded([file.digest], file.time)
    verify_signatures = partial(verify_signed_certificate, raw, where=where)
    verified = beside.signed(file.digest, lambda trust: verify_signatures(trust=trust, checks=checks))
    certificate = verified.certificate
    beside.recorded([certificate.bundle, *(name for claim in certificate.claims for name in claim.evidence)], file.time)
    policy, bundle = policy_of(certificate, where), beside.opened_for(certificate.bundle)
    checks.add("bundle", f"signed by {_short(bundle.signers)}; every file and direction agrees")
    verify_subjects(certificate, bundle)
    checks.add("artefacts", "the certificate is about this bundle and this model")
    _verify_salt(bundle, policy)
    entry, view = verify_recorded(file, certificate, beside=beside, checks=checks)
    if view is not None:
        _verify_beside_log(certificate, bundle, view, checks, beside.audits(bundle), index=entry.index)
    else:
        _verify_alone(certificate, policy, checks, beside.sizes_seen(certificate.log))
    trust = beside.trust_beside(view, file.digest)
    verify_contents(certificate, bundle, beside.audits(bundle), checks, replays=beside.replays(bundle))
    if view is not None:
        verify_signatures(trust=trust)
        beside.require_counting(view)
    verify_expected(
        beside.expected,
        file.envelope,
        policy,
        trust=trust,
        recorded=entry.time,
        checks=checks,
        tolerances={probe: policy.certificate.tolerances[probe] for probe in policy.certificate.probes},
        bundle=bundle,
    )
    verify_in_use(beside.model, bundle, checks)
    _leave_out(checks, certificate, view, beside.quorum)
    return replace(verified, checks=checks.passed, unchecked=checks.unchecked)


def _verify_beside_log(
    certificate: Certificate,
    bundle: Bundle,
    view: LogView,
    checks: Checklist,
    audits: Mapping[str, Evidence],
    *,
    index: int,
) -> None:
    """What it says was so at the entry ``index``, which records it."""
    policy = policy_of(certificate, "certificate")
    verify_release(certificate, bundle, view.registry, index=index)
    checks.add("release", f"{certificate.release} was in force then, with this bundle")
    origin = verify_origin(certificate, bundle, view, index=index)
    chosen = "somebody chose its directions"
    came = chosen if origin.commitment is None else f"its directions follow from entry {origin.commitment}"
    checks.add("sketch", f"{came}; other sketches of the recipe: {len(origin.others)}")
    verify_requests(certificate, policy, view.register, index=index)
    asked = ", ".join(certificate.requests)
    asks = f"request {asked} asks" if len(certificate.requests) == 1 else f"requests {asked} ask"
    checks.add("request", f"{asks} for the deletion of whose data was left out")
    verify_together(certificate, view.register, bundle, index=index)
    checks.add(
        "standing set", f"left out, too: {counted(len(certificate.standing), 'person')} answered without retraining"
    )
    _verify_budget(certificate, [item for item in issued_in(view) if item.index <= index])
    checks.add("delta budget", f"{certificate.spent} of {certificate.budget} is spent")
    _verify_audits(certificate, audits, view, index=index)
    checks.add(
        "audits", f"named are all that the log had then of the recipe: {counted(len(certificate.audits), 'audit')}"
    )


def _verify_alone(certificate: Certificate, policy: Policy, checks: Checklist, sizes: Sequence[int]) -> None:
    """What the certificate says of itself fits together; the rest only the log tells. sizes: of checkpoints seen."""
    verify_union(certificate)
    _verify_limit(certificate, policy)
    told = "which the log tells: --log"
    checks.leave_out(
        f"that {certificate.release} was in force, with this bundle, {told}",
        f"that its directions follow from it, and its recipe has {len(certificate.sketches)} other sketches, {told}",
        f"that {', '.join(certificate.requests)} asked, and when, and that no request was closed, {told}",
        f"that {counted(len(certificate.standing), 'person')} and nobody else had been answered so before, {told}",
        f"that {certificate.spent} is what was spent together with other certificates, {told}",
        f"that there are no audits but these {len(certificate.audits)}, and that they drew what was planned, {told}",
    )
    leave_out_histories(checks, sizes)


def _short(signers: tuple[str, ...]) -> str:
    return ", ".join(signer[:16] for signer in signers)


def _leave_out(checks: Checklist, certificate: Certificate, view: LogView | None, quorum: int) -> None:
    """What takes more than these files."""
    checks.leave_out("whether the bundle's numbers are those of its recipe, which training again tells")
    resting = {claim.kind == Kind.CERTIFIED for claim in certificate.claims if claim.evidence}
    if False in resting:
        checks.leave_out("whether the evidence is of real retrainings, which its signers vouch for")
    if True in resting:
        checks.leave_out(NOT_REPLAYED)
    leave_out_log(checks, view, quorum)


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


def _verify_audits(certificate: Certificate, audits: Mapping[str, Evidence], view: LogView, *, index: int) -> None:
    """It names the audits that the log had at the entry ``index``, and they drew what the log committed to."""
    logged = logged_audits(view, certificate.recipe, before=index)
    _require(
        certificate.audits == logged, f"it names {counted(len(certificate.audits), 'audit')}, the log has {len(logged)}"
    )
    for audit in certificate.audits:
        if audit.evidence is not None and audit.evidence in audits:
            verify_planned(audits[audit.evidence], view)


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
