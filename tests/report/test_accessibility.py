"""axe-core finds nothing on any kind of page, at any width, by day and by night; and it would."""

from __future__ import annotations

import pytest

from tests.report import axe, browser
from tests.report.pages import page, wide_claim
from tests.report.registers import register
from tests.verifier.claims import claim
from unlearnkit.report import Verified

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")

PAGES = {
    "effect": page(claims=(wide_claim(7), claim())),
    "unverified": page(verified=Verified.NOTHING, claims=(claim(stability=()),)),
    "register": register(),
}


@pytest.mark.parametrize(("widths", "dark"), [([320, 1280], False), ([390], True)])
def test_axe_finds_nothing(tmp_path, widths, dark):
    found = axe.examine(tmp_path, PAGES, widths, dark=dark)
    assert {name: item.violations for name, item in found.items()} == dict.fromkeys(PAGES, ())
    assert all(item.passes > 30 for item in found.values())


def test_axe_would_find_what_is_wrong(tmp_path):
    broken = register().replace('lang="en"', "").replace('<th scope="col">', '<th scope="colum">')
    broken = broken.replace("</main>", '<img src="data:,"><p style="color:#999">pale</p></main>')
    (found,) = axe.examine(tmp_path, {"broken": broken}, [390]).values()
    assert {"color-contrast", "html-has-lang", "image-alt"} <= {rule for rule, _, _ in found.violations}
