"""The page of a certificate of exclusion or absence: what it says of whom, and that nothing was deleted by it."""

from __future__ import annotations

import pytest

from tests.report import axe, browser
from tests.report.pages import read
from tests.verifier.outgoing import outgoing
from unlearnkit.report import Verified, certificate_page
from unlearnkit.report.absence import render_absence

CHECKS = [("signature", "signed by 0123456789abcdef"), ("people", "1 person is on none of the signed lists")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One of exclusion, one of absence, and their files."""
    folder = tmp_path_factory.mktemp("absence")
    case = outgoing(folder)
    found = {
        "exclusion": case.clear("R2", before="small@1"),
        "absence": case.clear(case.office.request("stranger")),
    }
    for name, issued in found.items():
        (folder / f"{name}.json").write_bytes(issued.raw)
    return folder, found


def page(made, name: str, verified=Verified.EVERYTHING, checks=CHECKS) -> str:
    _, found = made
    return render_absence(
        found[name].certificate,
        checks,
        verified=verified,
        file=f"{name}.json",
        digest="f" * 64,
        unchecked=["other names"],
    )


def test_an_exclusion_names_the_model_before_and_the_one_that_took_its_place(made):
    text = read(page(made, "exclusion")).text
    assert "Exclusion certificate for request R2" in text
    assert "In no model in use any more" in text
    assert "1 person was in small@1. small@2 took its place, was trained by another recipe" in text
    assert "2 checks passed" in text
    assert "other names" in text


def test_an_absence_says_nothing_of_before(made):
    text = read(page(made, "absence")).text
    assert "Absence certificate" in text
    assert "1 person is on none of the signed lists" in text
    assert "small@1" not in text.replace("small@1, ", "")
    assert "took its place" not in text


@pytest.mark.parametrize("name", ["exclusion", "absence"])
def test_neither_says_that_data_were_deleted_and_both_say_so_when_nothing_was_verified(
    made, name, tmp_path, monkeypatch
):
    folder, _ = made
    monkeypatch.chdir(tmp_path)  # no workspace, and so no key
    found = certificate_page(folder / f"{name}.json")
    assert found.extent is Verified.NOTHING
    text = read(found.html).text
    assert "UNVERIFIED." in text
    assert "That data was deleted anywhere." in text
    assert "deletion certificate" not in text.lower()


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_read_on_every_screen_by_day_and_by_night(made, tmp_path, dark):
    pages = {name: page(made, name) for name in ("exclusion", "absence")}
    pages["unverified"] = page(made, "absence", Verified.NOTHING, ())
    for (_, width, _), found in browser.measure(tmp_path, pages, [(1280, 800), (320, 640)], dark=dark).items():
        assert found["scroll_width"] <= width
        assert found["wide"] == []
        assert [text for text in found["texts"] if text["contrast"] < 4.5 or text["size"] < 12] == []


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")
def test_axe_finds_nothing_on_them(made, tmp_path):
    pages = {name: page(made, name) for name in ("exclusion", "absence")}
    found = axe.examine(tmp_path, pages, [390])
    assert [item.violations for item in found.values()] == [(), ()]
