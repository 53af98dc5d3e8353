"""Correction certificates: that weights are what a sketch predicts without some people, and how near that is.

A DSSE envelope (P-256) around an in-toto Statement v1 about two artefacts, the bundle's manifest and the corrected
model, by their digests. Whoever holds the bundle makes the same weights again, byte for byte. How near they are to the
weights of a model that was trained without these people has no proof; it is audited. Nothing is verified or computed
here; see `issue_correction` and `verify_correction`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import FormatError
from unlearnkit.names import (
    DecimalText,
    ProbabilityText,
    ProbeName,
    ReleaseId,
    RequestId,
    Sha256,
    Software,
    TimeText,
)
from unlearnkit.records import ELSEWHERE, Count, from_json, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.verifier.audits import LoggedAudit
from unlearnkit.verifier.certificate import (
    MANIFEST_SUBJECT,
    MODEL_SUBJECT,
    Decision,
    Deleted,
    MaybeDecimal,
    Outcome,
    PolicyText,
    Verdict,
)

CORRECTION_TYPE = "https://unlearnkit.dev/correction/v1"
"""Predicate type."""

CORRECTION_ISSUED = "correction-issued"
"""Type of the entry that records one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """How near corrected models are to retrained ones in a probe: in no element more than epsilon apart.

    Of own losses, in none of those who leave. content, confidence: which share of such deletions that holds for, and
    how sure that is. evidence: SHA-256 of the audits that it rests on.
    """

    probe: ProbeName
    epsilon: DecimalText
    content: ProbabilityText
    confidence: ProbabilityText
    method: str
    assumptions: tuple[str, ...]
    evidence: tuple[Sha256, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionCertificate:
    """Everything a correction certificate says. Digests are SHA-256 in hexadecimal.

    bundle: of its manifest. model: of the corrected weights as a safetensors file. release: in force, that they take
    the place of. requests, subjects: those that are answered together, and the sorted pseudonyms of who made them.
    standing: pseudonyms, sorted, of everybody in the bundle who was answered without retraining before. without: those
    together, whom the weights leave out; always from the trained weights, and never on top of another correction.
    convergence, ratio, by_coordinate, explanation: of the weights' series (`unlearnkit.bundle.correction`).
    audits: every audit of the recipe that the log holds. policy: the whole text.
    log: the name of the one that records this certificate.
    """

    bundle: Annotated[str, ELSEWHERE]
    model: Annotated[str, ELSEWHERE]
    release: ReleaseId
    recipe: Sha256
    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    subjects: Annotated[tuple[Sha256, ...], Items(least=1, in_order=True)]
    standing: Annotated[tuple[Sha256, ...], Items(in_order=True)]
    without: Annotated[tuple[str, ...], As(Deleted, lambda stored: stored.pseudonyms, Deleted.of)]
    counterfactual: str
    units: Count
    convergence: Verdict
    ratio: MaybeDecimal
    by_coordinate: Count
    explanation: str
    claims: tuple[Nearness, ...]
    audits: tuple[LoggedAudit, ...]
    policy: Annotated[str, As(PolicyText, lambda stored: stored.text, PolicyText.of)]
    decision: Decision
    log: str
    issued: TimeText
    software: Software

    @property
    def policy_digest(self) -> str:
        """SHA-256 of the policy's text."""
        return sha256_hex(self.policy.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCorrection:
    """An entry about such a certificate. model: of the corrected weights. without: whom they leave out."""

    index: Annotated[int, ELSEWHERE]
    certificate: Sha256
    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    release: ReleaseId
    bundle: Sha256
    model: Sha256
    without: Annotated[tuple[Sha256, ...], Items(least=1, in_order=True)]
    policy_digest: Sha256
    decision: Outcome


def correction_body(certificate: CorrectionCertificate, envelope: bytes) -> Mapping[str, Any]:
    """What the log says of it."""
    logged = LoggedCorrection(
        index=0,  # of no entry yet
        certificate=sha256_hex(envelope),
        requests=certificate.requests,
        release=certificate.release,
        bundle=certificate.bundle,
        model=certificate.model,
        without=certificate.without,
        policy_digest=certificate.policy_digest,
        decision=certificate.decision.outcome,
    )
    return to_json(logged)  # type: ignore[no-any-return]


def parse_logged_correction(index: int, body: Mapping[str, Any]) -> LoggedCorrection:
    """An entry's body; FormatError for anything else."""
    return from_json(LoggedCorrection, body, where=f"entry {index}: {CORRECTION_ISSUED}", index=index)


def sign_correction(certificate: CorrectionCertificate, signers: Sequence[PrivateKey]) -> bytes:
    """The certificate as an envelope, canonical JSON."""
    subjects = {MANIFEST_SUBJECT: certificate.bundle, MODEL_SUBJECT: certificate.model}
    payload = encode_statement(Statement(subjects, CORRECTION_TYPE, to_json(certificate)))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def parse_correction(payload: bytes, *, where: str) -> CorrectionCertificate:
    """The certificate in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=CORRECTION_TYPE)
    if list(statement.subjects) != [MANIFEST_SUBJECT, MODEL_SUBJECT]:
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected a bundle's manifest and a model")
    return from_json(
        CorrectionCertificate,
        dict(statement.predicate),
        where=where,
        bundle=statement.subjects[MANIFEST_SUBJECT],
        model=statement.subjects[MODEL_SUBJECT],
    )
