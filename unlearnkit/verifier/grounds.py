"""What a claim's error rests on: a proof, retrainings of people drawn alike, or the retraining of these very people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from unlearnkit.compliance.policy.policy import CertificateRules
from unlearnkit.errors import EstimationError
from unlearnkit.estimation import Differences, Prediction, Sketch
from unlearnkit.estimation.bound import ERRORS, Bound, Family
from unlearnkit.estimation.conformal import scale
from unlearnkit.estimation.tolerance import Tolerance
from unlearnkit.names import ordinal, probability_text
from unlearnkit.verifier.certificate import Kind

Array = np.ndarray[Any, Any]

_THE_TRUTH = (
    "The truth is this run's own counterfactual, in float64: the same start, order, random numbers and schedule, with "
    "loss weight zero. It is not a run with another order or another seed."
)
_RETRAINED = (
    "The retrainings are those of the signed evidence, and were done as it says. What would be drawn, and how many, "
    "was in the log before anybody could know the draws."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What is claimed of a probe's elements, and what that rests on; see `Claim`. Arrays ``[E]``."""

    kind: Kind
    value: Array
    epsilon: Array
    epsilon_each: Array
    delta: str | None = None
    content: str | None = None
    confidence: str | None = None
    method: str
    degree: int
    covers: tuple[str, ...]
    assumptions: tuple[str, ...]
    evidence: tuple[str, ...] = ()


def certified(
    sketch: Sketch,
    deleted: Sequence[str],
    prediction: Prediction,
    *,
    delta: Decimal,
    rules: CertificateRules,
    differences: Differences | None = None,
    evidence: tuple[str, ...] = (),
) -> Ground:
    """Proved, as far as it covers; raises as `Sketch.bound` does.

    differences: of the sketch's elements, by the signed replay that ``evidence`` names; they take the place of what the
    rules declare about rounding.
    """
    rounding = _declared(rules.rounding, sketch) if differences is None else differences
    decay = _declared(rules.stability, sketch)
    together, each = (_bound(sketch, deleted, delta, decay, rounding, family) for family in ("all", "each"))
    return Ground(
        kind=Kind.CERTIFIED,
        value=np.ravel(prediction.value),
        epsilon=_around(together, prediction),
        epsilon_each=_around(each, prediction),
        delta=probability_text(delta),
        method=together.method,
        degree=together.degree,
        covers=tuple(error for error in together.covers if error in each.covers),
        assumptions=tuple(dict.fromkeys((*together.assumptions, *each.assumptions))),
        evidence=evidence,
    )


def _declared(table: Mapping[str, Decimal], sketch: Sketch) -> float | None:
    return None if table.get(sketch.name) is None else float(table[sketch.name])


def _bound(
    sketch: Sketch,
    deleted: Sequence[str],
    delta: Decimal,
    decay: float | None,
    rounding: float | Differences | None,
    family: Family,
) -> Bound:
    ask = partial(sketch.bound, deleted, delta=float(delta), family=family, rounding=rounding)
    try:
        return ask(decay=decay)
    except EstimationError:
        if decay is None:
            raise
        return ask(decay=None)  # what is declared bounds nothing for so many people: truncation is not covered


def _around(bound: Bound, prediction: Prediction) -> Array:
    """Epsilon around the prediction, where the bound is around an estimate of its own."""
    return np.ravel(bound.epsilon + np.abs(prediction.value - bound.estimate))


def audited(sketch: Sketch, mask: Array, prediction: Prediction, found: Tolerance, evidence: tuple[str, ...]) -> Ground:
    """From retrainings of people drawn alike: one statement about all such deletions, which spends no delta.

    mask: who is deleted, ``[1, units]``.
    """
    epsilon = np.ravel(found.epsilon(scale(sketch, mask, sketch.predict(mask))))
    sizes = found.stratum
    return Ground(
        kind=Kind.AUDITED,
        value=np.ravel(prediction.value),
        epsilon=epsilon,
        epsilon_each=epsilon,
        content=str(found.content),
        confidence=str(found.confidence),
        method=f"audited: tolerance interval, the {ordinal(found.rank)} smallest of N={found.count} scores, {sizes}",
        degree=max(term.degree for term in prediction.terms if term.used.any()),
        covers=ERRORS,
        assumptions=(
            f"Of all deletions of {sizes}, drawn as the audit drew its own, each size as likely and then each set of "
            f"that size, at most a share of 1 - {found.content} lies outside, anywhere in the probe; that is so with "
            f"confidence {found.confidence}, over the draw of the {found.count} that were retrained. It is one "
            "statement for all requests. For people who are alike, where the audit drew anybody, nothing is promised.",
            _RETRAINED,
            _THE_TRUTH,
        ),
        evidence=evidence,
    )


def retrained(value: Array, evidence: tuple[str, ...]) -> Ground:
    """What retraining without these very people gave: it is known, and has no interval."""
    flat = np.ravel(value)
    return Ground(
        kind=Kind.RETRAINED,
        value=flat,
        epsilon=np.zeros_like(flat),
        epsilon_each=np.zeros_like(flat),
        method="audited: these very people are one of the audit's draws, and this is what retraining gave",
        degree=0,
        covers=ERRORS,
        assumptions=(_RETRAINED, _THE_TRUTH),
        evidence=evidence,
    )
