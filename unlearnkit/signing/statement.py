"""in-toto Statement v1: what is said (a typed predicate) about which artefacts (by digest).

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Only what every known reader takes: four members,
at least one subject, SHA-256 alone, distinct names, a predicate that is not empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from unlearnkit.canonical import canonicalize, parse_json
from unlearnkit.errors import FormatError, UnknownVersionError
from unlearnkit.names import Sha256
from unlearnkit.records import from_json, to_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""DSSE payload type of a statement."""

_TYPE = "https://in-toto.io/Statement/v1"


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of an artefact."""

    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Subject:
    """An artefact."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class StatementFile:
    """A statement as it is written."""

    _type: str
    subject: tuple[Subject, ...]
    predicateType: str  # noqa: N815  the specification's name
    predicate: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """subjects: SHA-256 (hexadecimal) by name, in order. predicate: an object that ``predicate_type`` gives meaning."""

    subjects: Mapping[str, str]
    predicate_type: str
    predicate: Mapping[str, Any]


def encode_statement(statement: Statement) -> bytes:
    """Canonical JSON. ValueError if it is not a statement that `parse_statement` reads."""
    subjects = tuple(Subject(name, Digest(value)) for name, value in statement.subjects.items())
    raw = canonicalize(to_json(StatementFile(_TYPE, subjects, statement.predicate_type, dict(statement.predicate))))
    try:
        parse_statement(raw, where="statement", predicate_type=statement.predicate_type)
    except FormatError as err:
        raise ValueError(str(err)) from err
    return raw


def parse_statement(payload: bytes, *, where: str, predicate_type: str) -> Statement:
    """The statement in a payload that has been verified; FormatError, UnknownVersionError for other types."""
    found = from_json(StatementFile, parse_json(payload, where=where), where=where)
    for name, expected in (("_type", _TYPE), ("predicateType", predicate_type)):
        if (got := getattr(found, name)) != expected:
            raise UnknownVersionError(f"{where}: {name} is {got!r}, expected {expected!r}")
    names = [subject.name for subject in found.subject]
    if not 1 <= len(set(names)) == len(names):
        raise FormatError(f"{where} must have subjects with different names: got {names}")
    if not found.predicate:
        raise FormatError(f"{where} has an empty predicate")
    subjects = {subject.name: subject.digest.sha256 for subject in found.subject}
    return Statement(MappingProxyType(subjects), predicate_type, MappingProxyType(dict(found.predicate)))
