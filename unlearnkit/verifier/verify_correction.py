"""Verifying a correction certificate offline: the weights are made again from the bundle, byte for byte.

Needs the certificate, the bundle, the log, the evidence and public keys; no training data, no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.releases.standing import answered_without_retraining
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError, VerificationError
from unlearnkit.verifier.asking import verify_requests
from unlearnkit.verifier.audits import logged_audits, required_evidence
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.checks import Check, Checklist
from unlearnkit.verifier.correction import (
    CORRECTION_ISSUED,
    CorrectionCertificate,
    correction_body,
    parse_correction,
)
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.expected import verify_expected
from unlearnkit.verifier.issue_correction import corrected_from, ratio_text
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.nearness import decide_correction, nearness
from unlearnkit.verifier.recording import verify_in_place
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

    Args:
        raw: The file.
        where: What to call it in errors.
        beside: Trusted keys, the bundle, the log, the evidence, and the model in use, where that is asked for.
        checks: Filled in on the way.

    Raises:
        VerificationError: The first thing that is not so.
        FormatError: A file is malformed.
        UnknownNameError: The log, the bundle or evidence is not at hand.
    """
    checks = checks or Checklist(where)
    file = parse_certificate_file(raw, where=where)
    beside.recorded([file.digest], file.time)
    certificate, signers = beside.signed(file.digest, partial(_signed, file.envelope, where))
    policy = policy_of(certificate, where)
    named = [name for claim in certificate.claims for name in claim.evidence]
    beside.recorded([certificate.bundle, *named], file.time)
    checks.add("signature", f"signed by {', '.join(signer[:16] for signer in signers)}")
    bundle = beside.opened_for(certificate.bundle)
    checks.add("bundle", f"signed by {', '.join(s[:16] for s in bundle.signers)}; every file agrees")
    body = correction_body(certificate, file.envelope)
    entry, view = verify_in_place(file, certificate, kind=CORRECTION_ISSUED, body=body, beside=beside, checks=checks)
    verify_requests(certificate, policy, view.register, index=entry.index)
    checks.add("request", f"request {', '.join(certificate.requests)} asks for the deletion of whose data is left out")
    _verify_leaving(certificate, bundle, view)
    checks.add("standing set", f"{len(certificate.standing)} people answered without retraining are left out, too")
    weights = _verify_weights(certificate, bundle)
    checks.add("weights", f"made again from the bundle without {len(certificate.without)} people, byte for byte")
    _verify_claims(certificate, policy, bundle, view, tuple(beside.audits(bundle).values()))
    checks.add(
        "audits",
        f"{len(certificate.claims)} claims follow from the evidence; policy {policy.name} decides "
        f"{certificate.decision.outcome}",
    )
    trust = beside.trust_beside(view, file.digest)
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
        checks.add("model in use", verify_weights(Path(beside.model), weights, what="the corrected model"))
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


def _verify_leaving(certificate: CorrectionCertificate, bundle: Bundle, view: LogView) -> None:
    """Of the release that was in force then, everybody who asks and who stood is left out, and nobody else."""
    try:
        release = corrected_from(view.registry, bundle, before=certificate.index)
    except RefusedError as err:
        raise VerificationError(f"the certificate is wrong: {err}") from None
    _require(release.id == certificate.release, f"{release.id} was in force with this bundle")
    asking = tuple(sorted({view.register.get(name).subject for name in certificate.requests}))
    _require(certificate.subjects == asking, "it names somebody as asking whose request it does not name")
    standing = answered_without_retraining(view.register, bundle, before=certificate.index)
    _require(
        certificate.standing == standing,
        f"its standing set has {len(certificate.standing)} people, the log and the bundle give {len(standing)}",
    )
    together = tuple(sorted({*asking, *standing}))
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
    certificate: CorrectionCertificate, policy: Policy, bundle: Bundle, view: LogView, given: tuple[Evidence, ...]
) -> None:
    """Claims and decision follow from all audits that the log had then."""
    logged = logged_audits(view, certificate.recipe, before=certificate.index)
    _require(certificate.audits == logged, f"it names {len(certificate.audits)} audits, the log has {len(logged)}")
    there = {audit.evidence for audit in logged if audit.bundle == bundle.digest}
    try:
        whole = required_evidence(logged, bundle.digest, [item for item in given if item.digest in there], view)
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
