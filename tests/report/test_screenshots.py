"""The page in a real browser: on a screen, on a phone, on paper, and away from the network."""

from __future__ import annotations

import re
import struct
import subprocess

import pytest

from tests import needs
from tests.report import browser
from tests.report.pages import OUTCOMES, decided, page, wide_claim
from tests.verifier.claims import claim
from unlearnkit.report import Verified

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")

SCREEN, PHONE, SMALL = (1280, 800), (390, 844), (320, 640)
LONG = "x" * 300
PAGES = {
    **{outcome: page(decision=decided(outcome)) for outcome in OUTCOMES},
    "signature": page(verified=Verified.SIGNATURE),
    "unverified": page(verified=Verified.NOTHING, claims=(wide_claim(40), claim(stability=()))),
    "few": page(claims=(wide_claim(7, step=123.456789),)),
    "long": page(
        requests=(LONG,),
        log=LONG,
        file=f"{LONG}.json",
        counterfactual=LONG,
        claims=(claim(probe=LONG, method=LONG, explanation=LONG, assumptions=(LONG,), covers=(LONG,)),),
    ),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return browser.measure(tmp_path_factory.mktemp("measured"), PAGES, [SCREEN, PHONE, SMALL])


@pytest.fixture(scope="module")
def by_night(tmp_path_factory):
    return browser.measure(tmp_path_factory.mktemp("by_night"), PAGES, [SCREEN, SMALL], dark=True)


each = pytest.mark.parametrize(("name", "size"), [(name, size) for name in PAGES for size in (SCREEN, PHONE)])


@each
def test_the_verdict_is_visible_without_scrolling(measured, name, size):
    found = measured[name, *size]
    assert (found["width"], found["height"]) == size
    for part in ("h1", "lead", "status"):
        assert 0 <= found[part]["top"] < found[part]["bottom"] <= found["height"]
        assert 0 <= found[part]["left"] < found[part]["right"] <= found["width"]
        assert found[part]["on_top"]


@each
def test_nothing_scrolls_sideways(measured, name, size):
    found = measured[name, *size]
    assert found["scroll_width"] <= found["width"]
    assert found["wide"] == []
    assert found["scrolled"] == []  # nor a table within the page: each of its numbers is seen


@each
def test_every_text_stands_out_from_its_ground_and_is_large_enough(measured, name, size):
    texts = measured[name, *size]["texts"]
    assert len(texts) > 50
    assert [text for text in texts if text["contrast"] < 4.5 or text["size"] < 12] == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [SCREEN, SMALL])
def test_a_small_screen_and_the_night_are_no_hindrance(measured, by_night, name, size):
    found = by_night[name, *size]
    assert found["scroll_width"] <= found["width"]
    assert found["wide"] == measured[name, *size]["wide"] == []
    assert measured[name, *SMALL]["scroll_width"] <= SMALL[0]
    assert measured[name, *SMALL]["scrolled"] == []
    assert [text for text in found["texts"] if text["contrast"] < 4.5 or text["size"] < 12] == []
    assert {text["contrast"] for text in found["texts"]} != {t["contrast"] for t in measured[name, *size]["texts"]}


def test_the_contrast_that_is_measured_is_that_of_the_standard(tmp_path):
    shown = '<h1 style="color:#777;background:#fff">a</h1><p class="lead" style="color:#949494">b</p>'
    (found,) = browser.measure(tmp_path, {"grey": f"<!DOCTYPE html><body>{shown}"}, [PHONE]).values()
    assert [round(text["contrast"], 2) for text in found["texts"]] == [4.48, 3.03]  # WCAG 2.2, contrast ratio


@pytest.mark.parametrize("size", [SCREEN, PHONE])
def test_screenshots_show_the_verdict_and_the_alarm(tmp_path, size):
    pictures = {}
    for name in ("unverified", "retrain"):
        file = tmp_path / f"{name}.html"
        file.write_text(PAGES[name])
        pictures[name] = browser.screenshot(tmp_path, file, *size)
        assert struct.unpack(">II", pictures[name][16:24]) == (max(size[0], 500), size[1])
        assert len(pictures[name]) > 10_000
    assert pictures["unverified"] != pictures["retrain"]


def test_no_request_leaves_the_page(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGES["unverified"])
    assert browser.requests(tmp_path, file) == []


def test_a_request_that_leaves_a_page_would_be_seen(tmp_path):
    file = tmp_path / "page.html"
    file.write_text('<!DOCTYPE html><img src="http://127.0.0.1:9/picture.png">')
    assert browser.requests(tmp_path, file) == ["http://127.0.0.1:9/picture.png"]


def test_even_a_page_that_was_tampered_with_asks_for_nothing(tmp_path):
    file = tmp_path / "page.html"
    intruder = '<img src="http://127.0.0.1:9/a.png"><script>document.title = "ran"</script>'
    file.write_text(PAGES["few"].replace("<main>", f"<main>{intruder}"))
    assert browser.requests(tmp_path, file) == []
    assert "<title>ran" not in browser.run(tmp_path, "--dump-dom", file.as_uri())


@needs.program("pdftotext", "pdfinfo")
def test_on_paper_nothing_is_cut_and_every_sheet_of_an_unverified_report_says_so(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGES["unverified"])
    printed = browser.pdf(tmp_path, file)
    text = subprocess.run(["pdftotext", "-layout", printed, "-"], capture_output=True, text=True, check=True).stdout
    sheets = text.split("\f")[:-1]
    assert len(sheets) >= 3
    assert all("UNVERIFIED" in sheet for sheet in sheets)
    assert [re.search(r"(\d+)\s*/\s*\d+\s*$", sheet)[1] for sheet in sheets] == [str(i + 1) for i in range(len(sheets))]
    words = " ".join(text.split())
    for said in ("b" * 64, "f" * 64, "1.53900", "How to check it yourself"):
        assert said in words
    info = subprocess.run(["pdfinfo", printed], capture_output=True, text=True, check=True).stdout
    assert "(A4)" in info
