"""The delta budget: certificates from one bundle add up their chances of being wrong (docs/theory.md section 4).

The account is not stored anywhere: it is what the log's entries about certificates come to. The same question asked
again has the same answer, and spends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from unlearnkit.canonical import take_fields
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.errors import BudgetExceededError, FormatError
from unlearnkit.signing.statement import require_sha256

CERTIFICATE_ISSUED = "certificate-issued"
"""Type of the entries that record certificates."""

_DELTA = re.compile(r"0\.[0-9]{1,20}")
_FIELDS: dict[str, type] = {
    **dict.fromkeys(("bundle", "certificate", "decision", "policy_digest", "request"), str),
    "questions": list,
}


@dataclass(frozen=True, slots=True)
class Issued:
    """An entry about a certificate. questions: delta by the digest of the question."""

    index: int
    bundle: str
    certificate: str
    decision: str
    request: str
    policy_digest: str
    questions: Mapping[str, Decimal]


def parse_issued(index: int, body: Mapping[str, Any]) -> Issued:
    """An entry's body; FormatError for anything else."""
    where = f"entry {index}: {CERTIFICATE_ISSUED}"
    fields = take_fields(body, where=where, required=_FIELDS)
    for name in ("bundle", "certificate", "policy_digest"):
        require_sha256(fields[name], where=f"{where}: {name}")
    questions: dict[str, Decimal] = {}
    for item in fields.pop("questions"):
        asked = take_fields(item, where=where, required={"question": str, "delta": str})
        if not _DELTA.fullmatch(asked["delta"]):
            raise FormatError(f"{where}: delta must be a probability: got {asked['delta']!r}")
        questions[require_sha256(asked["question"], where=where)] = Decimal(asked["delta"])
    return Issued(index=index, questions=questions, **fields)


def issued_certificates(entries: Iterable[Entry]) -> list[Issued]:
    """All certificates that a log records, in order."""
    return [parse_issued(entry.index, entry.body) for entry in entries if entry.type == CERTIFICATE_ISSUED]


class DeltaAccount:
    """What questions to one bundle have spent."""

    def __init__(self, bundle: str, issued: Iterable[Issued] = ()) -> None:
        self.bundle = bundle
        self._questions: dict[str, Decimal] = {}
        for certificate in issued:
            if certificate.bundle == bundle:
                self._questions.update(certificate.questions)

    @property
    def spent(self) -> Decimal:
        """The sum of all deltas."""
        return sum(self._questions.values(), Decimal(0))

    def spend(self, questions: Sequence[tuple[str, Decimal]], budget: Decimal | None) -> Decimal:
        """The account after these questions; BudgetExceededError when they are more than the budget allows.

        budget: None allows nothing, as everything that a policy does not state.
        """
        before = self.spent
        asked = {**self._questions, **dict(questions)}
        after = sum(asked.values(), Decimal(0))
        if after > before and (budget is None or after > budget):
            allowed = "no delta budget at all" if budget is None else f"a delta budget of {budget}"
            raise BudgetExceededError(
                f"the policy allows {allowed} for bundle {self.bundle[:16]}...: {before} is spent, "
                f"and this would make it {after}",
                hint="ask with smaller deltas, ask a question again that was answered, or make a new sketch",
            )
        self._questions = asked
        return after
