"""From a bundle's numbers to claims; whoever holds the bundle makes the same again, and `agreement` compares them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.policy import OWN_LOSS, BoundMethod, Policy
from unlearnkit.errors import DigestMismatchError, EstimationError, UnknownNameError
from unlearnkit.estimation import Differences, Prediction, Sketch
from unlearnkit.estimation.constants import decimal_above
from unlearnkit.verifier.certificate import UNKNOWN, Claim, Curve, Norm, Series, question_digest
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.grounds import Ground, audited, certified, retrained
from unlearnkit.verifier.replayed import SignedReplay
from unlearnkit.verifier.retrainings import Retrainings

Array = np.ndarray[Any, Any]

_CURVE_POINTS = 11


def make_claims(
    bundle: Bundle,
    deleted: Sequence[str],
    policy: Policy,
    *,
    asking: Sequence[str],
    delta: Decimal,
    evidence: Sequence[Evidence] = (),
    replay: SignedReplay | None = None,
) -> tuple[Claim, ...]:
    """A claim about each probe that the policy names, for deleting some units, by pseudonym.

    Audited where the policy's plan was carried out for so many people, else certified. Where there is evidence of other
    sizes, and nothing is certified, nothing is claimed.

    asking: those of them who ask now; claims about own losses are about them. delta: of each certified claim. replay:
    tells certified claims what rounding does to them, in the place of what the policy declares.
    UnknownNameError for a probe that the bundle does not have; DigestMismatchError for a replay of another bundle; what
    `Sketch.bound` raises.
    """
    _require_probes(bundle, policy)
    if replay is not None and replay.report.bundle != bundle.digest:
        raise DigestMismatchError(f"the replay is about bundle {replay.report.bundle}, this one is {bundle.digest}")
    accepted = evidence if BoundMethod.AUDITED in policy.certificate.bound_methods else ()
    retrainings = Retrainings.of(bundle, accepted, policy.audit)
    made = []
    for name in policy.certificate.probes:
        question = _Question(bundle, name, tuple(deleted), tuple(sorted(asking)))
        try:
            ground = _ground(question, policy, retrainings, delta, replay)
        except EstimationError:
            if not accepted:
                raise
            continue
        made.append(_claim(question, ground))
    return tuple(made)


def _require_probes(bundle: Bundle, policy: Policy) -> None:
    names = policy.certificate.probes
    if missing := [name for name in names if name not in bundle.probe_names]:
        raise UnknownNameError(
            f"policy {policy.name} asks for the probes {', '.join(missing)}, which the bundle does not have",
            hint="pin them in the recipe, or use a policy for this model",
        )
    if OWN_LOSS in names and bundle.manifest.own_loss != OWN_LOSS:
        raise UnknownNameError(
            f"policy {policy.name} asks for {OWN_LOSS}, and the bundle's probe of that name is another one",
            hint=f'pin the people\'s own losses: probes={{"{OWN_LOSS}": uk.OwnLoss()}}',
        )


@dataclass(frozen=True)
class _Question:
    """What is asked of a bundle. deleted: pseudonyms. asking: those of them who ask now, sorted."""

    bundle: Bundle
    probe: str
    deleted: tuple[str, ...]
    asking: tuple[str, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Whose own losses the elements are; empty for other probes."""
        return self.asking if self.probe == self.bundle.manifest.own_loss else ()

    @cached_property
    def sketch(self) -> Sketch:
        """Of the elements that are claimed."""
        whole = self.bundle.probe(self.probe)
        return whole.of(self.bundle.unit_indices(self.people)) if self.people else whole

    def differences(self, replay: SignedReplay) -> Differences:
        """What a replay found different, of the elements that are claimed."""
        whole = replay.differences(self.probe)
        return whole.of(self.bundle.unit_indices(self.people)) if self.people else whole

    @cached_property
    def prediction(self) -> Prediction:
        """Without everybody who is deleted."""
        return self.sketch.predict(self.deleted)

    @cached_property
    def mask(self) -> Array:
        """Who is deleted, ``[1, units]``."""
        mask = np.zeros((1, self.bundle.manifest.units))
        mask[0, self.positions] = 1
        return mask

    @property
    def positions(self) -> list[int]:
        """Of who is deleted."""
        return list(self.bundle.unit_indices(self.deleted).tolist())


def _ground(
    question: _Question, policy: Policy, retrainings: Retrainings, delta: Decimal, replay: SignedReplay | None
) -> Ground:
    own = question.bundle.unit_indices(question.people).tolist() if question.people else ()
    if (value := retrainings.value(question.probe, question.positions, own)) is not None:
        return retrained(value, retrainings.digests)
    if (found := retrainings.tolerance(question.probe, len(question.deleted))) is not None:
        return audited(question.sketch, question.mask, question.prediction, found, retrainings.digests)
    return certified(
        question.sketch,
        question.deleted,
        question.prediction,
        delta=delta,
        rules=policy.certificate,
        differences=None if replay is None else question.differences(replay),
        evidence=() if replay is None else (replay.digest,),
    )


def _claim(question: _Question, ground: Ground) -> Claim:
    sketch, prediction, asking = question.sketch, question.prediction, question.asking
    alone = prediction.value if set(asking) == set(question.deleted) else sketch.predict(asking).value
    return Claim(
        probe=question.probe,
        shape=tuple(sketch.base.shape),
        people=question.people,
        base=_decimals(sketch.base),
        predicted=_decimals(ground.value),
        asked=_decimals(alone),
        epsilon=tuple(map(decimal_above, ground.epsilon.tolist())),
        epsilon_each=tuple(map(decimal_above, ground.epsilon_each.tolist())),
        delta=ground.delta,
        content=ground.content,
        confidence=ground.confidence,
        kind=ground.kind,
        method=ground.method,
        degree=ground.degree,
        explanation=prediction.explanation,
        covers=ground.covers,
        assumptions=ground.assumptions,
        evidence=ground.evidence,
        question=question_digest(
            bundle=question.bundle.digest,
            deleted=question.deleted,
            people=question.people,
            probe=question.probe,
            delta=ground.delta,
            kind=ground.kind,
            evidence=ground.evidence,
        ),
        convergence=_series(prediction),
        curve=_curve(sketch, question.deleted, prediction),
        stability=_stability(sketch),
    )


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
