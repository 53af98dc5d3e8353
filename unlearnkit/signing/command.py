"""A key that this program never sees: a command is told what to sign, and gives the signature, as tokens do."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from unlearnkit.errors import RefusedError, SignatureError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey, PublicKey

SECONDS = 120
"""How long a command may take: somebody may have to touch a token."""


def commanded_key(command: Sequence[str], public: PublicKey) -> PrivateKey:
    """The key behind a command; what it signs is verified with ``public`` before it is used.

    For P-256, the command gets the SHA-256 digest on its input (32 bytes), and writes the signature (DER).
    For Ed25519, which signs no digests, it gets the message itself, and writes 64 bytes.

    Raises:
        RefusedError: when it signs, the command fails or takes too long.
        VerificationError: when it signs, the signature is not by that key.

    """
    return PrivateKey(cast(ec.EllipticCurvePrivateKey, _Commanded(tuple(command), public)))


@dataclass(frozen=True)
class _Commanded:
    """As much of a key as `PrivateKey` asks for."""

    command: tuple[str, ...]
    public: PublicKey

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return cast(ec.EllipticCurvePublicKey, serialization.load_pem_public_key(self.public.pem))

    def sign(self, message: bytes, _: object) -> bytes:
        is_digest = self.public.algorithm is Algorithm.P256
        signature = self._run(hashlib.sha256(message).digest() if is_digest else message)
        try:
            self.public.verify(signature, message)
        except SignatureError:
            raise VerificationError(
                f"the command {self.command[0]} gave a signature that is not by {self.public.key_id}",
                hint="keys/signer.pub.pem, or the vkey of the log, must be of the key that it signs with",
            ) from None
        return signature

    def private_bytes(self, *_: object) -> Never:
        raise RefusedError("the private key is not here: a command signs with it")

    def _run(self, message: bytes) -> bytes:
        name = self.command[0]
        try:
            done = subprocess.run(self.command, input=message, capture_output=True, timeout=SECONDS, check=True)  # noqa: S603
        except subprocess.CalledProcessError as err:
            told = err.stderr.decode("utf-8", "replace").strip()
            raise RefusedError(f"the command {name} did not sign: exit code {err.returncode}: {told}") from None
        except subprocess.TimeoutExpired:
            raise RefusedError(f"the command {name} did not sign within {SECONDS} seconds") from None
        return done.stdout
