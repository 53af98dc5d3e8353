"""Pseudonyms: units are stored under secret keys, never by name.

A name has a tag under one secret, and its tag is enciphered under another: that is the pseudonym. Whoever has the key
can ask by name; whoever has a pseudonym can ask by pseudonym; without the key nobody can tell which name a pseudonym
stands for, and destroying the key makes that final.

One person can be forgotten alone. The key is replaced by one that holds the pseudonyms of everybody else in a table,
tag by tag, and a new second secret for names that come later. With the old one gone, nothing leads from the forgotten
name to its pseudonym, and the name is like one that was never seen (docs/adr/0008-forgetting-one.md).
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from unlearnkit.bundle.pseudonyms import BYTES, Pseudonyms
from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, PRIVATE_MODE, read_private, write_atomic, write_new
from unlearnkit.names import Pattern, Sha256, normal_name
from unlearnkit.records import read_json, write_json

Array = np.ndarray[Any, Any]

_DOMAIN = b"unlearnkit/pseudonym/v1\0"
_TEXT = re.compile(rb"[0-9a-f]{64}\n?")
_TAG_BYTES = 24
_AT_ONCE = 1 << 14
_ZEROS = bytes(8)
"""After the tag, enciphered with it: a pseudonym under another secret does not have them."""
_FIRST = bytes(16)  # as each name is enciphered once, and its tag looks random, CBC needs no other first block

Tag = Annotated[str, Pattern("[0-9a-f]{48}", "48 lower-case hexadecimal digits")]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPseudonyms:
    """The file of a key that has forgotten somebody. tags, fresh: its secrets. kept: older pseudonyms, by tag."""

    schema: Literal["unlearnkit/pseudonyms/v1"] = "unlearnkit/pseudonyms/v1"
    tags: Sha256
    fresh: Sha256
    kept: Mapping[Tag, Sha256]


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

    __slots__ = ("_fresh", "_kept", "_secret", "_tags")

    FILE_NAME = "pseudonym.key"

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError(f"a pseudonym key has 32 bytes, got {len(secret)}")
        self._secret: bytes | None = secret
        self._tags = hmac.digest(secret, _DOMAIN + b"tags", "sha256")
        self._fresh = hmac.digest(secret, _DOMAIN + b"fresh", "sha256")
        self._kept: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return "PseudonymKey(secret)"

    @classmethod
    def generate(cls) -> PseudonymKey:
        """A new random key."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def load(cls, path: Path) -> PseudonymKey:
        """Read a key file: 64 hexadecimal digits; or what `replace` writes.

        Raises UnknownNameError when there is none, RefusedError when others can read it, FormatError otherwise.
        """
        try:
            raw = read_private(path, most=MAX_DOCUMENT)
        except FileNotFoundError:
            hint = "without it units can be named by pseudonym only; a new key would give other pseudonyms"
            raise UnknownNameError(f"there is no pseudonym key at {path}", hint=hint) from None
        if raw.startswith(b"{"):
            return cls._with_table(read_json(KeptPseudonyms, raw, where=str(path)))
        if not _TEXT.fullmatch(raw):
            raise FormatError(f"{path} is not a pseudonym key: expected 64 hexadecimal digits")
        return cls(bytes.fromhex(raw.decode().strip()))

    @classmethod
    def _with_table(cls, stored: KeptPseudonyms) -> PseudonymKey:
        made = cls.__new__(cls)
        made._secret = None  # noqa: SLF001 - its own
        made._tags, made._fresh = bytes.fromhex(stored.tags), bytes.fromhex(stored.fresh)  # noqa: SLF001
        made._kept = {bytes.fromhex(tag): pseudonym for tag, pseudonym in stored.kept.items()}  # noqa: SLF001
        return made

    def save(self, path: Path) -> None:
        """Write the key to a new file, readable by its owner alone. FileExistsError if there is one already."""
        write_new(path, self._to_bytes(), mode=PRIVATE_MODE)

    def replace(self, path: Path) -> None:
        """Put the key in the place of another one, whose bytes are overwritten as far as the file system does that."""
        with path.open("r+b") as old:
            write_atomic(path, self._to_bytes(), mode=PRIVATE_MODE)
            old.write(bytes(os.fstat(old.fileno()).st_size))
            old.flush()
            os.fsync(old.fileno())

    def _to_bytes(self) -> bytes:
        if self._secret is not None:
            return self._secret.hex().encode() + b"\n"
        kept = {tag.hex(): pseudonym for tag, pseudonym in self._kept.items()}
        return write_json(KeptPseudonyms(tags=self._tags.hex(), fresh=self._fresh.hex(), kept=kept))

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
        """Tells pseudonym keys apart where the key must not stand: 16 hexadecimal digits. Forgetting keeps it."""
        return hmac.digest(self._tags, _DOMAIN + b"\0fingerprint", "sha256").hex()[:16]  # no name has a NUL

    def pseudonym(self, name: str | int) -> str:
        """The pseudonym of a name, 64 hexadecimal digits, from the name's one form.

        Spellings that look the same have the same pseudonym (`unlearnkit.names.normal_name`); a number is the same unit
        as its decimal text.
        """
        tag = self._tag_of(name)
        if tag in self._kept:
            return self._kept[tag]
        return Cipher(AES256(self._fresh), CBC(_FIRST)).encryptor().update(tag + _ZEROS).hex()

    def pseudonyms(self, names: Iterable[str | int]) -> Pseudonyms:
        """The pseudonyms of many names, in their order, as `pseudonym` gives them one by one."""
        remaining, made = iter(names), [np.empty((0, BYTES), dtype=np.uint8)]
        while tags := [self._tag_of(name) for name in islice(remaining, _AT_ONCE)]:
            digests = self._enciphered(tags)
            for place, tag in enumerate(tags) if self._kept else ():
                if tag in self._kept:
                    digests[place] = np.frombuffer(bytes.fromhex(self._kept[tag]), dtype=np.uint8)
            made.append(digests)
        return Pseudonyms(np.concatenate(made))

    def _tag_of(self, name: str | int) -> bytes:
        return hmac.digest(self._tags, _DOMAIN + normal_name(name).encode(), "sha256")[:_TAG_BYTES]

    def _enciphered(self, tags: Sequence[bytes]) -> Array:
        """The ciphertexts ``[tags, 32]``, each by itself: of CBC's two blocks the second is chained to the first."""
        plain = np.zeros((len(tags), BYTES), dtype=np.uint8)
        plain[:, :_TAG_BYTES] = np.frombuffer(b"".join(tags), dtype=np.uint8).reshape(-1, _TAG_BYTES)
        block = Cipher(AES256(self._fresh), ECB())  # noqa: S305 - the bare permutation, of which CBC is made here
        for half, before in ((slice(0, 16), None), (slice(16, 32), slice(0, 16))):
            chained = plain[:, half] if before is None else plain[:, half] ^ plain[:, before]
            raw = block.encryptor().update(chained.tobytes())
            plain[:, half] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 16)
        return plain

    def unknown(self, pseudonyms: Iterable[str]) -> list[str]:
        """Those of some pseudonyms that no name has under this key."""
        kept = set(self._kept.values())
        return [item for item, tag in self._with_tags(pseudonyms) if item not in kept and tag is None]

    def keeping(self, pseudonyms: Iterable[str]) -> PseudonymKey:
        """A key under which the names of these keep their pseudonyms, and every other name gets a new one.

        Those that no name has under this key are passed over.
        """
        tags = {pseudonym: tag for tag, pseudonym in self._kept.items()}
        known = ((tags.get(item, tag), item) for item, tag in self._with_tags(pseudonyms))
        kept = {tag.hex(): item for tag, item in known if tag is not None}
        fresh = secrets.token_hex(32)
        return self._with_table(KeptPseudonyms(tags=self._tags.hex(), fresh=fresh, kept=kept))

    def _with_tags(self, pseudonyms: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each with what was enciphered; None for what was not enciphered under this key."""
        remaining = iter(pseudonyms)
        while items := list(islice(remaining, _AT_ONCE)):
            raw = bytes.fromhex("".join(items))
            blocks = Cipher(AES256(self._fresh), ECB()).decryptor().update(raw)  # noqa: S305 - as in `_enciphered`
            plain = np.frombuffer(blocks, dtype=np.uint8).reshape(-1, BYTES).copy()
            plain[:, 16:] ^= np.frombuffer(raw, dtype=np.uint8).reshape(-1, BYTES)[:, :16]
            for item, row in zip(items, plain, strict=True):
                text = row.tobytes()
                yield item, text[:_TAG_BYTES] if text[_TAG_BYTES:] == _ZEROS else None
