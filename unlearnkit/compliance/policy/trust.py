"""The trust store: whose signatures count for what, as a TOML file that people read and edit.

An empty trust store verifies nothing. An example::

    schema = "unlearnkit/trust/v1"
    witness_quorum = 1                      # so many known witnesses must have cosigned a checkpoint

    [[signer]]
    name = "lab"
    roles = ["sketch-signer", "certificate-signer"]
    since = "2026-01-01T00:00:00Z"          # what was there before, or only since it ended, is a stranger's
    until = "2028-01-01T00:00:00Z"
    public_key = \"\"\"
    -----BEGIN PUBLIC KEY-----
    ...
    \"\"\"

    [[log]]                                 # of one name there may be several, while one takes another's place
    vkey = "example.com/log+...+..."

    [[witness]]
    vkey = "witness.example/w1+...+..."

    [expect]                                # of certificates, see `expectations`
    threshold = 2
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.clock import format_time, parse_time
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.names import Pattern, TimeText
from unlearnkit.records import Count, read_toml, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.signing.keys import PublicKey, parse_public_key
from unlearnkit.signing.note import NoteKey, NoteKind, parse_vkey
from unlearnkit.signing.validity import ALWAYS, Validity

SignerName = Annotated[
    str, Pattern("[A-Za-z0-9][A-Za-z0-9 ._@-]{0,99}", "a name of plain letters, digits and spaces, at most 100")
]
Moment = Annotated[datetime, As(TimeText, partial(parse_time, where="time"), format_time)]


@dataclass(frozen=True, slots=True)
class SignerTable:
    """Somebody whose signature counts for ``roles``, when it does. public_key: as PEM."""

    name: SignerName
    roles: Annotated[tuple[Role, ...], Items(least=1, distinct=True)]
    public_key: str
    since: Moment | None = None
    until: Moment | None = None


@dataclass(frozen=True, slots=True)
class NoteKeyTable:
    """The key of a log or a witness, as C2SP writes it, and when it counts."""

    vkey: str
    since: Moment | None = None
    until: Moment | None = None


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
    """Somebody whose signature counts for ``roles``, and when."""

    name: str
    roles: tuple[Role, ...]
    key: PublicKey
    validity: Validity = ALWAYS


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
        """The public keys whose signatures count for ``role`` now; none if nobody has it."""
        return tuple(item.key for item in self.signers if role in item.roles and item.validity.covers(clock.utc_now()))

    def counting(self, *recorded: datetime | None) -> TrustStore:
        """Whose signatures count on what was recorded at some of these times: then, or now. None: it was not."""
        times = [clock.utc_now(), *(time for time in recorded if time is not None)]
        kept = [item for item in self.signers if any(item.validity.covers(time) for time in times)]
        return replace(self, signers=tuple(replace(item, validity=ALWAYS) for item in kept))

    @property
    def has_ended(self) -> bool:
        """Whether there is a signer who does not count now, but did or will."""
        return any(not item.validity.covers(clock.utc_now()) for item in self.signers)

    def log(self, origin: str) -> NoteKey:
        """The key of the log with that name, with the others of that name; UnknownNameError if none is trusted.

        Of several that count, the one listed last: who rotates adds the new one.
        """
        known = [key for key in self.logs if key.name == origin]
        counting = [key for key in known if key.validity.covers(clock.utc_now())]
        if counting:
            retired = tuple(key for key in known if key not in counting)
            return replace(counting[-1], others=tuple(counting[:-1]), retired=retired)
        names = ", ".join(key.name for key in self.logs) or "none"
        what = f"the key of the log {origin} has ended" if known else f"no trusted key for the log {origin}"
        raise UnknownNameError(f"{what}: there are keys for {names}", hint=_HINT)


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
    items: tuple[Signer | NoteKey, ...] = (*store.signers, *store.logs, *store.witnesses)
    for item in items:
        lines += ["", *table_lines(item)]
    return "\n".join(lines) + "\n"


def table_lines(item: Signer | NoteKey) -> list[str]:
    """The table of the file that reads as a key."""
    if isinstance(item, Signer):
        roles = ", ".join(f'"{role}"' for role in item.roles)
        said = ["[[signer]]", f'name = "{item.name}"', f"roles = [{roles}]"]
        return [*said, *when_lines(item.validity), f'public_key = """\n{item.key.pem.decode()}"""']
    kind = "log" if item.kind is NoteKind.SIGNATURE else "witness"
    return [f"[[{kind}]]", f"vkey = '{item.vkey}'", *when_lines(item.validity)]


def when_lines(validity: Validity) -> list[str]:
    """The lines that say when a key counts."""
    ends = {"since": validity.since, "until": validity.until}
    return [f'{name} = "{format_time(time)}"' for name, time in ends.items() if time is not None]


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
    return Signer(table.name, table.roles, key, Validity(table.since, table.until))


def _vkeys(tables: Sequence[NoteKeyTable], kind: NoteKind, where: str) -> tuple[NoteKey, ...]:
    parsed = [parse_vkey(table.vkey, where=f"{where} {number}") for number, table in enumerate(tables, 1)]
    for number, key in enumerate(parsed, 1):
        if key.kind is not kind:
            raise FormatError(f"{where} {number} has a key of type {key.kind.value}, expected type {kind.value}")
    same = [key.vkey if kind is NoteKind.SIGNATURE else key.name for key in parsed]  # a witness is one voice
    if len(set(same)) != len(same):
        raise FormatError(
            f"{where}: two keys with one name" if kind is NoteKind.COSIGNATURE else f"{where}: one key twice"
        )
    return tuple(
        replace(key, validity=Validity(table.since, table.until)) for key, table in zip(parsed, tables, strict=True)
    )
