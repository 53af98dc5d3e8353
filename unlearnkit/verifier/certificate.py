"""Certificates: what a model would do without somebody's data, with which error, and what a policy makes of that.

A certificate is a DSSE envelope (P-256) around an in-toto Statement v1 about two artefacts, the bundle's manifest and
the trained model in it, by their digests. Numbers that are claims are decimal strings: bounds rounded outward, others
in full. Nothing here is verified or computed; see `claims`, `decision`, `issuing` and `certificate_verification`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import FormatError
from unlearnkit.estimation.convergence import VERDICTS
from unlearnkit.names import (
    DECIMAL,
    DecimalText,
    Origin,
    Pattern,
    ProbabilityText,
    ProbeName,
    ReleaseId,
    RequestId,
    Sha256,
    Software,
    TimeText,
    Word,
    counted,
)
from unlearnkit.records import ELSEWHERE, Count, from_json, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement
from unlearnkit.verifier.audits import LoggedAudit

PREDICATE_TYPE = "https://unlearnkit.dev/certificate/v1"
MANIFEST_SUBJECT, MODEL_SUBJECT = "manifest.json", "model.safetensors"

Decimals = tuple[DecimalText, ...]

UNKNOWN = "unknown"
"""Stands for a number that nobody knows, such as an error without directions that could tell."""

Verdict = Annotated[str, Pattern("|".join(VERDICTS), f"one of {', '.join(VERDICTS)}")]
MaybeDecimal = Annotated[str, Pattern(rf"{DECIMAL.regex}|{UNKNOWN}", f"{DECIMAL.what}, or {UNKNOWN!r}")]


class Outcome(StrEnum):
    """What a decision can be.

    The effect is negligible, and the model kept; it is not; a corrected model is near enough to the retrained one to be
    served; or nothing of that is shown.
    """

    KEEP = "keep"
    CORRECT = "correct"
    RETRAIN = "retrain"
    INSUFFICIENT = "insufficient"


class Kind(StrEnum):
    """What a claim's error rests on: a proof, retrainings of people drawn alike, or that of these very people."""

    CERTIFIED = "certified"
    AUDITED = "audited"
    RETRAINED = "retrained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The prediction of one element of a probe against the weight that the deletion has, from 0 to 1.

    standard_errors: asymptotic, or `UNKNOWN`. It is for the eye; what is claimed of the deletion is at weight 1, in the
    claim.
    """

    element: Count
    weights: Decimals
    values: Decimals
    standard_errors: tuple[MaybeDecimal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """One degree of the stability profile: the size of the degree's part, and a certified 95 % interval."""

    degree: Count
    norm: DecimalText
    low: DecimalText
    high: DecimalText


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Whether the series converges at the deletion: the worst verdict of any element, and the largest ratios.

    terms, norms: of neighbouring degrees (`unlearnkit.estimation.convergence`), or `UNKNOWN`.
    """

    verdict: Verdict
    terms: MaybeDecimal
    norms: MaybeDecimal

    def largest(self, *names: str) -> Decimal | None:
        """The larger of these ratios, as far as they are known; None where none is."""
        told = (getattr(self, name) for name in names)
        return max((Decimal(text) for text in told if text != UNKNOWN), default=None)

    def __str__(self) -> str:
        """In words."""
        return f"the series is {self.verdict}, with ratios of {self.terms} (terms) and {self.norms} (norms)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That a probe without the deleted units' data lies within epsilon of ``predicted``, in each of its elements.

    base, predicted, epsilon, epsilon_each: flat, in C order of ``shape``. asked: the prediction without those alone who
    ask now; nothing is claimed of it.
    people: for own losses, whose each element is, in order; they ask now. Empty for other probes.
    delta: of a certified claim. With ``epsilon``, the chance that any element is outside; with ``epsilon_each``, the
    chance that one stated element is above, and that it is below. The first is what "it moves too much" takes, which
    picks an element; the second is enough for "no element moves too much" (docs/theory.md section 4.5).
    content, confidence: of an audited claim: which share of such deletions is inside, and how sure that is.
    covers: which errors epsilon has. evidence: SHA-256 of files that it rests on.
    question: what was asked, as a digest; asking it again spends no delta.
    """

    probe: ProbeName
    shape: tuple[Count, ...]
    people: Annotated[tuple[Sha256, ...], Items(in_order=True)]
    base: Decimals
    predicted: Decimals
    asked: Decimals
    epsilon: Decimals
    epsilon_each: Decimals
    delta: ProbabilityText | None = None
    content: ProbabilityText | None = None
    confidence: ProbabilityText | None = None
    kind: Kind
    method: str
    degree: Count
    explanation: str
    covers: tuple[Word, ...]
    assumptions: tuple[str, ...]
    evidence: tuple[Sha256, ...]
    question: Sha256
    convergence: Series
    curve: Curve
    stability: tuple[Norm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy makes of the claims. rule: the setting that decided. reasons: one for each probe, in words."""

    outcome: Outcome
    rule: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deleted:
    """The deleted pseudonyms, and the digest of their canonical list."""

    pseudonyms: Annotated[tuple[Sha256, ...], Items(in_order=True)]
    sha256: Sha256

    def __post_init__(self) -> None:
        if self.sha256 != _list_digest(self.pseudonyms):
            raise ValueError("the digest is not that of the pseudonyms")

    @classmethod
    def of(cls, pseudonyms: tuple[str, ...]) -> Deleted:
        """With their digest."""
        return cls(pseudonyms, _list_digest(pseudonyms))


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The whole policy, and its digest, by which the log names it."""

    text: str
    sha256: Sha256

    def __post_init__(self) -> None:
        if self.sha256 != sha256_hex(self.text.encode()):
            raise ValueError("the digest is not that of the text")

    @classmethod
    def of(cls, text: str) -> PolicyText:
        """With its digest."""
        return cls(text, sha256_hex(text.encode()))


def _list_digest(pseudonyms: Sequence[str]) -> str:
    return sha256_hex(canonicalize(list(pseudonyms)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Everything a certificate says. Digests are SHA-256 in hexadecimal.

    release: the model in use that it is about. bundle: of its manifest. model: of ``model.safetensors``.
    account: of delta, see `account_digest`.
    requests, subjects: those that are answered together, and the sorted pseudonyms of who made them.
    standing: pseudonyms, sorted, of everybody in the bundle who was answered without retraining before.
    sketches: the entries that announced other sketches of this recipe.
    deleted: those together, sorted, whom the claims are about. policy: the whole text.
    audits: every audit of the recipe that the log holds, finished or not; claims name the evidence that they use.
    log: the name of the log that records this certificate. spent: the delta account with this certificate.
    """

    bundle: Annotated[str, ELSEWHERE]
    model: Annotated[str, ELSEWHERE]
    release: ReleaseId
    recipe: Sha256
    account: Sha256
    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    subjects: Annotated[tuple[Sha256, ...], Items(least=1, in_order=True)]
    standing: Annotated[tuple[Sha256, ...], Items(in_order=True)]
    deleted: Annotated[tuple[str, ...], As(Deleted, lambda stored: stored.pseudonyms, Deleted.of)]
    counterfactual: str
    units: Count
    directions: Count
    sketches: Annotated[tuple[Count, ...], Items(in_order=True)]
    audits: tuple[LoggedAudit, ...]
    claims: tuple[Claim, ...]
    policy: Annotated[str, As(PolicyText, lambda stored: stored.text, PolicyText.of)]
    decision: Decision
    spent: DecimalText
    budget: DecimalText
    log: Origin
    issued: TimeText
    software: Software

    @property
    def deleted_digest(self) -> str:
        """SHA-256 over the canonical list of the deleted pseudonyms."""
        return _list_digest(self.deleted)

    @property
    def policy_digest(self) -> str:
        """SHA-256 of the policy's text, as the log names it."""
        return sha256_hex(self.policy.encode())


def account_digest(recipe: str, salt: str) -> str:
    """What identifies an account of delta: the recipe, and the salt that its directions follow from.

    Signing a bundle anew, or making it anew with other settings, begins no new account.
    """
    return sha256_hex(canonicalize({"recipe": recipe, "salt": salt}))


def question_digest(
    *,
    bundle: str,
    deleted: Sequence[str],
    people: Sequence[str],
    probe: str,
    delta: str | None,
    kind: str,
    evidence: Sequence[str],
) -> str:
    """What identifies a question to a bundle: everything that the answer depends on. people: of own losses, whose."""
    asked = {"bundle": bundle, "deleted": sorted(deleted), "people": sorted(people), "probe": probe}
    return sha256_hex(canonicalize({**asked, "delta": delta or "", "kind": str(kind), "evidence": sorted(evidence)}))


def sign_certificate(certificate: Certificate, signers: Sequence[PrivateKey]) -> bytes:
    """The certificate as a file: a DSSE envelope, canonical JSON."""
    subjects = {MANIFEST_SUBJECT: certificate.bundle, MODEL_SUBJECT: certificate.model}
    payload = encode_statement(Statement(subjects, PREDICATE_TYPE, to_json(certificate)))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def parse_certificate(payload: bytes, *, where: str) -> Certificate:
    """The certificate in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=PREDICATE_TYPE)
    if list(statement.subjects) != [MANIFEST_SUBJECT, MODEL_SUBJECT]:
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected a bundle's manifest and its model")
    certificate = from_json(
        Certificate,
        dict(statement.predicate),
        where=where,
        bundle=statement.subjects[MANIFEST_SUBJECT],
        model=statement.subjects[MODEL_SUBJECT],
    )
    names = [claim.probe for claim in certificate.claims]
    if len(set(names)) != len(names):
        raise FormatError(f"{where}: a probe is claimed twice: {', '.join(names)}")
    for number, claim in enumerate(certificate.claims, 1):
        _require_lengths(claim, f"{where}: claim {number}")
    return certificate


def _require_lengths(claim: Claim, where: str) -> None:
    size, curve = math.prod(claim.shape), claim.curve
    lists = ("base", "predicted", "asked", "epsilon", "epsilon_each")
    if wrong := [name for name in lists if len(getattr(claim, name)) != size]:
        raise FormatError(f"{where}: {', '.join(wrong)} must have one number for each of {size} elements")
    if claim.people and claim.shape != (len(claim.people),):
        raise FormatError(f"{where}: own losses of {counted(len(claim.people), 'person')} with shape {claim.shape}")
    if (claim.delta is None) == (claim.kind == Kind.CERTIFIED) or (claim.content is None) == (
        claim.kind == Kind.AUDITED
    ):
        raise FormatError(f"{where}: a certified claim has a delta, an audited one content and confidence")
    if not len(curve.weights) == len(curve.values) == len(curve.standard_errors) or curve.element >= size:
        raise FormatError(f"{where}: curve must be of one of {size} elements, with as many values as weights")
