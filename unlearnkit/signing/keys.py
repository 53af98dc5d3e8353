"""Keys as PEM files: ECDSA P-256 for signers of bundles and certificates, Ed25519 for logs and witnesses.

P-256 because OpenSSF model signing takes no Ed25519; Ed25519 because C2SP signed notes ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import FormatError, SignatureError, VerificationError
from unlearnkit.files import MAX_SECRET, PRIVATE_MODE, PUBLIC_MODE, read_bounded, read_private, write_new
from unlearnkit.signing.pbes2 import encrypted_pem

_ECDSA = ec.ECDSA(hashes.SHA256())
_PUBLIC, _PLAIN, _ENCRYPTED = "PUBLIC KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"  # PEM labels, RFC 7468
_UNREADABLE = (ValueError, UnsupportedAlgorithm, InternalError)  # the last: an Ed25519 key labelled as Ed448

_AnyPublic = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_AnyPrivate = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Algorithm(Enum):
    """What a key signs with."""

    P256 = "ecdsa-p256-sha256"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Verifies signatures; equal keys are equal values. Made by `parse_public_key` and `PrivateKey.public`.

    pem: SubjectPublicKeyInfo (RFC 5280) with 64 columns and a final newline, as openssl writes it.
    """

    pem: bytes

    @property
    def key_id(self) -> str:
        """SHA-256 of the PEM text: what `sha256sum` prints for its file, and the ``hint`` in model signatures."""
        return sha256_hex(self.pem)

    @property
    def algorithm(self) -> Algorithm:
        """Which kind of key this is."""
        return Algorithm.ED25519 if isinstance(self._loaded, ed25519.Ed25519PublicKey) else Algorithm.P256

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key (RFC 8032 section 5.1.5); ValueError for a P-256 key."""
        if self.algorithm is not Algorithm.ED25519:
            raise ValueError(f"only Ed25519 keys have raw bytes: got {self!r}")
        return cast(ed25519.Ed25519PublicKey, self._loaded).public_bytes_raw()

    @classmethod
    def from_raw(cls, raw: bytes) -> PublicKey:
        """The Ed25519 key with these 32 bytes; ValueError for another length."""
        return _public(ed25519.Ed25519PublicKey.from_public_bytes(raw))

    def verify(self, signature: bytes, message: bytes) -> bytes:
        """``message``, after checking that ``signature`` is by this key over it; otherwise SignatureError.

        Anybody can turn a P-256 signature into another valid one (r, n - s): its digest identifies nothing.
        """
        key = self._loaded
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, _ECDSA)
        except InvalidSignature:
            raise SignatureError(f"the signature does not verify with key {self.key_id}") from None
        return message

    def __repr__(self) -> str:
        return f"PublicKey({self.algorithm.value}, {self.key_id})"

    @property
    def _loaded(self) -> _AnyPublic:
        return cast(_AnyPublic, serialization.load_pem_public_key(self.pem))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PrivateKey:
    """Signs. Shows its public half only; `private_pem` is the one way to the secret."""

    _key: _AnyPrivate

    @classmethod
    def generate(cls, algorithm: Algorithm) -> PrivateKey:
        """A new key."""
        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> PublicKey:
        """The half to give away."""
        return _public(self._key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Ed25519: 64 bytes, always the same. P-256: DER of (r, s) over SHA-256, different every time."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, _ECDSA)

    def private_pem(self, passphrase: bytes | None = None) -> bytes:
        """The secret as PKCS#8, encrypted (`pbes2`) if there is a passphrase; ValueError for an empty one."""
        kind, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        if passphrase is None:
            return self._key.private_bytes(serialization.Encoding.PEM, kind, plain)
        return encrypted_pem(self._key.private_bytes(serialization.Encoding.DER, kind, plain), passphrase)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public!r})"


