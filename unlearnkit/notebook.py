"""Tables of HTML, which notebooks show in the place of a value's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from unlearnkit.names import shown


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str | float]], *, below: str = "") -> str:
    """A table, whose texts may come from anywhere.

    Args:
        caption: what it is.
        header: of the columns; of a table of names and values none.
        rows: texts, and numbers to six digits.
        below: a paragraph.

    Example:
        >>> html_table("Loss", ["person", "change"], [("<ann>", 0.25)])
        '<table><caption>Loss</caption><thead><tr><th>person</th><th>change</th></tr></thead><tbody><tr><td>&lt;ann&gt;</td><td>0.25</td></tr></tbody></table>'

    """
    head = f"<thead>{_row('th', header)}</thead>" if header else ""
    body = "".join(_row("td", row) for row in rows)
    paragraph = f"<p>{_text(below)}</p>" if below else ""
    return f"<table><caption>{_text(caption)}</caption>{head}<tbody>{body}</tbody></table>{paragraph}"


def _row(tag: str, cells: Sequence[str | float]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(cell: str | float) -> str:
    return escape(shown(cell) if isinstance(cell, str) else f"{cell:.6g}")
