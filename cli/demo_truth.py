"""What is really so, by real retraining in float64 as an audit does it, beside every claim of the demo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .demo_policy import OWN_LOSS
from .demo_story import SEED, Answers, Stage, people

if TYPE_CHECKING:
    from unlearnkit.verifier.certificate import Claim
    from unlearnkit.verifier.correction import Nearness

TEST_LOSS = "test_loss"
DRAWN = ("one alone", "eight together", "ten together")
"""The sets that were drawn as the audit draws; who else is certified was picked by what was predicted of them."""

_MORE = 20
_LIKED_DIGIT = 9
_LAST_BITS = 1e-12  # an error of zero is claimed of a set that the audit drew itself, and sums in float64 have an order


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """What is claimed of a probe, or of somebody's own loss, and what is really so. request: of whom; None: of all.

    change, real: from the kept model; of a correction the distance from the retrained one, where 0 is claimed.
    content: the share of such sets that is promised to be inside; None: these very people were retrained.
    """

    probe: str
    request: str | None
    change: float
    epsilon: float
    content: str | None
    real: float
    inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate: who, how many people leave together, how it decided, and its claims. drawn: as the audit draws."""

    who: str
    people: int
    drawn: bool
    outcome: str
    rule: str
    claims: tuple[ClaimRow, ...]

    @property
    def by_probe(self) -> list[list[bool]]:
        """Of each probe, which of its numbers are inside."""
        probes = dict.fromkeys(claim.probe for claim in self.claims)
        return [[claim.inside for claim in self.claims if claim.probe == probe] for probe in probes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """The change of the test loss without some people: by the first order, as it is predicted, and really.

    series: whether it converges there, by the prediction.
    """

    who: str
    images: int
    first: float
    predicted: float
    real: float
    series: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionRow:
    """Somebody who is not in the second training, and their own loss.

    kept: by the first model. second: by the second. real: by the first training without all ten, in the same batches.
    """

    request: str
    listed: bool
    kept: float
    second: float
    real: float


class Truth:
    """Real retrainings of the first release without some people, each done once."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._known: dict[tuple[int, ...], Mapping[str, np.ndarray]] = {}

    def without(self, places: Iterable[int]) -> Mapping[str, np.ndarray]:
        """Every probe after a training without the people at these positions."""
        from unlearnkit.audit.retraining import one_thread, retrained_probes

        key = tuple(sorted(places))
        if key not in self._known:
            with one_thread():
                self._known[key] = retrained_probes(self._stage.recipe, key, "cpu")
        return self._known[key]


def certificates(stage: Stage, answers: Answers, truth: Truth) -> Iterator[CertificateRow]:
    """Those of the effect, with the truth beside each claim."""
    ids = {request.subject: request.id for request in answers.requests}
    for who, issued in answers.effects.items():
        said = issued.certificate
        left = [stage.person(unit) for unit in said.deleted]
        real = truth.without(left)
        yield CertificateRow(
            who=who,
            people=len(left),
            drawn=who in DRAWN,
            outcome=said.decision.outcome,
            rule=said.decision.rule,
            claims=tuple(row for claim in said.claims for row in _claim_rows(stage, claim, real, ids)),
        )


def correction(stage: Stage, answers: Answers, truth: Truth) -> CertificateRow:
    """The corrected weights, and how far they really are from those of retraining."""
    from safetensors.torch import load_file

    from unlearnkit.audit.corrected import probes_at

    said = answers.corrected.certificate
    left = [stage.person(unit) for unit in said.without]
    weights = {name: value.double() for name, value in load_file(answers.corrected.model).items()}
    found = probes_at(stage.recipe, weights, "cpu")
    real, rows = truth.without(left), []
    for claim in said.claims:
        off = found[claim.probe] - real[claim.probe]
        far = float(np.abs(off[left] if claim.probe == OWN_LOSS else off).max())
        rows.append(_claim_row(claim, None, (0.0, 0.0, claim.epsilon), far))
    return CertificateRow(
        who="corrected",
        people=len(left),
        drawn=False,
        outcome=said.decision.outcome,
        rule=said.decision.rule,
        claims=tuple(rows),
    )


def exclusions(stage: Stage, answers: Answers, truth: Truth) -> Iterator[ExclusionRow]:
    """Of everybody who was left to the second training: what the models give away of them."""
    from safetensors.torch import load_file

    from unlearnkit.audit.corrected import probes_at

    place_of = dict(zip((request.id for request in answers.requests), people(), strict=True))
    weights = {name: value.double() for name, value in load_file(answers.second.path / "model.safetensors").items()}
    second = probes_at(stage.recipe, weights, "cpu")[OWN_LOSS]
    kept, real = stage.bundle.probe(OWN_LOSS).base, truth.without(people())[OWN_LOSS]
    for issued in answers.exclusions:
        (request,) = issued.certificate.requests
        place = place_of[request]
        yield ExclusionRow(
            request=request,
            listed=stage.recipe.unit_names[place] in answers.retrained.unit_names,
            kept=float(kept[place]),
            second=float(second[place]),
            real=float(real[place]),
        )


def losses(stage: Stage, truth: Truth) -> Iterator[LossRow]:
    """The test loss without groups, of which the last two are larger than what was audited."""
    names, ten = stage.recipe.unit_names, people()
    alone = [_loss_row(stage, truth, "", [place]) for place in ten]
    yield LossRow(
        who="the ten, one by one, added up",
        images=sum(row.images for row in alone),
        first=sum(row.first for row in alone),
        predicted=sum(row.predicted for row in alone),
        real=sum(row.real for row in alone),
        series="",
    )
    yield _loss_row(stage, truth, "the ten together", ten)
    drawn = np.random.default_rng(SEED + 1).choice(len(names), _MORE, replace=False)
    yield _loss_row(stage, truth, f"{_MORE} drawn likewise", drawn.tolist())
    likers = [place for place, name in enumerate(names) if int(str(name)[-3:]) % 10 == _LIKED_DIGIT]
    yield _loss_row(stage, truth, f"the {len(likers)} who like {_LIKED_DIGIT}s", likers)


def _loss_row(stage: Stage, truth: Truth, who: str, places: Sequence[int]) -> LossRow:
    sketch, names = stage.bundle.probe(TEST_LOSS), [str(stage.recipe.unit_names[place]) for place in places]
    predicted = sketch.predict(names)
    return LossRow(
        who=who,
        images=int(np.isin(stage.recipe.unit_of_example, places).sum()),
        first=float(sketch.predict(names, degree=1).change),
        predicted=float(predicted.change),
        real=float(truth.without(places)[TEST_LOSS] - predicted.base),
        series=predicted.convergence.worst,
    )


def _claim_rows(
    stage: Stage, claim: Claim, real: Mapping[str, np.ndarray], ids: Mapping[str, str]
) -> Iterator[ClaimRow]:
    found = np.ravel(real[claim.probe])
    if claim.people:
        found = found[[stage.person(who) for who in claim.people]]
    whose: list[str | None] = [ids[who] for who in claim.people] or [None]
    numbers = zip(claim.base, claim.predicted, claim.epsilon, strict=True)
    rows = [_claim_row(claim, *row) for row in zip(whose, numbers, found.tolist(), strict=True)]
    yield from sorted(rows, key=lambda row: list(ids.values()).index(row.request) if row.request else 0)


def _claim_row(
    claim: Claim | Nearness, request: str | None, said: tuple[float | str, float | str, float | str], real: float
) -> ClaimRow:
    """said: the probe now, as predicted, and the error of that."""
    base, predicted, epsilon = map(float, said)
    return ClaimRow(
        probe=claim.probe,
        request=request,
        change=predicted - base,
        epsilon=epsilon,
        content=claim.content,
        real=real - base,
        inside=abs(real - predicted) <= epsilon + _LAST_BITS,
    )


def images(stage: Stage) -> list[int]:
    """How many images each of the ten has."""
    counts = np.bincount(stage.recipe.unit_of_example, minlength=len(stage.recipe.unit_names))
    return [int(counts[place]) for place in people()]
