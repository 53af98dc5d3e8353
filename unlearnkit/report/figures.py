"""Figures of a report: from numbers to SVG, without scripts, and the same bytes for the same numbers.

Places across are per cent and places down are pixels, so that a figure fits a phone, a screen and a page while its
letters keep their size; curves lie in an inner picture that is stretched, whose lines are not. Colours come from the
page's style sheet, by class. No number is told by colour alone: what matters is in the description and in a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

_SIDE, _GUTTER = 0.03, 0.18  # shares of the width: free on each side; for the numbers of an axis down
_ROW, _TOP, _TALL, _BELOW = 36, 24, 240, 30  # pixels: an interval, above the plot, a plot, below it
_INNER = 1000  # width of the inner picture, in its own unit
_MOST_BARS = 400
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What a figure is, for those who do not see it. id: unique in the page."""

    id: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A value, and from where to where it may really be."""

    name: str
    low: float
    value: float
    high: float


def number(value: float, *, signed: bool = False) -> str:
    """A number for readers: four significant digits."""
    return readable(f"{value:+.4g}" if signed and value else f"{value:.4g}")


def readable(decimal: str) -> str:
    """A number as programs write it, as people do: a true minus sign, and a power of ten instead of an E."""
    mantissa, _, power = decimal.lower().partition("e")
    exponent = f" \N{MULTIPLICATION SIGN} 10{str(int(power)).translate(_SUPERSCRIPTS)}" if power else ""
    return mantissa.replace("-", "\N{MINUS SIGN}") + exponent


def changes(caption: Caption, rows: Sequence[Interval], tolerance: float | None) -> str:
    """Changes with their error bars, one below the other, against what the policy tolerates; None: it does not say."""
    scale = _around([*_ends(rows), *_zone(tolerance)], left=_GUTTER if len(rows) > 1 else _SIDE)
    foot = _TOP + _ROW * len(rows)
    drawing = _Drawing(caption, foot + _BELOW)
    if tolerance is not None:
        left, right = (scale.across(edge) for edge in (-tolerance, tolerance))
        drawing.rectangle("zone", left, _TOP, right, foot)
        for x in (left, right):
            drawing.line("edge", (x, _TOP - 4), (x, foot))
        place = (
            (left, "start") if left + right < 0.7 else (right, "end") if left + right > 1.3 else _middle(left, right)
        )
        drawing.label("name", place[0], _TOP - 9, f"tolerance ±{number(tolerance)}", anchor=place[1])
    drawing.axis_below(scale, foot, signed=True)
    drawing.line("zero", (scale.across(0), _TOP), (scale.across(0), foot))
    drawing.intervals(scale, rows)
    return drawing.text()


def stability(caption: Caption, rows: Sequence[Interval]) -> str:
    """Sizes with their intervals, one below the other, on a logarithmic scale; what reaches zero ends at its left."""
    positive = [x for x in _ends(rows) if x > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    scale, foot = _Scale(low, max(high, low + 1), left=_GUTTER, log=True), _TOP + _ROW * len(rows)
    drawing = _Drawing(caption, foot + _BELOW)
    drawing.axis_below(scale, foot, signed=False)
    drawing.intervals(scale, rows)
    return drawing.text()


def many_changes(caption: Caption, rows: Sequence[Interval], tolerance: float | None) -> str:
    """Changes of all elements of a probe, from the least to the greatest, with their error bars.

    More than 400 are drawn as 400 groups of neighbours, each from the lowest to the highest that any of it can be.
    """
    bars = _grouped(sorted(rows, key=lambda row: row.value))
    scale = _around([*_ends(bars), *_zone(tolerance)])
    drawing = _Drawing(caption, _TOP + _TALL + _BELOW)
    if tolerance is not None:
        drawing.rectangle("zone", _GUTTER, scale.down(tolerance), 1 - _SIDE, scale.down(-tolerance))
    drawing.axis_beside(scale, signed=True)
    for edge in _zone(tolerance):
        drawing.line("edge", (_GUTTER, scale.down(edge)), (1 - _SIDE, scale.down(edge)))
    drawing.line("zero", (_GUTTER, scale.down(0)), (1 - _SIDE, scale.down(0)))
    across = [(i + 0.5) / len(bars) for i in range(len(bars))]
    inner = drawing.inner()
    _path(inner, "bars", ((x, scale.share(r.low), scale.share(r.high)) for x, r in zip(across, bars, strict=True)))
    _path(inner, "dots", ((x, scale.share(r.value), scale.share(r.value)) for x, r in zip(across, bars, strict=True)))
    drawing.label("tick", _GUTTER, _TOP + _TALL + 20, "lowest change")
    drawing.label("tick", 1 - _SIDE, _TOP + _TALL + 20, "highest change", anchor="end")
    return drawing.text()


def curve(caption: Caption, points: Sequence[Interval], weights: Sequence[float], claimed: Interval) -> str:
    """A prediction against the weight of a deletion, from 0 to 1, with a band; ``claimed`` is the error bar at 1."""
    scale = _around([*_ends(points), claimed.low, claimed.high], zero=False)
    drawing = _Drawing(caption, _TOP + _TALL + _BELOW)
    drawing.axis_beside(scale, signed=False)
    inner = drawing.inner()
    upper = [(x, scale.share(p.high)) for x, p in zip(weights, points, strict=True)]
    lower = [(x, scale.share(p.low)) for x, p in zip(weights, points, strict=True)]
    SubElement(inner, "polygon", {"class": "band", "points": _places([*upper, *reversed(lower)])})
    line = [(x, scale.share(p.value)) for x, p in zip(weights, points, strict=True)]
    SubElement(inner, "polyline", {"class": "curve", "points": _places(line)})
    drawing.line("bar", (1 - _SIDE, scale.down(claimed.low)), (1 - _SIDE, scale.down(claimed.high)))
    for y in (claimed.low, claimed.high):
        drawing.line("bar", (1 - _SIDE - 0.012, scale.down(y)), (1 - _SIDE + 0.012, scale.down(y)))
    drawing.dot(1 - _SIDE, scale.down(claimed.value))
    drawing.label("tick", _GUTTER, _TOP + _TALL + 20, "weight 0: kept")
    drawing.label("tick", 1, _TOP + _TALL + 20, "weight 1: left out", anchor="end")
    return drawing.text()


@dataclass(frozen=True, slots=True)
class _Scale:
    """From numbers between two ends to shares of the way. left: where the plot begins. log: the ends are exponents."""

    low: float
    high: float
    left: float
    log: bool = False

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high one; a logarithm of what is not above the low end is drawn at that."""
        if self.log:
            value = max(math.log10(value), self.low) if value > 0 else self.low
        return (value - self.low) / (self.high - self.low)

    def across(self, value: float) -> float:
        """As a share of the figure's width."""
        return self.left + (1 - _SIDE - self.left) * self.share(value)

    def down(self, value: float) -> float:
        """As pixels from the figure's top."""
        return _TOP + _TALL * (1 - self.share(value))

    def ticks(self, *, signed: bool = False) -> list[tuple[float, str]]:
        """Powers of ten; or two to six round numbers, with the digits that tell them apart."""
        if self.log:
            step = max(1, math.ceil((self.high - self.low) / 4))
            powers = [10.0**power for power in range(int(self.low), int(self.high) + 1, step)]
            return [(power, number(power)) for power in powers]
        least = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(least))
        size = next(k * unit for k in (1, 2, 5, 10) if k * unit >= least * (1 - 1e-9))
        digits = max(0, -math.floor(math.log10(size) + 1e-9))
        places = [k * size for k in range(math.ceil(self.low / size), math.floor(self.high / size) + 1)]
        if not 1e-4 <= max(map(abs, places)) < 1e9:
            return [(place, number(place, signed=signed)) for place in places]
        return [(place, readable(f"{place:{'+' if signed and place else ''}.{digits}f}")) for place in places]


