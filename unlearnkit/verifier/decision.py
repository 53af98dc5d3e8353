"""What a policy makes of claims: whether the model may be kept, or must be trained again.

Fail-closed: only claims that meet every rule, about every probe that the policy names, show an effect to be negligible.
That is wrong only if one particular element of one probe moves too far, so each is held against its own error alone; to
say that something moves too far picks an element, and takes the error of all (docs/theory.md section 4.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from unlearnkit.compliance.policy.policy import BoundMethod, Policy
from unlearnkit.estimation.convergence import CONVERGING, DIVERGING
from unlearnkit.names import counted
from unlearnkit.verifier.certificate import Claim, Decision, Kind, Outcome

_NO_CLAIM = ("certificate.probes", "nothing is claimed about it")
# What a set of people that no audit holds can fail on.
_OF_AUDITS = ("certificate.probes", "certificate.bound_methods", "certificate.must_cover")


def decide(claims: Sequence[Claim], policy: Policy, *, people: int, directions: int) -> Decision:
    """Apply the rules of ``[certificate]`` and ``[audit]``.

    people: how many are left out together. directions: random ones of the bundle.
    """
    names = policy.certificate.probes
    if not names:
        return Decision(outcome=Outcome.INSUFFICIENT, rule="certificate.probes", reasons=("the policy names no probe",))
    by_probe = {claim.probe: claim for claim in claims}
    verdicts = [verdict for name in names for verdict in _judge(name, by_probe.get(name), policy, people, directions)]
    reasons = tuple(verdict.reason for verdict in verdicts)
    for outcome in (Outcome.RETRAIN, Outcome.INSUFFICIENT):  # one probe that moved too far, then one that is not known
        for verdict in verdicts:
            if verdict.outcome == outcome:
                return Decision(outcome=outcome, rule=verdict.rule, reasons=reasons)
    return Decision(outcome=Outcome.KEEP, rule="certificate.tolerances", reasons=reasons)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """On a probe, or on one person's own loss. rule: the setting that decides. reason: in words."""

    outcome: Outcome
    rule: str
    reason: str


def _judge(name: str, claim: Claim | None, policy: Policy, people: int, directions: int) -> list[_Verdict]:
    """One verdict on a probe; on own losses one for each person who asks."""
    broken = _NO_CLAIM if claim is None else _broken_rule(claim, policy, directions)
    if claim is None or broken is not None:
        rule, reason = broken or _NO_CLAIM
        if rule in _OF_AUDITS and policy.audit.strata and policy.audit.holding(people) is None:
            rule = "audit.strata"
            reason += f"; {counted(people, 'person', 'are')} left out together, and sets of {policy.audit} are audited"
        return [_Verdict(Outcome.INSUFFICIENT, rule, f"{name}: {reason}")]
    tolerance = policy.certificate.tolerances[name]
    rule = f"certificate.tolerances.{name}"
    changes = list(_changes(claim))
    if not claim.people:
        return [_within(name, rule, tolerance, changes)]
    told = (f"{name} of {person[:8]}" for person in claim.people)
    return [_within(who, rule, tolerance, [change]) for who, change in zip(told, changes, strict=True)]


def _within(what: str, rule: str, tolerance: Decimal, changes: Sequence[tuple[Decimal, Decimal]]) -> _Verdict:
    """changes: of each element, the least that it can be and the most."""
    least, most = max(low for low, _ in changes), max(high for _, high in changes)
    if least > tolerance:
        reason = f"{what}: it changes by {least} at least, and the tolerance is {tolerance}"
        return _Verdict(Outcome.RETRAIN, rule, reason)
    if most <= tolerance:
        return _Verdict(Outcome.KEEP, rule, f"{what}: it changes by {most} at most, and the tolerance is {tolerance}")
    reason = f"{what}: it changes by {max(least, Decimal(0))} to {most}, and the tolerance is {tolerance}, in between"
    return _Verdict(Outcome.INSUFFICIENT, rule, reason)


def _changes(claim: Claim) -> Iterator[tuple[Decimal, Decimal]]:
    """Of each element, the least that it changes, by the error of all, and the most, by its own."""
    for base, predicted, epsilon, each in zip(
        claim.base, claim.predicted, claim.epsilon, claim.epsilon_each, strict=True
    ):
        change = abs(Decimal(predicted) - Decimal(base))
        yield change - Decimal(epsilon), change + Decimal(each)


def _broken_rule(claim: Claim, policy: Policy, directions: int) -> tuple[str, str] | None:
    """The first rule on evidence that the claim does not meet, and why."""
    rules = policy.certificate
    method = BoundMethod.CERTIFIED if claim.kind == Kind.CERTIFIED else BoundMethod.AUDITED
    if method not in rules.bound_methods:
        accepted = ", ".join(rules.bound_methods) or "none"
        return "certificate.bound_methods", f"its bound is {claim.kind}, and the policy accepts {accepted}"
    if missing := [error for error in rules.must_cover if error not in claim.covers]:
        return "certificate.must_cover", f"its bound does not cover {' and '.join(missing)}"
    if claim.kind == Kind.RETRAINED:
        return None
    if broken := _weak(claim, policy, directions):
        return broken
    if not _converges(claim, rules.largest_ratio):
        accepted = f"up to {rules.largest_ratio or 'none'}"
        return "certificate.largest_ratio", f"{claim.convergence}, and the policy accepts {accepted}"
    return None


def _weak(claim: Claim, policy: Policy, directions: int) -> tuple[str, str] | None:
    """What makes a claim too likely to be wrong."""
    rules, audit = policy.certificate, policy.audit
    if claim.kind == Kind.AUDITED:
        said = claim.content, claim.confidence
        asked = [None if share is None else str(share) for share in (audit.content, audit.confidence)]
        if any(least is None or Decimal(share or 0) < Decimal(least) for share, least in zip(said, asked, strict=True)):
            told = "content {} at confidence {}"
            return "audit.content", f"its {told.format(*said)}, and the policy accepts {told.format(*asked)}"
        return None
    if rules.largest_delta is None or Decimal(claim.delta or 1) > rules.largest_delta:
        accepted = rules.largest_delta or "none"
        return "certificate.largest_delta", f"its delta is {claim.delta}, and the policy accepts {accepted}"
    least = rules.minimum_directions
    if least is None or directions < least:
        reason = f"the bundle has {counted(directions, 'direction')}, and the policy accepts {least or 'none'}"
        return "certificate.minimum_directions", reason
    return None


def _converges(claim: Claim, allowed: Decimal | None) -> bool:
    """Whether the series is not in doubt for what the claim rests on (docs/theory.md section 13).

    A proof needs both ratios, and that of norms is of the worst deletion of that size. Retrainings have left out sets
    of that size for real: what could be unlike them is this one, of which the terms tell, as far as they are known.
    """
    series, is_proved = claim.convergence, claim.kind == Kind.CERTIFIED
    largest = series.largest("terms", "norms") if is_proved else series.largest("terms")
    if allowed is None or (largest is not None and largest > allowed):
        return False
    return series.verdict == CONVERGING or (not is_proved and series.verdict != DIVERGING)
