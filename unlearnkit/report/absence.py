"""The page of a certificate of exclusion or absence. Whatever it says is untrusted text, and escaped everywhere."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.report.environment import environment
from unlearnkit.report.html import Verified
from unlearnkit.verifier.absence import Absence, Exclusion


def render_absence(
    certificate: Absence,
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
    excluded = isinstance(certificate, Exclusion)
    return environment().get_template("absence.html").render(
        certificate=certificate,
        checks=checks,
        verified=verified,
        file=file,
        digest=digest,
        unchecked=unchecked,
        kind="exclusion certificate" if excluded else "absence certificate",
        before=certificate.before.release if isinstance(certificate, Exclusion) else "",
        after=certificate.after.release if isinstance(certificate, Exclusion) else "",
        people=len(certificate.subjects),
        releases=[item.release for item in certificate.releases],
        looked=certificate.looked,
        policy=parse_policy(certificate.policy.encode(), where="the certificate's policy"),
        quoted=shlex.quote(file),
    )  # fmt: skip
