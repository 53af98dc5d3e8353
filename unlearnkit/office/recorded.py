"""The certificates that a log records, of every kind, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearnkit.compliance.view import LogView
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.verifier.absence import ABSENCE_ISSUED, EXCLUSION_ISSUED, Cleared, parse_cleared
from unlearnkit.verifier.certificate_file import parse_certificate_file
from unlearnkit.verifier.correction import CORRECTION_ISSUED, LoggedCorrection, parse_logged_correction
from unlearnkit.verifier.recording import issued_in


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedCertificate:
    """What an entry says of a certificate, whatever its kind: effect, exclusion, absence or correction.

    releases: that it is about. decision: of the effect and of correction; None of the others, which decide nothing.
    """

    index: int
    kind: str
    requests: tuple[str, ...]
    digest: str
    releases: tuple[str, ...]
    decision: str | None = None

    @property
    def word(self) -> str:
        """What it says, in a word: what was decided, or that they are in no release."""
        return self.decision or self.kind

    def __str__(self) -> str:
        return f"{self.word} {', '.join(self.releases)}"


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


def certificates_in(view: LogView) -> list[LoggedCertificate]:
    """All certificates that a log records, of every kind, in order."""
    decided = [("effect", item) for item in issued_in(view)] + [("correction", item) for item in corrections_in(view)]
    found = [
        LoggedCertificate(
            index=item.index,
            kind=kind,
            requests=item.requests,
            digest=item.certificate,
            releases=(item.release,),
            decision=str(item.decision),
        )
        for kind, item in decided
    ]
    found += [
        LoggedCertificate(
            index=item.index,
            kind="exclusion" if item.before else "absence",
            requests=item.requests,
            digest=item.certificate,
            releases=item.releases,
        )
        for item in cleared_in(view)
    ]
    return sorted(found, key=lambda item: item.index)


def recorded_certificates(view: LogView, folder: Path) -> tuple[RecordedCertificate, ...]:
    """All certificates, in the order in which they were recorded. folder: where their files are looked for."""
    files = {}
    for path in sorted(folder.glob("*.json")):
        file = parse_certificate_file(read_bounded(path, MAX_DOCUMENT), where=str(path))
        files[file.digest] = (path, file.recorded is not None)
    return tuple(
        RecordedCertificate(
            index=item.index,
            kind=item.kind,
            requests=item.requests,
            digest=item.digest,
            path=files.get(item.digest, (None, False))[0],
            is_proved=files.get(item.digest, (None, False))[1],
        )
        for item in certificates_in(view)
    )
