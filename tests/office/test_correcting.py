"""Corrected models in a workspace: certified, in use, verified by outsiders, and what the gate makes of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import asked, policy, prepare
from unlearnkit.audit.corrected import probes_at
from unlearnkit.audit.retraining import retrained_probes
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, format_trust
from unlearnkit.errors import DigestMismatchError, FormatError, RefusedError, ThresholdError, VerificationError
from unlearnkit.estimation.tolerance import tolerance_rank
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate_file import CertificateFile, parse_certificate_file
from unlearnkit.verifier.correction import CORRECTION_ISSUED, correction_body, sign_correction


@pytest.fixture(scope="module")
def recipe() -> uk.Recipe:
    return small_recipe()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, recipe) -> Path:
    """A workspace with an audited release; tests work on copies."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, recipe)
    return folder


@pytest.fixture
def office(prepared, tmp_path, monkeypatch) -> uk.Workspace:
    subprocess.run(["cp", "-a", f"{prepared}/.", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path / "office")
    return uk.Workspace.find()


def corrected(office: uk.Workspace, *names: str, out: str = "corrected.safetensors"):
    return office.correct(asked(office, *names), out=out)


def fulfil(office: uk.Workspace, made) -> list[str]:
    asked = made.certificate.requests
    return [office.fulfil(name, method="corrected", evidence=[made.path]).state for name in asked]


def forged(office: uk.Workspace, certificate) -> Path:
    """A certificate as its own issuer would sign and record it."""
    with office.open_log().exclusive() as writer:
        raw = sign_correction(certificate, [office.signer_key()])
        writer.record_many([draft(CORRECTION_ISSUED, correction_body(certificate, raw))])
    office.checkpoint()
    path = office.root / "forged.json"
    path.write_bytes(CertificateFile(envelope=raw).to_bytes())
    return path


def test_the_weights_are_nearly_those_of_retraining(office, recipe):
    made = corrected(office, "ann", "dan")
    assert made.certificate.decision.outcome == "correct", made.certificate.decision.reasons
    model = uk.retrain(recipe)
    model.load_state_dict(load_file(made.model))
    real = uk.retrain(recipe, delete=["ann", "dan"], dtype="float64").eval()
    with torch.no_grad():
        off = abs(float(recipe.probes["test_loss"](model.eval()) - recipe.probes["test_loss"](real)))
    assert off < 0.04


def test_a_claim_is_the_order_statistic_of_what_audits_found(office, recipe):
    """Of nine sets of two or three: the seventh smallest largest difference, for half of all at confidence 0.9."""
    made = corrected(office, "ann", "dan")
    (file,) = Path("evidence").glob("*.json")
    audit = office.open_evidence(file, office.open_bundle("bundle")).audit
    rows = [i for i, deletion in enumerate(audit.deletions) if len(deletion) > 1]
    off = sorted(abs(audit.corrected.probes["test_loss"] - audit.probes["test_loss"])[rows])
    own = sorted(max(np.abs(np.subtract(audit.corrected.own_losses[i], audit.own_losses[i]))) for i in rows)
    rank = tolerance_rank(9, 0.5, 0.9)
    claims = {claim.probe: claim for claim in made.certificate.claims}
    for probe, found in (("test_loss", off), ("own_loss", own)):
        assert float(claims[probe].epsilon) == pytest.approx(found[rank - 1], rel=1e-5)
        assert (claims[probe].content, claims[probe].confidence) == ("0.5", "0.9")


def test_an_outsider_makes_the_same_weights_without_torch(office):
    made = corrected(office, "ann", "dan")
    code = (
        "import sys, unlearnkit as uk\n"
        f"found = uk.verify({str(made.path)!r}, bundle='bundle', log='audit', trust='trust.toml', "
        f"evidence={[str(path) for path in Path('evidence').glob('*.json')]!r}, model={str(made.model)!r})\n"
        "assert 'torch' not in sys.modules; print(*[check.name for check in found.checks])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[:4] == ["signature", "bundle", "proof", "log"]
    assert {"weights", "audits"} <= set(out)
    assert sha256_hex(made.model.read_bytes()) == made.certificate.model


def test_in_three_orders_of_requests_the_truth_is_inside_as_often_as_is_stated(office, recipe):
    """Of random sets of the audited sizes, at least half: the content; 60 requests of 200 people are a benchmark."""
    inside: dict[str, list[bool]] = {"test_loss": [], "own_loss": []}
    requests = dict(zip(recipe.unit_names, asked(office, *recipe.unit_names), strict=True))
    random = np.random.default_rng(0)
    for order in range(3):
        names = random.permutation(recipe.unit_names).tolist()
        for count in (1, 2, 3):
            out = f"{order}-{count}.safetensors"
            leaving = [requests[name] for name in names[:count]]
            made = office.correct(leaving, out=out, certificate=f"{out}.json")
            weights = {name: tensor.double() for name, tensor in load_file(out).items()}
            given = probes_at(recipe, weights, "cpu")
            real = retrained_probes(recipe, positions(recipe, names[:count]), "cpu")
            off = {"test_loss": abs(given["test_loss"] - real["test_loss"]).max()}
            off["own_loss"] = np.abs(given["own_loss"] - real["own_loss"])[positions(recipe, names[:count])].max()
            for claim in made.certificate.claims:
                inside[claim.probe].append(off[claim.probe] <= float(claim.epsilon))
            assert office.verify(made.path, bundle="bundle", model=out).value.digest == made.digest
    assert all(len(found) == 9 and np.mean(found) >= 0.5 for found in inside.values()), inside


def positions(recipe: uk.Recipe, names) -> list[int]:
    return sorted(list(recipe.unit_names).index(name) for name in names)


def test_another_set_and_another_base_are_not_taken_for_it(office, recipe):
    made, other = corrected(office, "ann"), corrected(office, "dan", out="other.safetensors")
    for certificate, model in ((made, other), (other, made)):
        with pytest.raises(DigestMismatchError, match="4 of 4 tensors differ"):
            office.verify(certificate.path, bundle="bundle", model=model.model)
    (file,) = Path("evidence").glob("*.json")
    again = small_recipe(seed=5)
    base = uk.sketch(
        again, "base", solo=uk.Solo(3, keep_weights=True), signer=office.signer_key(), seed=0, progress=False
    )
    given = {"bundle": base.path, "log": "audit", "trust": "trust.toml", "evidence": [file]}
    with pytest.raises(VerificationError):
        uk.verify(made.path, model=made.model, **given)


def test_another_model_is_not_taken_for_it(office):
    made = corrected(office, "ann")
    raw = bytearray(made.model.read_bytes())
    raw[-1] ^= 1
    made.model.write_bytes(raw)
    with pytest.raises(DigestMismatchError, match="is not the corrected model: 1 of 4 tensors differ"):
        office.verify(made.path, bundle="bundle", model=made.model)


def test_it_comes_into_use_and_answers_those_who_asked(office):
    made = corrected(office, "ann", "dan")
    with pytest.raises(RefusedError, match=r"the corrected model of entry \d+ is not in use"):
        fulfil(office, made)
    release = office.register_correction(made.path, name="small", version="1.1")
    assert (release.id, release.corrects.release, len(release.without)) == ("small@1.1", "small@1", 2)
    assert [item.id for item in office.registry().in_force] == ["small@1.1"]
    assert fulfil(office, made) == ["fulfilled", "fulfilled"]
    assert office.standing("small@1.1").people == ()
    office.verify(made.path, bundle="bundle")


def test_later_requests_are_corrected_from_the_same_sketch_with_everybody_before(office, recipe):
    first = corrected(office, "ann")
    office.register_correction(first.path, name="small", version="1.1")
    fulfil(office, first)
    second = corrected(office, "dan", out="second.safetensors")
    assert second.certificate.release == "small@1.1"
    bundle = office.bundle_of("small@1")
    np.testing.assert_array_equal(second.model.read_bytes(), bundle.correction(["ann", "dan"]).to_bytes())
    release = office.register_correction(second.path, name="small", version="1.2")
    assert release.corrects.release == "small@1"
    fulfil(office, second)
    office.verify(first.path, bundle="bundle")
    office.verify(second.path, bundle="bundle")


def test_the_effect_of_a_corrected_release_is_not_certified(office):
    made = corrected(office, "ann")
    office.register_correction(made.path, name="small", version="1.1")
    (other,) = asked(office, "bob")
    with pytest.raises(RefusedError, match=r"small@1\.1, in force, is a corrected model"):
        office.certify([other])


def test_who_was_promised_a_corrected_model_is_in_no_later_release(office, recipe):
    made = corrected(office, "ann")
    office.register_correction(made.path, name="small", version="1.1")
    fulfil(office, made)
    again = small_recipe(seed=5)
    bundle = uk.sketch(again, office.root / "again", signer=office.signer_key(), seed=0, progress=False)
    with pytest.raises(RefusedError, match=r"one without them is in use: R\d+"):
        office.register(bundle, name="small", version="2", replaces="small@1.1")


def test_who_was_in_a_corrected_model_is_excluded_by_a_new_training_which_outsiders_verify(office, recipe):
    made = corrected(office, "ann")
    office.register_correction(made.path, name="small", version="1.1")
    fulfil(office, made)
    (bob,) = asked(office, "bob")
    stays = [i for i, unit in enumerate(recipe.unit_of_example) if recipe.unit_names[unit] not in ("ann", "bob")]
    units = [recipe.unit_names[recipe.unit_of_example[i]] for i in stays]
    again = recipe.replace(data=tuple(part[stays] for part in recipe.data), units=units)
    new = uk.sketch(again, office.root / "again", signer=office.signer_key(), seed=0, progress=False)
    office.register(new, name="small", version="2", replaces="small@1.1")
    issued = office.certify_absence([bob])
    assert issued.certificate.before.release == "small@1.1"
    assert office.verify(issued.path).value.digest == issued.digest


def test_what_a_bundle_says_of_people_is_cut_out_when_a_training_has_taken_its_place(office, recipe):
    """The exclusion is still verified, by the signed list; numbers are not there to be predicted from."""
    made = corrected(office, "ann")
    office.register_correction(made.path, name="small", version="1.1")
    fulfil(office, made)
    for name in ("small@1", "small@1.1"):
        with pytest.raises(RefusedError, match=r"is needed: small@1\.1 is in force"):
            office.cut(name)
    stays = [i for i, unit in enumerate(recipe.unit_of_example) if recipe.unit_names[unit] not in ("ann", "bob")]
    units = [recipe.unit_names[recipe.unit_of_example[i]] for i in stays]
    again = recipe.replace(data=tuple(part[stays] for part in recipe.data), units=units)
    new = uk.sketch(again, office.root / "again", signer=office.signer_key(), seed=0, progress=False)
    office.register(new, name="small", version="2", replaces="small@1.1")
    before = office.certify_absence(asked(office, "bob"))
    files = office.cut("small@1").files
    assert {"model.safetensors", "solo.safetensors"} < set(files)
    assert sorted(path.name for path in Path("bundle").rglob("*")) == ["manifest.json", "model.sig", "units.json"]
    assert office.cut("small@1.1").files == ()
    after = office.certify_absence(asked(office, "ann"), kind="absence")
    for issued in (before, after):
        assert office.verify(issued.path).value.digest == issued.digest
    with pytest.raises(FormatError, match="files of the bundle are missing"):
        office.verify(made.path, bundle="bundle")
    names = Path("bundle/units.json")
    names.write_bytes(names.read_bytes()[:-3] + b'0"]')
    with pytest.raises(VerificationError):
        office.verify(before.path)


def test_who_is_in_no_corrected_model_is_absent_although_the_bundle_lists_them(office):
    made = corrected(office, "ann")
    office.register_correction(made.path, name="small", version="1.1")
    fulfil(office, made)
    issued = office.certify_absence(asked(office, "ann"), kind="absence")
    assert office.verify(issued.path).value.digest == issued.digest


def test_what_no_audit_holds_is_insufficient_and_may_not_be_served(office):
    made = corrected(office, "ann", "bob", "cleo", "dan")
    assert (made.certificate.decision.outcome, made.certificate.decision.rule) == ("insufficient", "audit.strata")
    with pytest.raises(RefusedError, match="may not be served"):
        office.register_correction(made.path, name="small", version="1.1")


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ("", "correction.tolerances"),
        ("\n[correction.tolerances]\ntest_loss = 1e-9\nown_loss = 1\n", "correction.tolerances.test_loss"),
    ],
)
def test_the_policy_decides_by_its_tolerances(office, rules, rule):
    (office.root.parent / "policy.toml").write_bytes(policy(rules))
    made = corrected(office, "ann")
    assert (made.certificate.decision.outcome, made.certificate.decision.rule) == ("insufficient", rule)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "ab" * 32}, "its model is abab"),
        ({"standing": ("cd" * 32,)}, "its standing set has 1 person"),
        ({"explanation": "trust me"}, "of the series it says"),
        ({"release": "small@9"}, "small@1 was in force"),
        ({"by_coordinate": 3}, "of the series it says"),
    ],
)
def test_an_issuer_who_says_something_else_is_caught(office, change, message):
    path = forged(office, replace(corrected(office, "ann").certificate, **change))
    with pytest.raises(VerificationError, match=message):
        office.verify(path, bundle="bundle")


