"""Headless Chromium, driven by its command line: pictures, paper, requests, and where things lie on a page."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SWITCHES = ("no-sandbox", "disable-gpu", "hide-scrollbars", "no-first-run", "allow-file-access-from-files")
_NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
DARK = "--blink-settings=preferredColorScheme=0"
_UNASKED = ("disable-background-networking", "disable-component-update", "disable-default-apps", "disable-sync")

# Runs in a page around the report, which lets no script run in itself.
_MEASURE = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
function ground(view, node) {
  for (; node; node = node.parentElement) {
    const colour = rgb(view.getComputedStyle(node).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}
function texts(view, root) {
  const found = [], walker = view.document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const box = node.parentElement;
    if (!node.data.trim() || ["STYLE", "TITLE", "title", "desc"].includes(box.tagName)) continue;
    const style = view.getComputedStyle(box), drawn = box.namespaceURI.endsWith("svg");
    found.push({text: node.data.trim().slice(0, 40), size: parseFloat(style.fontSize),
      contrast: ratio(rgb(drawn ? style.fill : style.color), ground(view, box))});
  }
  return found;
}
function seen(view, selector) {
  const node = view.document.querySelector(selector);
  if (!node) return null;
  const {top, bottom, left, right} = node.getBoundingClientRect();
  const hit = view.document.elementFromPoint(left + 5, (top + bottom) / 2);
  return {top, bottom, left, right, on_top: node.contains(hit)};
}
function measure(frame) {
  const view = frame.contentWindow, page = view.document.documentElement;
  return {width: view.innerWidth, height: view.innerHeight, scroll_width: page.scrollWidth, h1: seen(view, "h1"),
    lead: seen(view, ".lead"), status: seen(view, ".status"), texts: texts(view, view.document.body),
    scrolled: [...view.document.querySelectorAll(".scroll")].filter(node => node.scrollWidth > node.clientWidth + 1)
      .map(node => node.getAttribute("aria-label")),
    wide: [...view.document.querySelectorAll("body *")].filter(node => !node.closest(".scroll, .hidden, .skip, svg")
      && node.getBoundingClientRect().right > view.innerWidth + .5).map(node => node.outerHTML.slice(0, 80))};
}
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(measure);
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""


def run(folder: Path, *arguments: str) -> str:
    """Chromium's output; its profile is made in ``folder``."""
    switches = [f"--{name}" for name in ("headless=new", *_SWITCHES, *_UNASKED)]
    command = [str(CHROMIUM), *switches, _NO_NETWORK, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def measure(
    folder: Path, pages: dict[str, str], sizes: list[tuple[int, int]], *, dark: bool = False
) -> dict[tuple[str, int, int], dict]:
    """Where things lie on each page at each size, in CSS pixels. dark: for who prefers dark pages."""
    frames = []
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page)
        frames += [f'<iframe src="{name}.html" width="{w}" height="{h}" style="border:0"></iframe>' for w, h in sizes]
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f"<!DOCTYPE html><meta charset=utf-8><script>{_MEASURE}</script><body>{''.join(frames)}")
    output = run(folder, *([DARK] if dark else []), "--dump-dom", wrapper.as_uri())
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*)</pre>', output, re.DOTALL)[1]))
    keys = [(name, width, height) for name in pages for width, height in sizes]
    return dict(zip(keys, found, strict=True))


def screenshot(folder: Path, page: Path, width: int, height: int, *, dark: bool = False) -> bytes:
    """A PNG. A window is never narrower than 500 pixels, so that a phone is a frame in one."""
    frame = folder / "frame.html"
    frame.write_text(
        f'<body style="margin:0"><iframe src="{page.as_uri()}" style="border:0;width:{width}px;height:{height}px">'
    )
    shown, target = (page, width) if width >= 500 else (frame, 500)
    file = folder / f"{page.stem}-{width}x{height}.png"
    run(folder, *([DARK] if dark else []), f"--window-size={target},{height}", f"--screenshot={file}", shown.as_uri())
    return file.read_bytes()


def requests(folder: Path, page: Path) -> list[str]:
    """Every URL that a page asks for, from Chromium's own log; what the browser asks for itself has no origin."""
    log = folder / "net.json"
    run(folder, f"--log-net-log={log}", "--net-log-capture-mode=Everything", "--dump-dom", page.as_uri())
    record = json.loads(log.read_text())
    start = record["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    parameters = [event.get("params", {}) for event in record["events"] if event["type"] == start]
    return [found["url"] for found in parameters if found.get("initiator", "not an origin") != "not an origin"]


def pdf(folder: Path, page: Path) -> Path:
    file = folder / f"{page.stem}.pdf"
    run(folder, "--no-pdf-header-footer", f"--print-to-pdf={file}", page.as_uri())
    return file
