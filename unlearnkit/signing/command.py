"""A key that this program never sees: a command gets a digest and gives the signature, as tokens and services do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from unlearnkit.errors import RefusedError, SignatureError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey, PublicKey

SECONDS = 120
"""How long a command may take: somebody may have to touch a token."""


def commanded_key(command: Sequence[str], public: PublicKey) -> PrivateKey:
    """The key behind a command, which signs with P-256; what it signs is verified with ``public`` before it is used.

    The command gets the SHA-256 digest on its input (32 bytes), and writes the signature (DER) to its output.

    Raises:
        RefusedError: the public key is another kind; and when it signs, the command fails or takes too long.
        VerificationError: when it signs, the signature is not by that key.

    """
    if public.algorithm is not Algorithm.P256:
        raise RefusedError(f"a command signs with P-256: got the public key {public!r}")
    return PrivateKey(cast(ec.EllipticCurvePrivateKey, _Commanded(tuple(command), public)))


@dataclass(frozen=True)
class _Commanded:
    """As much of a key as `PrivateKey` asks for."""

    command: tuple[str, ...]
    public: PublicKey

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return cast(ec.EllipticCurvePublicKey, serialization.load_pem_public_key(self.public.pem))

    def sign(self, message: bytes, _: object) -> bytes:
        digest = hashes.Hash(hashes.SHA256())
        digest.update(message)
        signature = self._run(digest.finalize())
        try:
            self.public.verify(signature, message)
        except SignatureError:
            raise VerificationError(
                f"the command {self.command[0]} gave a signature that is not by {self.public.key_id}",
                hint="keys/signer.pub.pem must be the public half of the key that it signs with",
            ) from None
        return signature

    def private_bytes(self, *_: object) -> Never:
        raise RefusedError("the private key is not here: a command signs with it")

    def _run(self, digest: bytes) -> bytes:
        name = self.command[0]
        try:
            done = subprocess.run(self.command, input=digest, capture_output=True, timeout=SECONDS, check=True)  # noqa: S603
        except subprocess.CalledProcessError as err:
            told = err.stderr.decode("utf-8", "replace").strip()
            raise RefusedError(f"the command {name} did not sign: exit code {err.returncode}: {told}") from None
        except subprocess.TimeoutExpired:
            raise RefusedError(f"the command {name} did not sign within {SECONDS} seconds") from None
        return done.stdout
