"""Who signed a certificate, of those who are trusted, and who may: its policy says by which role, and how many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from unlearnkit.compliance.policy.policy import Policy, Role, parse_policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.errors import ThresholdError
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.keys import PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE


class HasPolicy(Protocol):
    """A certificate of any kind."""

    @property
    def policy(self) -> str:
        """The whole text of the policy that it was made under."""


_Said = TypeVar("_Said", bound=HasPolicy)


def trusted_signers(
    envelope: bytes, trust: TrustStore, *, where: str, parse: Callable[..., _Said]
) -> tuple[_Said, tuple[PublicKey, ...]]:
    """A certificate that somebody trusted signed, and those keys of them that its policy lets sign.

    There may be fewer than the policy asks for: `require_threshold`. parse: makes the certificate of its payload.

    Raises SignatureError, ThresholdError if there is nobody, FormatError.
    """
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    verified = verify_envelope(envelope, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=1)
    certificate = parse(verified.payload, where=where)
    allowed = signing_keys(policy_of(certificate, where), trust)
    verified = verify_envelope(envelope, where=where, payload_type=PAYLOAD_TYPE, keys=allowed, threshold=1)
    return certificate, verified.keys


def signing_keys(policy: Policy, trust: TrustStore) -> list[PublicKey]:
    """The trusted keys that a policy lets sign certificates."""
    return list(dict.fromkeys(key for role in policy.signing.roles for key in trust.keys(role)))


def require_threshold(policy: Policy, keys: Sequence[PublicKey], *, where: str) -> None:
    """ThresholdError where fewer keys have signed than a policy asks for."""
    if len(keys) < policy.signing.threshold:
        raise ThresholdError(
            f"{where} has too few trusted signatures: got {len(keys)}, its policy asks for {policy.signing.threshold}",
            hint="`unlearnkit certify --countersign FILE` adds one",
        )


def policy_of(certificate: HasPolicy, where: str) -> Policy:
    """The policy that a certificate was made under."""
    return parse_policy(certificate.policy.encode(), where=f"{where}: policy")
