"""The certificates that a log records, of every kind, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearnkit.compliance.view import LogView
from unlearnkit.verifier.absence import ABSENCE_ISSUED, EXCLUSION_ISSUED, parse_cleared
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.recording import issued_in

_CLEARED = {EXCLUSION_ISSUED: "exclusion", ABSENCE_ISSUED: "absence"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCertificate:
    """A certificate that the log records. index: of its entry. kind: effect, exclusion or absence.

    digest: SHA-256 of the envelope. path: of its file among the workspace's certificates; None if it is not there.
    is_proved: whether the file holds the proof that the log has it.
    """

    index: int
    kind: str
    requests: tuple[str, ...]
    digest: str
    path: Path | None
    is_proved: bool


def recorded_certificates(view: LogView, folder: Path) -> tuple[RecordedCertificate, ...]:
    """All certificates, in the order in which they were recorded. folder: where their files are looked for."""
    files = {}
    for path in sorted(folder.glob("*.json")):
        file = parse_certificate_file(path.read_bytes(), where=str(path))
        files[file.digest] = (path, file.recorded is not None)
    found = [(item.index, "effect", item.requests, item.certificate) for item in issued_in(view)]
    for event, kind in _CLEARED.items():
        for entry in view.of_type(event):
            cleared = parse_cleared(entry.index, event, entry.body)
            found.append((entry.index, kind, cleared.requests, cleared.certificate))
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
