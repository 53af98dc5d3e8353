"""Trusted time (RFC 3161): an authority signs when something was there, so that nobody needs a signer's clock.

Requests and responses are files; `openssl ts` and every authority read and write them. Needs the extra ``time``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from unlearnkit.errors import FormatError, SignatureError
from unlearnkit.files import MAX_SECRET, read_bounded

MAX_RESPONSE = 2**16
"""Bytes in a response, with the authority's certificates."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Root certificates of authorities whose time counts."""

    roots: tuple[x509.Certificate, ...]

    @classmethod
    def read(cls, files: Sequence[Path]) -> Authority:
        """From PEM files, each with at least one certificate. FormatError for other files."""
        roots: list[x509.Certificate] = []
        for file in files:
            try:
                roots += x509.load_pem_x509_certificates(read_bounded(file, MAX_SECRET))
            except ValueError as err:
                raise FormatError(f"{file} has no certificates in PEM: {err}") from None
        return cls(tuple(roots))


def timestamp_request(data: bytes) -> bytes:
    """What an authority is asked to sign the time of ``data`` with: its SHA-256 digest, never the data. DER."""
    import rfc3161_client as rfc3161  # noqa: PLC0415 - an extra

    request = rfc3161.TimestampRequestBuilder(data=data, hash_algorithm=rfc3161.HashAlgorithm.SHA256).build()
    return bytes(request.as_bytes())


def verify_timestamp(raw: bytes, *, data: bytes, where: str, authority: Authority) -> datetime:
    """The time that a response says ``data`` was there, by an authority whose certificate leads to one of the roots.

    Raises FormatError for what is no response with a token; SignatureError if the token is about something else, or by
    nobody who is known.
    """
    import rfc3161_client as rfc3161  # noqa: PLC0415 - an extra

    if not authority.roots:
        raise SignatureError("no authority is trusted: that verifies no time", hint="name its root certificate")
    try:
        response = rfc3161.decode_timestamp_response(raw)
        time: datetime = response.tst_info.gen_time
    except ValueError as err:
        raise FormatError(f"{where} is no time-stamp response with a token: {err}") from None
    try:
        rfc3161.VerifierBuilder(roots=list(authority.roots)).build().verify_message(response, data)
    except (rfc3161.VerificationError, ValueError) as err:
        raise SignatureError(f"{where}: the time stamp does not verify: {err}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