def test_a_smaller_epsilon_is_caught(office):
    said = corrected(office, "ann").certificate
    claim = said.claims[0]
    smaller = replace(claim, epsilon=f"{Decimal(claim.epsilon) / 2:f}")
    path = forged(office, replace(said, claims=(smaller, *said.claims[1:])))
    with pytest.raises(VerificationError, match="its epsilon of test_loss is"):
        office.verify(path, bundle="bundle")


def second_officer(office: uk.Workspace) -> PrivateKey:
    """The policy asks for two signatures: the office's and this key's."""
    (office.root.parent / "policy.toml").write_bytes(policy().replace(b"threshold = 1 ", b"threshold = 2 "))
    key, trust = PrivateKey.generate(Algorithm.P256), office.trust()
    signer = Signer("second officer", (Role.CERTIFICATE_SIGNER,), key.public)
    (office.root / "trust.toml").write_text(format_trust(replace(trust, signers=(*trust.signers, signer))))
    return key


def test_one_officer_alone_corrects_nothing_where_the_policy_asks_for_two(office):
    second = second_officer(office)
    requests, before = asked(office, "ann"), len(office.view())
    made = office.correct(requests, out="corrected.safetensors")
    assert (made.entry, made.missing, len(office.view())) == (None, 1, before)
    for refused in (lambda: office.verify(made.path, bundle="bundle"), lambda: office.resume(made.path)):
        with pytest.raises(ThresholdError, match="its policy asks for 2"):
            refused()
    with pytest.raises(RefusedError, match="the log records no correction certificate"):
        office.register_correction(made.path, name="small", version="1.1")
    asked(office, "bob")  # others go on meanwhile
    done = office.countersign(made.path, key=second)
    assert (done.kind, done.missing, done.entry.type) == ("correction", 0, "correction-issued")
    found = office.verify(made.path, bundle="bundle", model=made.model)
    assert set(found.value.signers) == {office.signer_key().public.key_id, second.public.key_id}
    office.register_correction(made.path, name="small", version="1.1")
    assert fulfil(office, made) == ["fulfilled"]


