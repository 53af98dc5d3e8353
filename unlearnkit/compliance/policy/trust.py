"""The trust store: whose signatures count for what, as a TOML file that people read and edit.

An empty trust store verifies nothing. An example::

    schema = "unlearnkit/trust/v1"
    witness_quorum = 1                      # so many known witnesses must have cosigned a checkpoint

    [[signer]]
    name = "lab"
    roles = ["sketch-signer", "certificate-signer"]
    public_key = \"\"\"
    -----BEGIN PUBLIC KEY-----
    ...
    \"\"\"

    [[log]]
    vkey = "example.com/log+...+..."

    [[witness]]
    vkey = "witness.example/w1+...+..."
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

from unlearnkit.canonical import take_fields
from unlearnkit.compliance.policy.policy import ROLES
from unlearnkit.errors import FormatError, UnknownNameError, UnknownVersionError
from unlearnkit.signing.keys import PublicKey, parse_public_key
from unlearnkit.signing.note import NoteKey, NoteKind, parse_vkey

SCHEMA = "unlearnkit/trust/v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}")


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody whose signature counts for ``roles``, some of the ROLES of `policy`."""

    name: str
    roles: tuple[str, ...]
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStore:
    """The keys that somebody trusts. witness_quorum: how many of ``witnesses`` must have cosigned a checkpoint."""

    signers: tuple[Signer, ...] = ()
    logs: tuple[NoteKey, ...] = ()
    witnesses: tuple[NoteKey, ...] = ()
    witness_quorum: int = 0

    def keys(self, role: str) -> tuple[PublicKey, ...]:
        """The public keys whose signatures count for ``role``; none if nobody has it."""
        return tuple(signer.key for signer in self.signers if role in signer.roles)

    def log(self, origin: str) -> NoteKey:
        """The key of the log with that name; UnknownNameError if it is not trusted."""
        for key in self.logs:
            if key.name == origin:
                return key
        known = ", ".join(key.name for key in self.logs) or "none"
        raise UnknownNameError(f"no trusted key for the log {origin}: there are keys for {known}", hint=_HINT)


_HINT = "add the vkey of the log, from somebody you trust, to the trust store"


def parse_trust(raw: bytes, *, where: str) -> TrustStore:
    """A trust store from TOML; FormatError says what is wrong where."""
    try:
        record = tomllib.loads(raw.decode("utf-8"))
    except ValueError as err:
        raise FormatError(f"{where} is not TOML: {err}") from err
    if record.get("schema", SCHEMA) != SCHEMA:
        raise UnknownVersionError(f"{where}: schema is {record['schema']!r}, expected {SCHEMA!r}")
    lists = {"signer": list, "log": list, "witness": list}
    fields = take_fields(record, where=where, required={"schema": str}, optional={**lists, "witness_quorum": int})
    witnesses = _vkeys(fields.get("witness", []), NoteKind.COSIGNATURE, f"{where}: witness")
    quorum = fields.get("witness_quorum", 0)
    if not 0 <= quorum <= len({key.public for key in witnesses}):
        raise FormatError(f"{where}: witness_quorum must be from 0 to the number of witnesses: got {quorum}")
    return TrustStore(
        signers=tuple(_signer(item, f"{where}: signer {n}") for n, item in enumerate(fields.get("signer", []), 1)),
        logs=_vkeys(fields.get("log", []), NoteKind.SIGNATURE, f"{where}: log"),
        witnesses=witnesses,
        witness_quorum=quorum,
    )


def format_trust(store: TrustStore) -> str:
    """The file that reads as ``store``."""
    lines = [
        "# Whose signatures count for what. Add only keys that you have from somebody you trust.",
        f'schema = "{SCHEMA}"',
        f"witness_quorum = {store.witness_quorum}",
    ]
    for signer in store.signers:
        roles = ", ".join(f'"{role}"' for role in signer.roles)
        pem = f'"""\n{signer.key.pem.decode()}"""'
        lines += ["", "[[signer]]", f'name = "{signer.name}"', f"roles = [{roles}]", f"public_key = {pem}"]
    for kind, keys in (("log", store.logs), ("witness", store.witnesses)):
        for key in keys:
            lines += ["", f"[[{kind}]]", f"vkey = '{key.vkey}'"]
    return "\n".join(lines) + "\n"


def _signer(record: object, where: str) -> Signer:
    fields = take_fields(record, where=where, required={"name": str, "roles": list, "public_key": str})
    if not _NAME.fullmatch(fields["name"]):
        raise FormatError(f"{where}: name must be plain letters, digits and spaces: got {fields['name']!r}")
    unknown = [role for role in fields["roles"] if role not in ROLES]
    if unknown or not fields["roles"] or len(set(fields["roles"])) != len(fields["roles"]):
        raise FormatError(f"{where}: roles must be some of {', '.join(ROLES)}: got {fields['roles']}")
    key = parse_public_key(fields["public_key"].encode(), where=f"{where}: public_key")
    return Signer(fields["name"], tuple(fields["roles"]), key)


def _vkeys(records: list[object], kind: NoteKind, where: str) -> tuple[NoteKey, ...]:
    keys = []
    for number, record in enumerate(records, 1):
        fields = take_fields(record, where=f"{where} {number}", required={"vkey": str})
        key = parse_vkey(fields["vkey"], where=f"{where} {number}")
        if key.kind is not kind:
            raise FormatError(f"{where} {number} has a key of type {key.kind.value}, expected type {kind.value}")
        keys.append(key)
    if len({key.name for key in keys}) != len(keys):
        raise FormatError(f"{where}: two keys with one name")
    return tuple(keys)
