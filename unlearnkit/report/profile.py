"""The stability profile as a figure of its own (the paper's figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from unlearnkit.report.figures import Caption, Interval, number, stability

_WIDTH = 720


def stability_figure(probe: str, sizes: Sequence[tuple[int, float, float, float]]) -> str:
    """An SVG file. sizes: degree, and the low end, middle and high end of its part's size."""
    rows = [Interval(f"degree {degree}", low, middle, high) for degree, low, middle, high in sizes]
    caption = Caption(
        id="stability",
        title=f"Stability profile of {probe}",
        description="Sizes on a logarithmic scale. " + ", ".join(f"{row.name}: {number(row.value)}" for row in rows),
    )
    style = (files("unlearnkit.report") / "templates" / "style.css").read_text("utf-8")
    opening, _, rest = stability(caption, rows).partition(">")
    return f"{opening.replace('100%', str(_WIDTH), 1)}><style>svg {{ background: white }}\n{style}</style>{rest}\n"