def test_a_second_officer_makes_weights_and_claims_again_and_signs_nothing_else(office):
    second = second_officer(office)
    made = office.correct(asked(office, "ann"), out="corrected.safetensors")
    said = made.certificate
    for change, error, reason in (
        ({"model": "ab" * 32}, VerificationError, "its model is abab"),
        ({"claims": (replace(said.claims[0], epsilon="0.001"), *said.claims[1:])}, VerificationError, "its epsilon"),
        ({"standing": ("cd" * 32,)}, RefusedError, "the log gives other standing now"),
    ):
        raw = sign_correction(replace(said, **change), [office.signer_key()])
        Path("forged.json").write_bytes(CertificateFile(envelope=raw).to_bytes())
        with pytest.raises(error, match=reason):
            office.countersign("forged.json", key=second)
    office.withdraw(said.requests[0], reason="requested-by-person")
    with pytest.raises(RefusedError, match="is closed: it was withdrawn"):
        office.countersign(made.path, key=second)
    assert not office.certificates()


def test_a_certificate_that_one_signed_where_two_should_is_caught(office):
    made = corrected(office, "ann").certificate
    path = forged(office, replace(made, policy=made.policy.replace("threshold = 1 ", "threshold = 2 ")))
    with pytest.raises(ThresholdError, match="got 1, its policy asks for 2"):
        office.verify(path, bundle="bundle")


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (Expectations(policies=("0" * 64,)), "which is not listed"),
        (Expectations(threshold=2), "as is expected of it, has too few"),
        (Expectations(tolerances={"test_loss": Decimal("0.1")}), "tolerates a change of test_loss by 0.11, not 0.1"),
        (Expectations(tolerances={"accuracy": Decimal(1)}), "a change of accuracy by None"),
        (Expectations(salt="log"), "chosen by somebody"),
    ],
)
def test_what_is_expected_of_a_certificate_is_expected_of_a_correction(office, expected, reason):
    made = corrected(office, "ann")
    met = Expectations(policies=(office.policy().digest,), threshold=1, tolerances={"test_loss": Decimal("0.11")})
    assert "expectations" in [check.name for check in uk.verify(made.path, bundle="bundle", expect=met).checks]
    said = "\n".join(office.verify(made.path, bundle="bundle").unchecked)
    for what in ("is one that should decide", "as its own policy says", "picked from many", "too old", "the same log"):
        assert what in said
    with pytest.raises(VerificationError, match=reason):
        uk.verify(made.path, bundle="bundle", expect=expected)


def test_nothing_is_overwritten(office):
    made = corrected(office, "ann")
    before = made.model.read_bytes()
    with pytest.raises(RefusedError, match="is there already"):
        corrected(office, "dan")
    assert made.model.read_bytes() == before
    assert parse_certificate_file(made.path.read_bytes(), where="c").digest == made.digest
