"""What a policy makes of claims: whether the model may be kept, or must be trained again.

Fail-closed: only claims that meet every rule, about every probe that the policy names, show an effect to be negligible.
That is wrong only if one particular element of one probe moves too far, so each is held against its own error alone; to
say that something moves too far picks an element, and takes the error of all (docs/theory.md section 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from unlearnkit.compliance.policy.policy import BoundMethod, CertificateRules
from unlearnkit.estimation.convergence import CONVERGING, DIVERGING
from unlearnkit.verifier.certificate import Claim, Decision, Outcome


def decide(claims: Sequence[Claim], rules: CertificateRules, directions: int) -> Decision:
    """Apply the rules of ``[certificate]``. directions: random ones of the bundle."""
    if not rules.probes:
        return Decision(outcome=Outcome.INSUFFICIENT, rule="certificate.probes", reasons=("the policy names no probe",))
    by_probe = {claim.probe: claim for claim in claims}
    verdicts = [_judge(name, by_probe.get(name), rules, directions) for name in rules.probes]
    reasons = tuple(reason for _, _, reason in verdicts)
    for outcome in (Outcome.RETRAIN, Outcome.INSUFFICIENT):  # one probe that moved too far, then one that is not known
        for found, rule, _ in verdicts:
            if found == outcome:
                return Decision(outcome=outcome, rule=rule, reasons=reasons)
    return Decision(outcome=Outcome.KEEP, rule="certificate.tolerances", reasons=reasons)


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
        return Outcome.KEEP, f"certificate.tolerances.{name}", reason
    reason = f"{name}: it changes by {max(least, Decimal(0))} to {most}, and the tolerance is {tolerance}, in between"
    return Outcome.INSUFFICIENT, f"certificate.tolerances.{name}", reason


def _reach(claim: Claim) -> tuple[Decimal, Decimal]:
    """The least that some element's change can be, and the most that any one's."""
    changes = [abs(Decimal(p) - Decimal(b)) for p, b in zip(claim.predicted, claim.base, strict=True)]
    together, each = ([Decimal(text) for text in texts] for texts in (claim.epsilon, claim.epsilon_each))
    least = max(change - epsilon for change, epsilon in zip(changes, together, strict=True))
    return least, max(change + epsilon for change, epsilon in zip(changes, each, strict=True))


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
    if not _converges(claim, rules.largest_ratio):
        return "largest_ratio", f"{claim.convergence}, and the policy accepts up to {rules.largest_ratio or 'none'}"
    return None


def _converges(claim: Claim, allowed: Decimal | None) -> bool:
    """Whether the series is not in doubt. Retrainings show what a first order leaves out; a proof needs a ratio."""
    series = claim.convergence
    if allowed is None or (series.largest is not None and series.largest > allowed):
        return False
    return series.verdict == CONVERGING or (claim.kind != BoundMethod.CERTIFIED and series.verdict != DIVERGING)