def _around(values: Sequence[float], *, left: float = _GUTTER, zero: bool = True) -> _Scale:
    """A scale on which these, and zero, keep away from the ends."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return _Scale(low - room, high + room, left)


def _ends(rows: Iterable[Interval]) -> list[float]:
    return [x for row in rows for x in (row.low, row.value, row.high)]


def _zone(tolerance: float | None) -> tuple[float, ...]:
    return () if tolerance is None else (-tolerance, tolerance)


def _grouped(rows: Sequence[Interval]) -> list[Interval]:
    """At most 400, each as wide as all that it stands for."""
    count = min(len(rows), _MOST_BARS)
    groups = [rows[i * len(rows) // count : (i + 1) * len(rows) // count] for i in range(count)]
    return [
        Interval("", min(r.low for r in group), group[len(group) // 2].value, max(r.high for r in group))
        for group in groups
    ]


def _middle(left: float, right: float) -> tuple[float, str]:
    return (left + right) / 2, "middle"


def _places(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x * _INNER:.2f},{(1 - y) * _TALL:.2f}" for x, y in points)


def _path(inner: Element, kind: str, bars: Iterable[tuple[float, float, float]]) -> None:
    """Upright strokes, each from one share of the height to another, in one element."""
    strokes = (f"M{x * _INNER:.2f} {(1 - low) * _TALL:.2f}V{(1 - high) * _TALL:.2f}" for x, low, high in bars)
    SubElement(inner, "path", {"class": kind, "d": "".join(strokes)})


class _Drawing:
    """An SVG that grows. Across: shares of its width; down: pixels."""

    def __init__(self, caption: Caption, height: int) -> None:
        names = {"aria-labelledby": f"{caption.id}-title {caption.id}-description"}
        size = {"class": "figure", "width": "100%", "height": str(height)}
        self._root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **names, **size})
        SubElement(self._root, "title", {"id": f"{caption.id}-title"}).text = caption.title
        SubElement(self._root, "desc", {"id": f"{caption.id}-description"}).text = caption.description

    def line(self, kind: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        places = {"x1": _percent(start[0]), "y1": f"{start[1]:.2f}", "x2": _percent(end[0]), "y2": f"{end[1]:.2f}"}
        SubElement(self._root, "line", {"class": kind, **places})

    def rectangle(self, kind: str, left: float, top: float, right: float, bottom: float) -> None:
        size = {"width": _percent(right - left), "height": f"{bottom - top:.2f}"}
        SubElement(self._root, "rect", {"class": kind, "x": _percent(left), "y": f"{top:.2f}", **size})

    def dot(self, x: float, y: float) -> None:
        SubElement(self._root, "circle", {"class": "dot", "cx": _percent(x), "cy": f"{y:.2f}", "r": "5"})

    def label(self, kind: str, x: float, y: float, text: str, *, anchor: str = "start") -> None:
        attributes = {"class": kind, "x": _percent(x), "y": f"{y:.2f}", "text-anchor": anchor}
        SubElement(self._root, "text", attributes).text = text

    def inner(self) -> Element:
        """The picture that is stretched over the plot, right of the numbers of the axis."""
        place = {"x": _percent(_GUTTER), "y": str(_TOP), "width": _percent(1 - _SIDE - _GUTTER), "height": str(_TALL)}
        stretched = {"viewBox": f"0 0 {_INNER} {_TALL}", "preserveAspectRatio": "none"}
        return SubElement(self._root, "svg", {**place, **stretched})

    def axis_below(self, scale: _Scale, foot: float, *, signed: bool) -> None:
        for tick, text in scale.ticks(signed=signed):
            x = scale.across(tick)
            self.line("grid", (x, _TOP), (x, foot))
            anchor = "start" if x < 0.08 else "end" if x > 0.94 else "middle"
            self.label("tick", x, foot + 18, text, anchor=anchor)

    def axis_beside(self, scale: _Scale, *, signed: bool) -> None:
        for tick, text in scale.ticks(signed=signed):
            y = scale.down(tick)
            self.line("grid", (_GUTTER, y), (1 - _SIDE, y))
            self.label("tick", 0, y + 4, text)

    def intervals(self, scale: _Scale, rows: Sequence[Interval]) -> None:
        for i, row in enumerate(rows):
            y = _TOP + _ROW * (i + 0.5)
            left, right = scale.across(row.low), scale.across(row.high)
            self.label("name", 0, y + 4, row.name)
            self.line("bar", (left, y), (right, y))
            for x in (left, right):
                self.line("bar", (x, y - 6), (x, y + 6))
            self.dot(scale.across(row.value), y)

    def text(self) -> str:
        return tostring(self._root, encoding="unicode")


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"
