"""From a bundle's numbers to claims, and back: whoever holds the bundle makes the same claims again, and compares.

Text and choices must come out the same. Numbers may differ by what two machines' arithmetic does (`_SAME`), and epsilon
may be larger by its rounding up, not smaller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import BoundMethod, CertificateRules, Policy
from unlearnkit.errors import EstimationError, UnknownNameError
from unlearnkit.estimation import Prediction, Sketch
from unlearnkit.estimation.bound import Bound, Family
from unlearnkit.estimation.constants import decimal_above
from unlearnkit.names import probability_text
from unlearnkit.verifier.certificate import UNKNOWN, Claim, Curve, Norm, Series, question_digest
from unlearnkit.verifier.evidence import Evidence

Array = np.ndarray[Any, Any]

_CURVE_POINTS = 11
# Of a claim's two epsilons; see `Claim`.
_FAMILIES: tuple[Family, ...] = ("all", "each")
# How much the numbers of two machines may differ, relative to the largest number of a claim.
_SAME = 1e-9
# The same for a ratio of two of them, relative to itself.
_SAME_RATIO = 1e-5
# Rounding epsilon up to six significant digits adds at most this share.
_ROUNDED_UP = 1.1e-5


def make_claims(
    bundle: Bundle,
    deleted: Sequence[str],
    policy: Policy,
    *,
    asking: Sequence[str],
    delta: Decimal,
    evidence: Sequence[Evidence] = (),
) -> tuple[Claim, ...]:
    """A claim about each probe that the policy names, for deleting some units, by pseudonym.

    asking: those of them who ask now. delta: of each claim.
    UnknownNameError for a probe that the bundle does not have; what `Sketch.bound` raises.
    """
    rules = policy.certificate
    missing = [name for name in rules.probes if name not in bundle.probe_names]
    if missing:
        raise UnknownNameError(
            f"policy {policy.name} asks for the probes {', '.join(missing)}, which the bundle does not have",
            hint="pin them in the recipe, or use a policy for this model",
        )
    audits = (
        {name: audit for audit in evidence for name in audit.probes}
        if BoundMethod.AUDITED in rules.bound_methods
        else {}
    )
    return tuple(
        make_claim(bundle, deleted, name, asking=asking, delta=delta, audit=audits.get(name), rules=rules)
        for name in rules.probes
    )


def make_claim(
    bundle: Bundle,
    deleted: Sequence[str],
    probe: str,
    *,
    asking: Sequence[str],
    delta: Decimal,
    audit: Evidence | None,
    rules: CertificateRules,
) -> Claim:
    """The claim about one probe: audited where there is evidence, else certified."""
    sketch = bundle.probe(probe)
    prediction = sketch.predict(deleted)
    kind, evidence = (BoundMethod.CERTIFIED, ()) if audit is None else (BoundMethod.AUDITED, (audit.digest,))
    together, each = (_bound(sketch, deleted, delta, audit, rules, family) for family in _FAMILIES)
    text = probability_text(delta)
    return Claim(
        probe=probe,
        shape=tuple(sketch.base.shape),
        base=_decimals(sketch.base),
        predicted=_decimals(prediction.value),
        asked=_decimals(prediction.value if set(asking) == set(deleted) else sketch.predict(asking).value),
        epsilon=_around(together, prediction),
        epsilon_each=_around(each, prediction),
        delta=text,
        kind=kind,
        method=together.method,
        degree=together.degree,
        explanation=prediction.explanation,
        covers=together.covers,
        assumptions=tuple(dict.fromkeys((*together.assumptions, *each.assumptions))),
        evidence=evidence,
        question=question_digest(
            bundle=bundle.digest, deleted=deleted, probe=probe, delta=text, kind=kind, evidence=evidence
        ),
        convergence=_series(prediction),
        curve=_curve(sketch, deleted, prediction),
        stability=_stability(sketch),
    )


def _bound(
    sketch: Sketch,
    deleted: Sequence[str],
    delta: Decimal,
    audit: Evidence | None,
    rules: CertificateRules,
    family: Family,
) -> Bound:
    if audit is not None:
        return audit.bound(sketch, deleted, delta=float(delta))  # of all elements, and so of each
    decay, rounding = (
        None if table.get(sketch.name) is None else float(table[sketch.name])
        for table in (rules.stability, rules.rounding)
    )
    ask = partial(sketch.bound, deleted, delta=float(delta), family=family, rounding=rounding)
    try:
        return ask(decay=decay)
    except EstimationError:
        if decay is None:
            raise
        return ask(decay=None)  # what is declared bounds nothing for so many people: truncation is not covered


def _around(bound: Bound, prediction: Prediction) -> tuple[str, ...]:
    """Epsilon around the prediction, where the bound is around an estimate of its own."""
    found = np.asarray(bound.epsilon + np.abs(prediction.value - bound.estimate))
    return tuple(decimal_above(value) for value in found.flat)


def _series(prediction: Prediction) -> Series:
    found = prediction.convergence
    largest = (np.asarray(ratio)[np.isfinite(ratio)].max(initial=-np.inf) for ratio in (found.terms, found.norms))
    terms, norms = map(_known, largest)
    return Series(verdict=found.worst, terms=terms, norms=norms)


def _curve(sketch: Sketch, deleted: Sequence[str], prediction: Prediction) -> Curve:
    element = int(np.abs(prediction.change).argmax())
    weights, curve = sketch.curve(deleted, np.linspace(0, 1, _CURVE_POINTS))
    points = len(weights)
    return Curve(
        element=element,
        weights=_decimals(weights),
        values=_decimals(curve.value.reshape(points, -1)[:, element]),
        standard_errors=tuple(map(_known, curve.standard_error.reshape(points, -1)[:, element])),
    )


def _stability(sketch: Sketch) -> tuple[Norm, ...]:
    """The degrees of which the size is known."""
    return tuple(
        Norm(degree=row.degree, norm=_decimal(row.norm), low=_decimal(row.low), high=_decimal(row.high))
        for row in sketch.stability()
        if math.isfinite(row.high)
    )


def _decimals(values: Array) -> tuple[str, ...]:
    return tuple(_decimal(value) for value in np.asarray(values, dtype=np.float64).flat)


def _known(value: float) -> str:
    """A finite number, or that nobody knows it."""
    return _decimal(value) if math.isfinite(value) else UNKNOWN


def _decimal(value: float) -> str:
    """The shortest decimal that reads as this float."""
    return format(Decimal(repr(float(value))), "f")


def disagreements(claimed: Claim, recomputed: Claim) -> Iterator[str]:
    """What a claim says and its bundle does not, in words; nothing when they agree."""
    if claimed.kind != recomputed.kind:
        yield f"kind is {claimed.kind}, the bundle gives {recomputed.kind}"
    for name in ("probe", "shape", "delta", "method", "degree", "explanation", "covers", "assumptions"):
        if getattr(claimed, name) != getattr(recomputed, name):
            yield f"{name} is {getattr(claimed, name)!r}, the bundle gives {getattr(recomputed, name)!r}"
    for name in ("evidence", "question"):
        if getattr(claimed, name) != getattr(recomputed, name):
            yield f"{name} is not the one that follows from what was asked"
    if claimed.shape != recomputed.shape:
        return
    scale = max(abs(float(v)) for v in (*recomputed.base, *recomputed.predicted, *recomputed.epsilon, "1e-300"))
    for name in ("base", "predicted", "asked"):
        yield from _different(name, getattr(claimed, name), getattr(recomputed, name), _SAME * scale)
    for name in ("epsilon", "epsilon_each"):
        yield from _other_epsilons(name, getattr(claimed, name), getattr(recomputed, name), _SAME * scale)
    yield from _different_series(claimed.convergence, recomputed.convergence)
    yield from _different_pictures(claimed, recomputed, _SAME * scale)


def _other_epsilons(name: str, claimed: Sequence[str], recomputed: Sequence[str], tolerance: float) -> Iterator[str]:
    for i, (said, found) in enumerate(zip(claimed, recomputed, strict=True)):
        least, most = float(found) * (1 - _ROUNDED_UP) - tolerance, float(found) * (1 + _ROUNDED_UP) + tolerance
        if not least <= float(said) <= most:
            verb = "lower" if float(said) < least else "higher"
            yield f"{name} of element {i} is {said}, {verb} than what the bundle gives, {found}"


def _different_series(claimed: Series, recomputed: Series) -> Iterator[str]:
    if claimed.verdict != recomputed.verdict:
        yield f"the series is {claimed.verdict}, the bundle says {recomputed.verdict}"
    for name in ("terms", "norms"):
        said, found = getattr(claimed, name), getattr(recomputed, name)
        tolerance = 0.0 if UNKNOWN in (said, found) else _SAME_RATIO * abs(float(found))
        yield from _different(f"the ratio of {name}", [said], [found], tolerance)


def _different_pictures(claimed: Claim, recomputed: Claim, tolerance: float) -> Iterator[str]:
    """The curve and the stability profile."""
    said, found = claimed.curve, recomputed.curve
    if (said.element, said.weights) != (found.element, found.weights):
        yield "the curve is of another element, or at other weights"
    for name in ("values", "standard_errors"):
        yield from _different(f"the curve's {name}", getattr(said, name), getattr(found, name), tolerance)
    if [row.degree for row in claimed.stability] != [row.degree for row in recomputed.stability]:
        yield "the stability profile has other degrees"
        return
    for row, other in zip(claimed.stability, recomputed.stability, strict=True):
        ours = (other.norm, other.low, other.high)
        tolerance = _SAME * max(map(float, ours)) + 1e-300
        yield from _different(f"the stability at degree {row.degree}", (row.norm, row.low, row.high), ours, tolerance)


def _different(name: str, claimed: Sequence[str], found: Sequence[str], tolerance: float) -> Iterator[str]:
    if len(claimed) != len(found):
        yield f"{name} has {len(claimed)} numbers, the bundle gives {len(found)}"
        return
    for i, (said, value) in enumerate(zip(claimed, found, strict=True)):
        if said != value and (UNKNOWN in (said, value) or abs(float(said) - float(value)) > tolerance):
            yield f"{name}[{i}] is {said}, the bundle gives {value}"
            return
