"""How near a corrected model is to the retrained one, from audits; and whether a policy lets it be served."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.estimation.constants import decimal_above
from unlearnkit.names import counted, ordinal
from unlearnkit.verifier.certificate import Decision, Outcome
from unlearnkit.verifier.correction import Nearness
from unlearnkit.verifier.retrainings import Retrainings

_ASSUMPTIONS = (
    "Of all deletions of the stratum, drawn as the audit drew its own, at most a share of 1 - content is farther off, "
    "in any element; that is so with the stated confidence, over the draw of those that were retrained. Who asks is "
    "not drawn at random.",
    "The retrained model is this run's own counterfactual: the same start, order, random numbers and schedule, with "
    "loss weight zero, in float64. The corrected one is the file of the stated digest, evaluated in float64.",
    "The retrainings are those of the signed evidence, and were done as it says.",
)


def nearness(policy: Policy, retrainings: Retrainings, size: int) -> tuple[Nearness, ...]:
    """A claim about each probe of the policy's ``[correction]`` that audits of deletions of so many people carry."""
    found = []
    for probe in policy.correction.tolerances:
        said = retrainings.corrected(probe, size)
        if said is None or not np.isfinite(said.score):
            continue
        found.append(
            Nearness(
                probe=probe,
                epsilon=decimal_above(float(said.epsilon(np.array(1.0)))),
                content=str(said.content),
                confidence=str(said.confidence),
                method=f"audited: the {ordinal(said.rank)} smallest of N={said.count} differences, {said.stratum}",
                assumptions=_ASSUMPTIONS,
                evidence=retrainings.digests,
            )
        )
    return tuple(found)


def decide_correction(claims: Sequence[Nearness], policy: Policy, *, people: int) -> Decision:
    """Whether the corrected model may be served; what is not shown is insufficient. people: how many it leaves out."""
    rules = policy.correction
    if not rules.tolerances:
        reason = "the policy allows no corrected model: it has no tolerance for one"
        return Decision(outcome=Outcome.INSUFFICIENT, rule="correction.tolerances", reasons=(reason,))
    known, reasons, broken = {claim.probe: claim for claim in claims}, [], ""
    for probe, tolerance in rules.tolerances.items():
        claim = known.get(probe)
        if claim is None:
            audited = policy.audit.holding(people) is not None
            why = "no audit says how near corrected models are" if audited else f"sets of {policy.audit} are audited"
            reasons.append(f"{probe}: {counted(people, 'person', 'are')} left out together, and {why}")
            broken = broken or "audit.strata"
        elif Decimal(claim.epsilon) > tolerance:
            reasons.append(f"{probe}: it may differ by {claim.epsilon}, and the tolerance is {tolerance}")
            broken = broken or f"correction.tolerances.{probe}"
        else:
            reasons.append(f"{probe}: it differs by {claim.epsilon} at most, and the tolerance is {tolerance}")
    outcome = Outcome.INSUFFICIENT if broken else Outcome.CORRECT
    return Decision(outcome=outcome, rule=broken or "correction.tolerances", reasons=tuple(reasons))
