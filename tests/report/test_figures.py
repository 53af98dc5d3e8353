"""Figures: what is drawn is where the numbers say, on every width."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.pages import MINUS, TIMES
from unlearnkit.report.figures import Caption, Interval, changes, curve, many_changes, number, readable, stability

CAPTION = Caption(id="f", title="A title", description="A description")
SVG = "{http://www.w3.org/2000/svg}"


def of_class(svg: str | Element, kind: str) -> list[Element]:
    root = fromstring(svg) if isinstance(svg, str) else svg
    return [node for node in root.iter() if node.get("class") == kind]


def per_cent(node: Element, name: str) -> float:
    assert node.get(name).endswith("%")
    return float(node.get(name)[:-1])


def pixels(node: Element, name: str) -> float:
    return float(node.get(name))


values = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-9)
widths = st.floats(1e-9, 1e6)
intervals = st.builds(lambda v, e: Interval("1", v - e, v, v + e), values, widths)
tolerances = st.none() | st.floats(1e-6, 1e6)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(intervals, min_size=1, max_size=10), tolerance=tolerances)
def test_error_bars_lie_in_the_figure_in_the_order_of_their_numbers(rows, tolerance):
    svg = changes(CAPTION, rows, tolerance)
    flat = [bar for bar in of_class(svg, "bar") if bar.get("y1") == bar.get("y2")]
    assert len(flat) == len(rows) == len(of_class(svg, "dot"))
    places = []
    for row, bar, dot in zip(rows, flat, of_class(svg, "dot"), strict=True):
        ends = per_cent(bar, "x1"), per_cent(dot, "cx"), per_cent(bar, "x2")
        assert 0 <= ends[0] <= ends[1] <= ends[2] <= 100
        places += zip((row.low, row.value, row.high), ends, strict=True)
    ordered = [place for _, place in sorted(places)]
    assert all(after >= before - 0.0011 for before, after in pairwise(ordered))


@settings(max_examples=100, deadline=None)
@given(row=intervals, tolerance=st.floats(1e-6, 1e6))
def test_an_error_bar_reaches_out_of_the_zone_as_far_as_its_numbers_do(row, tolerance):
    svg = changes(CAPTION, [row], tolerance)
    (zone,), (bar,) = of_class(svg, "zone"), [b for b in of_class(svg, "bar") if b.get("y1") == b.get("y2")]
    left, width = per_cent(zone, "x"), per_cent(zone, "width")
    scale = width / (2 * tolerance)  # per cent for one unit; the middle of the zone is zero
    assert per_cent(bar, "x1") == pytest.approx(
        left + width / 2 + row.low * scale, abs=0.01 + abs(row.low) * 1e-3 / tolerance
    )
    assert per_cent(bar, "x2") == pytest.approx(
        left + width / 2 + row.high * scale, abs=0.01 + abs(row.high) * 1e-3 / tolerance
    )


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(intervals, min_size=1, max_size=5), tolerance=tolerances)
def test_the_numbers_at_an_axis_differ(rows, tolerance):
    for svg in (changes(CAPTION, rows, tolerance), many_changes(CAPTION, rows, tolerance)):
        ticks = [node.text for node in of_class(svg, "tick")]
        assert len(ticks) == len(set(ticks)) >= 2


def test_without_a_tolerance_there_is_no_zone():
    rows = [Interval("", 1, 2, 3)]
    for draw in (changes, many_changes):
        assert not of_class(draw(CAPTION, rows, None), "zone")
        assert of_class(draw(CAPTION, rows, 0.5), "zone")


@pytest.mark.parametrize("count", [11, 400, 401, 1003])
def test_every_element_is_drawn_or_spanned_by_its_group(count):
    rows = [Interval("", math.sin(i) - 0.01 * (i % 7), math.sin(i), math.sin(i) + 0.01 * (i % 5)) for i in range(count)]
    svg = many_changes(CAPTION, rows, 0.1)
    strokes = of_class(svg, "bars")[0].get("d").split("M")[1:]
    assert len(strokes) == min(count, 400)
    ends = [float(y) for stroke in strokes for y in stroke.split(" ")[1].split("V")]
    (inner,) = fromstring(svg).findall(f"{SVG}svg")
    height = pixels(inner, "height")
    assert inner.get("preserveAspectRatio") == "none"
    zone = of_class(svg, "zone")[0]
    unit = pixels(zone, "height") / 0.2
    spread = max(r.high for r in rows) - min(r.low for r in rows)
    assert max(ends) - min(ends) == pytest.approx(spread * unit, rel=1e-2)
    assert min(ends) >= 0
    assert max(ends) <= height


def test_a_curve_goes_through_its_points_inside_its_band():
    points = [Interval("", 1 + x - x / 10, 1 + x, 1 + x + x / 10) for x in (0, 0.25, 1)]
    svg = curve(CAPTION, points, [0, 0.25, 1], Interval("", 1.5, 2, 2.5))
    (line,), (band,) = of_class(svg, "curve"), of_class(svg, "band")
    places = [tuple(map(float, place.split(","))) for place in line.get("points").split()]
    assert [x for x, _ in places] == [0, 250, 1000]
    slopes = [(places[i][1] - places[0][1]) / (places[i][0] - places[0][0]) for i in (1, 2)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-3)
    around = [tuple(map(float, place.split(","))) for place in band.get("points").split()]
    assert len(around) == 6
    upper, lower = around[:3], around[:2:-1]
    assert all(u[1] <= p[1] <= b[1] for u, p, b in zip(upper, places, lower, strict=True))
    bar = of_class(svg, "bar")[0]
    unit = (places[0][1] - places[2][1]) / 1.0
    assert pixels(bar, "y1") - pixels(bar, "y2") == pytest.approx(1.0 * unit, abs=0.05)


def test_a_stability_profile_is_logarithmic_and_zero_is_at_its_left():
    rows = [
        Interval("degree 1", 0.05, 0.1, 0.2),
        Interval("degree 2", 0.005, 0.01, 0.02),
        Interval("degree 3", 0, 0.001, 0.002),
    ]
    svg = stability(CAPTION, rows)
    dots = [per_cent(dot, "cx") for dot in of_class(svg, "dot")]
    assert dots[0] - dots[1] == pytest.approx(dots[1] - dots[2], abs=0.01)
    flat = [bar for bar in of_class(svg, "bar") if bar.get("y1") == bar.get("y2")]
    assert per_cent(flat[2], "x1") == min(per_cent(node, "x1") for node in of_class(svg, "grid"))
    assert [node.text for node in of_class(svg, "name")] == ["degree 1", "degree 2", "degree 3"]


@pytest.mark.parametrize("size", [0.0, 1e-200, 1.0, 1e200])
def test_profiles_of_any_size_are_drawn(size):
    svg = stability(CAPTION, [Interval("degree 1", 0.0, size, size)])
    assert 0 <= per_cent(of_class(svg, "dot")[0], "cx") <= 100


def test_names_are_text():
    evil = '<script>"&'
    caption = Caption(id="f", title=evil, description=evil)
    for svg in (
        changes(caption, [Interval(evil, 0, 1, 2)] * 2, 1.0),
        stability(caption, [Interval(evil, 1, 1, 2)]),
        many_changes(caption, [Interval(evil, 0, 1, 2)], 1.0),
        curve(caption, [Interval(evil, 0, 1, 2)], [1.0], Interval(evil, 0, 1, 2)),
    ):
        root = fromstring(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert root.find(f"{SVG}title").text == root.find(f"{SVG}desc").text == evil


@pytest.mark.parametrize(
    ("value", "signed", "expected"),
    [
        (0.0, True, "0"),
        (0.5, True, "+0.5"),
        (-0.0123456, False, f"{MINUS}0.01235"),
        (1.5e-7, False, f"1.5 {TIMES} 10⁻⁷"),
        (-2e15, True, f"{MINUS}2 {TIMES} 10¹⁵"),
    ],
)
def test_numbers_are_written_for_people(value, signed, expected):
    assert number(value, signed=signed) == expected
    assert readable("1E+3") == f"1 {TIMES} 10³"
