"""What an office sees with a model in use: who is in none, and the register's page with who was answered."""

from __future__ import annotations

from tests.bundle.small import UNITS
from tests.office.test_releases import answer, office  # noqa: F401 - a fixture
from tests.report.pages import read
from unlearnkit.office.register_page import register_page


def test_strangers_are_those_in_no_release_in_force_whatever_their_spelling(office):  # noqa: F811
    assert office.strangers([UNITS[0]]) == (0,)
    office.register("bundle", name="digits", version="1")
    assert office.strangers([UNITS[0], "stranger", f" {UNITS[1]}\u200b", "Stranger"]) == (1, 3)
    office.retire("digits@1")
    assert office.strangers([UNITS[0]]) == (0,)


def test_the_register_says_what_a_release_would_be_without_all_who_were_answered(office):  # noqa: F811
    release = office.register("bundle", name="digits", version="1")
    answer(office, UNITS[0], "negligible-effect")
    office.receive([UNITS[1]])
    text = read(register_page(office)).text
    (change,) = office.standing(release).changes
    assert "1 of 5 people were answered without a new training." in text
    assert "1 open request was made while it was in use." in text
    assert f"{abs(change.largest) / float(change.tolerance):.0%}" in text
    (office.root / "releases" / "digits@1").unlink()
    assert "not told here: the bundle of digits@1 is not at hand" in read(register_page(office)).text
