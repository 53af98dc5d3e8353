"""The certificates that a log records, of every kind, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearnkit.compliance.view import LogView
from unlearnkit.verifier.absence import ABSENCE_ISSUED, EXCLUSION_ISSUED, Cleared, parse_cleared
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.correction import CORRECTION_ISSUED, LoggedCorrection, parse_logged_correction
from unlearnkit.verifier.recording import issued_in


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCertificate:
    """A certificate that the log records. index: of its entry. kind: effect, exclusion, absence or correction.

    digest: SHA-256 of the envelope. path: of its file among the workspace's certificates; None if it is not there.
    is_proved: whether the file holds the proof that the log has it.
    """

    index: int
    kind: str
    requests: tuple[str, ...]
    digest: str
    path: Path | None
    is_proved: bool


def corrections_in(view: LogView) -> list[LoggedCorrection]:
    """All correction certificates that a log records, in order."""
    return [parse_logged_correction(entry.index, entry.body) for entry in view.of_type(CORRECTION_ISSUED)]


def cleared_in(view: LogView) -> list[Cleared]:
    """All certificates of exclusion and absence that a log records, by kind."""
    kinds = (EXCLUSION_ISSUED, ABSENCE_ISSUED)
    return [parse_cleared(entry.index, entry.type, entry.body) for kind in kinds for entry in view.of_type(kind)]


def recorded_certificates(view: LogView, folder: Path) -> tuple[RecordedCertificate, ...]:
    """All certificates, in the order in which they were recorded. folder: where their files are looked for."""
    files = {}
    for path in sorted(folder.glob("*.json")):
        file = parse_certificate_file(path.read_bytes(), where=str(path))
        files[file.digest] = (path, file.recorded is not None)
    found = [(item.index, "effect", item.requests, item.certificate) for item in issued_in(view)]
    found += [
        (item.index, "exclusion" if item.before else "absence", item.requests, item.certificate)
        for item in cleared_in(view)
    ]
    found += [(item.index, "correction", item.requests, item.certificate) for item in corrections_in(view)]
    return tuple(
        RecordedCertificate(
            index=index,
            kind=kind,
            requests=requests,
            digest=digest,
            path=files.get(digest, (None, False))[0],
            is_proved=files.get(digest, (None, False))[1],
        )
        for index, kind, requests, digest in sorted(found)
    )
