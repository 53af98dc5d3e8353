"""Encrypted private keys (PKCS#8, PBES2; RFC 8018): PBKDF2 with SHA-256 and many rounds, AES-256 in CBC mode.

Written here because the library that reads them writes 2,048 rounds only, and cannot be told another number.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from textwrap import wrap

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7

ROUNDS = 600_000
"""Of PBKDF2-HMAC-SHA256: each guess at a passphrase costs as many."""

_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")  # 1.2.840.113549.1.5.12
_HMAC_SHA256 = bytes.fromhex("300c06082a864886f70d02090500")  # 1.2.840.113549.2.9, NULL
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42


def encrypted_pem(pkcs8: bytes, passphrase: bytes) -> bytes:
    """The key (PKCS#8 in DER) as an ENCRYPTED PRIVATE KEY in PEM. ValueError for an empty passphrase."""
    if not passphrase:
        raise ValueError("a passphrase must be 1 or more bytes")
    salt, start = secrets.token_bytes(16), secrets.token_bytes(16)
    key = PBKDF2HMAC(hashes.SHA256(), 32, salt, ROUNDS).derive(passphrase)
    padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES256(key), modes.CBC(start)).encryptor()
    hidden = cipher.update(padder.update(pkcs8) + padder.finalize()) + cipher.finalize()
    stretched = _sequence(_PBKDF2, _sequence(_octets(salt), _integer(ROUNDS), _HMAC_SHA256))
    how = _sequence(_PBES2, _sequence(stretched, _sequence(_AES_256_CBC, _octets(start))))
    lines = wrap(b64encode(_sequence(how, _octets(hidden))).decode(), 64)
    return "\n".join(
        ["-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, "-----END ENCRYPTED PRIVATE KEY-----", ""]
    ).encode()


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, b"".join(parts))


def _octets(data: bytes) -> bytes:
    return _tagged(0x04, data)


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _tagged(tag: int, data: bytes) -> bytes:
    """DER: a length below 128 is one byte, a longer one says of how many bytes it is."""
    size = len(data)
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(length)]) + length) + data
