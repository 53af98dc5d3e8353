"""Changing a trust store that people keep by hand: what they wrote in it stays, comments and all, where that can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from unlearnkit.compliance.policy.trust import (
    Signer,
    TrustStore,
    format_trust,
    parse_trust,
    table_lines,
    when_lines,
)
from unlearnkit.errors import FormatError
from unlearnkit.signing.note import NoteKey
from unlearnkit.signing.validity import Validity


def with_key(raw: bytes, item: Signer | NoteKey, *, where: str) -> bytes:
    """The file with one more key, at its end; as it is, if it has that key. FormatError."""
    store = parse_trust(raw, where=where)
    if isinstance(item, Signer):
        if item.key in [signer.key for signer in store.signers]:
            return raw
        wanted = replace(store, signers=(*store.signers, item))
    else:
        if item.public in [key.public for key in store.logs]:
            return raw
        wanted = replace(store, logs=(*store.logs, item))
    return _changed(wanted, lambda: raw.rstrip(b"\n") + b"\n\n" + _text(table_lines(item)), where)


def with_end(raw: bytes, key_id: str, until: datetime, *, where: str) -> bytes:
    """The file in which the key with this digest ends then, if not before. FormatError."""
    store = parse_trust(raw, where=where)
    signers = [item for item in store.signers if item.key.key_id == key_id]
    logs = [item for item in store.logs if item.public.key_id == key_id]
    wanted = replace(
        store,
        signers=tuple(replace(i, validity=i.validity.ended(until)) if i in signers else i for i in store.signers),
        logs=tuple(replace(i, validity=i.validity.ended(until)) if i in logs else i for i in store.logs),
    )
    markers = [item.key.pem.splitlines()[1] for item in signers] + [item.vkey.encode() for item in logs]
    return raw if wanted == store else _changed(wanted, lambda: _ended(raw, markers, until), where)


def _ended(raw: bytes, markers: list[bytes], until: datetime) -> bytes:
    """A line more after the head of each table that has one of the markers."""
    for marker in markers:
        head = raw.rfind(b"[[", 0, raw.index(marker))
        line = raw.index(b"\n", head) + 1
        raw = raw[:line] + _text(when_lines(Validity(until=until))) + raw[line:]
    return raw


def _changed(wanted: TrustStore, edit: Callable[[], bytes], where: str) -> bytes:
    """What the edit makes, if it reads as it shall; else the file written anew."""
    try:
        edited = edit()
        if parse_trust(edited, where=where) == wanted:
            return edited
    except (FormatError, ValueError):
        pass
    return format_trust(wanted).encode()


def _text(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
