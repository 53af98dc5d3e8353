"""The page of a correction certificate: how near the weights are, what was verified, and that nothing was deleted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import prepare
from tests.report import axe, browser
from tests.report.pages import read
from unlearnkit.errors import UnlearnkitError
from unlearnkit.report import Verified, certificate_page
from unlearnkit.report.correction import render_correction
from unlearnkit.signing.dsse import parse_envelope
from unlearnkit.verifier.certificate import Decision, Outcome
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.correction import CorrectionCertificate, parse_correction

CHECKS = [("signature", "signed by 0123456789abcdef"), ("weights", "made again from the bundle")]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a workspace in which ann's model was corrected: ``office/ann.json``."""
    folder = tmp_path_factory.mktemp("corrected")
    prepare(folder, small_recipe())
    office = uk.Workspace.find(folder / "office")
    (request,) = office.receive(["ann"])
    office.verify_identity(request, method="in-person")
    certified = office.correct([request.id], out=folder / "weights.safetensors")
    shutil.copy(certified.path, folder / "office" / "ann.json")
    return folder


@pytest.fixture
def office(made, monkeypatch) -> Path:
    monkeypatch.chdir(made / "office")
    return made / "office"


def said(folder: Path) -> CorrectionCertificate:
    raw = (folder / "office" / "ann.json").read_bytes()
    envelope = parse_envelope(parse_certificate_file(raw, where="ann").envelope, where="ann")
    return parse_correction(envelope.unverified_payload, where="ann")


def page(certificate: CorrectionCertificate, verified=Verified.EVERYTHING, checks=CHECKS) -> str:
    return render_correction(
        certificate, checks, verified=verified, file="ann.json", digest="f" * 64, unchecked=["other names"]
    )


def test_with_the_workspace_around_it_everything_is_verified_and_every_check_is_shown(office, made):
    found = certificate_page(office / "ann.json", bundle=office / "bundle", evidence=audits(office))
    assert found.extent is Verified.EVERYTHING
    text = read(found.html).text
    assert "Near enough to a model trained without them" in text
    for check in found.checks:
        assert check.found in text
    certificate = said(made)
    assert certificate.model in text
    for claim in certificate.claims:
        assert f"{claim.probe}: audited" in text
        assert claim.epsilon in text


def audits(office: Path) -> list[Path]:
    return sorted((office / "audits").rglob("*.json"))


def test_what_does_not_verify_gets_no_page(office, tmp_path):
    torn = tmp_path / "torn.json"
    torn.write_bytes((office / "ann.json").read_bytes().replace(b"small", b"smell", 1))
    with pytest.raises(UnlearnkitError):
        certificate_page(torn, bundle=office / "bundle", evidence=audits(office))


def test_without_a_key_it_says_that_anybody_could_have_written_it_and_that_nothing_was_deleted(
    made, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = certificate_page(made / "office" / "ann.json")
    assert found.extent is Verified.NOTHING
    assert found.checks == ()
    text = read(found.html).text
    assert "UNVERIFIED." in text
    assert "Nothing. No trusted key was given." in text
    assert "That the model was trained again." in text
    assert "That data was deleted anywhere" in text


@pytest.mark.parametrize("outcome", [Outcome.RETRAIN, Outcome.INSUFFICIENT])
def test_weights_that_are_not_shown_to_be_near_may_not_be_used(made, outcome):
    certificate = said(made)
    decision = Decision(outcome=outcome, rule="correction.tolerances", reasons=("own_loss: too far",))
    text = read(page(replace(certificate, decision=decision))).text
    assert "Not shown to be near enough" in text
    assert "They may not be used." in text
    assert "own_loss: too far" in text
    assert "Near enough to a model" not in text


def test_what_a_certificate_says_is_text_and_no_markup(made):
    certificate = said(made)
    html = page(replace(certificate, explanation="<script>alert(1)</script>"))
    assert "<script>" not in html
    assert "<script>alert(1)</script>" in read(html).text


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_read_on_every_screen_by_day_and_by_night(made, tmp_path, dark):
    certificate = said(made)
    unshown = replace(certificate, claims=(), decision=Decision(outcome=Outcome.RETRAIN, rule="correction", reasons=()))
    pages = {"verified": page(certificate), "unverified": page(unshown, Verified.NOTHING, ())}
    for (_, width, _), found in browser.measure(tmp_path, pages, [(1280, 800), (320, 640)], dark=dark).items():
        assert found["scroll_width"] <= width
        assert found["wide"] == []
        assert [text for text in found["texts"] if text["contrast"] < 4.5 or text["size"] < 12] == []


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium on this machine")
def test_axe_finds_nothing_on_it(made, tmp_path):
    (found,) = axe.examine(tmp_path, {"correction": page(said(made))}, [390]).values()
    assert found.violations == ()
