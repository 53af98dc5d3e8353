"""What a verification can draw on: trusted keys, and the bundle, the log and the evidence that files are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.log.checkpoint import unverified_origin
from unlearnkit.compliance.log.head import CHECKPOINT_FILE
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.compliance.view import LogView
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.errors import SignatureError, UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.signing.note import MAX_NOTE
from unlearnkit.verifier.evidence import Evidence, verify_evidence

Trust = TrustStore | Path | str | Sequence[Path | str]
"""A trust store, or what `read_trusted` makes one of."""


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

    bundle, log: folders. evidence: files of retraining audits.
    """

    trust: TrustStore
    bundle: Path | None = None
    log: Path | None = None
    evidence: tuple[Path, ...] = ()
    _bundles: dict[Path, Bundle] = field(default_factory=dict, init=False, repr=False, compare=False)
    _views: dict[tuple[Path, str], LogView] = field(default_factory=dict, init=False, repr=False, compare=False)
    _audits: dict[str, dict[str, Evidence]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def at_hand(
        cls,
        *,
        bundle: Path | str | None = None,
        log: Path | str | None = None,
        trust: Trust | None = None,
        evidence: Sequence[Path | str] = (),
    ) -> Materials:
        """What was given, and for trust and log otherwise those of the workspace around the current directory.

        Raises:
            SignatureError: No trust store was given, and there is no workspace: that verifies nothing.
            FormatError: A trust store is malformed.
        """
        store = trust_at_hand(trust)
        if store is None:
            raise SignatureError("no key is trusted: that verifies nothing", hint="give --trust, or be in a workspace")
        workspace = WorkspaceFiles.nearest() if log is None else None
        place = Path(log) if log is not None else None if workspace is None else workspace.log_path
        return cls(
            trust=store,
            bundle=None if bundle is None else Path(bundle),
            log=place,
            evidence=tuple(map(Path, evidence)),
        )

    def opened(self, path: Path | None = None) -> Bundle:
        """A bundle, by default the one at hand, signed by somebody trusted; raises as `Bundle.open` does."""
        place = _needed(path or self.bundle, "--bundle")
        known = place.resolve()
        if known not in self._bundles:
            self._bundles[known] = Bundle.open(place, trust=self.trust.keys(Role.SKETCH_SIGNER))
        return self._bundles[known]

    def view(self, path: Path | None = None, *, origin: str | None = None) -> LogView:
        """A log, by default the one at hand, verified against its checkpoint; raises as `LogView.verify` does.

        origin: the name of the log; by default the one that its checkpoint says.
        """
        place = _needed(path or self.log, "--log")
        known = place.resolve(), origin or _origin(place)
        if known not in self._views:
            trust, key = self.trust, self.trust.log(known[1])
            self._views[known] = LogView.verify(place, log=key, witnesses=trust.witnesses, quorum=trust.witness_quorum)
        return self._views[known]

    def audits(self, bundle: Bundle) -> dict[str, Evidence]:
        """The evidence at hand about a bundle, by its digest; raises as `verify_evidence` does."""
        if bundle.digest not in self._audits:
            keys = self.trust.keys(Role.CERTIFICATE_SIGNER)
            found = [
                verify_evidence(read_bounded(file, MAX_DOCUMENT), where=str(file), keys=keys, bundle=bundle)
                for file in self.evidence
            ]
            self._audits[bundle.digest] = {audit.digest: audit for audit in found}
        return self._audits[bundle.digest]


def _needed(path: Path | None, option: str) -> Path:
    if path is None:
        raise UnknownNameError("what this file is about is not there", hint=f"give its folder: {option}")
    return path


def _origin(log: Path) -> str:
    file = log / CHECKPOINT_FILE
    if not file.is_file():
        raise SignatureError(f"{log} has no checkpoint: nothing signed says what the log should hold")
    return unverified_origin(read_bounded(file, MAX_NOTE), where=str(file))
