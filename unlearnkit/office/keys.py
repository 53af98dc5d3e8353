"""The keys of a workspace over years: one takes the place of another, and one ends; both are in the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.policy.keyring import KEY_REVOKED, KEY_ROTATED, KeyRevoked, Reason, rotated
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.policy.trust import Signer
from unlearnkit.compliance.policy.trust_text import with_end, with_key
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, UnknownNameError
from unlearnkit.files import MAX_SETTINGS, PUBLIC_MODE, fsync_directory, read_bounded, read_private, write_atomic
from unlearnkit.office.certificates import CertificateSteps
from unlearnkit.records import to_json
from unlearnkit.signing.keys import (
    Algorithm,
    PrivateKey,
    PublicKey,
    read_private_key,
    read_public_key,
    write_private_key,
)
from unlearnkit.signing.note import note_key

LOG, SIGNER = "log", "signer"
_ALGORITHMS = {LOG: Algorithm.ED25519, SIGNER: Algorithm.P256}


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey:
    """A key took the place of another. key, successor: digests. kept: where the old private key is now, if anywhere."""

    name: str
    key: str
    successor: str
    kept: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedKey:
    """A key ended: what it signed counts if it was recorded before ``since``."""

    key: str
    since: datetime
    reason: Reason


@dataclass(frozen=True)
class KeySteps(CertificateSteps):
    """What is done with keys, as `RequestSteps` is for requests; the same words mean the same."""

    def rotate_key(self, name: str, *, to: PublicKey | None = None) -> RotatedKey:
        """Put a new key in the place of the log's or of the signer's, signed with the old one, and on record.

        Both count from then on, and while the log's old key is in the folder of keys, checkpoints are signed with both,
        until the old one is revoked. An interrupted rotation goes on when it is asked for again.

        Args:
            name: "log" or "signer".
            to: The public half of a new key that a command signs with; None: a new key is made.

        Raises:
            RefusedError: A command signs now, and no new key was named; or the key is of the wrong kind.
            VerificationError: The log is not what was signed before, or the passphrase is wrong.
        """
        new = self._new_key(name, to)
        view = self.view()
        done = [item for item in view.keyring.rotations if item.successor == new]
        old = done[-1].key if done else self._record_rotation(name, new, view)
        if name == LOG and to is not None:  # the settings do not name the command of the new key yet
            publish_checkpoint(self.open_log(), self.log_key(self.passphrase))
        if name == LOG:
            self._edit_trust(with_key(self._trust_text(), note_key(self.origin, new), where=str(self.trust_path)))
        else:
            known = next((item for item in self.trust().signers if item.key == old), None)
            signer = Signer("this workspace", tuple(Role), new) if known is None else replace(known, key=new)
            self._edit_trust(with_key(self._trust_text(), signer, where=str(self.trust_path)))
        self._put_in_place(name, old, new)
        if name != LOG or to is None:
            publish_checkpoint(self.open_log(), self.log_key(self.passphrase))
        self._next(name).unlink(missing_ok=True)  # as long as it is there, the rotation goes on
        kept = self.key_before(name, old)
        return RotatedKey(name=name, key=old.key_id, successor=new.key_id, kept=kept if kept.exists() else None)

    def revoke_key(
        self,
        key: str,
        *,
        reason: Reason = "superseded",
        since: datetime | None = None,
    ) -> RevokedKey:
        """End a key of the trust store, on record: what it signed counts only if it was recorded before.

        Args:
            key: Its digest, or the beginning of it.
            reason: Why.
            since: From when on, if it is known to have been in other hands before; None: now.

        Raises:
            UnknownNameError: The trust store has no such key, or several.
            RefusedError: It is in use: another has to take its place first.
            ValueError: A time in the future.
        """
        found = self._trusted_key(key)
        if found in self._in_use():
            raise RefusedError(
                f"the key {found.key_id[:16]} is in use",
                hint="put another in its place first: `unlearnkit keys rotate`",
            )
        view, log = self.view(), self.open_log()
        with log.exclusive() as writer:
            if since is not None and since > writer.now():
                raise ValueError(f"a time in the future: got {since}, it is {writer.now()}")
            ended = view.up_to(writer.end).keyring.revoked().get(found.key_id)
            if ended is None or (since is not None and since < ended):
                ended = since or writer.begin_second()
                said = KeyRevoked(key=found.key_id, since=ended, reason=reason, by=self._who(None))
                writer.record_many([draft(KEY_REVOKED, to_json(said))])
        self._edit_trust(with_end(self._trust_text(), found.key_id, ended, where=str(self.trust_path)))
        publish_checkpoint(log, _without(self.log_key(self.passphrase), found))
        return RevokedKey(key=found.key_id, since=ended, reason=reason)

    def _new_key(self, name: str, to: PublicKey | None) -> PublicKey:
        """The key that shall be the next, on disk."""
        if to is not None or (self.sign if name == SIGNER else self.sign_log):
            return self._new_commanded(name, to)
        file = self._next(name)
        if not file.exists():
            write_private_key(file, PrivateKey.generate(_ALGORITHMS[name]), passphrase=self.passphrase)
        return read_private_key(file, passphrase=self.passphrase).public

    def _new_commanded(self, name: str, to: PublicKey | None) -> PublicKey:
        if to is None:
            raise RefusedError("a command signs here: its key cannot be made", hint="name the new public key: --to")
        if to.algorithm is not _ALGORITHMS[name]:
            raise RefusedError(f"the {name} signs with {_ALGORITHMS[name].value}: got {to!r}")
        return to

    def _next(self, name: str) -> Path:
        """Where the new private key is until everything else is done."""
        return self.keys_path / f"{name}.next.pem"

    def _record_rotation(self, name: str, new: PublicKey, view: LogView) -> PublicKey:
        """Record that the new key takes the place of the one in use; gives that one."""
        old = self.log_key(self.passphrase).private if name == LOG else self.signer_key(self.passphrase)
        if old.public == new:
            raise RefusedError("that key is in use already")
        said = rotated(old, new, origin=self.origin, by=self._who(None))
        with self.open_log().exclusive() as writer:
            _ = view.up_to(writer.end).keyring
            writer.record_many([draft(KEY_ROTATED, to_json(said))])
        return old.public

    def _put_in_place(self, name: str, old: PublicKey, new: PublicKey) -> None:
        """The old private key goes aside first; what a crash left done is done again, and comes to the same."""
        keys, following, before = self.keys_path, self._next(name), self.key_before(name, old)
        current = keys / f"{name}.pem"
        if current.exists() and not before.exists():
            before.hardlink_to(current)
        if following.exists():
            write_atomic(current, read_private(following))
        else:
            current.unlink(missing_ok=True)
        if name == LOG:
            write_atomic(keys / "log.vkey", f"{note_key(self.origin, new).vkey}\n".encode(), mode=PUBLIC_MODE)
        else:
            write_atomic(keys / "signer.pub.pem", new.pem, mode=PUBLIC_MODE)
        fsync_directory(keys)

    def _trusted_key(self, key: str) -> PublicKey:
        store = self.trust()
        known = dict.fromkeys([item.key for item in store.signers] + [item.public for item in store.logs])
        found = [item for item in known if item.key_id.startswith(key)] if len(key) >= 8 else []
        if len(found) != 1:
            raise UnknownNameError(
                f"{len(found)} keys of the trust store begin with {key!r}, expected one",
                hint="give 8 digits of its digest or more: `unlearnkit keys list`",
            )
        return found[0]

    def _in_use(self) -> tuple[PublicKey, ...]:
        """The keys that the workspace signs with."""
        return self.log_public_key().public, read_public_key(self.keys_path / "signer.pub.pem")

    def _trust_text(self) -> bytes:
        return read_bounded(self.trust_path, MAX_SETTINGS)

    def _edit_trust(self, raw: bytes) -> None:
        if raw != self._trust_text():
            write_atomic(self.trust_path, raw)


def _without(key: LogKey, ended: PublicKey) -> LogKey:
    """The log's key, without one of those before it."""
    gone = tuple(item for item in key.others if item.public == ended)
    return replace(
        key,
        also=tuple(item for item in key.also if item.public != ended),
        others=tuple(item for item in key.others if item.public != ended),
        retired=(*key.retired, *gone),
    )
