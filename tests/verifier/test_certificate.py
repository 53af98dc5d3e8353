"""The format of certificates: they come back as they went, and anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.verifier.claims import certificate, claim
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.account import log_body
from unlearnkit.verifier.certificate import PREDICATE_TYPE, Decision, Kind, Outcome, parse_certificate, sign_certificate


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


def payload(key: PrivateKey, made=None) -> bytes:
    raw = sign_certificate(made or certificate(), [key])
    return verify_envelope(raw, where="c", payload_type=PAYLOAD_TYPE, keys=[key.public]).payload


def test_a_certificate_comes_back_as_it_went(key):
    several = claim(shape=(2, 1), base=("1", "2"), predicted=("1", "2.5"), epsilon=("0", "1E-7"))
    made = certificate(claims=(several,))
    assert parse_certificate(payload(key, made), where="c") == made


def test_it_is_a_statement_about_the_manifest_and_the_model(key):
    statement = json.loads(payload(key))
    assert statement["predicateType"] == PREDICATE_TYPE
    assert [(s["name"], s["digest"]["sha256"][:2]) for s in statement["subject"]] == [
        ("manifest.json", "bb"),
        ("model.safetensors", "cc"),
    ]
    assert statement["predicate"]["deleted"]["sha256"] == sha256_hex(canonicalize(["1" * 64]))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("units",), -1, "c: units must be an integer, at least 0: got -1"),
        (("units",), "20", "c: units must be an integer: got '20'"),
        (("spent",), "NaN", "spent must be a decimal, .*: got 'NaN'"),
        (("deleted", "sha256"), "0" * 64, "deleted: the digest is not that of the pseudonyms"),
        (("deleted", "pseudonyms"), ["2" * 64, "1" * 64], "deleted.pseudonyms must be an array in order"),
        (("policy", "text"), "other", "policy: the digest is not that of the text"),
        (("decision", "outcome"), "perhaps", "decision.outcome must be 'keep' or .*: got 'perhaps'"),
        (("claims", 0, "epsilon"), ["Infinity"], r"claims\[0\].epsilon\[0\] must be a decimal, .*: got 'Infinity'"),
        (("claims", 0, "epsilon"), ["0.1", "0.2"], "epsilon must have one number for each of 1 elements"),
        (("claims", 0, "base"), [0.5], r"claims\[0\].base\[0\] must be a decimal, .*: got 0.5"),
        (("claims", 0, "shape"), [-1], r"claims\[0\].shape\[0\] must be an integer, at least 0: got -1"),
        (("claims", 0, "question"), "x", r"claims\[0\].question must be 64 lower-case hexadecimal digits: got 'x'"),
        (("claims", 0, "curve", "values"), ["1e5"], r"claims\[0\].curve.values\[0\] must be a decimal, .*: got '1e5'"),
        (
            ("claims", 0, "curve", "values"),
            ["unknown"],
            r"claims\[0\].curve.values\[0\] must be a decimal, .*: got 'unknown'",
        ),
        (("extra",), 1, "extra"),
    ],
)
def test_what_is_malformed_is_refused(key, path, value, message):
    statement = json.loads(payload(key))
    place = statement["predicate"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(FormatError, match=message):
        parse_certificate(canonicalize(statement), where="c")


def test_a_probe_is_claimed_once(key):
    twice = certificate(claims=(claim(), claim()))
    with pytest.raises(FormatError, match="claimed twice"):
        parse_certificate(payload(key, twice), where="c")


def test_other_statements_are_of_another_type(key):
    statement = {**json.loads(payload(key)), "predicateType": "https://example.org/other"}
    with pytest.raises(UnknownVersionError, match="predicateType"):
        parse_certificate(canonicalize(statement), where="c")


def test_the_log_learns_digests_and_words_only(key):
    certified, audited = claim(kind=Kind.CERTIFIED), claim(probe="other", question="b" * 64)
    decision = Decision(outcome=Outcome.RETRAIN, rule="r", reasons=("about somebody",))
    made = certificate(decision=decision, claims=(certified, audited))
    raw = sign_certificate(made, [key])
    body = log_body(made, raw)
    assert body["certificate"] == sha256_hex(raw)
    assert body["questions"] == [{"delta": "0.05", "question": "a" * 64}]
    assert not {"1" * 64, "about somebody"} & set(map(str, body.values()))
    assert log_body(replace(made, requests=("R3",)), raw) != body
