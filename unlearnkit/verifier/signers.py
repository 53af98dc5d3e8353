"""Who signed a certificate, of those who are trusted, and who may: its policy says by which role."""

from __future__ import annotations

from unlearnkit.compliance.policy.policy import Policy, Role, parse_policy
from unlearnkit.compliance.policy.trust import TrustStore
from unlearnkit.signing.dsse import verify_envelope
from unlearnkit.signing.keys import PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE
from unlearnkit.verifier.certificate import Certificate, parse_certificate
from unlearnkit.verifier.certificate_file import CertificateFile


def trusted_signers(
    file: CertificateFile, trust: TrustStore, *, where: str
) -> tuple[Certificate, tuple[PublicKey, ...]]:
    """A certificate that somebody trusted signed, and those keys of them that its policy lets sign.

    There may be fewer than the policy asks for. Raises SignatureError, ThresholdError if there is nobody, FormatError.
    """
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    verified = verify_envelope(file.envelope, where=where, payload_type=PAYLOAD_TYPE, keys=keys, threshold=1)
    certificate = parse_certificate(verified.payload, where=where)
    allowed = signing_keys(policy_of(certificate, where), trust)
    verified = verify_envelope(file.envelope, where=where, payload_type=PAYLOAD_TYPE, keys=allowed, threshold=1)
    return certificate, verified.keys


def signing_keys(policy: Policy, trust: TrustStore) -> list[PublicKey]:
    """The trusted keys that a policy lets sign certificates."""
    return list(dict.fromkeys(key for role in policy.signing.roles for key in trust.keys(role)))


def policy_of(certificate: Certificate, where: str) -> Policy:
    """The policy that a certificate was made under."""
    return parse_policy(certificate.policy.encode(), where=f"{where}: policy")
