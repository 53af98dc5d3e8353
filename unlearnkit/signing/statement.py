"""in-toto Statement v1: what is said (a typed predicate) about which artefacts (by digest).

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Only what every known reader takes: four members,
at least one subject, SHA-256 alone, distinct names, a predicate that is not empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from unlearnkit.canonical import canonicalize, parse_json, take_fields
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.names import SHA256

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""DSSE payload type of a statement."""

_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True)
class Statement:
    """subjects: SHA-256 (hexadecimal) by name, in order. predicate: an object that ``predicate_type`` gives meaning."""

    subjects: Mapping[str, str]
    predicate_type: str
    predicate: Mapping[str, Any]


def encode_statement(statement: Statement) -> bytes:
    """Canonical JSON. ValueError if it is not a statement that `parse_statement` reads."""
    raw = canonicalize(
        {
            "_type": _TYPE,
            "subject": [{"name": name, "digest": {"sha256": value}} for name, value in statement.subjects.items()],
            "predicateType": statement.predicate_type,
            "predicate": dict(statement.predicate),
        }
    )
    try:
        parse_statement(raw, where="statement", predicate_type=statement.predicate_type)
    except FormatError as err:
        raise ValueError(str(err)) from err
    return raw


def parse_statement(payload: bytes, *, where: str, predicate_type: str) -> Statement:
    """The statement in a payload that has been verified; FormatError, UnknownVersionError for other types."""
    record = take_fields(
        parse_json(payload, where=where),
        where=where,
        required={"_type": str, "subject": list, "predicateType": str, "predicate": dict},
    )
    for name, expected in (("_type", _TYPE), ("predicateType", predicate_type)):
        if record[name] != expected:
            raise UnknownVersionError(f"{where}: {name} is {record[name]!r}, expected {expected!r}")
    pairs = [_parse_subject(item, f"{where}: subject {index}") for index, item in enumerate(record["subject"])]
    subjects = dict(pairs)
    if not 1 <= len(subjects) == len(pairs):
        raise FormatError(f"{where} must have subjects with different names: got {[name for name, _ in pairs]}")
    if not record["predicate"]:
        raise FormatError(f"{where} has an empty predicate")
    return Statement(MappingProxyType(subjects), predicate_type, MappingProxyType(record["predicate"]))


def _parse_subject(item: object, where: str) -> tuple[str, str]:
    record = take_fields(item, where=where, required={"name": str, "digest": dict})
    digest = take_fields(record["digest"], where=f"{where}: digest", required={"sha256": str})
    return record["name"], SHA256.require(digest["sha256"], where=f"{where}: sha256")
