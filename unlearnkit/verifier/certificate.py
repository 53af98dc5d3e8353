"""Certificates: what a model would do without somebody's data, with which error, and what a policy makes of that.

A certificate is a DSSE envelope (P-256) around an in-toto Statement v1 about two artefacts, the bundle's manifest and
the trained model in it, by their digests. Numbers that are claims are decimal strings: bounds rounded outward, others
in full. Nothing here is verified or computed; see `claims`, `decision`, `issuing` and `certificate_verification`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unlearnkit.canonical import canonicalize, sha256_hex, take_fields
from unlearnkit.errors import FormatError
from unlearnkit.signing.dsse import sign_envelope
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement, require_sha256

PREDICATE_TYPE = "https://unlearnkit.dev/certificate/v1"
MANIFEST_SUBJECT, MODEL_SUBJECT = "manifest.json", "model.safetensors"

NEGLIGIBLE, RETRAIN, INSUFFICIENT = "fulfil-as-negligible", "retrain-needed", "insufficient-evidence"
"""What a decision can be."""

UNKNOWN = "unknown"
"""Stands for a number that nobody knows, such as an error without directions that could tell."""

DECISIONS = (NEGLIGIBLE, RETRAIN, INSUFFICIENT)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(E[+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The prediction of one element of a probe against the weight that the deletion has, from 0 to 1.

    standard_errors: asymptotic, or `UNKNOWN`. It is for the eye; what is claimed of the deletion is at weight 1, in the
    claim.
    """

    element: int
    weights: tuple[str, ...]
    values: tuple[str, ...]
    standard_errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """One degree of the stability profile: the size of the degree's part, and a certified 95 % interval."""

    degree: int
    norm: str
    low: str
    high: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That a probe without the deleted units' data lies within epsilon of ``predicted``, in each of its elements.

    base, predicted, epsilon: flat, in C order of ``shape``. delta: the chance that any of them is wrong.
    kind: "certified" or "audited". covers: which errors epsilon has. evidence: SHA-256 of files that it rests on.
    question: what was asked, as a digest; asking it again spends no delta.
    """

    probe: str
    shape: tuple[int, ...]
    base: tuple[str, ...]
    predicted: tuple[str, ...]
    epsilon: tuple[str, ...]
    delta: str
    kind: str
    method: str
    degree: int
    explanation: str
    covers: tuple[str, ...]
    assumptions: tuple[str, ...]
    evidence: tuple[str, ...]
    question: str
    curve: Curve
    stability: tuple[Norm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy makes of the claims. rule: the setting that decided. reasons: one for each probe, in words."""

    outcome: str
    rule: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Everything a certificate says. Digests are SHA-256 in hexadecimal.

    bundle: of the manifest. model: of ``model.safetensors``. deleted: pseudonyms, sorted. policy: the whole text.
    log, index: the entry that records this certificate. spent: the bundle's delta account with this certificate.
    """

    bundle: str
    model: str
    recipe: str
    request: str
    subject: str
    deleted: tuple[str, ...]
    counterfactual: str
    units: int
    directions: int
    claims: tuple[Claim, ...]
    policy: str
    decision: Decision
    spent: str
    budget: str
    log: str
    index: int
    issued: str
    software: str

    @property
    def deleted_digest(self) -> str:
        """SHA-256 over the canonical list of the deleted pseudonyms."""
        return sha256_hex(canonicalize(list(self.deleted)))

    @property
    def policy_digest(self) -> str:
        """SHA-256 of the policy's text, as the log names it."""
        return sha256_hex(self.policy.encode())


def question_digest(
    *, bundle: str, deleted: Sequence[str], probe: str, delta: str, kind: str, evidence: Sequence[str]
) -> str:
    """What identifies a question to a bundle: everything that the answer depends on."""
    asked = {"bundle": bundle, "deleted": sorted(deleted), "probe": probe, "delta": delta, "kind": kind}
    return sha256_hex(canonicalize({**asked, "evidence": sorted(evidence)}))


