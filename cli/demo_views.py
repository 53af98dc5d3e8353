"""How the demo is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from unlearnkit.names import counted

from .demo_story import FIRST, LATER, SEED
from .demo_truth import CertificateRow, ClaimRow, ExclusionRow, LossRow
from .output import Document

if TYPE_CHECKING:
    from unlearnkit.verifier.examination import Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A request, how many images the person has, and how it was answered."""

    request: str
    images: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRow:
    """A certificate that somebody outside verified: which checks passed, and what nobody looked at."""

    file: str
    kind: str
    checks: tuple[tuple[str, str], ...]
    unchecked: tuple[str, ...]

    @classmethod
    def of(cls, found: Verification) -> Self:
        """What was found."""
        checks = tuple((check.name, check.found) for check in found.checks)
        return cls(file=found.path.name, kind=found.kind, checks=checks, unchecked=found.unchecked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Document):
    """The whole story. strata: of the audit, in words. in_use: whether the correction is. kept: where its files are."""

    schema: ClassVar[str] = "unlearnkit/demo/v4"

    units: int
    examples: int
    base_test_loss: float
    content: str
    confidence: str
    strata: tuple[str, ...]
    tolerances: Mapping[str, str]
    requests: tuple[RequestRow, ...]
    certificates: tuple[CertificateRow, ...]
    correction: CertificateRow
    in_use: bool
    exclusions: tuple[ExclusionRow, ...]
    verified: tuple[VerifiedRow, ...]
    losses: tuple[LossRow, ...]
    kept: Path | None


def render(told: Told) -> Iterable[str]:
    """The story for people."""
    sections = (_sketched, _audited, _asked, _effects, _corrected, _excluded, _verified, _counted, _groups)
    for number, section in enumerate(sections, 1):
        title, *lines = section(told)
        yield f"{number}. {title}"
        yield from (f"   {line}".rstrip() for line in lines)
        yield ""
    if told.kept is not None:
        yield f"Everything is in {told.kept}: bundles, audit log, evidence, certificates, report.html."


def _sketched(told: Told) -> Iterator[str]:
    yield "The sketch"
    yield f"A classifier learned {told.examples} digits that belong to {told.units} people: digits@1."
    yield f"Its test loss is {told.base_test_loss:.4f}. The salt of the sketch follows from the audit log."


def _audited(told: Told) -> Iterator[str]:
    yield "The audit"
    yield f"Real retrainings, planned before anybody asks and drawn by the log: {', '.join(told.strata)} people."
    share, sure = (round(100 * float(text)) for text in (told.content, told.confidence))
    yield "The policy is the packaged one for the GDPR, but for fewer retrainings and a smaller share of sets; and for"
    yield "a correction, which may be off by 0.2 in own losses instead of 0.05."
    yield f"Promised: at least {share} % of sets drawn likewise are inside the claims on a probe, {sure} % sure."


def _asked(told: Told) -> Iterator[str]:
    yield "The requests"
    yield f"{FIRST} people ask, and {LATER} more on the same day, drawn among all people by the seed {SEED}."
    yield "Nobody is answered before all have asked."
    yield ""
    yield f"{'request':<8} {'images':>6}   answered in the end by"
    for row in told.requests:
        yield f"{row.request:<8} {row.images:>6}   {row.answer}"


def _effects(told: Told) -> Iterator[str]:
    yield "What the model is without them, as certified, and really"
    yield f"Tolerated: {', '.join(f'{name} {value}' for name, value in told.tolerances.items())}."
    for row in told.certificates:
        yield ""
        yield from _certificate(row)


def _corrected(told: Told) -> Iterator[str]:
    row = told.correction
    yield "A correction for the one of them whom the model remembers most"
    who = counted(row.people, "person")
    yield f"The weights that the sketch predicts without {who}, with those who were kept before;"
    yield "claimed is how far they are from the weights of retraining, and beside it how far they really are."
    yield "They are in use, as digits@1.1." if told.in_use else "The policy does not let them be served."
    yield ""
    yield from _certificate(row)


def _certificate(row: CertificateRow) -> Iterator[str]:
    yield f"{row.who}, {counted(row.people, 'person')}: {row.outcome} (by {row.rule})"
    yield f"  {'':<18} {'as certified':<24} {'really':>10}"
    yield from (f"  {_claim(claim)}" for claim in row.claims)


def _claim(claim: ClaimRow) -> str:
    """A line, its numbers to two digits of the error."""
    digits = _decimals(claim.epsilon)
    what = claim.probe if claim.request is None else f"{claim.probe} of {claim.request}"
    said = f"{claim.change:+.{digits}f} +- {claim.epsilon:.{digits}f}"
    return f"{what:<18} {said:<24} {claim.real:>+10.{digits}f}  {'inside' if claim.inside else 'OUTSIDE'}"


def _decimals(error: float) -> int:
    """So many decimals show two digits of an error; six of one that is zero."""
    if error <= 0:
        return 6
    return max(0, 1 - int(f"{error:.1e}".split("e")[1]))


def _excluded(told: Told) -> Iterator[str]:
    yield "A second training without all ten, and certificates of exclusion for the rest"
    yield "digits@2 is trained on what is left, in other batches. The loss on their own images says what a model shows;"
    yield "beside it, the first training without all ten, in the same batches as before."
    yield f"{'request':<8} {'on its list':<12} {'digits@1':>8} {'digits@2':>9} {'really':>8}"
    for row in told.exclusions:
        listed = "YES" if row.listed else "no"
        yield f"{row.request:<8} {listed:<12} {row.kept:>8.3f} {row.second:>9.3f} {row.real:>8.3f}"


def _verified(told: Told) -> Iterator[str]:
    yield "Somebody outside, with public keys alone"
    for row in told.verified:
        yield f"{row.file}: {', '.join(name for name, _ in row.checks)}"
    unchecked = dict.fromkeys(text for row in told.verified for text in row.unchecked)
    yield from (f"not checked: {text}" for text in unchecked)


def _counted(told: Told) -> Iterator[str]:
    yield "How many claims are so"
    rows = [*told.certificates, told.correction]
    for title, some in (
        ("of sets drawn as the audit draws", [row for row in rows if row.drawn]),
        ("of sets picked by what was predicted of them", [row for row in rows if not row.drawn]),
    ):
        whole = [all(inside) for row in some for inside in row.by_probe]
        inside = [claim.inside for row in some for claim in row.claims]
        numbers, probes = counted(len(inside), "number"), counted(len(whole), "whole probe")
        yield f"{sum(inside)} of {numbers}, and {sum(whole)} of {probes}, are inside, {title}."
    yield "The promise is about whole probes of sets that are drawn; these share people, and so they"
    yield "are right or wrong together."


def _groups(told: Told) -> Iterator[str]:
    yield "Changes of the test loss that add up"
    yield f"{'who leaves':<28} {'images':>6} {'1st order':>10} {'predicted':>10} {'really':>10}  series"
    for row in told.losses:
        numbers = " ".join(f"{value:>+10.5f}" for value in (row.first, row.predicted, row.real))
        yield f"{row.who:<28} {row.images:>6} {numbers}  {row.series}"
    yield "Nothing is claimed of groups that are larger than what was audited."
