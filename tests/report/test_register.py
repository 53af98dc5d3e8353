"""The register's page: everything that is late stands on it, nothing is markup, nothing leaves it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from tests import needs
from tests.report import browser
from tests.report.pages import read
from tests.report.registers import EMPTY, POLICY, due, register
from unlearnkit.report.register import MOST_ROWS

LONG = "x" * 300
SIZES = [(1280, 800), (390, 844), (320, 640)]
LAWS = ("eu", "uk", "us-ca", "us-co", "us-va", "br", "ch", "ca-qc", "not said")
PAGES = {
    "laws": register(jurisdictions=LAWS, table={"identity verified": dict.fromkeys(LAWS, 123)}),
    "full": register(),
    "empty": register(EMPTY),
    "long": register(
        origin=LONG,
        policies=(POLICY, replace(POLICY, name=LONG, budget=None)),
        overdue=tuple(due(f"R{n}", -n - 1) for n in range(MOST_ROWS + 7)),
    ),
}
in_chromium = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")


def test_the_page_says_what_is_overdue_due_late_and_not_signed():
    page = read(register())
    assert page.one("h1").text == "2 overdue"
    text = page.text
    assert "12 open, 3 of them due within a week" in text
    assert "3 of 120 entries are not signed yet." in text
    assert "9 days overdue" in text
    assert "1 day overdue" in text
    assert "today" in text
    assert "1 day late" in text
    assert "2026-11-22, 5 days after" in text
    assert "3 of 300 people were answered without a new training." in text
    assert "+0.0123 (the series is doubtful)" in text
    assert "not told here: the bundle of letters@1 is not at hand." in text
    assert "our policy allows 0.5" in text
    assert re.search("test_loss ?12, until 2027-03-01 ?4, until 2026-12-20", text)
    assert "Our policy audits up to 19 people together" in text


def test_a_page_with_nothing_says_so():
    text = read(register(EMPTY)).text
    for said in ("Nothing is overdue", "All 120 entries of the log are signed.", "No request was received."):
        assert said in text
    assert "None is registered." in text
    assert "No certificate was issued." in text


def test_counts_by_state_and_jurisdiction_add_up():
    (table,) = (node for node in read(register()).all("table") if "Requests, without duplicates" in node.text)
    rows = [[cell.text for cell in row.all("th", "td")] for row in table.all("tr")]
    assert rows == [
        ["State", "eu", "us-ca", "not said", "All"],
        ["received", "10", "2", "0", "12"],
        ["refused", "80", "0", "0", "80"],
        ["All", "90", "2", "0", "92"],
    ]


def test_each_policy_stands_with_its_requests_and_an_earlier_text_apart():
    others = (replace(POLICY, name="uk-gdpr", digest="b" * 64), replace(POLICY, digest="c" * 64, budget=None))
    page = read(register(policies=(POLICY, *others)))
    (table,) = (node for node in page.all("table") if "Under which requests are handled" in node.text)
    rows = [[cell.text for cell in row.all("th", "td")][:4] for row in table.all("tr")]
    assert rows[1:] == [
        ["gdpr", "12", "80", "0.5"],
        ["uk-gdpr", "12", "80", "0.5"],
        ["gdpr, an earlier text", "12", "80", "as its text says"],
    ]
    assert f"under our policies gdpr (SHA-256 {'a' * 64}), uk-gdpr (SHA-256 {'b' * 64})." in page.text
    assert "how much each policy allows stands beside it" in page.text


def test_a_page_has_so_many_rows_and_says_how_many_it_leaves_out():
    assert "7 more are not listed here" in read(PAGES["long"]).text


def test_nothing_that_it_is_given_is_markup_and_nothing_is_a_script():
    page = register(origin="<script>alert(1)</script>", policies=(replace(POLICY, name="<b>"),), jurisdictions=("<i>",))
    assert {node.tag for node in read(page).all()}.isdisjoint({"script", "b", "i", "link", "img"})
    assert "default-src 'none'" in page


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("register")
    return {dark: browser.measure(folder, PAGES, SIZES, dark=dark) for dark in (False, True)}


@in_chromium
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_read_on_every_screen_by_day_and_by_night(measured, name, size, dark):
    found = measured[dark][name, *size]
    assert (found["width"], found["height"]) == size
    assert found["scroll_width"] <= found["width"]
    assert found["wide"] == found["scrolled"] == []
    assert len(found["texts"]) > 25
    assert [text for text in found["texts"] if text["contrast"] < 4.5 or text["size"] < 12] == []
    for part in ("h1", "lead", "status"):
        assert 0 <= found[part]["top"] < found[part]["bottom"] <= found["height"]


@in_chromium
def test_no_request_leaves_the_page(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGES["full"])
    assert browser.requests(tmp_path, file) == []


@in_chromium
@needs.program("pdftotext", "pdfinfo")
def test_on_paper_it_is_a4_and_whole(tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGES["full"])
    printed = browser.pdf(tmp_path, file)
    text = subprocess.run(["pdftotext", "-layout", printed, "-"], capture_output=True, text=True, check=True).stdout
    words = " ".join(text.split())
    for said in ("2 overdue", "R8", "digits@2", "0123456789abcdef...", "a" * 64):
        assert said in words
    assert [re.search(r"(\d+)\s*/\s*\d+\s*$", sheet)[1] for sheet in text.split("\f")[:-1]]
    info = subprocess.run(["pdfinfo", printed], capture_output=True, text=True, check=True).stdout
    assert "(A4)" in info
