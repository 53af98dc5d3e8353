"""A certificate that was made in a workspace, of whatever kind: the file that it is in, and what it still lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from unlearnkit.compliance.log.entry import Entry
from unlearnkit.verifier.absence import Absence, Exclusion
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.correction import CorrectionCertificate
from unlearnkit.verifier.recording import AnyCertificate

Said = TypeVar("Said", bound=AnyCertificate)

_KINDS: tuple[tuple[type[AnyCertificate], str], ...] = (
    (Certificate, "effect"),
    (Exclusion, "exclusion"),
    (Absence, "absence"),
    (CorrectionCertificate, "correction"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified(Generic[Said]):
    """A certificate that was made: what it says, the file that it is in, and the entry that records it.

    digest: SHA-256 of its envelope, by which the log knows it. missing: so many signatures more the policy asks for;
    until they are there, it is not recorded, and ``entry`` is None.
    """

    certificate: Said
    digest: str
    path: Path
    missing: int
    entry: Entry | None

    @property
    def kind(self) -> str:
        """effect, exclusion, absence or correction."""
        return next(word for kind, word in _KINDS if isinstance(self.certificate, kind))
