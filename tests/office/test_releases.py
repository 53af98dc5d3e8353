"""Releases in a workspace: registered, replaced, retired; and people who must not be in one any more."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.errors import (
    FormatError,
    PolicyError,
    RefusedError,
    ThresholdError,
    UnknownNameError,
    VerificationError,
)
from unlearnkit.signing.keys import Algorithm, PrivateKey


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    text = policy_text().replace(b"attested = []", b'attested = ["retrained", "negligible-effect"]')
    (tmp_path / "policy.toml").write_bytes(text)
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    monkeypatch.chdir(made.root)
    bundle(made, "bundle")
    return made


def bundle(office: uk.Workspace, name: str, **options) -> Path:
    """A bundle of five people; its model is another one for another ``bias``."""
    scratch = office.root / f"{name}-run"
    scratch.mkdir()
    key, signer = options.pop("key", PseudonymKey.load(office.pseudonym_key_path)), options.pop("signer", None)
    contents = small(scratch, weights=False, key=key)
    changed = {**contents.contents, "model": {**contents.contents["model"], "layer.bias": options.pop("bias", 0.0)}}
    changed["model"]["layer.bias"] += contents.contents["model"]["layer.bias"]
    write_bundle(office.root / name, manifest=contents.manifest, signer=signer or office.signer_key(), **changed)
    return office.root / name


def answer(office: uk.Workspace, name: str, method: str) -> str:
    (request,) = office.receive([name])
    office.verify_identity(request, method="in-person")
    return office.fulfil(request, method=method, evidence=["unlearnkit.toml"]).id


def test_a_model_comes_into_use_is_replaced_and_retired(office):
    first = office.register("bundle", name="digits", version="1")
    assert (first.id, first.is_in_force, first.registered) == ("digits@1", True, office.today)
    assert first.artefacts.bundle == office.open_bundle("bundle").digest
    second = office.register(bundle(office, "other", bias=1.0), name="digits", version="2", replaces=first)
    assert [release.id for release in office.registry().in_force] == ["digits@2"]
    assert office.registry().get("digits@1").replaced_by == second.id
    assert office.retire("digits@2").retired == office.today
    assert office.registry().in_force == ()
    assert len(office.view()) == 5


def test_who_asked_since_is_known_and_who_asked_before_is_not_among_them(office):
    office.receive(UNITS[:1])
    office.register("bundle", name="digits", version="1")
    asked = office.receive([UNITS[1], UNITS[1], UNITS[0]])
    assert [request.id for request in office.asked_since("digits@1")] == [asked[0].id]


def test_nothing_is_recorded_of_what_is_refused(office):
    office.register("bundle", name="digits", version="1")
    before = len(office.view())
    tomorrow = office.today + timedelta(days=2)
    other = bundle(office, "other", bias=1.0)
    stranger = bundle(office, "stranger", bias=2.0, signer=PrivateKey.generate(Algorithm.P256))
    for error, step in [
        (RefusedError, lambda: office.register("bundle", name="digits", version="2")),
        (RefusedError, lambda: office.register(other, name="digits", version="1")),
        (UnknownNameError, lambda: office.register(other, name="digits", version="2", replaces="digits@7")),
        (FormatError, lambda: office.register(other, name="Digits", version="2")),
        (FormatError, lambda: office.register(other, name="digits", version="of Jane Doe")),
        (FormatError, lambda: office.retire("digits")),
        (ValueError, lambda: office.retire("digits@1", on=tomorrow)),
        (RefusedError, lambda: office.retire("digits@1", on=date(2020, 1, 1))),
        (PolicyError, lambda: office.retire("digits@1", by="me")),
        (ThresholdError, lambda: office.register(stranger, name="digits", version="2")),
    ]:
        with pytest.raises(error):
            step()
    assert len(office.view()) == before


def test_a_model_that_holds_somebody_who_was_promised_one_without_is_refused(office):
    kept, broken = answer(office, UNITS[0], "negligible-effect"), answer(office, UNITS[1], "retrained")
    with pytest.raises(RefusedError, match=f"one without them is in use: {broken}$"):
        office.register("bundle", name="digits", version="1")
    assert kept != broken
    assert office.registry().in_force == ()


def test_nobody_attests_what_the_signed_lists_of_a_release_in_force_deny(office):
    office.register("bundle", name="digits", version="1")
    with pytest.raises(RefusedError, match="digits@1 is in force and holds their data: that it was retrained is no"):
        answer(office, UNITS[1], "retrained")
    assert answer(office, "stranger", "retrained")


def test_who_is_in_a_bundle_under_another_pseudonym_key_cannot_be_told(office):
    answer(office, UNITS[1], "retrained")
    other = bundle(office, "other", bias=1.0, key=PseudonymKey(bytes(32)))
    with pytest.raises(RefusedError, match="cannot tell who is in the bundle"):
        office.register(other, name="elsewhere", version="1")
    with pytest.raises(RefusedError, match="cannot tell who is in the bundle"):
        office.register(bundle(office, "third", bias=2.0, key=PseudonymKey(bytes(32))), name="elsewhere", version="2")


# -- which release a certificate is about


def test_a_certificate_is_about_the_one_that_holds_all_of_them_or_the_one_that_is_said(office):
    requests = office.receive([*UNITS[:2], "stranger"])
    with pytest.raises(RefusedError, match="0 releases in force hold all of R2, R3, expected one: none"):
        office.certify(requests[:2])
    office.register("bundle", name="digits", version="1")
    assert office.certify(requests[:2]).certificate.release == "digits@1"
    with pytest.raises(RefusedError, match="0 releases in force hold all of R2, R4"):
        office.certify([requests[0], requests[2]])
    office.register(bundle(office, "other", bias=1.0), name="letters", version="1")
    assert [release.id for release in office.holding(requests[:2])] == ["digits@1", "letters@1"]
    with pytest.raises(RefusedError, match="2 releases in force hold all of R2, expected one: digits@1, letters@1"):
        office.certify(requests[:1])
    assert office.certify(requests[:1], release="letters@1").certificate.release == "letters@1"
    assert office.certify(requests[:1], bundle="other", out="c.json").certificate.release == "letters@1"
    with pytest.raises(VerificationError, match="this is not the bundle of digits@1"):
        office.certify(requests[:1], release="digits@1", bundle="other")
    with pytest.raises(RefusedError, match="2 releases in force, expected one"):
        office.open_requests()


def test_a_bundle_is_looked_for_where_its_link_leads_and_held_against_the_log(office):
    office.register("bundle", name="digits", version="1")
    assert office.bundle_of("digits@1").path == (office.root / "bundle").resolve()
    link = office.root / "releases" / "digits@1"
    link.unlink()
    with pytest.raises(UnknownNameError, match="the bundle of digits@1 is not at hand"):
        office.bundle_of("digits@1")
    link.symlink_to(bundle(office, "other", bias=1.0))
    with pytest.raises(VerificationError, match="this is not the bundle of digits@1"):
        office.bundle_of("digits@1")


# -- the standing set


def test_the_standing_set_is_who_was_answered_without_retraining_and_is_in_the_bundle(office):
    release = office.register("bundle", name="digits", version="1")
    assert office.standing(release, "bundle").people == ()
    assert [change.largest for change in office.standing(release, "bundle").changes] == [0.0]
    for name, method in [(UNITS[0], "negligible-effect"), ("stranger", "negligible-effect")]:
        answer(office, name, method)
    office.receive([UNITS[2]])
    answer(office, UNITS[3], "negligible-effect")
    key = PseudonymKey.load(office.pseudonym_key_path)
    found = office.standing(release, "bundle")
    assert found.people == tuple(sorted(key.pseudonym(name) for name in (UNITS[0], UNITS[3])))
    assert (found.units, found.share) == (5, 0.4)
    (change,) = found.changes
    expected = uk.Bundle.open("bundle", pseudonym_key=key).probe("test_loss").predict([UNITS[0], UNITS[3]])
    assert (change.probe, change.largest) == ("test_loss", pytest.approx(float(expected.change)))
    assert (float(change.tolerance), change.convergence) == (20, expected.convergence.worst)


def test_nobody_leaves_the_standing_set_because_the_model_has_a_new_name(office):
    answer(office, UNITS[0], "negligible-effect")
    first = office.register("bundle", name="digits", version="1")
    before = office.standing(first, "bundle")
    office.retire(first)
    assert office.standing(office.register("bundle", name="numerals", version="1"), "bundle") == before
    assert len(before.people) == 1


def test_the_standing_set_is_asked_of_the_bundle_that_was_registered(office):
    office.register("bundle", name="digits", version="1")
    with pytest.raises(VerificationError, match="this is not the bundle of digits@1"):
        office.standing("digits@1", bundle(office, "other", bias=1.0))
    office.register(bundle(office, "third", bias=2.0, key=PseudonymKey(bytes(32))), name="elsewhere", version="1")
    with pytest.raises(RefusedError, match="cannot tell who is in the bundle"):
        office.standing("elsewhere@1", "third")