def sign_certificate(certificate: Certificate, signers: Sequence[PrivateKey]) -> bytes:
    """The certificate as a file: a DSSE envelope, canonical JSON."""
    members = asdict(certificate)
    subjects = {MANIFEST_SUBJECT: members.pop("bundle"), MODEL_SUBJECT: members.pop("model")}
    members["deleted"] = {"pseudonyms": members["deleted"], "sha256": certificate.deleted_digest}
    members["policy"] = {"text": members["policy"], "sha256": certificate.policy_digest}
    payload = encode_statement(Statement(subjects, PREDICATE_TYPE, members))
    return sign_envelope(payload, payload_type=PAYLOAD_TYPE, signers=signers)


def parse_certificate(payload: bytes, *, where: str) -> Certificate:
    """The certificate in a payload that was verified; FormatError says what is wrong where."""
    statement = parse_statement(payload, where=where, predicate_type=PREDICATE_TYPE)
    if list(statement.subjects) != [MANIFEST_SUBJECT, MODEL_SUBJECT]:
        raise FormatError(f"{where} is about {list(statement.subjects)}, expected a bundle's manifest and its model")
    fields = take_fields(dict(statement.predicate), where=where, required=_FIELDS)
    deleted = take_fields(fields["deleted"], where=f"{where}: deleted", required={"pseudonyms": list, "sha256": str})
    policy = take_fields(fields["policy"], where=f"{where}: policy", required={"text": str, "sha256": str})
    decision = take_fields(fields["decision"], where=f"{where}: decision", required=_DECISION)
    certificate = Certificate(
        **{
            **fields,
            "bundle": statement.subjects[MANIFEST_SUBJECT],
            "model": statement.subjects[MODEL_SUBJECT],
            "deleted": _digests(deleted["pseudonyms"], f"{where}: deleted"),
            "policy": policy["text"],
            "decision": Decision(**{**decision, "reasons": _texts(decision["reasons"], f"{where}: decision")}),
            "claims": tuple(_claim(c, f"{where}: claim {n}") for n, c in enumerate(fields["claims"], 1)),
        }
    )
    _verify(certificate, deleted["sha256"], policy["sha256"], where)
    return certificate


_FIELDS: dict[str, type] = {
    "recipe": str,
    "request": str,
    "subject": str,
    "deleted": dict,
    "counterfactual": str,
    "units": int,
    "directions": int,
    "claims": list,
    "policy": dict,
    "decision": dict,
    "spent": str,
    "budget": str,
    "log": str,
    "index": int,
    "issued": str,
    "software": str,
}
_DECISION: dict[str, type] = {"outcome": str, "rule": str, "reasons": list}
_CURVE: dict[str, type] = {"element": int, "weights": list, "values": list, "standard_errors": list}
_NORM: dict[str, type] = {"degree": int, "norm": str, "low": str, "high": str}
_CLAIM: dict[str, type] = {
    "probe": str,
    "shape": list,
    **dict.fromkeys(("base", "predicted", "epsilon", "covers", "assumptions", "evidence", "stability"), list),
    **dict.fromkeys(("delta", "kind", "method", "explanation", "question"), str),
    "degree": int,
    "curve": dict,
}


