"""Expectations: what somebody who relies on certificates demands of them, beside what their own policy says.

A certificate carries its policy, and whoever issues it may have written that. So who checks it says what the policy
must be, how many must have signed, where randomness must come from: in ``[expect]`` of the trust store, or in a file of
its own. What is not stated is not expected, and a verification says so. An example::

    schema = "unlearnkit/expectations/v1"
    policies = ["ab12..."]                  # SHA-256 of each policy file that may decide
    threshold = 2                           # so many different people have signed, each with one of these roles
    roles = ["certificate-signer"]
    salt = "log"                            # directions follow from a checkpoint of the log, not from somebody's choice
    witnesses = 1                           # so many known witnesses have cosigned the checkpoint over the entry
    most_days = 90                          # a certificate is not older

    [tolerances]                            # the most that a policy may call negligible, by probe
    test_loss = 0.01

    [audit]                                 # what it must plan at least, see `audits`
    strata = [{ least = 1, most = 1, count = 59 }]
    content = 0.95
    confidence = 0.95
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from unlearnkit.compliance.policy.audits import AuditRules
from unlearnkit.compliance.policy.policy import Positive, Role
from unlearnkit.names import ProbeName, Sha256, counted
from unlearnkit.records import read_toml
from unlearnkit.shapes import Items, Limits

AtLeastOne = Annotated[int, Limits(least=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """What is expected of a certificate; None, and what is empty, expects nothing.

    policies: SHA-256 of those that may decide. threshold: so many keys with one of ``roles`` have signed.
    tolerances: by probe, the most that the policy may call negligible. salt: where it comes from.
    audit: what the policy must plan at least: these strata, with as many retrainings, content and confidence.
    witnesses: so many have cosigned the checkpoint. most_days: between the entry and now.
    """

    policies: Annotated[tuple[Sha256, ...], Items(distinct=True)] = ()
    threshold: AtLeastOne | None = None
    roles: Annotated[tuple[Role, ...], Items(distinct=True)] = (Role.CERTIFICATE_SIGNER,)
    tolerances: Mapping[ProbeName, Positive] = field(default_factory=dict)
    audit: AuditRules = field(default_factory=AuditRules)
    salt: Literal["log"] | None = None
    witnesses: AtLeastOne | None = None
    most_days: AtLeastOne | None = None

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError("roles: expected at least one, whose signatures count")

    def __str__(self) -> str:
        """In words."""
        said = [f"one of {counted(len(self.policies), 'policy')}"] if self.policies else []
        said += [f"signed by {self.threshold} with the role {' or '.join(self.roles)}"] if self.threshold else []
        said += [f"a tolerance of {name} of {most} at most" for name, most in sorted(self.tolerances.items())]
        said += [f"audits of {self.audit.people}"] if self.audit.strata else []
        said += ["a salt from the log"] if self.salt else []
        said += [f"cosigned by {self.witnesses}"] if self.witnesses else []
        said += [f"at most {counted(self.most_days, 'day')} old"] if self.most_days else []
        return ", ".join(said) or "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectationsFile(Expectations):
    """Expectations in a file of their own."""

    schema: Literal["unlearnkit/expectations/v1"] = "unlearnkit/expectations/v1"


def parse_expectations(raw: bytes, *, where: str) -> Expectations:
    """Expectations from TOML; FormatError says what is wrong where."""
    return read_toml(ExpectationsFile, raw, where=where)
