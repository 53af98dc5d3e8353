"""The delta budget: certificates from one recipe and salt add up their chances of being wrong.

The account is not stored anywhere: it is what the log's entries about certificates come to. The same question asked
again has the same answer, and spends nothing (docs/theory.md sections 4 and 12).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from unlearnkit.bundle.manifest import Manifest
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.errors import BudgetExceededError
from unlearnkit.names import ProbabilityText, ReleaseId, RequestId, Sha256, probability_text
from unlearnkit.records import ELSEWHERE, from_json, to_json
from unlearnkit.shapes import As, Items
from unlearnkit.verifier.certificate import Certificate, Claim, Outcome, account_digest

CERTIFICATE_ISSUED = "certificate-issued"
"""Type of the entries that record certificates."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked of a bundle, as a digest, and the chance that the answer is wrong."""

    question: Sha256
    delta: Annotated[Decimal, As(ProbabilityText, Decimal, probability_text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An entry about a certificate: digests, numbers and words only. index: of the entry."""

    index: Annotated[int, ELSEWHERE]
    account: Sha256
    bundle: Sha256
    certificate: Sha256
    decision: Outcome
    requests: Annotated[tuple[RequestId, ...], Items(least=1, distinct=True)]
    policy_digest: Sha256
    release: ReleaseId
    questions: tuple[Question, ...]


def spending(claims: Iterable[Claim]) -> list[tuple[str, Decimal]]:
    """The questions that claims answer, and their deltas. An audited claim, one statement for all, spends none."""
    return [(claim.question, Decimal(claim.delta)) for claim in claims if claim.delta is not None]


def log_body(certificate: Certificate, envelope: bytes) -> Mapping[str, Any]:
    """What the log says of a certificate. ValueError for what no reader of the log would take."""
    issued = Issued(
        index=0,  # of no entry yet
        account=certificate.account,
        bundle=certificate.bundle,
        certificate=sha256_hex(envelope),
        decision=certificate.decision.outcome,
        policy_digest=certificate.policy_digest,
        release=certificate.release,
        questions=tuple(Question(*asked) for asked in spending(certificate.claims)),
        requests=certificate.requests,
    )
    return to_json(issued)  # type: ignore[no-any-return]


def parse_issued(index: int, body: Mapping[str, Any]) -> Issued:
    """An entry's body; FormatError for anything else."""
    return from_json(Issued, body, where=f"entry {index}: {CERTIFICATE_ISSUED}", index=index)


def issued_certificates(entries: Iterable[Entry]) -> list[Issued]:
    """All certificates that a log records, in order."""
    return [parse_issued(entry.index, entry.body) for entry in entries if entry.type == CERTIFICATE_ISSUED]


def account_of(manifest: Manifest) -> str:
    """The account of delta that a bundle's certificates spend from."""
    return account_digest(manifest.recipe_digest, manifest.salt)


class DeltaAccount:
    """What questions have spent. account: of which recipe and salt, see `account_digest`.

    disputed: questions that the log records with two deltas, which no honest issuer does; the largest counts.
    """

    def __init__(self, account: str, issued: Iterable[Issued] = ()) -> None:
        self.account = account
        self.disputed: tuple[str, ...] = ()
        self._questions: dict[str, Decimal] = {}
        for certificate in issued:
            if certificate.account == account:
                for asked in certificate.questions:
                    self._take(asked)

    def _take(self, asked: Question) -> None:
        known = self._questions.setdefault(asked.question, asked.delta)
        if known != asked.delta:
            self.disputed = (*self.disputed, asked.question)
            self._questions[asked.question] = max(known, asked.delta)

    @property
    def spent(self) -> Decimal:
        """The sum of all deltas."""
        return sum(self._questions.values(), Decimal(0))

    def spend(self, questions: Sequence[tuple[str, Decimal]], budget: Decimal | None) -> Decimal:
        """The account after these questions; BudgetExceededError when they are more than the budget allows.

        budget: None allows nothing, as everything that a policy does not state.
        """
        before = self.spent
        asked = dict(self._questions)
        for question, delta in questions:
            asked[question] = max(delta, asked.get(question, delta))
        after = sum(asked.values(), Decimal(0))
        if after > before and (budget is None or after > budget):
            allowed = "no delta budget at all" if budget is None else f"a delta budget of {budget}"
            raise BudgetExceededError(
                f"the policy allows {allowed} for recipe and salt {self.account[:16]}...: {before} is spent, "
                f"and this would make it {after}",
                hint="ask with smaller deltas, ask a question again that was answered, or make a new sketch",
            )
        self._questions = asked
        return after
