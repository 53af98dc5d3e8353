from __future__ import annotations

import json

import pytest

from unlearnkit.canonical import parse_canonical
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.signing.statement import Statement, encode_statement, parse_statement

KIND = "https://example.com/predicate/v1"
STATEMENT = Statement({"model": "0" * 64, "bundle": "f" * 64}, KIND, {"claim": "0.5", "nested": {"a": [1]}})


def test_a_statement_reads_back_as_it_was():
    raw = encode_statement(STATEMENT)
    assert parse_statement(raw, where="x", predicate_type=KIND) == STATEMENT
    assert list(parse_statement(raw, where="x", predicate_type=KIND).subjects) == ["model", "bundle"]


def test_a_statement_has_the_four_members_of_the_specification():
    record = parse_canonical(encode_statement(STATEMENT), where="x")
    assert sorted(record) == ["_type", "predicate", "predicateType", "subject"]
    assert record["_type"] == "https://in-toto.io/Statement/v1"
    assert record["subject"][0] == {"name": "model", "digest": {"sha256": "0" * 64}}


def test_the_reference_schema_accepts_it():
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement

    message = json_format.Parse(encode_statement(STATEMENT), statement.spb.Statement())
    statement.Statement.copy_from_pb(message).validate()
    with pytest.raises(json_format.ParseError, match="extra"):
        json_format.Parse(encode_statement(STATEMENT).replace(b"_type", b"extra"), statement.spb.Statement())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, UnknownVersionError, "x: _type is 'https://in-toto.io/St"),
        ({"predicateType": KIND + "1"}, UnknownVersionError, "x: predicateType is '.*/v11', expected '.*/v1'"),
        ({"subject": []}, FormatError, r"x must have subjects with different names: got \[\]"),
        ({"predicate": {}}, FormatError, "x has an empty predicate"),
        ({"predicate": None}, FormatError, "x: predicate must be an object: got null"),
        ({"extra": 1}, FormatError, "x has unknown fields: got 'extra'"),
    ],
)
def test_other_statements_are_malformed(change, error, message):
    record = {**json.loads(encode_statement(STATEMENT)), **change}
    with pytest.raises(error, match=message):
        parse_statement(json.dumps(record).encode(), where="x", predicate_type=KIND)


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            {"name": "a", "digest": {"sha256": "0" * 63}},
            "x: subject\\[1\\].digest.sha256 must be 64 lower-case hexadecimal digits: got",
        ),
        (
            {"name": "a", "digest": {"sha256": "A" * 64}},
            "x: subject\\[1\\].digest.sha256 must be 64 lower-case hexadecimal digits: got",
        ),
        (
            {"name": "a", "digest": {"sha256": "0" * 64 + "\n"}},
            "x: subject\\[1\\].digest.sha256 must be 64 lower-case hexadecimal digits: got",
        ),
        ({"name": "a", "digest": {}}, "x: subject\\[1\\].digest lacks 'sha256'"),
        ({"name": "a", "digest": {"sha256": "0" * 64, "sha512": ""}}, "x: subject\\[1\\].digest has unknown fields"),
        ({"digest": {"sha256": "0" * 64}}, "x: subject\\[1\\] lacks 'name'"),
        ({"name": "model", "digest": {"sha256": "0" * 64}}, r"different names: got \['model', 'model'\]"),
        ("model", "x: subject\\[1\\] must be an object: got 'model'"),
    ],
)
def test_subjects_are_named_once_and_by_sha256(subject, message):
    record = json.loads(encode_statement(STATEMENT))
    record["subject"][1] = subject
    with pytest.raises(FormatError, match=message):
        parse_statement(json.dumps(record).encode(), where="x", predicate_type=KIND)


@pytest.mark.parametrize(
    "statement",
    [Statement({}, KIND, {"a": 1}), Statement({"a": "0" * 64}, KIND, {}), Statement({"a": "0"}, KIND, {"a": 1})],
)
def test_what_cannot_be_read_is_not_written(statement):
    with pytest.raises(ValueError, match=r"^statement|^StatementFile: subject\[0\]\.digest"):
        encode_statement(statement)
