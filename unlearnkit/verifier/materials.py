"""What a verification can draw on: trusted keys, and the bundle, the log and the evidence that files are about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import FILE_NAME as MANIFEST
from unlearnkit.bundle.remainder import Remainder, is_cut, open_remainder
from unlearnkit.canonical import file_sha256_hex, sha256_hex
from unlearnkit.compliance.log.checkpoint import Checkpoint, unverified_origin
from unlearnkit.compliance.log.head import CHECKPOINT_FILE
from unlearnkit.compliance.log.memory import Memory
from unlearnkit.compliance.log.verification import check_root
from unlearnkit.compliance.policy.expectations import Expectations, parse_expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.compliance.releases.whereabouts import linked_bundles
from unlearnkit.compliance.view import LogView
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.errors import (
    ConsistencyError,
    DigestMismatchError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
)
from unlearnkit.files import MAX_DOCUMENT, MAX_SETTINGS, read_bounded
from unlearnkit.signing.note import MAX_NOTE
from unlearnkit.verifier.audits import EVIDENCE_FOLDER
from unlearnkit.verifier.evidence import Evidence, verify_evidence
from unlearnkit.verifier.recognition import Kind, recognise
from unlearnkit.verifier.replayed import SignedReplay, verify_signed_replay

_Said = TypeVar("_Said", Evidence, SignedReplay)
_Made = TypeVar("_Made")

Trust = TrustStore | Path | str | Sequence[Path | str]
"""A trust store, or what `read_trusted` makes one of."""


Expect = Expectations | Path | str
"""Expectations, or a file of them."""


def trust_at_hand(trust: Trust | None = None) -> TrustStore | None:
    """The trust store that was given; else that of the workspace around the current directory; None outside of one."""
    if trust is None:
        workspace = WorkspaceFiles.nearest()
        return None if workspace is None else workspace.trust()
    if isinstance(trust, TrustStore):
        return trust
    return read_trusted([Path(file) for file in ([trust] if isinstance(trust, str | Path) else trust)])


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Trusted keys, and where the things are that files are about. Each is verified once, when it is first needed.

    bundle, log: folders. is_ours: the log is merely that of the workspace around; what is verified may be in another.
    bundles: of other releases. evidence: files of retraining audits and signed replays. own_evidence: those of the
    workspace around, about whatever bundle. expected: of certificates, by whoever relies on them. model: the file of
    the one in use. memory: of the last checkpoint that was seen of each log; None: nothing is remembered.
    """

    trust: TrustStore
    bundle: Path | None = None
    bundles: tuple[Path, ...] = ()
    log: Path | None = None
    is_ours: bool = False
    evidence: tuple[Path, ...] = ()
    own_evidence: tuple[Path, ...] = ()
    expected: Expectations | None = None
    model: Path | None = None
    memory: Memory | None = None
    _bundles: dict[Path, Bundle] = field(default_factory=dict, init=False, repr=False, compare=False)
    _views: dict[tuple[Path, str], LogView] = field(default_factory=dict, init=False, repr=False, compare=False)
    _audits: dict[str, dict[str, Evidence]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _replays: dict[str, dict[str, SignedReplay]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _recorded: dict[str, datetime] = field(default_factory=dict, init=False, repr=False, compare=False)
    _heads: dict[str, dict[int, Checkpoint]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def at_hand(
        cls,
        *,
        bundle: Path | str | None = None,
        bundles: Sequence[Path | str] = (),
        log: Path | str | None = None,
        trust: Trust | None = None,
        evidence: Sequence[Path | str] = (),
        expect: Expect | None = None,
        model: Path | str | None = None,
        memory: Memory | None = None,
    ) -> Materials:
        """What was given, and for trust and log otherwise those of the workspace around the current directory.

        What is expected is otherwise what the trust store says.

        Raises:
            SignatureError: No trust store was given, and there is no workspace: that verifies nothing.
            FormatError: A trust store is malformed.
        """
        store = trust_at_hand(trust)
        if store is None:
            raise SignatureError("no key is trusted: that verifies nothing", hint="give --trust, or be in a workspace")
        workspace = WorkspaceFiles.nearest() if log is None else None
        place = Path(log) if log is not None else None if workspace is None else workspace.log_path
        linked = () if workspace is None else linked_bundles(workspace.root)
        return cls(
            trust=store,
            bundle=None if bundle is None else Path(bundle),
            bundles=tuple(map(Path, bundles)) or linked,
            log=place,
            is_ours=log is None,
            evidence=tuple(map(Path, evidence)),
            own_evidence=() if workspace is None else tuple(sorted((workspace.root / EVIDENCE_FOLDER).glob("*.json"))),
            expected=_expected(expect, store),
            model=None if model is None else Path(model),
            memory=memory,
        )

    @property
    def quorum(self) -> int:
        """How many known witnesses must have cosigned a checkpoint."""
        return max(self.trust.witness_quorum, (self.expected and self.expected.witnesses) or 0)

    def opened(self, path: Path | None = None) -> Bundle:
        """A bundle, by default the one at hand, signed by somebody trusted; raises as `Bundle.open` does."""
        place = _needed(path or self.bundle, "--bundle")
        known = place.resolve()
        if known not in self._bundles:
            manifest = place / MANIFEST
            digest = file_sha256_hex(manifest) if manifest.is_file() else ""
            self._bundles[known] = self.signed(
                digest, lambda trust: Bundle.open(place, trust=trust.keys(Role.SKETCH_SIGNER))
            )
        return self._bundles[known]

    def recorded(self, digests: Iterable[str], time: datetime | None) -> None:
        """What has these digests was there at a time of the log, which is still to be verified; None: no one says."""
        if time is not None:
            self._recorded.update({digest: min(time, self._recorded.get(digest, time)) for digest in digests})

    def forget(self) -> None:
        """Something did not verify: what it said of times is nobody's word, and what counted by it is seen anew."""
        self._recorded.clear()
        self._bundles.clear()
        self._audits.clear()
        self._replays.clear()

    def signed(self, digest: str, verify: Callable[[TrustStore], _Made]) -> _Made:
        """What ``verify`` makes of something with this digest, by whose signatures count on it.

        The log at hand is only asked where the trust store alone does not do: it says which keys took whose place, and
        when things were recorded. `require_counting` asks it of everything else, once it is read.
        """
        try:
            return verify(self.trust.counting(self._recorded.get(digest)))
        except (SignatureError, ThresholdError):
            view = None
            with suppress(UnlearnkitError):
                view = None if self.log is None else self.view()
            if view is None:
                raise
            return verify(view.trusted(self.trust, digest))

    def trust_beside(self, view: LogView | None, digest: str) -> TrustStore:
        """Whose signatures count on what has this digest, by the log too, where that is at hand."""
        return self.trust.counting(self._recorded.get(digest)) if view is None else view.trusted(self.trust, digest)

    def require_counting(self, view: LogView) -> None:
        """SignatureError if the log says that who signed bundles and evidence that were looked at does not count."""
        looked = [(Role.SKETCH_SIGNER, item.digest, item.signers) for item in self._bundles.values()]
        for audits in self._audits.values():
            looked += [(Role.CERTIFICATE_SIGNER, item.digest, item.signers) for item in audits.values()]
        for replays in self._replays.values():
            looked += [(Role.CERTIFICATE_SIGNER, item.digest, item.signers) for item in replays.values()]
        for role, digest, signers in looked:
            keys = {key.key_id for key in view.trusted(self.trust, digest).keys(role)}
            if not keys & set(signers):
                ids = ", ".join(key[:16] for key in signers)
                raise SignatureError(f"{digest[:16]}... is signed by {ids}, revoked before that was recorded")

    def opened_for(self, digest: str) -> Bundle:
        """The bundle at hand of which this is the digest, or else the one that was named: then that is told apart."""
        if self.bundle is None:
            return self.opened_as(digest)
        try:
            return self.opened_as(digest)
        except UnknownNameError:
            return self.opened()

    def opened_as(self, digest: str) -> Bundle:
        """The bundle at hand of which this is the digest; raises as `opened` does."""
        for place in (self.bundle, *self.bundles):
            if place is not None and (place / MANIFEST).is_file() and file_sha256_hex(place / MANIFEST) == digest:
                return self.opened(place)
        raise UnknownNameError(f"bundle {digest} is not there", hint="give its folder: --bundle, which may be repeated")

    def people_of(self, digest: str) -> Bundle | Remainder:
        """As `opened_as`; of a bundle that was cut, the signed list of its people."""
        for place in (self.bundle, *self.bundles):
            if place is not None and is_cut(place) and file_sha256_hex(place / MANIFEST) == digest:
                return open_remainder(place, trust=self.trust.keys(Role.SKETCH_SIGNER))
        return self.opened_as(digest)

    def view(self, path: Path | None = None, *, origin: str | None = None) -> LogView:
        """A log, by default the one at hand, verified against its checkpoint and all others of it that were `seen`.

        Raises as `LogView.verify` does. origin: the name of the log; by default the one that its checkpoint says.
        """
        place = _needed(path or self.log, "--log")
        name = origin or _origin(place)
        known, heads = (place.resolve(), name), self._heads.get(name, {})
        if known not in self._views:
            trust, key = self.trust, self.trust.log(name)
            memory = self.memory or Memory(None)
            with memory.evidence_kept():
                last = memory.last(key)
                view = LogView.verify(
                    place,
                    log=key,
                    witnesses=trust.witnesses,
                    quorum=self.quorum,
                    earlier=[head.raw for head in (*heads.values(), last) if head is not None],
                )
            if view.signed is not None:
                memory.remember(key, view.signed.checkpoint)
            self._views[known] = view
        else:
            _hold(self._views[known], list(heads.values()))
        return self._views[known]

    def view_of(self, origin: str, *, is_needed: bool) -> LogView | None:
        """The log of a name, if it is at hand; raises as `view` does. is_needed: there is nothing else to go by."""
        return self.view(origin=origin) if is_needed or self.has_log(origin) else None

    def has_log(self, origin: str) -> bool:
        """Whether the log of a name is at hand, or one that ought to be."""
        return self.log is not None and not (self.is_ours and _origin(self.log) != origin)

    def seen(self, head: Checkpoint) -> None:
        """Hold a verified checkpoint against others of its log that were seen, and the log to it when it is viewed.

        ConsistencyError if two of one size differ: no history has both.
        """
        other = self._heads.setdefault(head.origin, {}).setdefault(head.size, head)
        if other.root != head.root:
            raise ConsistencyError(
                f"the log {head.origin} was forked: it signed two different histories of {head.size} entries\n"
                f"{other.raw.decode()}{head.raw.decode()}".rstrip("\n"),
                older=other.raw,
                newer=head.raw,
            )

    def sizes_seen(self, origin: str) -> tuple[int, ...]:
        """Of how many entries the checkpoints of a log were that were seen."""
        return tuple(sorted(self._heads.get(origin, {})))

    def audits(self, bundle: Bundle) -> dict[str, Evidence]:
        """The evidence at hand about a bundle, by its digest; raises as `verify_evidence` does."""
        if bundle.digest not in self._audits:
            found = self._about(bundle, verify_evidence, replays=False)
            self._audits[bundle.digest] = {audit.digest: audit for audit in found}
        return self._audits[bundle.digest]

    def replays(self, bundle: Bundle) -> dict[str, SignedReplay]:
        """The signed replays among the evidence at hand, by digest; raises as `verify_signed_replay` does."""
        if bundle.digest not in self._replays:
            found = self._about(bundle, verify_signed_replay, replays=True)
            self._replays[bundle.digest] = {replay.digest: replay for replay in found}
        return self._replays[bundle.digest]

    def _about(self, bundle: Bundle, ask: Callable[..., _Said], *, replays: bool) -> list[_Said]:
        """What the files of evidence of one kind say; of the workspace's own, those about this bundle."""
        found = list[_Said]()
        for file in (*self.evidence, *self.own_evidence):
            if (recognise(file) is Kind.REPLAY) == replays:
                with nullcontext() if file in self.evidence else suppress(DigestMismatchError):
                    found.append(self.ask(file, bundle, ask))
        return found

    def ask(self, file: Path, bundle: Bundle, ask: Callable[..., _Said]) -> _Said:
        """What a file of evidence says of a bundle; raises as ``ask`` does."""
        raw, where = read_bounded(file, MAX_DOCUMENT), str(file)

        def asked(trust: TrustStore) -> _Said:
            return ask(raw, where=where, keys=trust.keys(Role.CERTIFICATE_SIGNER), bundle=bundle)

        return self.signed(sha256_hex(raw), asked)


def _hold(view: LogView, heads: Sequence[Checkpoint]) -> None:
    """What `verify_log` does with earlier checkpoints, for those that came to be known later."""
    signed = view.signed
    assert signed is not None  # noqa: S101 - it was verified
    known = {signed.checkpoint.size, *(head.size for head in signed.earlier)}
    for head in heads:
        if head.size not in known:
            check_root(head, size=min(head.size, len(view)), root=view.tree().root(min(head.size, len(view))))


def _expected(expect: Expect | None, trust: TrustStore) -> Expectations | None:
    if not isinstance(expect, str | Path):
        return trust.expect if expect is None else expect
    return parse_expectations(read_bounded(Path(expect), MAX_SETTINGS), where=str(expect))


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise UnknownNameError("what this file is about is not there", hint=f"give its folder: {option}")
    return path


def _origin(log: Path) -> str:
    file = log / CHECKPOINT_FILE
    if not file.is_file():
        raise SignatureError(f"{log} has no checkpoint: nothing signed says what the log should hold")
    return unverified_origin(read_bounded(file, MAX_NOTE), where=str(file))
