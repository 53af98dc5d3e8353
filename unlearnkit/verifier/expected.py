"""Holding a certificate against what is expected by whoever relies on it: its own policy is not its own judge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.policy.audits import AuditRules
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.errors import VerificationError
from unlearnkit.names import counted
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.checks import Checklist

# How far the clock of an issuer may be ahead of that of who verifies.
_AHEAD = timedelta(hours=1)


def verify_expected(
    expected: Expectations | None,
    envelope: bytes,
    policy: Policy,
    *,
    trust: TrustStore,
    recorded: datetime,
    checks: Checklist,
    tolerances: Mapping[str, Decimal] | None = None,
    bundle: Bundle | None = None,
) -> None:
    """Hold a certificate against what is expected of it, and list what nobody expects anything of.

    Args:
        expected: By whoever relies on it; None: nothing.
        envelope: Of the certificate.
        policy: That it carries.
        trust: Which roles signers have.
        recorded: When its entry was.
        checks: Filled in.
        tolerances: By probe, what the policy decided by; None: by no number.
        bundle: Whose numbers it rests on, if it rests on any.

    Raises:
        VerificationError: The first thing that is not as expected, or it is from the future; ThresholdError for too few
            signatures.
    """
    now = clock.utc_now()
    if recorded > now + _AHEAD:
        raise VerificationError(f"the certificate is wrong: it was recorded {recorded}, which is in the future")
    if expected is not None:
        _verify_signed(expected, envelope, policy, trust)
        if tolerances is not None:
            _verify_tolerances(expected, policy, tolerances)
        if expected.salt and bundle is not None:
            from_log = bundle.manifest.checkpoint
            _require(from_log, "the salt of its bundle was chosen by somebody, not taken from a log")
        if expected.most_days:
            age = now - recorded
            _require(
                age <= timedelta(days=expected.most_days), f"it was recorded {recorded}, {counted(age.days, 'day')} ago"
            )
        checks.add("expectations", f"as expected: {expected}")
    _leave_out(expected or Expectations(), policy, bundle, checks)


def _verify_signed(expected: Expectations, envelope: bytes, policy: Policy, trust: TrustStore) -> None:
    """By a policy that may decide, and by enough people."""
    if expected.policies:
        _require(
            policy.digest in expected.policies, f"its policy {policy.name} is {policy.digest}, which is not listed"
        )
    if expected.threshold:
        keys = [key for role in expected.roles for key in trust.keys(role)]
        where = "the certificate, as is expected of it,"
        verify_envelope(envelope, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=expected.threshold)


def _verify_tolerances(expected: Expectations, policy: Policy, tolerances: Mapping[str, Decimal]) -> None:
    for probe, most in sorted(expected.tolerances.items()):
        said = tolerances.get(probe)
        _require(said is not None and said <= most, f"its policy tolerates a change of {probe} by {said}, not {most}")
    if expected.audit.strata:
        verify_audits(expected.audit, policy.audit)


def verify_audits(expected: AuditRules, planned: AuditRules) -> None:
    """A policy plans at least these audits, each of exactly these sizes; VerificationError if not."""
    counts = {(stratum.least, stratum.most): stratum.count for stratum in planned.strata}
    for stratum in expected.strata:
        count = counts.get((stratum.least, stratum.most), 0)
        _require(
            count >= stratum.count,
            f"its policy plans {counted(count, 'retraining')} without {stratum.people}, not {stratum.count}",
        )
    for name in ("content", "confidence"):
        least, said = getattr(expected, name), getattr(planned, name)
        _require(said is not None and said >= least, f"its policy asks for a {name} of {said}, not {least}")


def _leave_out(said: Expectations, policy: Policy, bundle: Bundle | None, checks: Checklist) -> None:
    """Say what nobody expects anything of, and what is believed because of that."""
    how = "--expect says what you expect"
    if not said.policies:
        checks.leave_out(f"whether policy {policy.name}, SHA-256 {policy.digest}, is one that should decide: {how}")
    if not said.threshold:
        checks.leave_out(
            f"whether {counted(policy.signing.threshold, 'signature')} will do, as its own policy says: {how}"
        )
    if not said.salt and bundle is not None and not bundle.manifest.checkpoint:
        checks.leave_out(f"whether the bundle's salt was picked from many, for somebody chose it: {how}")
    if not said.most_days:
        checks.leave_out(f"whether it is too old: {how}")


def _require(holds: object, message: str) -> None:
    if not holds:
        raise VerificationError(f"the certificate is not what is expected: {message}")