def parse_public_key(pem: bytes, *, where: str) -> PublicKey:
    """A P-256 or Ed25519 key from SubjectPublicKeyInfo PEM; FormatError for anything else. Line ends do not matter."""
    _require_label(pem, (_PUBLIC,), where)
    try:
        key = serialization.load_pem_public_key(pem)
    except _UNREADABLE as err:
        raise FormatError(f"{where} is not a public key: {err}") from err
    if _is_p256(key) or isinstance(key, ed25519.Ed25519PublicKey):
        return _public(cast(_AnyPublic, key))
    raise FormatError(f"{where} is a key of another kind: got {_kind(key)}, expected P-256 or Ed25519")


def parse_private_key(pem: bytes, *, where: str, passphrase: bytes | None = None) -> PrivateKey:
    """A P-256 or Ed25519 key from PKCS#8 PEM.

    Raises FormatError for anything else; VerificationError for a passphrase that is wrong, missing, or not needed.
    """
    _require_label(pem, (_PLAIN, _ENCRYPTED), where)
    if is_encrypted(pem) and not passphrase:
        raise VerificationError(f"{where} is encrypted, and no passphrase was given", hint="give the key's passphrase")
    if passphrase and not is_encrypted(pem):
        raise VerificationError(f"{where} is not encrypted, but a passphrase was given", hint="is it the right key?")
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except _UNREADABLE:
        if passphrase:  # a wrong passphrase and a damaged file look alike
            raise VerificationError(f"{where} cannot be decrypted: wrong passphrase, or a damaged file") from None
        raise FormatError(f"{where} is not a private key: its PKCS#8 cannot be read") from None
    if _is_p256(key) or isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey(cast(_AnyPrivate, key))
    raise FormatError(f"{where} is a key of another kind: got {_kind(key)}, expected P-256 or Ed25519")


def is_encrypted(pem: bytes) -> bool:
    """Whether this private key needs a passphrase."""
    return f"-----BEGIN {_ENCRYPTED}-----".encode() in pem


def read_public_key(path: Path) -> PublicKey:
    """`parse_public_key` of a file."""
    return parse_public_key(read_bounded(path, MAX_SECRET), where=str(path))


def read_private_key(path: Path, *, passphrase: bytes | None = None) -> PrivateKey:
    """`parse_private_key` of a file; RefusedError if group or others have any access to it."""
    return parse_private_key(read_private(path), where=str(path), passphrase=passphrase)


def write_private_key(path: Path, key: PrivateKey, *, passphrase: bytes | None = None) -> None:
    """A new file that only its owner can read. Keys are never overwritten: FileExistsError."""
    write_new(path, key.private_pem(passphrase), mode=PRIVATE_MODE)


def write_public_key(path: Path, key: PublicKey) -> None:
    """A new file with the PEM text; FileExistsError if there is one already."""
    write_new(path, key.pem, mode=PUBLIC_MODE)


def _require_label(pem: bytes, labels: tuple[str, ...], where: str) -> None:
    """One PEM block with one of ``labels``: of several, the library would silently take the first."""
    begins = [line.strip() for line in pem.splitlines() if line.startswith(b"-----BEGIN ")]
    if len(begins) != 1 or begins[0] not in [f"-----BEGIN {label}-----".encode() for label in labels]:
        got = (
            repr(begins[0].strip(b"- ").decode("ascii", "replace")) if len(begins) == 1 else f"{len(begins)} PEM blocks"
        )
        raise FormatError(
            f"{where} must be one PEM block: got {got}, expected {' or '.join(f'BEGIN {label}' for label in labels)}",
            hint="`openssl pkey -in KEY` writes a private key as PKCS#8, and with -pubout its public half",
        )


def _public(key: _AnyPublic) -> PublicKey:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return PublicKey(key.public_bytes(serialization.Encoding.PEM, spki))


def _is_p256(key: object) -> bool:
    return _curve(key) == ec.SECP256R1.name


def _kind(key: object) -> str:
    return _curve(key) or type(key).__name__


def _curve(key: object) -> str | None:
    return key.curve.name if isinstance(key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)) else None