def _claim(record: object, where: str) -> Claim:
    fields = take_fields(record, where=where, required=_CLAIM)
    shape = tuple(size for size in fields["shape"] if type(size) is int and size >= 0)
    if len(shape) != len(fields["shape"]):
        raise FormatError(f"{where}: shape must be whole numbers: got {fields['shape']}")
    numbers = {name: _decimals(fields[name], f"{where}: {name}") for name in ("base", "predicted", "epsilon")}
    size = 1
    for length in shape:
        size *= length
    if wrong := [name for name, values in numbers.items() if len(values) != size]:
        raise FormatError(f"{where}: {', '.join(wrong)} must have one number for each of {size} elements")
    curve = take_fields(fields["curve"], where=f"{where}: curve", required=_CURVE)
    lists = {n: _decimals(curve[n], f"{where}: curve: {n}") for n in ("weights", "values")}
    errors = _texts(curve["standard_errors"], f"{where}: curve: standard_errors")
    lists["standard_errors"] = tuple(
        text if text == UNKNOWN else _decimal(text, f"{where}: curve: standard_errors") for text in errors
    )
    if len({len(values) for values in lists.values()}) != 1 or not 0 <= curve["element"] < size:
        raise FormatError(f"{where}: curve must be of one of {size} elements, with as many values as weights")
    return Claim(
        **{
            **fields,
            **numbers,
            "shape": shape,
            "delta": _decimal(fields["delta"], f"{where}: delta"),
            "covers": _texts(fields["covers"], f"{where}: covers"),
            "assumptions": _texts(fields["assumptions"], f"{where}: assumptions"),
            "evidence": _digests(fields["evidence"], f"{where}: evidence"),
            "question": require_sha256(fields["question"], where=f"{where}: question"),
            "curve": Curve(element=curve["element"], **lists),
            "stability": tuple(_norm(item, f"{where}: stability") for item in fields["stability"]),
        }
    )


def _norm(record: object, where: str) -> Norm:
    fields = take_fields(record, where=where, required=_NORM)
    return Norm(degree=fields["degree"], **{n: _decimal(fields[n], where) for n in ("norm", "low", "high")})


def _verify(certificate: Certificate, deleted: str, policy: str, where: str) -> None:
    """What must hold within the certificate itself."""
    for name in ("recipe", "subject"):
        require_sha256(getattr(certificate, name), where=f"{where}: {name}")
    for name in ("spent", "budget"):
        _decimal(getattr(certificate, name), f"{where}: {name}")
    if list(certificate.deleted) != sorted(set(certificate.deleted)):
        raise FormatError(f"{where}: the deleted pseudonyms are not sorted, each once")
    if deleted != certificate.deleted_digest or policy != certificate.policy_digest:
        raise FormatError(f"{where}: the digest of the deleted pseudonyms or of the policy does not fit them")
    if certificate.decision.outcome not in DECISIONS:
        raise FormatError(
            f"{where}: the decision is {certificate.decision.outcome!r}, expected {' or '.join(DECISIONS)}"
        )
    names = [claim.probe for claim in certificate.claims]
    if len(set(names)) != len(names) or min(certificate.index, certificate.units, certificate.directions) < 0:
        raise FormatError(f"{where}: a probe is claimed twice, or a count is negative")


def _texts(values: Sequence[object], where: str) -> tuple[str, ...]:
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise FormatError(f"{where} must be texts: got {list(values)!r}")
    return texts


def _digests(values: Sequence[object], where: str) -> tuple[str, ...]:
    return tuple(require_sha256(text, where=where) for text in _texts(values, where))


def _decimals(values: Sequence[object], where: str) -> tuple[str, ...]:
    return tuple(_decimal(text, where) for text in _texts(values, where))


def _decimal(text: str, where: str) -> str:
    """A finite decimal, as `str(Decimal)` writes it; Infinity and NaN are no claims."""
    if not _DECIMAL.fullmatch(text):
        raise FormatError(f"{where} must be a decimal: got {text!r}")
    return text


def log_body(certificate: Certificate, envelope: bytes) -> Mapping[str, Any]:
    """What the log says of a certificate: digests, numbers and words only."""
    return {
        "bundle": certificate.bundle,
        "certificate": sha256_hex(envelope),
        "decision": certificate.decision.outcome,
        "policy_digest": certificate.policy_digest,
        "questions": [{"delta": claim.delta, "question": claim.question} for claim in certificate.claims],
        "request": certificate.request,
    }
