"""What somebody names as trusted, in files: trust stores, public keys of signers, keys of logs and of witnesses."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer, TrustStore, parse_trust
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.files import MAX_SETTINGS, read_bounded
from unlearnkit.signing.keys import parse_public_key
from unlearnkit.signing.note import NoteKind, parse_vkey

_logger = logging.getLogger(__name__)

_VKEY = re.compile(rb"[^\s+]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\s*")


def read_trusted(files: Sequence[Path]) -> TrustStore:
    """Everything that some files name, as one trust store; what each file is, is told by its content.

    Args:
        files: Trust stores (TOML), public keys (PEM), which count for every role, and keys of logs or witnesses (vkey).

    Returns:
        All of it together; of the quorums the largest. Without files, a store that trusts nobody.

    Raises:
        UnknownNameError: A file is not there.
        FormatError: A file is none of these. Nothing of it is quoted: it may be a secret. Two say what is expected.
    """
    stores = [_read(file) for file in files]
    store = TrustStore(
        signers=tuple(signer for store in stores for signer in store.signers),
        logs=tuple(key for store in stores for key in store.logs),
        witnesses=tuple(key for store in stores for key in store.witnesses),
        witness_quorum=max((store.witness_quorum for store in stores), default=0),
        expect=_one([store.expect for store in stores if store.expect is not None]),
    )
    _logger.info(
        "trusted: %d signers, %d logs, %d of %d witnesses; from %s",
        len(store.signers),
        len(store.logs),
        store.witness_quorum,
        len(store.witnesses),
        ", ".join(map(str, files)) or "nothing",
    )
    return store


def _one(expected: Sequence[Expectations]) -> Expectations | None:
    if len(expected) > 1:
        raise FormatError("two trust stores say what is expected of certificates", hint="name one of them: --expect")
    return next(iter(expected), None)


def _read(file: Path) -> TrustStore:
    if not file.is_file():
        raise UnknownNameError(f"no trust store or key {file}")
    raw = read_bounded(file, MAX_SETTINGS)
    if b"-----BEGIN PUBLIC KEY-----" in raw[:100]:
        return TrustStore(signers=(Signer(file.name, tuple(Role), parse_public_key(raw, where=str(file))),))
    if not _VKEY.fullmatch(raw):
        return parse_trust(raw, where=str(file))
    key = parse_vkey(raw.decode("utf-8", "replace").strip(), where=str(file))
    return TrustStore(logs=(key,)) if key.kind is NoteKind.SIGNATURE else TrustStore(witnesses=(key,))
