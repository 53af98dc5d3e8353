"""Signed bundles: whose signature counts, what it covers, and what outside programs make of it."""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from securesystemslib import dsse
from securesystemslib.exceptions import VerificationError as NotVerifiedError
from securesystemslib.signer import SSlibKey

from tests import needs
from tests.bundle.small import rewrite, small
from tests.signing.openssl import openssl_verifies
from unlearnkit.bundle import Bundle, sign_bundle, write_bundle
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.errors import FormatError, SignatureError, ThresholdError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey


@pytest.fixture(scope="module")
def signer():
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture
def signed(tmp_path, signer) -> Path:
    (tmp_path / "run").mkdir()
    contents = small(tmp_path / "run")
    write_bundle(tmp_path / "signed", manifest=contents.manifest, signer=signer, **contents.contents)
    return tmp_path / "signed"


def test_a_trusted_signature_opens_and_says_whose_it_is(signed, signer):
    assert Bundle.open(signed, trust=[signer.public]).signers == (signer.public.key_id,)


def test_without_trust_nothing_is_verified_and_nobody_named(signed):
    assert Bundle.open(signed).signers == ()


def test_an_empty_trust_store_verifies_nothing(signed):
    with pytest.raises(SignatureError, match="no key is trusted"):
        Bundle.open(signed, trust=[])


def test_a_stranger_is_not_trusted(signed):
    with pytest.raises(ThresholdError, match="too few trusted signatures: got 0, expected 1"):
        Bundle.open(signed, trust=[PrivateKey.generate(Algorithm.P256).public])


def test_a_threshold_counts_different_keys(signed, signer):
    other = PrivateKey.generate(Algorithm.P256).public
    with pytest.raises(ThresholdError, match="got 1, expected 2"):
        Bundle.open(signed, trust=[signer.public, other], threshold=2)


def test_an_unsigned_bundle_is_not_opened_as_signed(signed, signer):
    (signed / "model.sig").unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        Bundle.open(signed, trust=[signer.public])


def test_a_consistent_but_other_manifest_is_not_the_signed_one(signed, signer):
    rewrite(signed, "probes/test_loss.safetensors", (signed / "probes/test_loss.safetensors").read_bytes() + b" ")
    with pytest.raises(VerificationError, match="is not the one that was signed"):
        Bundle.open(signed, trust=[signer.public])


def test_a_file_beside_the_listed_ones_is_refused_though_the_signature_holds(signed, signer):
    (signed / "extra").write_bytes(b"")
    with pytest.raises(FormatError, match="not in the bundle's manifest: 'extra'"):
        Bundle.open(signed, trust=[signer.public])


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_a_signer_cannot_sign_numbers_that_are_none(signed, signer, spoilt):
    name = "probes/test_loss.safetensors"
    tensors = {k: v.copy() for k, v in parse_tensors((signed / name).read_bytes(), where=name).items()}
    tensors["coefficients"].flat[3] = spoilt
    rewrite(signed, name, tensor_bytes(tensors))
    (signed / "model.sig").unlink()
    sign_bundle(signed, signer)
    with pytest.raises(FormatError, match="finite"):
        Bundle.open(signed, trust=[signer.public])


def test_a_signer_cannot_claim_another_degree(signed, signer):
    manifest = signed / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"degree":2', b'"degree":3'))
    (signed / "model.sig").unlink()
    sign_bundle(signed, signer)
    with pytest.raises(FormatError, match="shape"):
        Bundle.open(signed, trust=[signer.public])


def test_model_signing_accepts_it_and_rejects_a_changed_one(signed, signer, tmp_path):
    accepted = _model_signing(signed, signer, tmp_path)
    assert accepted.returncode == 0, accepted.stderr
    assert b"Verification succeeded" in accepted.stdout + accepted.stderr
    file = signed / "probes" / "test_loss.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert _model_signing(signed, signer, tmp_path).returncode == 1


@needs.program("openssl")
def test_openssl_accepts_the_signature_and_rejects_another_payload(signed, signer, tmp_path):
    envelope = json.loads((signed / "model.sig").read_bytes())["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"]).replace(b"manifest.json", b"manifest.jsom")
    tampered = json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}).encode()
    assert openssl_verifies(json.dumps(envelope).encode(), signer.public.pem, tmp_path)
    assert not openssl_verifies(tampered, signer.public.pem, tmp_path)


def test_securesystemslib_accepts_the_envelope_and_rejects_another_payload(signed, signer):
    envelope = json.loads((signed / "model.sig").read_bytes())["dsseEnvelope"]
    loaded = serialization.load_pem_public_key(signer.public.pem)
    key = SSlibKey.from_crypto(loaded, keyid=signer.public.key_id)
    assert list(dsse.Envelope.from_dict(copy.deepcopy(envelope)).verify([key], 1)) == [signer.public.key_id]
    payload = base64.b64decode(envelope["payload"]).replace(b"manifest.json", b"manifest.jsom")
    tampered = dsse.Envelope.from_dict({**envelope, "payload": base64.b64encode(payload).decode()})
    with pytest.raises(NotVerifiedError, match=r"."):
        tampered.verify([key], 1)


@pytest.mark.parametrize("abuse", ["signature", "key", "extra file", "missing file"])
def test_model_signing_rejects_what_we_reject(signed, signer, tmp_path, abuse):
    trusted = PrivateKey.generate(Algorithm.P256) if abuse == "key" else signer
    if abuse == "signature":
        raw = json.loads((signed / "model.sig").read_bytes())
        raw["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signer.sign(b"something else")).decode()
        (signed / "model.sig").write_bytes(json.dumps(raw, separators=(",", ":")).encode())
    if abuse == "extra file":
        (signed / "probes" / "extra").touch()
    if abuse == "missing file":
        (signed / "units.json").unlink()
    assert _model_signing(signed, trusted, tmp_path).returncode == 1
    with pytest.raises((FormatError, VerificationError), match=r"."):
        Bundle.open(signed, trust=[trusted.public])


def _model_signing(path: Path, key: PrivateKey, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    (tmp_path / "pub.pem").write_bytes(key.public.pem)
    command = [sys.executable, "-m", "model_signing", "verify", "key", path]
    options = ["--signature", path / "model.sig", "--public_key", tmp_path / "pub.pem"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    return subprocess.run([*command, *options], capture_output=True, check=False, env=environment)
