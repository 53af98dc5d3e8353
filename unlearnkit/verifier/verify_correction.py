"""Verifying a correction certificate offline: the weights are made again from the bundle, byte for byte.

Needs the certificate, the bundle, the log, the evidence and public keys; no training data, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.standing import answered_without_retraining
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.names import counted
from unlearnkit.verifier.asking import verify_requests
from unlearnkit.verifier.audits import all_of, logged_audits, verify_planned
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.correction import CorrectionCertificate, parse_correction
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.expected import verify_expected
from unlearnkit.verifier.issue_correction import corrected_from, ratio_text
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.nearness import decide_correction, nearness
from unlearnkit.verifier.recording import leave_out_histories, leave_out_log, verify_recorded
from unlearnkit.verifier.retrainings import Retrainings
from unlearnkit.verifier.served import verify_weights
from unlearnkit.verifier.signers import policy_of, require_threshold, trusted_signers


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedCorrection:
    """A correction certificate that was verified. digest: SHA-256 of the envelope. signers: key ids.

    unchecked: what nobody looked at, in words.
    """

    certificate: CorrectionCertificate
    digest: str
    signers: tuple[str, ...]
    checks: tuple[Check, ...]
    unchecked: tuple[str, ...]


def verify_correction(
    raw: bytes, *, where: str, beside: Materials, checks: Checklist | None = None
) -> VerifiedCorrection:
    """Check everything that a correction certificate says.

    Without the log, the proof in the file shows that it is recorded, and what then nobody looked at is listed.

    Args:
        raw: The file.
        where: What to call it in errors.
        beside: Trusted keys, the bundle, the log, the evidence, and the model in use, where that is asked for.
        checks: Filled in on the way.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: The bundle or evidence is not at hand, or neither log nor proof is.
    """
    checks = checks or Checklist(where)
    file = parse_certificate_file(raw, where=where)
    beside.recorded([file.digest], file.time)
    certificate, signers = beside.signed(file.digest, partial(_signed, file.envelope, where))
    policy = policy_of(certificate, where)
    named = [name for claim in certificate.claims for name in claim.evidence]
    beside.recorded([certificate.bundle, *named], file.time)
    checks.add("signature", f"signed by {', '.join(signer[:16] for signer in signers)}")
    bundle, audits = beside.opened_for(certificate.bundle), beside.audits
    checks.add("bundle", f"signed by {', '.join(s[:16] for s in bundle.signers)}; every file agrees")
    entry, view = verify_recorded(file, certificate, beside=beside, checks=checks)
    if view is not None:
        _verify_beside_log(certificate, policy, bundle, view, checks, audits(bundle), index=entry.index)
    else:
        _verify_alone(certificate, checks, beside.sizes_seen(certificate.log))
    weights = verify_weights_and_claims(certificate, policy, bundle, audits(bundle), checks)
    leave_out_log(checks, view, beside.quorum)
    trust = beside.trust_beside(view, file.digest)
    if view is not None:
        _signed(file.envelope, where, trust)
        beside.require_counting(view)
    verify_expected(
        beside.expected,
        file.envelope,
        policy,
        trust=trust,
        recorded=entry.time,
        checks=checks,
        tolerances=policy.correction.tolerances,
        bundle=bundle,
    )
    if beside.model is None:
        checks.leave_out("whether the model in use is the corrected one: --model says which file it is")
    else:
        said = verify_weights(beside.model, weights, what="the corrected model", tied=bundle.manifest.tied)
        checks.add("model in use", said)
    checks.leave_out("whether the evidence is of real retrainings, which its signers vouch for")
    return VerifiedCorrection(
        certificate=certificate,
        digest=file.digest,
        signers=signers,
        checks=checks.passed,
        unchecked=checks.unchecked,
    )


def _signed(envelope: bytes, where: str, trust: TrustStore) -> tuple[CorrectionCertificate, tuple[str, ...]]:
    """What is certified, and the ids of the keys that signed it: as many as its policy asks for."""
    certificate, keys = trusted_signers(envelope, trust, where=where, parse=parse_correction)
    require_threshold(policy_of(certificate, where), keys, where=where)
    return certificate, tuple(key.key_id for key in keys)


def verify_weights_and_claims(
    certificate: CorrectionCertificate,
    policy: Policy,
    bundle: Bundle,
    given: Mapping[str, Evidence],
    checks: Checklist,
) -> bytes:
    """Make everything again that follows from the bundle and the evidence; returns the weights.

    given: the evidence at hand, by digest. checks: filled in. Raises VerificationError for what is not so,
    UnknownNameError where the evidence of an audit is not at hand.
    """
    weights = _verify_weights(certificate, bundle)
    checks.add(
        "weights", f"made again from the bundle without {counted(len(certificate.without), 'person')}, byte for byte"
    )
    _verify_claims(certificate, policy, bundle, given)
    checks.add(
        "claims",
        f"{len(certificate.claims)} claims follow from the evidence; policy {policy.name} decides "
        f"{certificate.decision.outcome}",
    )
    return weights


def _verify_beside_log(
    certificate: CorrectionCertificate,
    policy: Policy,
    bundle: Bundle,
    view: LogView,
    checks: Checklist,
    given: Mapping[str, Evidence],
    *,
    index: int,
) -> None:
    """What it says was so at the entry ``index``, which records it."""
    verify_requests(certificate, policy, view.register, index=index)
    checks.add("request", f"request {', '.join(certificate.requests)} asks for the deletion of whose data is left out")
    _verify_leaving(certificate, bundle, view, index)
    checks.add(
        "standing set", f"left out, too: {counted(len(certificate.standing), 'person')} answered without retraining"
    )
    logged = logged_audits(view, certificate.recipe, before=index)
    _require(
        certificate.audits == logged, f"it names {counted(len(certificate.audits), 'audit')}, the log has {len(logged)}"
    )
    for audit in logged:
        if audit.evidence is not None and audit.evidence in given:
            verify_planned(given[audit.evidence], view)
    checks.add("audits", f"named are all that the log had then of the recipe: {counted(len(logged), 'audit')}")


def _verify_alone(certificate: CorrectionCertificate, checks: Checklist, sizes: Sequence[int]) -> None:
    """What it says of itself fits together; the rest only the log tells. sizes: of checkpoints seen."""
    _require_union(certificate)
    told = "which the log tells: --log"
    checks.leave_out(
        f"that {certificate.release} was in force, with this bundle, {told}",
        f"that {', '.join(certificate.requests)} asked, and when, and that no request was closed, {told}",
        f"that {counted(len(certificate.standing), 'person')} and nobody else had been answered so before, {told}",
        f"that there are no audits but these {len(certificate.audits)}, and that they drew what was planned, {told}",
    )
    leave_out_histories(checks, sizes)


def _verify_leaving(certificate: CorrectionCertificate, bundle: Bundle, view: LogView, index: int) -> None:
    """Of the release that was in force then, everybody who asks and who stood is left out, and nobody else."""
    try:
        release = corrected_from(view.registry, bundle, before=index)
    except RefusedError as err:
        raise VerificationError(f"the certificate is wrong: {err}") from None
    _require(release.id == certificate.release, f"{release.id} was in force with this bundle")
    asking = tuple(sorted({view.register.get(name).subject for name in certificate.requests}))
    _require(certificate.subjects == asking, "it names somebody as asking whose request it does not name")
    standing = answered_without_retraining(view.register, bundle, before=index)
    _require(
        certificate.standing == standing,
        f"its standing set has {counted(len(certificate.standing), 'person')}, the log and the bundle give "
        f"{len(standing)}",
    )
    _require_union(certificate)


def _require_union(certificate: CorrectionCertificate) -> None:
    together = tuple(sorted({*certificate.subjects, *certificate.standing}))
    _require(certificate.without == together, "it leaves out other people than who asks and who stands")


def _verify_weights(certificate: CorrectionCertificate, bundle: Bundle) -> bytes:
    """The corrected weights, made again."""
    manifest = bundle.manifest
    said = (certificate.recipe, certificate.counterfactual, certificate.units)
    _require(said == (manifest.recipe_digest, manifest.counterfactual, manifest.units), "it is about another run")
    made = bundle.correction(certificate.without)
    weights = made.to_bytes()
    found = sha256_hex(weights)
    _require(certificate.model == found, f"its model is {certificate.model}, the bundle gives {found}")
    told = (certificate.convergence, certificate.ratio, certificate.by_coordinate, certificate.explanation)
    again = (made.convergence, ratio_text(made), made.by_coordinate, made.explanation)
    _require(told == again, f"of the series it says {told}, the bundle gives {again}")
    return weights


def _verify_claims(
    certificate: CorrectionCertificate, policy: Policy, bundle: Bundle, given: Mapping[str, Evidence]
) -> None:
    """Claims and decision follow from all audits that it names."""
    try:
        whole = all_of(certificate.audits, bundle.digest, given)
    except UnknownNameError as err:
        raise UnknownNameError(f"{err}: its claims cannot be made again", hint=err.hint) from None
    again = nearness(policy, Retrainings.of(bundle, whole, policy.audit), len(certificate.without))
    _require(len(again) == len(certificate.claims), f"it has {len(certificate.claims)} claims, there are {len(again)}")
    for said, found in zip(certificate.claims, again, strict=True):
        same = (said.probe, said.content, said.confidence, said.method, said.assumptions, said.evidence) == (
            found.probe,
            found.content,
            found.confidence,
            found.method,
            found.assumptions,
            found.evidence,
        )
        _require(same, f"what it says of {said.probe} does not follow from the evidence")
        near = abs(Decimal(said.epsilon) - Decimal(found.epsilon)) <= Decimal("1e-9") * Decimal(found.epsilon)
        _require(near, f"its epsilon of {said.probe} is {said.epsilon}, the evidence gives {found.epsilon}")
    decision = decide_correction(certificate.claims, policy, people=len(certificate.without))
    _require(certificate.decision == decision, f"it decides {certificate.decision.outcome}, not {decision.outcome}")


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is wrong: {message}")
