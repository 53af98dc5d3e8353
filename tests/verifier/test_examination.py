"""``uk.verify``: whatever is at a path, as a typed value, with what was checked and what was not."""

from __future__ import annotations

import shutil

import pytest

import unlearnkit as uk
from tests.verifier.issuance import issuer
from unlearnkit.compliance.log.checkpoint import Checkpoint
from unlearnkit.compliance.log.proof import Proven
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import DigestMismatchError, FormatError, SignatureError, UnknownNameError
from unlearnkit.verifier.examination import Failure, Verification, examine
from unlearnkit.verifier.recognition import Kind
from unlearnkit.verifier.verify import VerifiedCertificate


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    made = issuer(tmp_path_factory.mktemp("office"))
    issued = made.issue(made.request())
    publish_checkpoint(made.log, made.log_key)
    (made.folder / "c").write_bytes(issued.raw)
    (made.folder / "p").write_bytes(prove_entry(made.folder / "log", 2, log=made.log_key.public))
    (made.folder / "k").write_bytes((made.folder / "log" / "checkpoint").read_bytes())
    (made.folder / "signer.pem").write_bytes(made.signer.public.pem)
    (made.folder / "log.vkey").write_text(made.log_key.public.vkey)
    return made


@pytest.fixture
def outside(office, monkeypatch, tmp_path):
    """The folder of the files, seen from outside any workspace."""
    monkeypatch.chdir(tmp_path)
    return office.folder


def trusted(folder):
    return [folder / "signer.pem", folder / "log.vkey"]


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("bundle", Kind.BUNDLE, uk.Bundle),
        ("log", Kind.LOG, LogView),
        ("k", Kind.CHECKPOINT, Checkpoint),
        ("p", Kind.PROOF, Proven),
        ("c", Kind.CERTIFICATE, VerifiedCertificate),
    ],
)
def test_what_is_verified_comes_back_as_what_it_is(outside, name, kind, value):
    found = uk.verify(
        outside / name, bundle=outside / "bundle", log=str(outside / "log"), trust=trusted(outside), evidence=[]
    )
    assert isinstance(found, Verification)
    assert (found.path, found.kind) == (outside / name, kind)
    assert isinstance(found.value, value)
    assert found.checks
    assert all(check.found for check in found.checks)
    assert found.unchecked


def test_a_trust_store_can_be_given_as_such(outside, office):
    assert uk.verify(outside / "bundle", trust=office.trust).value.digest == office.bundle.digest


def test_nobody_is_trusted_outside_a_workspace(outside):
    with pytest.raises(SignatureError, match="no key is trusted: that verifies nothing"):
        uk.verify(outside / "bundle")


def test_what_does_not_verify_is_raised_and_examined_with_what_has_passed(outside, office, tmp_path):
    raw = office.forge(office.issue(office.request("ben")))
    publish_checkpoint(office.log, office.log_key)
    (tmp_path / "other").write_bytes(raw.replace(b"payloadType", b"payloadtype"))
    with pytest.raises(FormatError):
        uk.verify(tmp_path / "other", trust=office.trust)
    materials = office.materials(log=None)
    found = examine(outside / "c", materials)
    assert isinstance(found, Failure)
    assert (found.kind, [check.name for check in found.checks]) == (
        Kind.CERTIFICATE,
        ["signature", "bundle", "artefacts"],
    )
    assert isinstance(found.error, UnknownNameError)
    assert found.error.hint == "give its folder: --log"
    unknown = examine(tmp_path, materials)
    assert (unknown.kind, unknown.checks) == (None, ())


def test_an_altered_bundle_is_raised(outside, office, tmp_path):
    copy = shutil.copytree(outside / "bundle", tmp_path / "bundle")
    file = copy / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(DigestMismatchError):
        uk.verify(copy, trust=office.trust)


def test_several_paths_share_what_they_are_about(outside, office, monkeypatch):
    from unlearnkit.compliance.log import verification

    reads, real = [], verification.read_lines
    monkeypatch.setattr(verification, "read_lines", lambda *place: reads.append(place) or real(*place))
    beside = office.materials()
    found = [examine(outside / name, beside) for name in ("log", "c", "bundle", "log")]
    assert all(isinstance(item, Verification) for item in found)
    assert len(reads) == 1
    assert found[0].value is found[3].value
    assert found[2].value is beside.opened()


def test_each_check_is_logged_with_its_time(outside, office, caplog):
    with caplog.at_level("INFO", logger="unlearnkit"):
        uk.verify(outside / "bundle", trust=trusted(outside))
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("trusted: 1 signers, 1 logs, 0 of 0 witnesses") for line in lines)
    assert any("bundle: signature: signed by" in line and line.endswith(" s)") for line in lines)
