"""The page of a correction certificate. Whatever it says is untrusted text, and escaped everywhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.report.environment import environment
from unlearnkit.report.html import Verified
from unlearnkit.verifier.certificate import Outcome
from unlearnkit.verifier.correction import CorrectionCertificate


def render_correction(
    certificate: CorrectionCertificate,
    checks: Sequence[tuple[str, str]],
    *,
    verified: Verified,
    file: str,
    digest: str,
    unchecked: Sequence[str] = (),
) -> str:
    """The page, as HTML 5. checks: names of those that passed, and what they found. unchecked: what nobody looked at.

    file: the certificate's. digest: of its envelope. FormatError for a certificate whose policy is none.
    """
    policy = parse_policy(certificate.policy.encode(), where="the certificate's policy")
    return environment().get_template("correction.html").render(
        certificate=certificate,
        checks=checks,
        verified=verified,
        file=file,
        digest=digest,
        unchecked=unchecked,
        kind="correction certificate",
        people=len(certificate.without),
        may_be_served=certificate.decision.outcome == Outcome.CORRECT,
        tolerances=policy.correction.tolerances,
        evidence=sorted({item for claim in certificate.claims for item in claim.evidence}),
        policy=policy,
        quoted=shlex.quote(file),
    )  # fmt: skip
