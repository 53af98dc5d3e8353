"""What a path holds is told by its content, never by its name."""

from __future__ import annotations

import pytest

from tests.verifier.issuance import issuer
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.compliance.requests.receipt import make_receipts
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement
from unlearnkit.verifier import evidence
from unlearnkit.verifier.recognition import Kind, recognise


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    made = issuer(tmp_path_factory.mktemp("office"))
    raw = made.issue(made.request()).raw
    publish_checkpoint(made.log, made.log_key)
    (made.folder / "c").write_bytes(raw)
    (made.folder / "p").write_bytes(prove_entry(made.folder / "log", 1, log=made.log_key.public))
    (made.folder / "k").write_bytes((made.folder / "log" / "checkpoint").read_bytes())
    (entry,) = [entry for entry in made.log.entries() if entry.index == 1]
    (made.folder / "r").write_bytes(make_receipts(made.folder / "log", [entry], log=made.log_key.public)[0])
    (made.folder / "e").write_bytes(statement(made, evidence.PREDICATE_TYPE))
    return made


def statement(office, kind: str) -> bytes:
    payload = encode_statement(Statement({"x": "a" * 64}, kind, {"n": 1}))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=[office.signer])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bundle", Kind.BUNDLE),
        ("log", Kind.LOG),
        ("c", Kind.CERTIFICATE),
        ("p", Kind.PROOF),
        ("k", Kind.CHECKPOINT),
        ("r", Kind.RECEIPT),
        ("e", Kind.EVIDENCE),
    ],
)
def test_each_kind_is_recognised(office, name, kind):
    assert recognise(office.folder / name) is kind


def test_a_statement_of_another_type_is_named(office, tmp_path):
    (tmp_path / "s").write_bytes(statement(office, "https://example.org/other/v1"))
    with pytest.raises(FormatError, match=r"a statement of type 'https://example.org/other/v1', expected one of"):
        recognise(tmp_path / "s")


@pytest.mark.parametrize("raw", [b"", b"hello", b"[]", b"\xff\x00", b"old 3\n\n"])
def test_anything_else_is_malformed(tmp_path, raw):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(
        FormatError, match="is no bundle, log, checkpoint, proof, evidence, signed replay, receipt or certificate"
    ):
        recognise(tmp_path / "x")


def test_an_empty_folder_and_nothing_at_all_are_told_apart(tmp_path):
    with pytest.raises(FormatError, match=r"neither a bundle nor a log: it has neither manifest.json nor log.jsonl"):
        recognise(tmp_path)
    with pytest.raises(UnknownNameError, match="there is nothing at"):
        recognise(tmp_path / "x")
