"""Evidence of retraining audits: what is verified, and that nothing else passes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.bundle.small import KEY, UNITS, small
from unlearnkit.bundle import Bundle
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import (
    AssumptionError,
    DigestMismatchError,
    EstimationError,
    FormatError,
    ThresholdError,
    UnknownNameError,
    UnknownVersionError,
    VerificationError,
)
from unlearnkit.signing.dsse import parse_envelope, sign_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.evidence import Audit, parse_audit, sign_evidence, verify_evidence
from unlearnkit.verifier.plan import UnitDeletions, draw_deletions

SIZES = UnitDeletions(least=1, most=2)
COUNT = 60  # so many that each of five people is drawn alone, whatever the bundle's digest


@pytest.fixture(scope="module")
def signer():
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="module")
def sketched(tmp_path_factory):
    """A polynomial of five units' weights, and a bundle of it."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "run").mkdir()
    contents = small(folder / "run")
    return contents.polynomial, Bundle.open(contents.write(folder / "bundle"), pseudonym_key=KEY)


def truth_of(polynomial, bundle, count=COUNT, distribution=SIZES):
    masks = np.zeros((count, len(UNITS)))
    for mask, deletion in zip(masks, draw_deletions(bundle, distribution, count), strict=True):
        mask[list(deletion)] = 1
    margins = polynomial.base + polynomial.change(masks)
    return {"margins": margins, "test_loss": margins[:, 0]}


@pytest.fixture(scope="module")
def audit(sketched):
    polynomial, bundle = sketched
    return Audit.of(bundle, SIZES, truth_of(polynomial, bundle))


@pytest.fixture(scope="module")
def raw(audit, signer):
    return sign_evidence(audit, [signer])


@pytest.fixture(scope="module")
def verify(sketched, signer):
    def verify(raw, **options):
        defaults = {"where": "audit.json", "keys": [signer.public], "bundle": sketched[1]}
        return verify_evidence(raw, **(defaults | options))

    return verify


def test_what_was_signed_comes_back_to_the_last_bit(audit, raw, verify, signer):
    found = verify(raw)
    assert found.audit.deletions == audit.deletions
    assert found.audit.distribution == SIZES
    for name, values in audit.probes.items():
        assert found.audit.probes[name].tobytes() == values.tobytes()
    assert found.digest == sha256_hex(raw)
    assert found.signers == (signer.public.key_id,)
    assert found.probes == ("margins", "test_loss")
    assert [np.flatnonzero(mask).tolist() for mask in found.masks()] == [list(d) for d in audit.deletions]


def test_no_prediction_and_no_name_is_in_it(raw):
    payload = parse_envelope(raw, where="x").unverified_payload.decode()
    statement = json.loads(payload)
    assert set(statement["predicate"]) == {
        "recipe",
        "counterfactual",
        "distribution",
        "draws",
        "deletions",
        "own_losses",
        "precision",
        "probes",
        "software",
    }
    assert not any(f'"{name}"' in payload or KEY.pseudonym(name) in payload for name in UNITS)


def test_only_trusted_keys_count(raw, verify):
    with pytest.raises(ThresholdError, match="too few trusted signatures"):
        verify(raw, keys=[PrivateKey.generate(Algorithm.P256).public])
    with pytest.raises(ThresholdError, match="too few trusted signatures"):
        verify(raw, keys=[])


def test_every_altered_byte_is_refused(raw, verify):
    for place in range(0, len(raw), 7):
        for altered in (raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], raw[:place], raw[:place] + b"0"):
            with pytest.raises((FormatError, VerificationError), match=r"."):
                verify(altered)


def test_evidence_about_another_bundle_is_refused(tmp_path, sketched, raw, verify):
    other = small(tmp_path, weights=False).write(tmp_path / "other")
    with pytest.raises(DigestMismatchError, match=r"audit\.json is about bundle"):
        verify(raw, bundle=Bundle.open(other))


def another(deletions: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """A set that was drawn, and is not the first."""
    return next(found for found in deletions if found != deletions[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"deletions": (another(a.deletions), *a.deletions[1:])}, "deletion 0 is not the one"),
        (lambda a: {"deletions": (*a.deletions[:-1], (0, 1, 2))}, "deletion 59 is not the one that bundle and"),
        (lambda a: {"distribution": UnitDeletions(least=1, most=3)}, r"deletion \d+ is not the one"),
        (lambda a: {"distribution": UnitDeletions(least=1, most=6)}, "up to 6 units: there are 5"),
        (lambda a: {"recipe": "0" * 64}, "its recipe or its counterfactual is not the bundle's"),
        (lambda a: {"counterfactual": "another seed"}, "its recipe or its counterfactual is not the bundle's"),
        (lambda a: {"probes": {"other": a.probes["test_loss"]}}, r"'other' has shape \(\), the bundle has no such"),
        (lambda a: {"probes": {"test_loss": a.probes["margins"]}}, r"shape \(2,\), the bundle has shape \(\)"),
    ],
)
def test_what_a_dishonest_signer_could_pick_is_refused(audit, signer, verify, change, message):
    with pytest.raises(VerificationError, match=message):
        verify(sign_evidence(replace(audit, **change(audit)), [signer]))


def resigned(raw, signer, change) -> bytes:
    """The same evidence with a changed predicate."""
    statement = json.loads(parse_envelope(raw, where="x").unverified_payload)
    change(statement["predicate"])
    return sign_envelope(canonicalize(statement), payload_type="application/vnd.in-toto+json", signers=[signer])


