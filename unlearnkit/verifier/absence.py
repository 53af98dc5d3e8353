"""Absence and exclusion certificates: that somebody's data is in no model in use, and that it was in one before.

A certificate of absence says that some people are on none of the signed lists of the releases in force; one of
exclusion says besides that they were on that of a release, and that another, trained by another recipe, took its place.
Each is a DSSE envelope (P-256) around an in-toto Statement v1 about the bundles of these releases. Nothing is verified
or looked up here; see `issue_absence` and `verify_absence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.releases.release import Artefacts
from unlearnkit.errors import FormatError
from unlearnkit.names import Origin, ReleaseId, RequestId, Sha256, Software, TimeText
from unlearnkit.records import ELSEWHERE, from_json, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.verifier.certificate import PolicyText

ABSENCE_TYPE = "https://unlearnkit.dev/absence/v1"
EXCLUSION_TYPE = "https://unlearnkit.dev/exclusion/v1"
"""Predicate types."""

ABSENCE_ISSUED, EXCLUSION_ISSUED = "absence-issued", "exclusion-issued"
"""Types of the entries that record them."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A release whose list of people was looked through; its artefacts as they were registered."""

    release: ReleaseId
    artefacts: Artefacts

    @classmethod
    def of(cls, release: Release) -> Looked:
        """As the registry has it."""
        return cls(release.id, release.artefacts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """That nobody of some people is in a model in use. Digests are SHA-256 in hexadecimal.

    requests, subjects: those that are answered, and the sorted pseudonyms of who made them. releases: all that were in
    force then. policy: the whole text. log: the name of the one that records this certificate.
    """

    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    subjects: Annotated[tuple[Sha256, ...], Items(least=1, in_order=True)]
    releases: Annotated[tuple[Looked, ...], Items(least=1)]
    policy: Annotated[str, As(PolicyText, lambda stored: stored.text, PolicyText.of)]
    log: Origin
    issued: TimeText
    software: Software

    @property
    def policy_digest(self) -> str:
        """SHA-256 of the policy's text."""
        return sha256_hex(self.policy.encode())

    @property
    def looked(self) -> tuple[Looked, ...]:
        """Every release that it is about, each once."""
        return self.releases


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion(Absence):
    """That somebody was in a model, and is in none any more. before: that held them. after: that took its place."""

    before: Looked
    after: Looked

    @property
    def looked(self) -> tuple[Looked, ...]:
        """Every release that it is about, each once."""
        more = [item for item in (self.before, self.after) if item not in self.releases]
        return (*self.releases, *more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """An entry about such a certificate. releases: in force then. before: of an exclusion. index: of the entry."""

    index: Annotated[int, ELSEWHERE]
    certificate: Sha256
    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    releases: Annotated[tuple[ReleaseId, ...], Items(least=1, distinct=True)]
    policy_digest: Sha256
    before: ReleaseId | None = None


def entry_type(certificate: Absence) -> str:
    """The type of the entry that records it."""
    return EXCLUSION_ISSUED if isinstance(certificate, Exclusion) else ABSENCE_ISSUED


def clearing_body(certificate: Absence, envelope: bytes) -> Mapping[str, Any]:
    """What the log says of it."""
    cleared = Cleared(
        index=0,  # of no entry yet
        certificate=sha256_hex(envelope),
        requests=certificate.requests,
        releases=tuple(item.release for item in certificate.releases),
        policy_digest=certificate.policy_digest,
        before=certificate.before.release if isinstance(certificate, Exclusion) else None,
    )
    return to_json(cleared)  # type: ignore[no-any-return]


def parse_cleared(index: int, kind: str, body: Mapping[str, Any]) -> Cleared:
    """An entry's body; FormatError for anything else."""
    return from_json(Cleared, body, where=f"entry {index}: {kind}", index=index)


def sign_absence(certificate: Absence, signers: Sequence[PrivateKey]) -> bytes:
    """The certificate as a file: a DSSE envelope, canonical JSON."""
    kind = EXCLUSION_TYPE if isinstance(certificate, Exclusion) else ABSENCE_TYPE
    payload = encode_statement(Statement(_artefacts(certificate), kind, to_json(certificate)))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def parse_absence(payload: bytes, *, where: str, predicate_type: str) -> Absence:
    """The certificate in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=predicate_type)
    kind = Exclusion if predicate_type == EXCLUSION_TYPE else Absence
    certificate: Absence = from_json(kind, dict(statement.predicate), where=where)
    if dict(statement.subjects) != _artefacts(certificate):
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected the bundles of the releases in it")
    return certificate


def _artefacts(certificate: Absence) -> dict[str, str]:
    return {item.release: item.artefacts.bundle for item in certificate.looked}
