"""A workspace: a directory with a log, its keys, a trust store and a policy, found from anywhere inside it.

unlearnkit.toml     name of the log, policy, who works here, time zone
trust.toml          whose signatures count
audit/              the log, and in policies/ the texts that its requests were received under
releases/           a link to the bundle of each release, by its id
keys/               secret: log.pem, signer.pem, pseudonym.key; to give away: log.vkey, signer.pub.pem
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from unlearnkit.bundle.pseudonym import KEYS, WORKSPACE, PseudonymKey
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.lock import require_locks
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.policy.policies import Policies, Shelf
from unlearnkit.compliance.policy.policy import Policy, Role
from unlearnkit.compliance.policy.trust import Signer, TrustStore, format_trust
from unlearnkit.compliance.policy.trusted import read_trusted
from unlearnkit.compliance.requests.desk import Desk, Gate
from unlearnkit.compliance.requests.register import KEY_CREATED, KeyCreated
from unlearnkit.compliance.settings import TEMPLATE, Sender, Settings, given_settings
from unlearnkit.errors import RefusedError, UnknownNameError
from unlearnkit.files import (
    MAX_SETTINGS,
    PRIVATE_MODE,
    PUBLIC_MODE,
    folder_mode,
    founded,
    fsync_directory,
    is_own,
    read_bounded,
    share,
    write_new,
)
from unlearnkit.names import Sha256, Word
from unlearnkit.records import read_toml, to_json
from unlearnkit.signing.command import commanded_key
from unlearnkit.signing.keys import (
    Algorithm,
    PrivateKey,
    PublicKey,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)
from unlearnkit.signing.note import NoteKey

_logger = logging.getLogger(__name__)

CREATED = "workspace-created"
"""Type of the first entry of a workspace's log."""
FILE_NAME = WORKSPACE
_TRUST, _LOG, _KEYS = "trust.toml", "audit", KEYS

_MODES = {"owner": PRIVATE_MODE, "group": 0o640, "everybody": PUBLIC_MODE}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceCreated:
    """How a log began. log: the key that its checkpoints are verified with."""

    log: str
    policy: Word
    policy_digest: Sha256


