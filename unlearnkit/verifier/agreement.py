"""Whether a claim is the one that its bundle gives, in words where it is not.

Text and choices must come out the same. Numbers may differ by what two machines' arithmetic does (`_SAME`), and epsilon
may be larger by its rounding up, not smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnkit.names import counted
from unlearnkit.verifier.certificate import UNKNOWN, Claim, Series

# How much the numbers of two machines may differ, relative to the largest number of a claim.
_SAME = 1e-9
# The same for a ratio of two of them, relative to itself.
_SAME_RATIO = 1e-5
# Rounding epsilon up to six significant digits adds at most this share.
_ROUNDED_UP = 1.1e-5


def disagreements(claimed: Claim, recomputed: Claim) -> Iterator[str]:
    """What a claim says and its bundle does not, in words; nothing when they agree."""
    if claimed.kind != recomputed.kind:
        yield f"kind is {claimed.kind}, the bundle gives {recomputed.kind}"
    for name in (
        "probe",
        "shape",
        "people",
        "delta",
        "content",
        "confidence",
        "method",
        "degree",
        "explanation",
        "covers",
        "assumptions",
    ):
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
        yield f"{name} has {counted(len(claimed), 'number')}, the bundle gives {len(found)}"
        return
    for i, (said, value) in enumerate(zip(claimed, found, strict=True)):
        if said != value and (UNKNOWN in (said, value) or abs(float(said) - float(value)) > tolerance):
            yield f"{name}[{i}] is {said}, the bundle gives {value}"
            return
