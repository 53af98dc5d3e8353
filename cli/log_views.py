"""How the log is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unlearnkit.names import counted

from .output import UNSIGNED, Document, columns

if TYPE_CHECKING:
    from unlearnkit.compliance.log.checkpoint import Checkpoint
    from unlearnkit.compliance.log.entry import Entry
    from unlearnkit.compliance.log.repair import Repaired
    from unlearnkit.compliance.log.times import Stamp
    from unlearnkit.compliance.view import LogView


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """An entry, its body as it is. signed: whether a verified checkpoint covers it."""

    index: int
    time: str
    type: str
    previous: str
    digest: str
    body: Mapping[str, Any]
    signed: bool

    @classmethod
    def of(cls, entry: Entry, *, signed: bool) -> EntryView:
        """What an entry says."""
        from unlearnkit.compliance.log.clock import format_time

        return cls(
            index=entry.index,
            time=format_time(entry.time),
            type=entry.type,
            previous=entry.previous,
            digest=entry.digest,
            body=entry.body,
            signed=signed,
        )

    def __str__(self) -> str:
        from unlearnkit.canonical import canonicalize

        mark = "" if self.signed else f"  ({UNSIGNED})"
        return f"{self.index}  {self.time}  {self.type}  {canonicalize(dict(self.body)).decode()}{mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries(Document):
    """Some entries."""

    schema: ClassVar[str] = "unlearnkit/log-entries/v1"

    entries: tuple[EntryView, ...]


@dataclass(frozen=True, slots=True)
class _Cosignature:
    """time: POSIX seconds, by the witness's clock. seen: the same, as a date."""

    witness: str
    time: int
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointView(Document):
    """A checkpoint; ``checkpoint`` is the whole signed note."""

    schema: ClassVar[str] = "unlearnkit/checkpoint/v1"

    origin: str
    size: int
    root: str
    cosignatures: tuple[_Cosignature, ...]
    checkpoint: str

    @classmethod
    def of(cls, found: Checkpoint) -> CheckpointView:
        """What a checkpoint says."""
        return cls(**_members(found))


def _members(found: Checkpoint) -> dict[str, Any]:
    return {
        "origin": found.origin,
        "size": found.size,
        "root": found.root.hex(),
        "cosignatures": tuple(
            _Cosignature(item.witness.name, item.time, item.seen.isoformat()) for item in found.cosignatures
        ),
        "checkpoint": found.raw.decode(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFile(Document):
    """Of an entry, or of growth since a size."""

    schema: ClassVar[str] = "unlearnkit/log-proof/v1"

    index: int | None
    since: int | None
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported(CheckpointView):
    """A checkpoint, and where everything that it signs was written."""

    path: Path

    @classmethod
    def at(cls, path: Path, found: Checkpoint) -> Exported:
        """What was written to ``path``."""
        return cls(**_members(found), path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDestroyed(Document):
    """The pseudonym key is gone."""

    schema: ClassVar[str] = "unlearnkit/key-destroyed/v1"

    entry: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairedLog(Document):
    """What a repair did. signed, root: what the checkpoint signs and the log has now; None if nothing was amiss."""

    schema: ClassVar[str] = "unlearnkit/log-repair/v1"

    repaired: bool
    signed: int | None = None
    root: str | None = None
    kept: int | None = None
    illegal: tuple[int, ...] = ()
    set_aside: str | None = None

    @classmethod
    def of(cls, done: Repaired | None) -> RepairedLog:
        """What was done."""
        if done is None:
            return cls(repaired=False)
        aside = done.set_aside.file
        return cls(
            repaired=True, signed=done.signed, root=done.root, kept=done.kept, illegal=done.illegal, set_aside=aside
        )


def render_repaired(log: RepairedLog) -> Iterable[str]:
    """The same as text."""
    if not log.repaired:
        return ["nothing was amiss, and nothing was changed"]
    replaced = ", ".join(map(str, log.illegal))
    return columns(
        [
            ("signed", f"the first {log.signed} entries have the root that the checkpoint signs, {log.root}"),
            ("kept", f"{counted(log.kept or 0, 'entry')} beyond them, {UNSIGNED}"),
            (
                "not legal",
                f"{'entry' if len(log.illegal) == 1 else 'entries'} {replaced}, replaced by what says so"
                if replaced
                else None,
            ),
            ("set aside", log.set_aside),
        ]
    )


@dataclass(frozen=True, slots=True)
class _Earlier:
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class _Stamp:
    size: int
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLog(CheckpointView):
    """A log that was verified. unsigned: entries that the checkpoint does not cover."""

    schema: ClassVar[str] = "unlearnkit/log-verification/v1"

    path: Path
    entries: int
    unsigned: int
    earlier: tuple[_Earlier, ...]
    torn_bytes: int
    requests: int
    timestamps: tuple[_Stamp, ...]

    @classmethod
    def of_view(cls, view: LogView, stamps: Iterable[Stamp] = ()) -> VerifiedLog:
        """What was found out about a log."""
        signed = view.signed
        assert signed is not None  # noqa: S101 - it was verified
        return cls(
            **_members(signed.checkpoint),
            path=view.path,
            entries=len(view),
            unsigned=view.unsigned,
            earlier=tuple(_Earlier(head.size, head.root.hex()) for head in signed.earlier),
            torn_bytes=signed.torn,
            requests=len(view.register.requests),
            timestamps=tuple(_Stamp(item.size, item.time.isoformat()) for item in stamps),
        )


def render_verified(log: VerifiedLog) -> Iterable[str]:
    """The same as text."""
    cosigned = ", ".join(item.witness for item in log.cosignatures)
    times = ", ".join(item.seen for item in log.cosignatures)
    earlier = ", ".join(str(item.size) for item in log.earlier)
    torn = (
        f"{counted(log.torn_bytes, 'byte')} of a line that is being written, or that a crash cut"
        if log.torn_bytes
        else None
    )
    yield "VERIFIED: every line, the chain, the root, the signatures, and every step of every request"
    yield from columns(
        [
            ("log", log.path),
            ("origin", log.origin),
            ("entries", log.entries),
            ("signed", f"{log.size}, root {log.root}"),
            ("not signed yet", log.unsigned or None),
            ("cosigned by", cosigned or None),
            ("cosigned at", times or None),
            ("agrees with", f"earlier checkpoints, of size {earlier}" if earlier else None),
            ("requests", log.requests),
            ("there at", "; ".join(f"{counted(item.size, 'entry')}: {item.time}" for item in log.timestamps) or None),
            ("unfinished", torn),
        ]
    )
