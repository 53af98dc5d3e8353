"""Signed replays: what is verified of them, that nothing else passes, and what claims take from them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.bundle.small import KEY, UNITS, small
from unlearnkit.bundle import Bundle
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import (
    DigestMismatchError,
    FormatError,
    ThresholdError,
    UnknownNameError,
    VerificationError,
)
from unlearnkit.estimation import Differences
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.replayed import (
    ReplayReport,
    directions_from_seed,
    parse_replay,
    pickable,
    sign_replay,
    verify_signed_replay,
)

SEED = "a checkpoint, later than the bundle"


@pytest.fixture(scope="module")
def signer():
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    folder = tmp_path_factory.mktemp("replayed")
    (folder / "run").mkdir()
    return Bundle.open(small(folder / "run").write(folder / "bundle"), pseudonym_key=KEY)


def differences(bundle: Bundle) -> dict[str, Differences]:
    rng, found = np.random.default_rng(0), {}
    for name in bundle.probe_names:
        sketch = bundle.probe(name)
        size, degree = sketch.base.size, sketch.coefficients.shape[1]
        found[name] = Differences(base=1e-7 * rng.random(size), coefficients=1e-7 * rng.random((degree, size)))
    return found


@pytest.fixture(scope="module")
def report(bundle) -> ReplayReport:
    chosen = directions_from_seed(bundle, SEED, 2)
    return ReplayReport.of(bundle, SEED, chosen, differences(bundle), names_units=True)


def said(report: ReplayReport, signer: PrivateKey) -> dict:
    """The statement, to change."""
    return json.loads(base64.b64decode(json.loads(sign_replay(report, [signer]))["payload"]))


def verified(raw: bytes, bundle: Bundle, signer: PrivateKey, **options):
    return verify_signed_replay(raw, where="replay.json", bundle=bundle, **({"keys": [signer.public]} | options))


def test_what_was_signed_comes_back_to_the_last_bit(report, bundle, signer):
    found = verified(sign_replay(report, [signer]), bundle, signer)
    assert found.report == report
    assert found.signers == (signer.public.key_id,)
    for name, expected in differences(bundle).items():
        got = found.differences(name)
        np.testing.assert_array_equal(got.base, expected.base)
        np.testing.assert_array_equal(got.coefficients, expected.coefficients)
        assert (got.gradient, got.residual, got.slopes, got.solo) == (None, None, None, None)
    with pytest.raises(UnknownNameError, match="has no probe 'accuracy'; it has: margins, test_loss"):
        found.differences("accuracy")


def test_a_certified_interval_grows_by_what_it_says(report, bundle, signer):
    found, sketch = verified(sign_replay(report, [signer]), bundle, signer), bundle.probe("margins")
    plain = sketch.bound(UNITS[:1], 0.05, degree=1)
    covered = sketch.bound(UNITS[:1], 0.05, degree=1, rounding=found.differences("margins"))
    assert "rounding" in covered.covers
    assert (covered.epsilon > plain.epsilon + found.differences("margins").base).all()
    assert (covered.epsilon < plain.epsilon + 1e-4).all()


def test_another_key_another_bundle_another_recipe_are_refused(report, bundle, signer):
    raw = sign_replay(report, [signer])
    with pytest.raises(ThresholdError):
        verified(raw, bundle, signer, keys=[PrivateKey.generate(Algorithm.P256).public])
    with pytest.raises(DigestMismatchError, match="is about bundle"):
        verified(sign_replay(replace(report, bundle="0" * 64), [signer]), bundle, signer)
    with pytest.raises(VerificationError, match="its recipe is not the bundle's"):
        verified(sign_replay(replace(report, recipe="0" * 64), [signer]), bundle, signer)


def test_directions_that_were_picked_are_refused(report, bundle, signer):
    assert pickable(bundle) > 2
    picked = tuple(i for i in range(pickable(bundle)) if i not in report.directions)[:1]
    for directions in (picked, (), report.directions[::-1]):
        with pytest.raises(VerificationError, match="its seed gives"):
            verified(sign_replay(replace(report, directions=directions), [signer]), bundle, signer)


def test_probes_that_are_not_the_bundles_are_refused(report, bundle, signer):
    fewer = replace(report, probes=report.probes[:1])
    with pytest.raises(VerificationError, match="the bundle has"):
        verified(sign_replay(fewer, [signer]), bundle, signer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": ["-1.0"]}, "a difference is negative"),
        ({"base": ["1.0", "2.0"]}, "expected 2 numbers of each kind"),
        ({"base": ["nan"]}, "expected the shortest decimal of a finite number"),
        ({"base": ["0.10"]}, "expected the shortest decimal"),
    ],
)
def test_malformed_numbers_are_refused(report, signer, change, message):
    statement = said(report, signer)
    probe = next(p for p in statement["predicate"]["probes"] if p["name"] == "test_loss")
    probe |= change
    with pytest.raises(FormatError, match=message):
        parse_replay(canonicalize(statement), where="replay.json")


def test_a_seed_that_cannot_be_bound_is_malformed(report, signer, bundle):
    statement = said(report, signer)
    statement["predicate"]["seed"] = "a\0b"
    raw = sign_envelope(canonicalize(statement), payload_type="application/vnd.in-toto+json", signers=[signer])
    with pytest.raises(FormatError, match="zero byte"):
        verified(raw, bundle, signer)


def test_one_altered_byte_is_refused(report, bundle, signer):
    envelope = json.loads(sign_replay(report, [signer]))
    payload = base64.b64decode(envelope["payload"]).replace(b'"names_units":true', b'"names_units":false')
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(VerificationError):
        verified(canonicalize(envelope), bundle, signer)
