"""A certificate as it is kept: its envelope, the entry that records it, and the proof that the log has that entry.

All in one file, so that it verifies without everybody's log. The envelope stands in it as it was signed: its canonical
bytes, which outside tools verify and the log names by their digest, are what ``jq -cj .envelope FILE`` prints. The line
and the proof (tlog-proof) are text, as others read it. Before the certificate is recorded there is the envelope alone;
an envelope that is no member of anything counts as that, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from unlearnkit.canonical import parse_json, sha256_hex
from unlearnkit.compliance.log.entry import parse_line
from unlearnkit.records import from_json, read_json, write_json
from unlearnkit.shapes import As
from unlearnkit.signing.dsse import EnvelopeFile

SCHEMA: Final = "unlearnkit/certificate-file/v1"

_ENDING = re.compile(rb'"schema":"unlearnkit/certificate-file/v[0-9]+"\}\Z')


def _envelope(raw: bytes) -> EnvelopeFile:
    return from_json(EnvelopeFile, parse_json(raw, where="envelope"), where="envelope")


def _line(text: str) -> bytes:
    return f"{text}\n".encode()


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFile:
    """What a file holds, as raw bytes; nothing of it is verified.

    envelope: canonical JSON. entry: a line of the log, its newline included. proof: a ``.tlog-proof`` of that line.
    """

    schema: Literal["unlearnkit/certificate-file/v1"] = SCHEMA
    envelope: Annotated[bytes, As(EnvelopeFile, write_json, _envelope)]
    entry: Annotated[bytes, As(str, _line, _text)] | None = None
    proof: Annotated[bytes, As(str, str.encode, bytes.decode)] | None = None

    def __post_init__(self) -> None:
        if (self.entry is None) != (self.proof is None):
            raise ValueError("an entry and its proof belong together: got one of them")

    @property
    def digest(self) -> str:
        """SHA-256 of the envelope: what the log knows the certificate by."""
        return sha256_hex(self.envelope)

    @property
    def recorded(self) -> tuple[bytes, bytes] | None:
        """Entry and proof; None where the file has none."""
        return None if self.entry is None or self.proof is None else (self.entry, self.proof)

    @property
    def time(self) -> datetime | None:
        """When it was recorded, by the entry in the file, which nobody has verified; None without. FormatError."""
        return None if self.entry is None else parse_line(self.entry, where="entry").time

    def to_bytes(self) -> bytes:
        """The file, canonical JSON."""
        return write_json(self)


def parse_certificate_file(raw: bytes, *, where: str) -> CertificateFile:
    """What a file holds, be it an envelope alone; FormatError for what is neither."""
    if not is_certificate_file(raw):
        return CertificateFile(envelope=raw)
    return read_json(CertificateFile, raw, where=where)


def is_certificate_file(raw: bytes) -> bool:
    """Whether bytes end as such a file does, of whatever version; an envelope and a document of another kind do not."""
    return _ENDING.search(raw) is not None


def document_digest(raw: bytes, *, where: str) -> str:
    """SHA-256 of a document: of a certificate, wherever it is kept, that of its envelope."""
    return parse_certificate_file(raw, where=where).digest
