"""Envelopes against the vector of the specification, and as securesystemslib, openssl and we ourselves see them."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse
from securesystemslib import signer as signing
from securesystemslib.exceptions import VerificationError as NotVerifiedError

from tests import needs
from tests.signing.openssl import openssl_verifies
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import FormatError, SignatureError, ThresholdError, VerificationError
from unlearnkit.signing.dsse import (
    MAX_SIGNATURES,
    Signature,
    pae,
    parse_envelope,
    sign_envelope,
    verify_envelope,
    verify_signatures,
)
from unlearnkit.signing.keys import Algorithm, PrivateKey, parse_public_key

KIND = "application/vnd.in-toto+json"
PAYLOAD = b'{"hello":"world"}'


@pytest.fixture(scope="module")
def envelope(signer, second_signer):
    return sign_envelope(PAYLOAD, payload_type=KIND, signers=[signer, second_signer])


def _verify(raw, keys, **options):
    return verify_envelope(raw, where="x.dsse", keys=keys, **{"payload_type": KIND, **options})


def test_the_vector_of_the_specification_verifies(vectors):
    vector = json.loads((vectors / "dsse" / "helloworld.json").read_text())
    message = pae(vector["payloadType"], vector["payload_utf8"].encode())
    assert message == vector["pae_utf8"].encode()
    numbers = ec.EllipticCurvePublicNumbers(int(vector["p256"]["x"]), int(vector["p256"]["y"]), ec.SECP256R1())
    pem = numbers.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = base64.b64decode(vector["p256"]["sig_raw_r_s_b64"])
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = parse_public_key(pem, where="vector")
    assert key.verify(der, message) == message
    with pytest.raises(SignatureError, match="does not verify"):
        key.verify(der, message + b"!")


def test_lengths_count_bytes_not_characters():
    assert pae("é", "ü€".encode()) == b"DSSEv1 2 \xc3\xa9 5 \xc3\xbc\xe2\x82\xac"
    assert pae("", b"") == b"DSSEv1 0  0 "


@given(st.tuples(st.text(), st.binary()), st.tuples(st.text(), st.binary()))
def test_different_contents_are_never_signed_alike(one, other):
    assert (pae(*one) == pae(*other)) == (one == other)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_payload_comes_back_with_the_keys_that_signed_it(algorithm, stranger):
    key = PrivateKey.generate(algorithm)
    raw = sign_envelope(b"\x00\xff anything", payload_type="text/pläin", signers=[key])
    verified = _verify(raw, [stranger.public, key.public], payload_type="text/pläin")
    assert (verified.payload, verified.keys) == (b"\x00\xff anything", (key.public,))


def test_a_threshold_counts_different_trusted_keys(envelope, signer, second_signer, stranger):
    both = [signer.public, second_signer.public]
    assert _verify(envelope, reversed(both), threshold=2).keys == tuple(both)
    assert _verify(envelope, [both[1]]).keys == (both[1],)
    for keys, threshold, got in (
        ([], 1, 0),
        ([stranger.public], 1, 0),
        ([both[0], both[0]], 2, 1),
        ([*both, stranger.public], 3, 2),
    ):
        message = f"x.dsse has too few trusted signatures: got {got}, expected {threshold}"
        with pytest.raises(ThresholdError, match=message):
            _verify(envelope, keys, threshold=threshold)


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_of_nothing_is_a_mistake(envelope, signer, threshold):
    with pytest.raises(ValueError, match=f"threshold must be at least 1: got {threshold}"):
        _verify(envelope, [signer.public], threshold=threshold)


def test_one_key_cannot_sign_twice(signer):
    first, second = (json.loads(sign_envelope(PAYLOAD, payload_type=KIND, signers=[signer])) for _ in range(2))
    assert first["signatures"][0]["sig"] != second["signatures"][0]["sig"]
    for alias, error, message in (
        (signer.public.key_id, FormatError, "none of them twice"),
        ("alias", SignatureError, f"a signature by {signer.public.key_id} claims to be by 'alias'"),
    ):
        second["signatures"][0]["keyid"] = alias
        raw = canonicalize({**first, "signatures": first["signatures"] + second["signatures"]})
        with pytest.raises(error, match=message):
            _verify(raw, [signer.public])


def test_signatures_outside_an_envelope_are_counted_by_key_too(signer):
    twice = [Signature(signer.public.key_id, signer.sign(b"message")) for _ in range(2)]
    options = {"where": "x", "keys": [signer.public]}
    assert verify_signatures(b"message", twice, threshold=1, **options) == (signer.public,)
    with pytest.raises(ThresholdError, match="x has too few trusted signatures: got 1, expected 2"):
        verify_signatures(b"message", twice, threshold=2, **options)


def test_a_false_signature_in_a_trusted_name_is_refused_even_beside_a_good_one(
    envelope, signer, second_signer, stranger
):
    record = json.loads(envelope)
    record["signatures"][1]["sig"] = base64.b64encode(stranger.sign(pae(KIND, PAYLOAD))).decode()
    raw = canonicalize(record)
    assert _verify(raw, [signer.public]).keys == (signer.public,)  # the other name is a stranger's here
    with pytest.raises(
        SignatureError, match=f"x.dsse: the signature does not verify with key {second_signer.public.key_id}"
    ):
        _verify(raw, [signer.public, second_signer.public])


def test_another_payload_type_is_refused_whoever_signed_it(signer):
    raw = sign_envelope(PAYLOAD, payload_type="text/plain", signers=[signer])
    with pytest.raises(
        VerificationError, match=f"x.dsse has payload type 'text/plain', expected '{KIND}'".replace("+", r"\+")
    ):
        _verify(raw, [signer.public])


def test_a_type_or_payload_that_was_not_signed_does_not_verify(envelope, signer):
    record = json.loads(envelope)
    for change in ({"payloadType": "text/plain"}, {"payload": base64.b64encode(PAYLOAD + b" ").decode()}):
        raw = canonicalize({**record, **change})
        with pytest.raises(SignatureError, match="does not verify"):
            _verify(raw, [signer.public], payload_type={**record, **change}["payloadType"])


def test_both_base64_alphabets_are_read(signer):
    payload = bytes(range(256))
    record = json.loads(sign_envelope(payload, payload_type=KIND, signers=[signer]))
    assert {"+", "/"} <= set(record["payload"])
    url_safe = {**record, "payload": _url_safe(record["payload"])}
    url_safe["signatures"] = [{**item, "sig": _url_safe(item["sig"])} for item in record["signatures"]]
    assert _verify(canonicalize(url_safe), [signer.public]).payload == payload
    mixed = {**record, "payload": record["payload"].replace("+", "-")}
    with pytest.raises(FormatError, match=r"x\.dsse is not written canonically"):
        _verify(canonicalize(mixed), [signer.public])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "x.dsse has unknown fields: got 'extra'"),
        ({"payload": None}, "x.dsse: payload must be a string: got null"),
        ({"payload": "eyJ"}, "x.dsse: payload is not base64"),
        ({"payload": "QR=="}, "x.dsse is not written canonically"),
        ({"payload": "QQ==\n"}, "x.dsse: payload is not base64"),
        ({"payload": "QQ"}, "x.dsse: payload is not base64"),
        ({"payload": "é"}, "x.dsse: payload is not base64"),
        ({"signatures": []}, "x.dsse must have 1 to 16 signatures: got 0"),
        ({"signatures": {}}, "x.dsse: signatures must be an array: got an object"),
        ({"signatures": [{"sig": "QQ=="}]}, "x.dsse: signatures\\[0\\] lacks 'keyid'"),
        ({"signatures": [{"keyid": "", "sig": "QQ=="}]}, "x.dsse must have a key id with every signature"),
        ({"signatures": [{"keyid": "a", "sig": 1}]}, "x.dsse: signatures\\[0\\].sig must be a string: got 1"),
        (
            {"signatures": [{"keyid": "a", "sig": "QQ==", "cert": ""}]},
            "x.dsse: signatures\\[0\\] has unknown fields: got 'cert'",
        ),
        ({"signatures": [{"keyid": str(i), "sig": "QQ=="} for i in range(17)]}, "1 to 16 signatures: got 17"),
    ],
)
def test_other_envelopes_are_malformed(envelope, change, message):
    with pytest.raises(FormatError, match=message.replace(".", r"\.")):
        parse_envelope(canonicalize({**json.loads(envelope), **change}), where="x.dsse")


def test_spaces_and_another_order_are_malformed(envelope):
    record = json.loads(envelope)
    reordered = dict(reversed(record.items()))
    for raw in (json.dumps(record).encode(), envelope + b"\n", json.dumps(reordered, separators=(",", ":")).encode()):
        with pytest.raises(
            FormatError, match=r"x is not written canonically \(RFC 8785 JSON, one padded base64 alphabet\)"
        ):
            parse_envelope(raw, where="x")


def test_what_is_parsed_is_called_unverified(envelope):
    parsed = parse_envelope(envelope, where="x")
    assert (parsed.unverified_payload, parsed.payload_type, len(parsed.signatures)) == (PAYLOAD, KIND, 2)
    assert all(isinstance(signature, Signature) for signature in parsed.signatures)


def test_signers_are_different_and_at_least_one(signer):
    for signers, got in (([], "got 0, 0 different"), ([signer, signer], "got 2, 1 different")):
        with pytest.raises(ValueError, match=f"an envelope has 1 to {MAX_SIGNATURES} different signers: {got}"):
            sign_envelope(PAYLOAD, payload_type=KIND, signers=signers)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_securesystemslib_accepts_ours_and_not_a_tampered_one(algorithm):
    keys = [PrivateKey.generate(algorithm) for _ in range(2)]
    record = json.loads(sign_envelope(PAYLOAD, payload_type=KIND, signers=keys))
    trusted = [
        signing.SSlibKey.from_crypto(serialization.load_pem_public_key(key.public.pem), keyid=key.public.key_id)
        for key in keys
    ]
    assert len(dsse.Envelope.from_dict(json.loads(json.dumps(record))).verify(trusted, 2)) == 2
    tampered = {**record, "payload": base64.b64encode(PAYLOAD + b" ").decode()}
    with pytest.raises(NotVerifiedError, match="Found: 0, Expected 2"):
        dsse.Envelope.from_dict(tampered).verify(trusted, 2)


def test_we_accept_what_securesystemslib_signs(signer):
    private = serialization.load_pem_private_key(signer.private_pem(), None)
    public = signing.SSlibKey.from_crypto(private.public_key(), keyid=signer.public.key_id)
    theirs = dsse.Envelope(PAYLOAD, KIND, {})
    theirs.sign(signing.CryptoSigner(private, public))
    assert _verify(canonicalize(theirs.to_dict()), [signer.public]).payload == PAYLOAD


@needs.program("openssl")
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_openssl_accepts_ours_and_not_a_tampered_one(tmp_path, algorithm):
    key = PrivateKey.generate(algorithm)
    raw = sign_envelope(PAYLOAD, payload_type=KIND, signers=[key])
    assert openssl_verifies(raw, key.public.pem, tmp_path)
    assert not openssl_verifies(raw.replace(b"in-toto", b"in-tata"), key.public.pem, tmp_path)


def _url_safe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")
