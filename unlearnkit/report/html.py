"""The report of a certificate: one page for people, which needs no network and no script.

Whatever a certificate says is untrusted text, also when its signature is good: it is escaped everywhere. The page is a
pure function of what it is given. Numbers are rounded for reading such that each printed ``value ± epsilon`` contains
the one that is claimed; the exact decimals are in the ``value`` attributes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from enum import StrEnum
from functools import cache

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from unlearnkit.compliance.policy.policy import Covered, Policy, parse_policy
from unlearnkit.errors import FormatError
from unlearnkit.report import figures
from unlearnkit.report.environment import environment
from unlearnkit.report.figures import Caption, Interval, number
from unlearnkit.verifier.certificate import UNKNOWN, Certificate, Claim

_LARGEST, _MOST_ROWS = 10, 500  # rows that are seen at once, and that unfold; the certificate has them all
_DIGITS, _MOST_DIGITS = 3, 7  # significant ones of the largest epsilon, and of the largest number
_BAND = 2  # asymptotic standard errors to either side of a curve
_LARGEST_POWER = 300  # of ten, in any number of a certificate: they come from float64
_EXACT = 1000  # digits with which sums of such numbers are exact
_AT_MOST = re.compile(r"by ([0-9.]+) at most")
_PLAIN = (-9, 9)  # powers of ten between which a number is printed without one


class Verified(StrEnum):
    """What was verified before a report was made."""

    EVERYTHING = "everything"
    SIGNATURE = "signature"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class RequestDates:
    """The days of a request, from the log: of receipt; until when an answer is due; None while it is open: closed.

    subject: pseudonym of who made it.
    """

    id: str
    subject: str
    received: date
    due: date
    closed: date | None


@dataclass(frozen=True, slots=True)
class Row:
    """One element of a probe, ready to be printed; ``exact`` has the certificate's own base, prediction, epsilon."""

    element: str
    base: str
    predicted: str
    change: str
    epsilon: str
    low: str
    high: str
    exact: tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """A claim, ready to be printed. counts: how many elements stay within the tolerance, exceed it, or may.

    part, parts: what its elements are called.
    """

    claim: Claim
    id: str
    part: str
    parts: str
    tolerance: Decimal | None
    largest: tuple[Row, ...]
    rest: tuple[Row, ...]
    left_out: int
    counts: tuple[int, int, int]
    not_covered: tuple[str, ...]
    curve_row: Row
    changes: Markup
    curve: Markup
    stability: Markup


