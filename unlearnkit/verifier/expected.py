"""Holding a certificate against what is expected by whoever relies on it: its own policy is not its own judge."""

from __future__ import annotations

from datetime import datetime, timedelta

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.audits import AuditRules
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.errors import VerificationError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.checks import Checklist


def verify_expected(
    expected: Expectations,
    file: CertificateFile,
    policy: Policy,
    bundle: Bundle,
    *,
    trust: TrustStore,
    recorded: datetime,
    now: datetime,
) -> None:
    """Hold a certificate against what is expected of it.

    Args:
        expected: By whoever relies on it.
        file: The certificate.
        policy: That it carries.
        bundle: That it is about.
        trust: Which roles signers have.
        recorded: When its entry was.
        now: The present.

    Raises:
        VerificationError: The first thing that is not as expected; ThresholdError for too few signatures.
    """
    if expected.policies:
        _require(
            policy.digest in expected.policies, f"its policy {policy.name} is {policy.digest}, which is not listed"
        )
    for probe, most in sorted(expected.tolerances.items()):
        said = policy.certificate.tolerances.get(probe) if probe in policy.certificate.probes else None
        _require(said is not None and said <= most, f"its policy tolerates a change of {probe} by {said}, not {most}")
    if expected.audit.strata:
        verify_audits(expected.audit, policy.audit)
    if expected.threshold:
        keys = [key for role in expected.roles for key in trust.keys(role)]
        where = "the certificate, as is expected of it,"
        verify_envelope(file.envelope, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=expected.threshold)
    if expected.salt:
        _require(bundle.manifest.checkpoint, "the salt of its bundle was chosen by somebody, not taken from a log")
    if expected.most_days:
        age = now - recorded
        _require(age <= timedelta(days=expected.most_days), f"it was recorded {recorded}, {age.days} days ago")


def verify_audits(expected: AuditRules, planned: AuditRules) -> None:
    """A policy plans at least these audits, each of exactly these sizes; VerificationError if not."""
    counts = {(stratum.least, stratum.most): stratum.count for stratum in planned.strata}
    for stratum in expected.strata:
        count = counts.get((stratum.least, stratum.most), 0)
        _require(
            count >= stratum.count,
            f"its policy plans {count} retrainings without {stratum} people, not {stratum.count}",
        )
    for name in ("content", "confidence"):
        least, said = getattr(expected, name), getattr(planned, name)
        _require(said is not None and said >= least, f"its policy asks for a {name} of {said}, not {least}")


def leave_out_unexpected(expected: Expectations | None, policy: Policy, bundle: Bundle, checks: Checklist) -> None:
    """Say what nobody expects anything of, and what is believed because of that."""
    said = expected or Expectations()
    how = "--expect says what you expect"
    if not said.policies:
        checks.leave_out(f"whether policy {policy.name}, SHA-256 {policy.digest}, is one that should decide: {how}")
    if not said.threshold:
        checks.leave_out(f"whether {policy.signing.threshold} signatures are enough, as its own policy says: {how}")
    if not said.salt and not bundle.manifest.checkpoint:
        checks.leave_out(f"whether the bundle's salt was picked from many, for somebody chose it: {how}")
    if not said.most_days:
        checks.leave_out(f"whether it is too old: {how}")


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is not what is expected: {message}")
