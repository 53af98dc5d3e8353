"""What a file or folder is, told by its content; nothing of it is believed by that."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from unlearnkit.bundle.manifest import FILE_NAME as MANIFEST
from unlearnkit.canonical import parse_json
from unlearnkit.compliance.log.reader import LOG_FILE
from unlearnkit.compliance.requests.receipt import is_receipt
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.signing.dsse import parse_envelope
from unlearnkit.verifier import absence, certificate, correction, evidence, replayed
from unlearnkit.verifier.certificate_file import is_certificate_file, parse_certificate_file


class Kind(StrEnum):
    """What can be verified."""

    BUNDLE = "bundle"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    PROOF = "proof"
    EVIDENCE = "evidence"
    REPLAY = "signed replay"
    RECEIPT = "receipt"
    CERTIFICATE = "certificate"
    EXCLUSION = "exclusion certificate"
    ABSENCE = "absence certificate"
    CORRECTION = "correction certificate"


_FOLDERS = {MANIFEST: Kind.BUNDLE, LOG_FILE: Kind.LOG}
_PROOF = b"c2sp.org/tlog-proof"
_SIGNATURES = "\n\n\N{EM DASH} ".encode()  # between the text of a signed note and its signatures
_STATEMENTS = {
    certificate.PREDICATE_TYPE: Kind.CERTIFICATE,
    evidence.PREDICATE_TYPE: Kind.EVIDENCE,
    replayed.PREDICATE_TYPE: Kind.REPLAY,
    absence.EXCLUSION_TYPE: Kind.EXCLUSION,
    absence.ABSENCE_TYPE: Kind.ABSENCE,
    correction.CORRECTION_TYPE: Kind.CORRECTION,
}


def recognise(path: Path) -> Kind:
    """What is at a path.

    A statement is told by its predicate type, which nobody has verified yet: who verifies it checks that it is the
    right one.

    Raises:
        FormatError: Nothing that can be verified.
        UnknownNameError: Nothing at all.

    Example:
        recognise(Path("R2.certificate.json")) is Kind.CERTIFICATE
    """
    if not path.exists():
        raise UnknownNameError(f"there is nothing at {path}")
    if path.is_dir():
        for name, kind in _FOLDERS.items():
            if (path / name).is_file():
                return kind
        raise FormatError(f"{path} is neither a bundle nor a log: it has neither {' nor '.join(_FOLDERS)}")
    raw = read_bounded(path, MAX_DOCUMENT)
    if raw.startswith(_PROOF):
        return Kind.PROOF
    if is_receipt(raw):
        return Kind.RECEIPT
    if is_certificate_file(raw):
        return _statement(parse_certificate_file(raw, where=str(path)).envelope, str(path))
    if raw.lstrip()[:1] == b"{":
        return _statement(raw, str(path))
    if _SIGNATURES in raw:
        return Kind.CHECKPOINT
    *others, last = (kind for kind in Kind if kind not in (Kind.EXCLUSION, Kind.ABSENCE, Kind.CORRECTION))
    raise FormatError(f"{path} is no {', '.join(others)} or {last}")


def _statement(raw: bytes, where: str) -> Kind:
    payload = parse_json(parse_envelope(raw, where=where).unverified_payload, where=where)
    kind = payload.get("predicateType") if isinstance(payload, dict) else None
    if not isinstance(kind, str) or kind not in _STATEMENTS:
        raise FormatError(f"{where} is a statement of type {kind!r}, expected one of {', '.join(_STATEMENTS)}")
    return _STATEMENTS[kind]
