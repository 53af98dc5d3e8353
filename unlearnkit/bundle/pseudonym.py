"""Pseudonyms: units are stored as HMAC-SHA256 of their names under a secret key, never by name.

Whoever has the key can ask by name; whoever has a pseudonym can ask by pseudonym; without the key nobody can tell which
name a pseudonym stands for, and destroying the key makes that final.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.files import PRIVATE_MODE, read_private, write_new
from unlearnkit.names import normal_name

_DOMAIN = b"unlearnkit/pseudonym/v1\0"
_TEXT = re.compile(rb"[0-9a-f]{64}\n?")


WORKSPACE, KEYS = "unlearnkit.toml", "keys"
"""The file that makes a folder a workspace, and the folder in it that holds its keys."""


class PseudonymKey:
    """A secret key of 32 bytes, which turns names into pseudonyms. Its representation never shows it.

    Args:
        secret: the 32 bytes.

    Example:
        >>> key = uk.PseudonymKey(bytes(32))
        >>> key.pseudonym("ann")[:16], key
        ('...', PseudonymKey(secret))

    """

    __slots__ = ("_secret",)

    FILE_NAME = "pseudonym.key"

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError(f"a pseudonym key has 32 bytes, got {len(secret)}")
        self._secret = secret

    def __repr__(self) -> str:
        return "PseudonymKey(secret)"

    @classmethod
    def generate(cls) -> PseudonymKey:
        """A new random key."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def load(cls, path: Path) -> PseudonymKey:
        """Read a key file: 64 hexadecimal digits.

        Raises UnknownNameError when there is none, RefusedError when others can read it, FormatError otherwise.
        """
        try:
            text = read_private(path)
        except FileNotFoundError:
            hint = "without it units can be named by pseudonym only; a new key would give other pseudonyms"
            raise UnknownNameError(f"there is no pseudonym key at {path}", hint=hint) from None
        if not _TEXT.fullmatch(text):
            raise FormatError(f"{path} is not a pseudonym key: expected 64 hexadecimal digits")
        return cls(bytes.fromhex(text.decode().strip()))

    def save(self, path: Path) -> None:
        """Write the key to a new file, readable by its owner alone. FileExistsError if there is one already."""
        write_new(path, self._secret.hex().encode() + b"\n", mode=PRIVATE_MODE)

    @classmethod
    def for_bundle(cls, bundle: Path) -> PseudonymKey:
        """The key of a bundle. Outside a workspace it is made on first use; a workspace's that is gone stays gone."""
        path = cls.path_for(bundle)
        if not path.exists() and path.parent == bundle.resolve().parent:
            with contextlib.suppress(FileExistsError):  # another process was faster: then its key is the key
                cls.generate().save(path)
        return cls.load(path)

    @classmethod
    def path_for(cls, bundle: Path) -> Path:
        """Where the key of a bundle lies: among the keys of the workspace around it, else beside it, never inside."""
        folder = bundle.resolve().parent
        for above in (folder, *folder.parents):
            if (above / WORKSPACE).is_file():
                return above / KEYS / cls.FILE_NAME
        return folder / cls.FILE_NAME

    @classmethod
    def beside(cls, bundle: Path) -> PseudonymKey | None:
        """The key of a bundle, if it is there and ours to read: whoever has none still asks by pseudonym."""
        file = cls.path_for(bundle)
        try:
            return cls.load(file) if file.exists() else None
        except PermissionError:
            return None

    @property
    def fingerprint(self) -> str:
        """Tells pseudonym keys apart where the key must not stand: 16 hexadecimal digits."""
        return self.pseudonym("\0fingerprint")[:16]  # no unit has a NUL in its name

    def pseudonym(self, name: str | int) -> str:
        """HMAC-SHA256("unlearnkit/pseudonym/v1" 0x00 name), 64 hexadecimal digits, of the name's one form.

        Spellings that look the same have the same pseudonym (`unlearnkit.names.normal_name`); a number is the same unit
        as its decimal text.
        """
        return hmac.new(self._secret, _DOMAIN + normal_name(name).encode(), hashlib.sha256).hexdigest()
