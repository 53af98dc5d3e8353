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

    [expect]                                # of certificates, see `expectations`
    threshold = 2
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.names import Pattern
from unlearnkit.records import Count, read_toml, to_json
from unlearnkit.shapes import Items
from unlearnkit.signing.keys import PublicKey, parse_public_key
from unlearnkit.signing.note import NoteKey, NoteKind, parse_vkey

SignerName = Annotated[
    str, Pattern("[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}", "a name of plain letters, digits and spaces, at most 100")
]


@dataclass(frozen=True, slots=True)
class SignerTable:
    """Somebody whose signature counts for ``roles``. public_key: as PEM."""

    name: SignerName
    roles: Annotated[tuple[Role, ...], Items(least=1, distinct=True)]
    public_key: str


@dataclass(frozen=True, slots=True)
class NoteKeyTable:
    """The key of a log or a witness, as C2SP writes it."""

    vkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFile:
    """The trust store as it is written. witness_quorum: how many known witnesses must have cosigned a checkpoint.

    expect: what certificates must be like.
    """

    schema: Literal["unlearnkit/trust/v1"] = "unlearnkit/trust/v1"
    witness_quorum: Count = 0
    signer: tuple[SignerTable, ...] = ()
    log: tuple[NoteKeyTable, ...] = ()
    witness: tuple[NoteKeyTable, ...] = ()
    expect: Expectations | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody whose signature counts for ``roles``."""

    name: str
    roles: tuple[Role, ...]
    key: PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStore:
    """The keys that somebody trusts. witness_quorum: how many of ``witnesses`` must have cosigned a checkpoint.

    expect: what certificates must be like, beside what their policy says; None: nothing is expected.
    """

    signers: tuple[Signer, ...] = ()
    logs: tuple[NoteKey, ...] = ()
    witnesses: tuple[NoteKey, ...] = ()
    witness_quorum: int = 0
    expect: Expectations | None = None

    def keys(self, role: Role) -> tuple[PublicKey, ...]:
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
    file = read_toml(TrustFile, raw, where=where)
    witnesses = _vkeys(file.witness, NoteKind.COSIGNATURE, f"{where}: witness")
    if file.witness_quorum > len({key.public for key in witnesses}):
        raise FormatError(
            f"{where}: witness_quorum must be from 0 to the number of witnesses: got {file.witness_quorum}"
        )
    return TrustStore(
        signers=tuple(_signer(item, f"{where}: signer {n}") for n, item in enumerate(file.signer, 1)),
        logs=_vkeys(file.log, NoteKind.SIGNATURE, f"{where}: log"),
        witnesses=witnesses,
        witness_quorum=file.witness_quorum,
        expect=file.expect,
    )


def format_trust(store: TrustStore) -> str:
    """The file that reads as ``store``."""
    lines = [
        "# Whose signatures count for what. Add only keys that you have from somebody you trust.",
        f'schema = "{TrustFile().schema}"',
        f"witness_quorum = {store.witness_quorum}",
    ]
    lines += [] if store.expect is None else _expect_lines(store.expect)
    for signer in store.signers:
        roles = ", ".join(f'"{role}"' for role in signer.roles)
        pem = f'"""\n{signer.key.pem.decode()}"""'
        lines += ["", "[[signer]]", f'name = "{signer.name}"', f"roles = [{roles}]", f"public_key = {pem}"]
    for kind, keys in (("log", store.logs), ("witness", store.witnesses)):
        for key in keys:
            lines += ["", f"[[{kind}]]", f"vkey = '{key.vkey}'"]
    return "\n".join(lines) + "\n"


def _expect_lines(expected: Expectations) -> list[str]:
    """The table."""
    return ["", "[expect]", *(f"{name} = {_toml(value)}" for name, value in to_json(expected).items())]


def _toml(value: object) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else str(value)


def _signer(table: SignerTable, where: str) -> Signer:
    key = parse_public_key(table.public_key.encode(), where=f"{where}: public_key")
    return Signer(table.name, table.roles, key)


def _vkeys(tables: Sequence[NoteKeyTable], kind: NoteKind, where: str) -> tuple[NoteKey, ...]:
    keys = [parse_vkey(table.vkey, where=f"{where} {number}") for number, table in enumerate(tables, 1)]
    for number, key in enumerate(keys, 1):
        if key.kind is not kind:
            raise FormatError(f"{where} {number} has a key of type {key.kind.value}, expected type {kind.value}")
    if len({key.name for key in keys}) != len(keys):
        raise FormatError(f"{where}: two keys with one name")
    return tuple(keys)
