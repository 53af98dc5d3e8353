"""axe-core over pages in headless Chromium: every rule that it has, in light and dark, at any width.

The pages let no script run in them; so their policy is taken out, and axe put in, which changes nothing that it looks
at. Each page is a frame that tells the window around it what was found.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.report import browser

AXE = Path(__file__).resolve().parents[1] / "vendor" / "axe-core" / "axe.min.js"
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_RUN = """
addEventListener("load", async () => {
  const seen = await axe.run(document, {resultTypes: ["violations", "incomplete"]});
  const told = list => list.map(({id, help, nodes}) => ({id, help, nodes: nodes.map(node => node.html.slice(0, 200))}));
  parent.postMessage({number: NUMBER, violations: told(seen.violations), passes: seen.passes.length}, "*");
});
"""
_GATHER = """
const found = [];
addEventListener("message", event => {
  found.push(event.data);
  if (found.length === COUNT) {
    document.body.innerHTML = "<pre id=found></pre>";
    document.getElementById("found").textContent = JSON.stringify(found);
  }
});
"""


@dataclass(frozen=True)
class Findings:
    """What axe says of a page. violations: the rule, what it asks for, and the elements. passes: of how many rules."""

    violations: tuple[tuple[str, str, tuple[str, ...]], ...]
    passes: int


def examine(folder: Path, pages: dict[str, str], widths: list[int], *, dark: bool = False) -> dict[str, Findings]:
    """What axe finds on each page, at all widths together."""
    frames, names = [], []
    for name, page in pages.items():
        for width in widths:
            number = len(names)
            script = f"<script src='{AXE.as_uri()}'></script><script>{_RUN.replace('NUMBER', str(number))}</script>"
            file = folder / f"axe-{number}.html"
            file.write_text(_POLICY.sub("", page).replace("</body>", f"{script}</body>"))
            frames.append(f'<iframe title="{number}" src="{file.name}" width="{width}" height="800"></iframe>')
            names.append(name)
    wrapper = folder / "axe.html"
    script = f"<script>{_GATHER.replace('COUNT', str(len(names)))}</script>"
    wrapper.write_text(f"<!DOCTYPE html><meta charset=utf-8>{script}<body>{''.join(frames)}")
    look = [browser.DARK] if dark else []
    output = browser.run(folder, *look, "--virtual-time-budget=60000", "--dump-dom", wrapper.as_uri())
    told = json.loads(html.unescape(re.search(r'<pre id="found">(.*)</pre>', output, re.DOTALL)[1]))
    return {name: _together([item for item in told if names[item["number"]] == name]) for name in pages}


def _together(told: list[dict]) -> Findings:
    violations = {(v["id"], v["help"], tuple(v["nodes"])) for item in told for v in item["violations"]}
    return Findings(tuple(sorted(violations)), min(item["passes"] for item in told))
