"""Draws docs/architecture.svg from the layers: ``python -m tests.docs.picture``."""

from __future__ import annotations

from pathlib import Path

from tests.test_layout import LAYERS

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "architecture.svg"
# Each row of the picture begins with a layer; its colour, and what it is.
ROWS = {
    "errors": ("#e8ebf2", "bytes, signatures, numerics, the sketch on disk"),
    "compliance.log": ("#e3f1e6", "the officer's layer and the auditor's: no torch"),
    "taylor": ("#fbeedd", "the engineer's layer: torch, data, GPU"),
    "report": ("#efe6f5", "what people call: pages, the office, examples, commands"),
}
WIDTH, HEIGHT, MARGIN, GAP = 1040, 40, 20, 22
BEGIN, STEP, SHIFT = 46, 104, 60  # first row, from row to row, and from the margin to the arrow that comes down


def rows() -> list[list[str]]:
    """The layers, row by row."""
    found: list[list[str]] = []
    for name in LAYERS:
        if name in ROWS:
            found.append([])
        found[-1].append(name)
    return found


def boxes(names: list[str]) -> list[tuple[int, int]]:
    """Left edge and width of each box of a row, in proportion to its name."""
    room = WIDTH - 2 * MARGIN - GAP * (len(names) - 1)
    letters = sum(len(name) + 4 for name in names)
    widths = [min(170, room * (len(name) + 4) // letters) for name in names]
    return [(MARGIN + sum(widths[:i]) + GAP * i, width) for i, width in enumerate(widths)]


def draw() -> str:
    """The whole picture."""
    table = rows()
    bottom = BEGIN + STEP * (len(table) - 1) + HEIGHT + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" font-family="sans-serif" role="img">',
        "  <title>The layers of unlearnkit: each imports only from those before it</title>",
        f'  <rect width="{WIDTH}" height="{bottom}" fill="#ffffff"/>',
        '  <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" orient="auto">',
        '    <path d="M0,0 L10,5 L0,10 z" fill="#444455"/>',
        "  </marker>",
    ]
    for number, names in enumerate(table):
        lines += _row(names, BEGIN + STEP * number)
        if number + 1 < len(table):
            lines.append(_down(names, BEGIN + STEP * number))
    return "\n".join([*lines, "</svg>", ""])


def _row(names: list[str], top: int) -> list[str]:
    colour, caption = ROWS[names[0]]
    middle = top + HEIGHT // 2
    lines = [f'  <text x="{MARGIN + 2 * SHIFT}" y="{top - 8}" font-size="12" fill="#444455">{caption}</text>']
    for i, (name, (left, width)) in enumerate(zip(names, boxes(names), strict=True)):
        lines += [
            f'  <rect x="{left}" y="{top}" width="{width}" height="{HEIGHT}" fill="{colour}" stroke="#444455"/>',
            f'  <text x="{left + width // 2}" y="{middle + 5}" font-size="13" text-anchor="middle">{name}</text>',
        ]
        if i:
            lines.append(_arrow(f"M{left - GAP},{middle} H{left - 1}"))
    return lines


def _down(names: list[str], top: int) -> str:
    """From the last box of a row to the first of the next."""
    left, width = boxes(names)[-1]
    x, y = left + width // 2, top + HEIGHT
    return _arrow(f"M{x},{y} V{y + 24} H{MARGIN + SHIFT} V{top + STEP - 1}")


def _arrow(path: str) -> str:
    return f'  <path d="{path}" fill="none" stroke="#444455" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw())
