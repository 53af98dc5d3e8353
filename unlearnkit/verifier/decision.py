"""What a policy makes of claims: whether a request is fulfilled as negligible, or the model must be trained again.

Fail-closed: only claims that meet every rule, about every probe that the policy names, show an effect to be negligible.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from unlearnkit.compliance.policy.policy import BoundMethod, CertificateRules
from unlearnkit.verifier.certificate import Claim, Decision, Outcome


def decide(claims: Sequence[Claim], rules: CertificateRules, directions: int) -> Decision:
    """Apply the rules of ``[certificate]``. directions: random ones of the bundle."""
    if not rules.probes:
        return Decision(outcome=Outcome.INSUFFICIENT, rule="certificate.probes", reasons=("the policy names no probe",))
    by_probe = {claim.probe: claim for claim in claims}
    verdicts = [_judge(name, by_probe.get(name), rules, directions) for name in rules.probes]
    reasons = tuple(reason for _, _, reason in verdicts)
    for outcome in (
        Outcome.RETRAIN,
        Outcome.INSUFFICIENT,
    ):  # one probe that moved too far decides; then one that is not known
        for found, rule, _ in verdicts:
            if found == outcome:
                return Decision(outcome=outcome, rule=rule, reasons=reasons)
    return Decision(outcome=Outcome.NEGLIGIBLE, rule="certificate.tolerances", reasons=reasons)


def _judge(name: str, claim: Claim | None, rules: CertificateRules, directions: int) -> tuple[Outcome, str, str]:
    """Outcome, the rule that decides, and the reason in words."""
    if claim is None:
        return Outcome.INSUFFICIENT, "certificate.probes", f"{name}: nothing is claimed about it"
    if broken := _broken_rule(claim, rules, directions):
        rule, reason = broken
        return Outcome.INSUFFICIENT, f"certificate.{rule}", f"{name}: {reason}"
    tolerance = rules.tolerances[name]
    least, most = _reach(claim)
    if least > tolerance:
        reason = f"{name}: it changes by {least} at least, and the tolerance is {tolerance}"
        return Outcome.RETRAIN, f"certificate.tolerances.{name}", reason
    if most <= tolerance:
        reason = f"{name}: it changes by {most} at most, and the tolerance is {tolerance}"
        return Outcome.NEGLIGIBLE, f"certificate.tolerances.{name}", reason
    reason = f"{name}: it changes by {max(least, Decimal(0))} to {most}, and the tolerance is {tolerance}, in between"
    return Outcome.INSUFFICIENT, f"certificate.tolerances.{name}", reason


def _reach(claim: Claim) -> tuple[Decimal, Decimal]:
    """The least and the most that the largest change of any element can be."""
    changes = [abs(Decimal(p) - Decimal(b)) for p, b in zip(claim.predicted, claim.base, strict=True)]
    ranges = [(change - Decimal(e), change + Decimal(e)) for change, e in zip(changes, claim.epsilon, strict=True)]
    return max(low for low, _ in ranges), max(high for _, high in ranges)


def _broken_rule(claim: Claim, rules: CertificateRules, directions: int) -> tuple[str, str] | None:
    """The first rule on evidence that the claim does not meet, and why."""
    if claim.kind not in rules.bound_methods:
        accepted = ", ".join(rules.bound_methods) or "none"
        return "bound_methods", f"its bound is {claim.kind}, and the policy accepts {accepted}"
    if missing := [error for error in rules.must_cover if error not in claim.covers]:
        return "must_cover", f"its bound does not cover {' and '.join(missing)}"
    if rules.largest_delta is None or Decimal(claim.delta) > rules.largest_delta:
        return "largest_delta", f"its delta is {claim.delta}, and the policy accepts {rules.largest_delta or 'none'}"
    least = rules.minimum_directions
    if claim.kind == BoundMethod.CERTIFIED and (least is None or directions < least):
        return "minimum_directions", f"the bundle has {directions} directions, and the policy accepts {least or 'none'}"
    epsilon = max(Decimal(e) for e in claim.epsilon)
    if rules.largest_epsilon is None or epsilon > rules.largest_epsilon:
        return "largest_epsilon", f"its epsilon is {epsilon}, and the policy accepts {rules.largest_epsilon or 'none'}"
    return None
