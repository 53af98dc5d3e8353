"""``unlearnkit certify``: what the policy makes of a deletion request, from a bundle, signed and recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, pass_output

if TYPE_CHECKING:
    from unlearnkit.office.workspace import Certified
    from unlearnkit.verifier.certificate import Claim

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class _Probability(click.ParamType[Decimal]):
    name = "DELTA"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            return Decimal(str(value))
        except InvalidOperation:
            self.fail(f"got {value!r}, expected a decimal such as 0.01", param, ctx)


@click.command()
@click.argument("requests", nargs=-1)
@click.option("--open", "everybody", is_flag=True, help="All open requests of people whose data the release holds.")
@click.option("--release", metavar="RELEASE", help="Such as digits@1. Default: the one in force that holds their data.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Its bundle. Default: where it was registered.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit of the bundle. May be repeated.")
@click.option("--delta", type=_Probability(), help="Chance that a bound is wrong. Default: the policy's largest.")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="Default: named after the first.",
)
@passphrase_options
@pass_output
def certify(
    output: Output,
    *,
    requests: tuple[str, ...],
    everybody: bool,
    release: str | None,
    bundle: Path | None,
    evidence: tuple[Path, ...],
    delta: Decimal | None,
    path: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Certify what the model would be without the data of whoever made REQUESTS, and what the policy makes of that.

    One certificate is about all of them together, and about everybody who was answered without retraining before.
    The certificate is signed, recorded in the log, and covered by a new checkpoint. Beside it lies the proof that the
    log has it. A certificate spends delta from the bundle's budget; asking the same again spends nothing.

    \b
    Example:
      unlearnkit certify R2 R5 --evidence run/audit.json -o certificate.json
      unlearnkit certify --open --release digits@1
    """
    import unlearnkit as uk

    office = uk.Workspace.find().unlocked(passphrase.read())
    if everybody == bool(requests):
        raise click.UsageError("give requests, or --open")
    asked = office.open_requests(release) if everybody else requests
    with values_from_options():
        issued = office.certify(asked, release=release, bundle=bundle, evidence=evidence, delta=delta, out=path)
    output.say(f"Recorded as entry {issued.entry.index}; the proof is in {issued.proof}.")
    output.emit(_Issued.of(issued), _render)


@dataclass(frozen=True, slots=True)
class _Decision:
    outcome: str
    rule: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A claim, its numbers as the certificate writes them."""

    probe: str
    base: tuple[str, ...]
    predicted: tuple[str, ...]
    asked: tuple[str, ...]
    epsilon: tuple[str, ...]
    delta: str | None
    content: str | None
    confidence: str | None
    kind: str
    method: str
    covers: tuple[str, ...]

    @classmethod
    def of(cls, claim: Claim) -> _Claim:
        return cls(
            probe=claim.probe,
            base=claim.base,
            predicted=claim.predicted,
            asked=claim.asked,
            epsilon=claim.epsilon,
            delta=claim.delta,
            content=claim.content,
            confidence=claim.confidence,
            kind=claim.kind,
            method=claim.method,
            covers=claim.covers,
        )

    @property
    def sure(self) -> str:
        """How sure it is, in words."""
        if self.delta is not None:
            return f", delta {self.delta}"
        return "" if self.content is None else f", content {self.content} at confidence {self.confidence}"

    def __str__(self) -> str:
        if len(self.base) == 1:
            return f"{self.base[0]} now, {self.predicted[0]} without, give or take {self.epsilon[0]}"
        moved = max(abs(Decimal(p) - Decimal(b)) for p, b in zip(self.predicted, self.base, strict=True))
        return f"{len(self.base)} numbers change by {moved:.6g} at most, give or take {max(map(Decimal, self.epsilon))}"


@dataclass(frozen=True, slots=True)
class _Account:
    spent: str
    budget: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued(Document):
    schema: ClassVar[str] = "unlearnkit/certify/v1"

    path: Path
    proof: Path
    sha256: str
    release: str
    requests: tuple[str, ...]
    together: int
    decision: _Decision
    claims: tuple[_Claim, ...]
    delta: _Account
    entry: int

    @classmethod
    def of(cls, issued: Certified) -> _Issued:
        certificate, decision = issued.certificate, issued.certificate.decision
        return cls(
            path=issued.path,
            proof=issued.proof,
            sha256=issued.digest,
            release=certificate.release,
            requests=certificate.requests,
            together=len(certificate.deleted),
            decision=_Decision(decision.outcome, decision.rule, decision.reasons),
            claims=tuple(_Claim.of(claim) for claim in certificate.claims),
            delta=_Account(certificate.spent, certificate.budget),
            entry=issued.entry.index,
        )


def _render(issued: _Issued) -> Iterable[str]:
    """The decision first."""
    yield f"{issued.decision.outcome} (by {issued.decision.rule})"
    yield from issued.decision.reasons
    for claim in issued.claims:
        yield f"{claim.probe}: {claim}"
        yield f"  {claim.kind}{claim.sure}, covers {', '.join(claim.covers) or 'nothing'}"
    yield from columns(
        [
            ("release", issued.release),
            ("requests", " ".join(issued.requests)),
            ("people", f"{issued.together}, with those answered without retraining before"),
            ("certificate", issued.path),
            ("sha256", issued.sha256),
            ("log entry", issued.entry),
            ("delta", f"{issued.delta.spent} of {issued.delta.budget} spent for this recipe and salt"),
        ]
    )