@dataclass(frozen=True)
class WorkspaceFiles:
    """The settings of a workspace, and where its files are. What is done with them is `unlearnkit.office.Workspace`.

    root: its directory. origin: name of the log. policy_source: name of a packaged policy, or a path from ``root``.
    actor: who works here, a word of the policy. timezone: where requests are received.
    """

    root: Path
    origin: str
    policy_source: str
    actor: str
    timezone: zoneinfo.ZoneInfo

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        origin: str,
        policy: str = "gdpr",
        policies: Sequence[str] = (),
        actor: str | None = None,
        timezone: str = "UTC",
        passphrase: bytes | None = None,
    ) -> Self:
        """Make a workspace, with new keys, a log and its first checkpoint; its last file is FILE_NAME.

        Args:
            root: Its directory, made if it is not there.
            origin: Name of the log, unique among all logs.
            policy: A packaged policy, or the path of a file from ``root``.
            policies: Further ones, for requests of other jurisdictions.
            actor: Who works here: a word of the policy; None: its first.
            timezone: Where requests are received, of the IANA database.
            passphrase: Encrypts the log's and the signer's key. The pseudonym key is needed with every request, and is
                not encrypted.

        Raises:
            FileExistsError: Any of its files is there already.
            ValueError: A setting makes no sense.
            PolicyError: The actor is no word of the policy, or two policies are for one jurisdiction.
            RefusedError: Locks do nothing on its file system. Nothing is left of what failed.
        """
        names = (FILE_NAME, _TRUST, _LOG, _KEYS)
        found = [name for name in names if (root / name).exists()]
        if found:
            raise FileExistsError(f"there is a workspace, or a part of one, in {root}: {', '.join(found)}")
        with founded(root, names):
            settings = given_settings(origin, policy, policies, actor or "", timezone)
            loaded = _load_policy(root, policy)
            Policies(default=loaded, others=tuple(_load_policy(root, name) for name in policies))
            who = loaded.require_word("actors", actor or next(iter(loaded.words.actors), ""))
            listed = ", ".join(f'"{name}"' for name in policies)
            written = TEMPLATE.format_map({**to_json(replace(settings, actor=who)), "policies": listed})
            _publish(root, LogKey(origin, PrivateKey.generate(Algorithm.ED25519)), loaded, passphrase)
            write_new(root / FILE_NAME, written.encode())
        return cls.read(root.resolve())

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """The workspace that ``start`` is in, by default the current directory.

        Raises:
            UnknownNameError: It is in none.
            FormatError: The settings of the workspace are malformed.
        """
        if (found := cls.nearest(start)) is None:
            raise UnknownNameError(
                f"no workspace at {(start or Path.cwd()).resolve()} or above", hint="`unlearnkit init` makes one"
            )
        return found

    @classmethod
    def nearest(cls, start: Path | None = None) -> Self | None:
        """`find`, but None where there is no workspace."""
        begin = (start or Path.cwd()).resolve()
        for folder in (begin, *begin.parents):
            if (folder / FILE_NAME).is_file():
                _require_own(folder)
                return cls.read(folder)
        return None

    @classmethod
    def read(cls, root: Path) -> Self:
        """The workspace in the directory ``root``; FormatError for settings that are malformed or unknown."""
        found = read_toml(Settings, read_bounded(root / FILE_NAME, MAX_SETTINGS), where=str(root / FILE_NAME))
        return cls(root, found.origin, found.policy, found.actor, found.timezone)

    def sender(self) -> Sender:
        """Who writes letters; UnknownNameError if the settings do not say."""
        file = self.root / FILE_NAME
        found = self._stored().sender
        if found is None:
            raise UnknownNameError(
                f"{file} does not say who writes letters", hint="add [sender] with name, address, contact, authority"
            )
        return found

    @property
    def sign(self) -> tuple[str, ...]:
        """The command that signs in the place of keys/signer.pem; empty: none does."""
        return self._stored().sign

    @property
    def sign_log(self) -> tuple[str, ...]:
        """The command that signs checkpoints in the place of keys/log.pem; empty: none does."""
        return self._stored().sign_log

    def _stored(self) -> Settings:
        file = self.root / FILE_NAME
        return read_toml(Settings, read_bounded(file, MAX_SETTINGS), where=str(file))

    @property
    def log_path(self) -> Path:
        """The directory of the audit log."""
        return self.root / _LOG

    @property
    def pseudonym_key_path(self) -> Path:
        """The file with the pseudonym key, until it is destroyed."""
        return self.root / _KEYS / PseudonymKey.FILE_NAME

    def policy(self) -> Policy:
        """The policy that requests are received under which say no jurisdiction, and that releases are kept under."""
        policy = _load_policy(self.root, self.policy_source)
        _logger.info("policy %s (%s, SHA-256 %s)", policy.name, self.policy_source, policy.digest)
        return policy

    def policies(self) -> Policies:
        """All policies that requests are received under, and the texts of those that they were received under before.

        Raises:
            PolicyError: Two are for the same jurisdiction, or none is for that of a source.
        """
        stored = self._stored()
        others = tuple(_load_policy(self.root, name) for name in stored.policies)
        shelf = Shelf.beside(self.log_path)
        return Policies(default=self.policy(), others=others, sources=stored.sources, shelf=shelf)

    @property
    def trust_path(self) -> Path:
        """The file of the trust store."""
        return self.root / _TRUST

    def trust(self) -> TrustStore:
        """The trust store."""
        return read_trusted([self.trust_path])

    def log_public_key(self) -> NoteKey:
        """What the log's checkpoints are verified with: the key under its name in the trust store."""
        return self.trust().log(self.origin)

    def log_key(self, passphrase: bytes | None = None) -> LogKey:
        """What the log's checkpoints are signed with: its key, and those before it that count still and are there."""
        known, command = self.log_public_key(), self.sign_log
        if command:
            private = commanded_key(command, known.public)
        else:
            private = read_private_key(self.keys_path / "log.pem", passphrase=passphrase)
        others = tuple(key for key in (known, *known.others) if key.public != private.public)
        files = [file for key in others if (file := self.key_before("log", key.public)).exists()]
        before = tuple(read_private_key(file, passphrase=passphrase) for file in files)
        return LogKey(self.origin, private, before, others, known.retired)

    @property
    def keys_path(self) -> Path:
        """The directory of the keys."""
        return self.root / _KEYS

    def key_before(self, name: str, public: PublicKey) -> Path:
        """Where a private key is kept after another took its place. name: "log" or "signer"."""
        return self.keys_path / f"{name}-{public.key_id[:16]}.pem"

    def signer_key(self, passphrase: bytes | None = None) -> PrivateKey:
        """What bundles, evidence and certificates are signed with: a key in a file, or what ``sign`` runs."""
        if command := self.sign:
            return commanded_key(command, read_public_key(self.keys_path / "signer.pub.pem"))
        return read_private_key(self.keys_path / "signer.pem", passphrase=passphrase)

    def open_log(self) -> AuditLog:
        """The audit log, ready for recording."""
        self.share(self.log_path)
        return AuditLog.open(self.log_path, now=clock.utc_now)

    def share(self, *places: Path) -> None:
        """Let those read what was written whom the settings name beside the owner."""
        if (mode := _MODES[self._stored().readers]) == PRIVATE_MODE:
            return
        for place in places:
            if place.parent.parent == self.root:  # the folder of certificates, or of evidence
                place.parent.chmod(folder_mode(mode))
            share(place, mode)

    def desk(
        self,
        *,
        actor: str | None = None,
        with_key: bool = False,
        policies: Policies | None = None,
        gate: Gate | None = None,
    ) -> Desk:
        """The desk for the requests in the log; only taking and finding requests by name needs the pseudonym key.

        policies: the workspace's, if they have been read already. gate: what has to be shown before one is fulfilled.
        """
        has_key = with_key and self.pseudonym_key_path.exists()
        key = PseudonymKey.load(self.pseudonym_key_path) if has_key else None
        log = AuditLog(self.log_path, now=clock.utc_now)  # not repaired before somebody records: others only read
        rules = policies or self.policies()
        return Desk(log, rules, actor=actor or self.actor, timezone=self.timezone, key=key, gate=gate)


