"""What of a certificate follows from the bundle, the audits and the replay alone, wherever it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.errors import VerificationError
from unlearnkit.verifier.agreement import disagreements
from unlearnkit.verifier.audits import all_of
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.replayed import SignedReplay, named_replay
from unlearnkit.verifier.signers import policy_of

# Of a certificate without certified claims, where it decides nothing.
_ANY_DELTA = Decimal("0.5")


def verify_contents(
    certificate: Certificate,
    bundle: Bundle,
    audits: Mapping[str, Evidence],
    checks: Checklist,
    *,
    replays: Mapping[str, SignedReplay],
) -> None:
    """Check what follows from the bundle and the evidence alone, wherever the certificate is recorded.

    audits, replays: those at hand, by digest.

    Raises:
        VerificationError: The first thing that is not so.
        UnknownNameError: Evidence or a replay that it rests on is not at hand.
    """
    policy = policy_of(certificate, "certificate")
    _verify_claims(certificate, policy, bundle, audits, named_replay(certificate.claims, replays))
    checks.add("numbers", f"{len(certificate.claims)} claims, made again from the bundle, agree")
    _verify_decision(certificate, policy)
    checks.add("decision", f"policy {policy.name} decides {certificate.decision.outcome}")


def _verify_claims(
    certificate: Certificate,
    policy: Policy,
    bundle: Bundle,
    audits: Mapping[str, Evidence],
    replay: SignedReplay | None,
) -> None:
    again = make_claims(
        bundle,
        certificate.deleted,
        policy,
        asking=certificate.subjects,
        delta=next((Decimal(claim.delta) for claim in certificate.claims if claim.delta is not None), _ANY_DELTA),
        evidence=all_of(certificate.audits, bundle.digest, audits),
        replay=replay,
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
