"""Exclusion and absence certificates in a workspace, from who asks to the answer; and what the gate makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, format_trust
from unlearnkit.errors import RefusedError, ThresholdError, UnknownNameError, VerificationError
from unlearnkit.office.cases import cases, pick
from unlearnkit.office.clearing import CertificateKind
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.absence import sign_absence
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file
from unlearnkit.verifier.examination import Kind
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.verify_absence import verify_absence

WITHOUT_ANN = ["eve", *UNITS[1:]]


def bundle(office: uk.Workspace, name: str, *, bias: float = 0.0, **options) -> Path:
    scratch = office.root / f"{name}-run"
    scratch.mkdir()
    options.setdefault("key", PseudonymKey.load(office.pseudonym_key_path))
    contents = small(scratch, weights=False, **options)
    model = {**contents.contents["model"]}
    model["layer.bias"] = model["layer.bias"] + bias
    members = {**contents.contents, "model": model}
    write_bundle(office.root / name, manifest=contents.manifest, signer=office.signer_key(), **members)
    return office.root / name


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    """Requests R2 of ann, R3 of ben, R4 of a stranger; digits@1 holds ann and ben."""
    (tmp_path / "policy.toml").write_bytes(policy_text())
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    monkeypatch.chdir(made.root)
    for request in made.receive([*UNITS[:2], "stranger"]):
        made.verify_identity(request, method="in-person")
    made.register(bundle(made, "first"), name="digits", version="1")
    return made


def retrain(office: uk.Workspace, version: str = "2", *, units=WITHOUT_ANN, replaces: str = "digits@1") -> None:
    made = bundle(office, f"bundle-{version}", bias=float(version), units=units, recipe=version * 64)
    office.register(made, name="digits", version=version, replaces=replaces)


def test_what_is_expected_of_a_certificate_is_expected_of_these_too(office):
    path = office.certify_absence(["R4"]).path
    said = "\n".join(office.verify(path).unchecked)
    assert f"SHA-256 {office.policy().digest}, is one that should decide" in said
    assert "others are shown the same log" in said
    met = Expectations(policies=(office.policy().digest,), threshold=1, most_days=1)
    found = uk.verify(path, expect=met)
    assert "expectations" in [check.name for check in found.checks]
    assert "should decide" not in "\n".join(found.unchecked)
    for expected in (Expectations(policies=("0" * 64,)), Expectations(threshold=2), Expectations(witnesses=1)):
        with pytest.raises(VerificationError):
            uk.verify(path, expect=expected)


def fulfil(office: uk.Workspace, request: str, method: str, *files: Path) -> str:
    return office.fulfil(request, method=method, evidence=files).state


def test_what_is_certified_is_told_by_where_their_data_is(office):
    assert [office.kind_of([name]) for name in ("R2", "R4")] == [CertificateKind.EFFECT, CertificateKind.ABSENCE]
    retrain(office)
    assert [office.kind_of([name]) for name in ("R2", "R3", "R4")] == ["exclusion", "effect", "absence"]
    assert [request.id for request in office.open_of_kind("exclusion")] == ["R2"]
    assert [request.id for request in office.open_of_kind("effect")] == ["R3"]


def test_who_was_left_out_of_a_new_training_is_answered_by_a_certificate_of_exclusion(office):
    retrain(office)
    issued = office.certify_absence(["R2"])
    assert issued.path == office.root / "certificates" / "R2.exclusion.json"
    found = office.verify(issued.path)
    assert (found.kind, found.value.digest) == (Kind.EXCLUSION, issued.digest)
    file = parse_certificate_file(issued.path.read_bytes(), where="c")
    assert (file.entry, file.digest) == (issued.entry.line, issued.digest)
    assert fulfil(office, "R2", "retrained", issued.path) == "fulfilled"
    with pytest.raises(RefusedError, match="one without them is in use: R2"):
        office.register(bundle(office, "back", bias=9.0), name="letters", version="1")


@pytest.fixture
def pair(office) -> tuple[uk.Workspace, PrivateKey, list[str]]:
    """The policy asks for two signatures: the office's and this key's. Ann and another stranger ask under it."""
    (office.root.parent / "policy.toml").write_bytes(policy_text().replace(b"threshold = 1 ", b"threshold = 2 "))
    second, trust = PrivateKey.generate(Algorithm.P256), office.trust()
    signer = Signer("second officer", (Role.CERTIFICATE_SIGNER,), second.public)
    (office.root / "trust.toml").write_text(format_trust(replace(trust, signers=(*trust.signers, signer))))
    for name in ("R2", "R4"):
        office.withdraw(name, reason="requested-by-person")
    asked = office.receive(["ann", "another stranger"])
    for request in asked:
        office.verify_identity(request, method="in-person")
    return office, second, [request.id for request in asked]


def test_one_officer_alone_clears_nobody_where_the_policy_asks_for_two(pair):
    """Others go on recording meanwhile; with the second signature it is recorded, and shows what it says."""
    office, second, asked = pair
    retrain(office)
    for name, kind, method in zip(asked, ("exclusion", "absence"), ("retrained", "no-data-held"), strict=True):
        before = len(office.view())
        made = office.certify_absence([name])
        assert (made.kind, made.entry, made.missing) == (kind, None, 1)
        assert len(office.view()) == before
        with pytest.raises(ThresholdError, match="too few trusted signatures: got 1, its policy asks for 2"):
            office.verify(made.path)
        with pytest.raises(RefusedError, match=f"no certificate of {kind} of it, as the log records them"):
            fulfil(office, name, method, made.path)
        office.receive([f"somebody after {name}"])
        with pytest.raises(ThresholdError, match="has 1 signature, its policy asks for 2"):
            office.resume(made.path)
        with pytest.raises(RefusedError, match=r"has signed .* already"):
            office.countersign(made.path)
        done = office.countersign(made.path, key=second)
        assert (done.missing, done.certificate, done.entry.type) == (0, made.certificate, f"{kind}-issued")
        assert set(office.verify(made.path).value.signers) == {office.signer_key().public.key_id, second.public.key_id}
        assert fulfil(office, name, method, made.path) == "fulfilled"


def test_a_second_officer_clears_nobody_who_is_in_a_model_by_then(pair, tmp_path):
    office, second, (_, stranger) = pair
    made = office.certify_absence([stranger])
    lists = replace(made.certificate, subjects=("1" * 64,))
    forged = tmp_path / "forged.json"
    forged.write_bytes(CertificateFile(envelope=sign_absence(lists, [office.signer_key()])).to_bytes())
    with pytest.raises(RefusedError, match="log and lists of people give other subjects now"):
        office.countersign(forged, key=second)
    office.register(
        bundle(office, "more", bias=7.0, units=["another stranger", *UNITS[1:]], recipe="7" * 64),
        name="more",
        version="1",
    )
    kept = made.path.read_bytes()
    with pytest.raises(RefusedError, match="more@1 is in force and holds data of 1 of the 1 who ask"):
        office.countersign(made.path, key=second)
    office.retire("more@1")
    assert made.path.read_bytes() == kept
    office.register(bundle(office, "other", bias=8.0, recipe="8" * 64), name="other", version="1")
    with pytest.raises(RefusedError, match="does not hold any more: log and lists of people give other releases now"):
        office.countersign(made.path, key=second)


def test_who_is_in_no_model_is_answered_by_a_certificate_of_absence(office):
    issued = office.certify_absence(["R4"])
    assert (issued.path.name, issued.kind) == ("R4.absence.json", "absence")
    assert office.verify(issued.path).kind is Kind.ABSENCE
    with pytest.raises(RefusedError, match="R4 cannot become fulfilled: no certificate of exclusion of it"):
        fulfil(office, "R4", "retrained", issued.path)
    assert fulfil(office, "R4", "no-data-held", issued.path) == "fulfilled"


def test_of_several_certificates_the_one_that_answered_a_request_is_shown_for_it(office):
    effect = office.certify(["R2"])
    fulfil(office, "R4", "no-data-held", office.certify_absence(["R4"]).path)
    retrain(office)
    exclusion = office.certify_absence(["R2"])
    fulfil(office, "R2", "retrained", exclusion.path)
    found = {case.request.id: case for case in cases(office.view(), office.today)}
    assert [item.digest for item in found["R2"].certificates] == [effect.digest, exclusion.digest]
    assert [item.digest for item in found["R2"].standing] == [exclusion.digest]
    assert list(map(str, found["R2"].standing)) == ["exclusion digits@2"]
    assert list(map(str, found["R4"].standing)) == ["absence digits@1"]
    assert found["R3"].standing == ()
    assert {case.request.id for case in pick(found.values(), ["decision=exclusion"], everything=True)} == {"R2"}
    assert {case.request.id for case in pick(found.values(), ["uncertified"])} == {"R3"}


def test_a_certificate_after_the_answer_does_not_take_its_place(office):
    first = office.certify(["R2"])
    fulfil(office, "R2", "negligible-effect", first.path)
    (case,) = (case for case in cases(office.view(), office.today) if case.request.id == "R2")
    later = replace(case, certificates=(*case.certificates, replace(case.certificates[0], digest="0" * 64)))
    assert [item.digest for item in later.standing] == [first.digest]


def test_each_way_to_answer_takes_its_own_certificate_of_its_own_person(office):
    effect = office.certify(["R2"])
    retrain(office)
    exclusion, absence = office.certify_absence(["R2"]), office.certify_absence(["R4"])
    for method, file in [
        ("retrained", effect.path),
        ("retrained", absence.path),
        ("retrained", Path("unlearnkit.toml")),
        ("no-data-held", exclusion.path),
        ("negligible-effect", exclusion.path),
    ]:
        with pytest.raises(RefusedError, match="R2 cannot become fulfilled: no certificate of"):
            fulfil(office, "R2", method, file)
    with pytest.raises(RefusedError, match="R2 cannot become fulfilled: its certificate, entry 9, is about no release"):
        fulfil(office, "R2", "negligible-effect", effect.path)
    with pytest.raises(RefusedError, match="R3 cannot become fulfilled: no certificate of exclusion"):
        fulfil(office, "R3", "retrained", exclusion.path)


def test_a_release_that_came_into_use_since_was_not_looked_at(office):
    retrain(office)
    issued = office.certify_absence(["R2"])
    retrain(office, "3", replaces="digits@2")
    with pytest.raises(RefusedError, match=r"since its certificate, entry 10, digits@3 came into use"):
        fulfil(office, "R2", "retrained", issued.path)
    again = office.certify_absence(["R2"], out="again.json")
    assert (again.certificate.before.release, again.certificate.after.release) == ("digits@1", "digits@2")
    assert fulfil(office, "R2", "retrained", again.path) == "fulfilled"


def test_every_release_in_force_that_holds_them_needs_a_certificate(office):
    office.register(bundle(office, "other", bias=1.0), name="letters", version="1")
    first = office.certify(["R2"], release="digits@1")
    with pytest.raises(RefusedError, match="letters@1 holds their data, and no certificate about it is given"):
        fulfil(office, "R2", "negligible-effect", first.path)
    second = office.certify(["R2"], release="letters@1", out="letters.json")
    assert fulfil(office, "R2", "negligible-effect", first.path, second.path) == "fulfilled"


def test_a_release_that_holds_nothing_of_them_needs_none(office):
    other = bundle(office, "other", bias=1.0, units=WITHOUT_ANN, recipe="3" * 64)
    office.register(other, name="letters", version="1")
    assert fulfil(office, "R2", "negligible-effect", office.certify(["R2"]).path) == "fulfilled"


def test_who_is_in_a_release_under_another_key_cannot_be_told_and_nobody_is_absent(office):
    other = bundle(office, "other", bias=1.0, key=PseudonymKey(bytes(32)))
    office.register(other, name="letters", version="1")
    for refused in (
        lambda: office.certify_absence(["R4"]),
        lambda: office.kind_of(["R4"]),
        lambda: fulfil(office, "R2", "negligible-effect", office.certify(["R2"], release="digits@1").path),
    ):
        with pytest.raises(RefusedError, match="cannot tell who is in letters@1: its pseudonyms are made with key"):
            refused()


def test_a_list_that_is_not_at_hand_or_another_one_shows_nothing(office):
    place = office.root / "releases" / "digits@1"
    place.unlink()
    with pytest.raises(UnknownNameError, match="the bundle of digits@1 is not at hand"):
        office.certify_absence(["R4"])
    place.symlink_to(bundle(office, "other", bias=1.0, units=WITHOUT_ANN, recipe="3" * 64))
    with pytest.raises(uk.VerificationError, match="this is not the list of people of digits@1"):
        office.certify_absence(["R2"], kind="absence")


def test_nothing_is_overwritten_and_nothing_recorded_then(office):
    Path("R4.absence.json").write_text("mine")
    before = len(office.view())
    for force in (False, True):
        with pytest.raises(RefusedError, match="is there already, and is no certificate"):
            office.certify_absence(["R4"], out=office.root, force=force)
    assert (len(office.view()), Path("R4.absence.json").read_text()) == (before, "mine")
    assert office.certify_absence(["R4"], out="other.json").path == Path("other.json")


def test_what_was_not_asked_sensibly_is_said(office):
    with pytest.raises(RefusedError, match="they were in no release that was replaced"):
        office.certify_absence(["R4"], kind="exclusion")
    with pytest.raises(ValueError, match="an effect is certified by"):
        office.certify_absence(["R4"], kind="effect")
    with pytest.raises(RefusedError, match="digits@1 is in force and holds data of 1 of the 1"):
        office.certify_absence(["R2"])


def test_what_was_interrupted_is_picked_up_from_its_file(office, monkeypatch):
    """Stopped before the proof, and before the entry, which a certificate gets if it still holds."""
    from unlearnkit.office import clearing
    from unlearnkit.verifier.recording import Record

    path = office.root / "certificates" / "R4.absence.json"
    for owner, step in ((clearing, "finish"), (Record, "append")):
        monkeypatch.setattr(owner, step, None)
        with pytest.raises(TypeError):
            office.certify_absence(["R4"], force=True)
        monkeypatch.undo()
        assert parse_certificate_file(path.read_bytes(), where="c").proof is None
        assert office.resume(path).certificate.requests == ("R4",)
        assert office.verify(path).value.certificate.requests == ("R4",)
    assert len(office.certificates()) == 2
    made = office.resume(path).certificate
    path.write_bytes(CertificateFile(envelope=sign_absence(made, [office.signer_key()])).to_bytes())
    office.withdraw("R4", reason="requested-by-person")
    with pytest.raises(RefusedError, match="request R4 is closed"):
        office.resume(path)


def test_alone_with_its_proof_it_verifies_and_says_what_only_the_log_tells(office):
    retrain(office)
    paths = [office.certify_absence([name]).path for name in ("R2", "R4")]
    places = [office.root / name for name in ("first", "bundle-2")]
    (office.root / "elsewhere").mkdir()
    for path in paths:
        found = uk.verify(path, bundles=places, trust=office.trust(), log=None)
        assert "log" in [check.name for check in found.checks]  # of the workspace around
        beside = Materials(trust=office.trust(), bundles=tuple(places))
        alone = verify_absence(path.read_bytes(), where="c", exclusion="exclusion" in path.name, beside=beside)
        names = [check.name for check in alone.checks]
        assert names == ["signature", "proof", "people", *(["exclusion"] if "exclusion" in path.name else [])]
        told = [line for line in alone.unchecked if line.endswith("which the log tells: --log")]
        for words in ("asked, and when", "digits@2 were all releases in force", "made with one key"):
            assert any(words in line for line in told), words