def _require_own(root: Path) -> None:
    """Whoever owns the folder that one stands in would say whom one trusts: RefusedError unless that is oneself."""
    for place in (root, root / FILE_NAME):
        if not is_own(place.stat()):
            raise RefusedError(
                f"the workspace {root} belongs to somebody else: its settings and its trust are not taken from it",
                hint="say whom you trust with --trust, outside of it; or work in it as its owner",
            )


def _publish(root: Path, log_key: LogKey, policy: Policy, passphrase: bytes | None) -> None:
    """Put keys, log and trust store into ``root``, each whole or not at all."""
    staging = Path(tempfile.mkdtemp(dir=root, prefix=".unlearnkit-init."))
    try:
        require_locks(staging)
        _fill(staging, log_key, policy, passphrase)
        for name in (_KEYS, _LOG, _TRUST):
            (staging / name).rename(root / name)
        fsync_directory(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _load_policy(root: Path, source: str) -> Policy:
    """By its name, or from a file, whose path is from ``root``."""
    return Policy.load(root / source if "/" in source or source.endswith(".toml") else source)


def _fill(folder: Path, log_key: LogKey, policy: Policy, passphrase: bytes | None) -> None:
    keys, signer, pseudonyms = folder / _KEYS, PrivateKey.generate(Algorithm.P256), PseudonymKey.generate()
    keys.mkdir(mode=0o700)
    write_private_key(keys / "log.pem", log_key.private, passphrase=passphrase)
    write_new(keys / "log.vkey", f"{log_key.public.vkey}\n".encode(), mode=PUBLIC_MODE)
    write_private_key(keys / "signer.pem", signer, passphrase=passphrase)
    write_public_key(keys / "signer.pub.pem", signer.public)
    pseudonyms.save(keys / PseudonymKey.FILE_NAME)
    own = Signer("this workspace", tuple(Role), signer.public)
    write_new(folder / _TRUST, format_trust(TrustStore(signers=(own,), logs=(log_key.public,))).encode())
    log = AuditLog.create(folder / _LOG, now=clock.utc_now)
    created = WorkspaceCreated(log=log_key.public.vkey, policy=policy.name, policy_digest=policy.digest)
    log.record(CREATED, to_json(created))
    log.record(KEY_CREATED, to_json(KeyCreated(pseudonyms.fingerprint)))
    publish_checkpoint(log, log_key)