def set_value(place, text):
    return lambda predicate: predicate["probes"][0]["values"].__setitem__(place, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value(3, "NaN"), "expected the shortest decimal of a finite number"),
        (set_value(3, "inf"), "expected the shortest decimal"),
        (set_value(3, "0.10"), "got '0.10', expected the shortest decimal"),
        (set_value(3, 0.5), r"probes\[0\]\.values\[3\] must be a string: got 0\.5"),
        (set_value(3, "x"), "expected the shortest decimal"),
        (lambda p: p["probes"][0]["values"].pop(), "has 119 values, expected a multiple of 2"),
        (lambda p: p["probes"][0].update(shape=[2, 10**12]), "120 values, expected a multiple of 2 x 1000000000000"),
        (lambda p: p["probes"][0].update(values=[], shape=[0, 10**12]), "values must be an array of at least 1: got 0"),
        (lambda p: p["probes"][0].update(shape=[-2]), r"shape\[0\] must be an integer, at least 0: got -2"),
        (lambda p: p["probes"].reverse(), "probes sorted by name, each once"),
        (lambda p: p["probes"].append(p["probes"][1]), "probes sorted by name, each once"),
        (lambda p: p.update(probes=[]), "probes must be an array of at least 1: got 0"),
        (lambda p: p["deletions"].append([0.5]), r"deletions\[60\]\[0\] must be an integer: got 0\.5"),
        (lambda p: p.update(precision="float32"), "precision must be 'float64' or 'as trained': got 'float32'"),
        (lambda p: p.update(draws="mine"), "draws must be 'unlearnkit/deletions/v1' or .*: got 'mine'"),
        (lambda p: p.update(recipe="x"), "recipe must be 64 lower-case hexadecimal digits: got 'x'"),
        (lambda p: p.update(more=1), "unknown fields"),
        (lambda p: p.pop("software"), "lacks 'software'"),
    ],
)
def test_malformed_evidence_is_refused_even_when_signed(raw, signer, verify, change, message):
    with pytest.raises(FormatError, match=message):
        verify(resigned(raw, signer, change))


def test_a_statement_of_another_kind_is_no_evidence(raw, signer, verify):
    statement = json.loads(parse_envelope(raw, where="x").unverified_payload)
    for change, error, message in (
        ({"predicateType": "https://unlearnkit.dev/certificate/v1"}, UnknownVersionError, "predicateType is"),
        ({"subject": [{"name": "model", "digest": {"sha256": "0" * 64}}]}, FormatError, "expected a bundle's manifest"),
    ):
        with pytest.raises(error, match=message):
            parse_audit(canonicalize(statement | change), where="x")


def test_values_that_are_not_finite_cannot_be_signed(audit, signer):
    broken = {"test_loss": np.full(COUNT, np.nan)}
    with pytest.raises(ValueError, match="not finite"):
        sign_evidence(replace(audit, probes=broken), [signer])


def test_a_bound_holds_for_every_deletion_that_can_be_drawn(sketched, raw, verify):
    polynomial, bundle = sketched
    evidence = verify(raw)
    drawn = {deletion for deletion in evidence.audit.deletions if len(deletion) == 1}
    assert len(drawn) == len(UNITS)  # so the largest of their scores holds for each
    for names in ([name] for name in UNITS):
        bound = evidence.bound(bundle.probe("margins"), names, delta=0.1)
        x = np.zeros((1, len(UNITS)))
        x[0, bundle.unit_indices(names)] = 1
        truth = (polynomial.base + polynomial.change(x))[0]
        assert (np.abs(truth - bound.estimate) <= bound.epsilon).all()
        assert sha256_hex(raw) in " ".join(bound.assumptions)
    scalar = evidence.bound(bundle.probe("test_loss"), ["ann"], delta=0.1)
    assert np.shape(scalar.epsilon) == np.shape(scalar.estimate) == ()


def test_single_people_are_bounded_by_what_was_drawn_of_single_people_alone(sketched, signer, verify):
    """Large errors of pairs widen nothing, and small ones narrow nothing."""
    polynomial, bundle = sketched
    truth = truth_of(polynomial, bundle)
    pairs = [len(deletion) == 2 for deletion in draw_deletions(bundle, SIZES, COUNT)]
    far = {
        name: values + np.where(pairs, 1e3, 0.0).reshape(-1, *[1] * (values.ndim - 1)) for name, values in truth.items()
    }
    found = [
        verify(sign_evidence(Audit.of(bundle, SIZES, values), [signer])).bound(
            bundle.probe("margins"), ["ann"], delta=0.1
        )
        for values in (truth, far)
    ]
    np.testing.assert_array_equal(found[0].epsilon, found[1].epsilon)
    assert "sets of 1 unit," in " ".join(found[0].assumptions)


def test_what_the_audit_does_not_speak_of_is_refused(sketched, raw, verify):
    evidence, bundle = verify(raw), sketched[1]
    with pytest.raises(AssumptionError, match="a deletion of 3 units like this one is never drawn"):
        evidence.bound(bundle.probe("margins"), ["ann", "ben", "cat"], delta=0.1)
    with pytest.raises(EstimationError, match=r"\d+ retrainings carry no bound at delta=0\.01"):
        evidence.bound(bundle.probe("margins"), ["ann"], delta=0.01)
    with pytest.raises(UnknownNameError, match="the audit has no probe 'more'; it has: margins, test_loss"):
        evidence.bound(replace(bundle.probe("margins"), name="more"), ["ann"], delta=0.1)


def test_verifying_needs_no_torch():
    script = "import unlearnkit.verifier.evidence, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_payload_is_canonical(raw):
    payload = base64.b64decode(json.loads(raw)["payload"])
    assert canonicalize(json.loads(payload)) == payload