def render_report(
    certificate: Certificate,
    checks: Sequence[tuple[str, str]],
    *,
    verified: Verified,
    file: str,
    digest: str,
    unchecked: Sequence[str] = (),
    dates: Sequence[RequestDates] = (),
    controller: str = "",
) -> str:
    """The page, as HTML 5. checks: names of those that passed, and what they found. unchecked: what nobody looked at.

    file: the certificate's. digest: of its envelope. dates: of its requests, where the log is at hand.
    controller: who answers for the model, where the workspace says so.
    FormatError for a certificate that cannot be printed: a policy that is none, numbers beyond float64, a curve that
    does not fit its claim. Verified ones can be.
    """
    _require_printable(certificate)
    policy = parse_policy(certificate.policy.encode(), where="the certificate's policy")
    own_first = sorted(certificate.claims, key=lambda claim: not claim.people)
    names = {item.subject: item.id for item in dates}
    views = [_view(claim, f"claim-{n}", policy, names) for n, claim in enumerate(own_first, 1)]
    given = {"certificate": certificate, "checks": checks, "verified": verified, "file": file, "digest": digest}
    return _environment().get_template("report.html").render(
        **given,
        unchecked=unchecked,
        dates=dates,
        names=names,
        controller=controller,
        policy=policy,
        views=views,
        evidence=sorted({digest for claim in certificate.claims for digest in claim.evidence}),
        assumptions=_assumptions(certificate),
        total=sum((Decimal(claim.delta) for claim in certificate.claims if claim.delta), Decimal(0)),
        quoted=shlex.quote(file),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    """That of all pages, with what certificates need."""
    made = environment().overlay()
    made.filters = {
        **made.filters,
        "percent": lambda share: f"{(Decimal(share) * 100).normalize():f} %",
        "told": _told,
        "number": lambda value: "not known" if value == UNKNOWN else number(float(value)),
    }
    return made


def _require_printable(certificate: Certificate) -> None:
    """What `parse_certificate` leaves to verification, which may not have been done."""
    for claim in certificate.claims:
        curve = claim.curve
        errors = tuple(text for text in curve.standard_errors if text != UNKNOWN)
        lists = (curve.weights, curve.values, curve.standard_errors)
        if len({len(values) for values in lists}) != 1 or not curve.weights:
            raise FormatError(f"{claim.probe}: its curve has lists of different lengths, or empty ones")
        if not 0 <= curve.element < len(claim.base):
            raise FormatError(f"{claim.probe}: its curve is of element {curve.element}, of {len(claim.base)}")
        norms = [text for row in claim.stability for text in (row.norm, row.low, row.high)]
        for text in (
            *claim.base,
            *claim.predicted,
            *claim.epsilon,
            *(text for text in (claim.delta, claim.content, claim.confidence) if text),
            *norms,
            *curve.weights,
            *curve.values,
            *errors,
        ):
            power = text.partition("E")[2] or "0"
            if len(power) > 4 or abs(int(power)) > _LARGEST_POWER or abs(float(text)) >= 10.0**_LARGEST_POWER:
                raise FormatError(f"{claim.probe}: got the number {text}, which no float64 is near")


def _assumptions(certificate: Certificate) -> list[tuple[str, tuple[str, ...]]]:
    """Each once, with the probes whose claims rest on it; no probes when all do."""
    texts = dict.fromkeys(text for claim in certificate.claims for text in claim.assumptions)
    resting = {text: tuple(c.probe for c in certificate.claims if text in c.assumptions) for text in texts}
    return [(text, () if len(probes) == len(certificate.claims) else probes) for text, probes in resting.items()]


def _told(reason: str, names: Mapping[str, str]) -> str:
    """A reason for readers: people by their requests, and what is at most so much rounded up to three digits."""
    for subject, request in names.items():
        reason = reason.replace(f" of {subject[:8]}:", f" of {request}:")
    return _AT_MOST.sub(lambda found: f"by {_rounded_up(Decimal(found[1]))} at most", reason)


def _rounded_up(value: Decimal) -> str:
    unit = Decimal(1).scaleb(value.adjusted() - _DIGITS + 1)
    rounded = value.quantize(unit, ROUND_CEILING)
    return str(value) if len(str(value)) <= len(_text(rounded)) else _text(rounded)


def _view(claim: Claim, name: str, policy: Policy, names: Mapping[str, str]) -> ClaimView:
    tolerance = policy.certificate.tolerances.get(claim.probe)
    with localcontext(prec=_EXACT):
        rows = list(_rows(claim, names))
        moves = [abs(Decimal(p) - Decimal(b)) for p, b in zip(claim.predicted, claim.base, strict=True)]
        counts = _counts(claim, moves, tolerance)
    order = sorted(range(len(rows)), key=lambda i: (-moves[i], i))
    shown = [rows[i] for i in order]
    return ClaimView(
        claim=claim,
        id=name,
        part="person" if claim.people else "element",
        parts="people" if claim.people else "elements",
        tolerance=tolerance,
        largest=tuple(shown[:_LARGEST]),
        rest=tuple(shown[_LARGEST : _LARGEST + _MOST_ROWS]),
        left_out=max(0, len(shown) - _LARGEST - _MOST_ROWS),
        counts=counts,
        not_covered=tuple(error for error in Covered if error not in claim.covers),
        curve_row=rows[claim.curve.element],
        changes=_changes(claim, name, rows, tolerance),
        curve=_curve(claim, name, rows[claim.curve.element]),
        stability=_stability(claim, name),
    )


def _counts(claim: Claim, moves: Sequence[Decimal], tolerance: Decimal | None) -> tuple[int, int, int]:
    if tolerance is None:
        return 0, 0, len(moves)
    reaches = list(zip(moves, map(Decimal, claim.epsilon), strict=True))
    within = sum(move + epsilon <= tolerance for move, epsilon in reaches)
    beyond = sum(move - epsilon > tolerance for move, epsilon in reaches)
    return within, beyond, len(moves) - within - beyond


def _element(claim: Claim, place: int, names: Mapping[str, str]) -> str:
    """A person by their request, or else by the begin of their pseudonym; other elements by place."""
    if claim.people:
        return names.get(claim.people[place], claim.people[place][:8])
    return ", ".join(str(k) for k in np.unravel_index(place, claim.shape))


def _rows(claim: Claim, names: Mapping[str, str]) -> Iterator[Row]:
    """Rounded to one place for the whole claim; epsilon grows by what the rounding of the others takes away."""
    numbers = list(zip(claim.base, claim.predicted, claim.epsilon, strict=True))
    place = _last_place([(Decimal(b), Decimal(p), Decimal(e)) for b, p, e in numbers])
    unit = Decimal(1).scaleb(place)
    for i, exact in enumerate(numbers):
        base, predicted, epsilon = map(Decimal, exact)
        begin, near = (number.quantize(unit, ROUND_HALF_EVEN) for number in (base, predicted))
        change = near - begin  # what is printed adds up
        lost = max(abs(near - predicted), abs(change - (predicted - base)))
        yield Row(
            element=_element(claim, i, names),
            base=_text(begin),
            predicted=_text(near),
            change=_text(change, signed=True),
            epsilon=_text((epsilon + lost).quantize(unit, ROUND_CEILING)),
            low=_text((predicted - epsilon).quantize(unit, ROUND_FLOOR)),
            high=_text((predicted + epsilon).quantize(unit, ROUND_CEILING)),
            exact=exact,
        )


def _last_place(numbers: Sequence[tuple[Decimal, Decimal, Decimal]]) -> int:
    """The power of ten to which a claim is rounded: three digits of the largest epsilon, as far as seven suffice."""
    epsilon = max(e for _, _, e in numbers) or max(abs(p - b) for b, p, _ in numbers)
    largest = max(abs(x) for triple in numbers for x in triple)
    if not largest:
        return 0
    return max((epsilon or largest).adjusted() - _DIGITS + 1, largest.adjusted() - _MOST_DIGITS + 1)


def _text(value: Decimal, *, signed: bool = False) -> str:
    """A decimal that was rounded to a place, for readers: with all digits up to that."""
    if not value:
        return f"{abs(value):f}" if value.adjusted() >= _PLAIN[0] else "0"
    plain = _PLAIN[0] <= value.adjusted() <= _PLAIN[1]
    return figures.readable(f"{'+' if signed and value > 0 else ''}{value:{'f' if plain else 'E'}}")


def _changes(claim: Claim, name: str, rows: Sequence[Row], tolerance: Decimal | None) -> Markup:
    intervals = []
    for row in rows:
        base, predicted, epsilon = map(float, row.exact)
        change = predicted - base
        intervals.append(Interval(row.element, change - epsilon, change, change + epsilon))
    least, most = min(r.low for r in intervals), max(r.high for r in intervals)
    caption = Caption(
        id=f"{name}-changes",
        title=f"Change of {claim.probe} with its error bars",
        description=(
            f"{len(rows)} {'change' if len(rows) == 1 else 'changes'}, with error bars from "
            f"{number(least, signed=True)} to {number(most, signed=True)}; the policy tolerates "
            + ("no change that it states." if tolerance is None else f"up to {tolerance} either way.")
        ),
    )
    draw = figures.changes if len(rows) <= _LARGEST else figures.many_changes
    return Markup(draw(caption, intervals, None if tolerance is None else float(tolerance)))  # noqa: S704 - made of escaped text


def _curve(claim: Claim, name: str, row: Row) -> Markup:
    curve = claim.curve
    values, known = [float(text) for text in curve.values], UNKNOWN not in curve.standard_errors
    errors = [float(text) if known else 0.0 for text in curve.standard_errors]
    points = [Interval("", v - _BAND * e, v, v + _BAND * e) for v, e in zip(values, errors, strict=True)]
    _, predicted, epsilon = map(float, row.exact)
    caption = Caption(
        id=f"{name}-curve",
        title=f"{claim.probe} as the deleted data loses its weight",
        description=(
            f"From {number(values[0])} at weight 0 to {number(values[-1])} at weight 1, "
            f"with {'an asymptotic band' if known else 'no band, for its error is not known'}; "
            f"at weight 1 the {claim.kind} error bar from {row.low} to {row.high}."
        ),
    )
    claimed = Interval("", predicted - epsilon, predicted, predicted + epsilon)
    return Markup(figures.curve(caption, points, [float(w) for w in curve.weights], claimed))  # noqa: S704


def _stability(claim: Claim, name: str) -> Markup:
    if not claim.stability:
        return Markup("")
    rows = [Interval(f"degree {n.degree}", float(n.low), float(n.norm), float(n.high)) for n in claim.stability]
    caption = Caption(
        id=f"{name}-stability",
        title=f"Stability profile of {claim.probe}",
        description="Sizes on a logarithmic scale. " + ", ".join(f"{row.name}: {number(row.value)}" for row in rows),
    )
    return Markup(figures.stability(caption, rows))  # noqa: S704
