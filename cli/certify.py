"""``unlearnkit certify``: what the policy makes of a deletion request, from a bundle, signed and recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from .certificate_views import Certificates, Correcting, Decided, recorded, render_certificates, render_correcting
from .clearing_views import Cleared, render_cleared, tell_several
from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, columns, pass_output
from .selection import NARROWED, narrowed

if TYPE_CHECKING:
    from unlearnkit.office.certified import Certified
    from unlearnkit.signing.keys import PrivateKey
    from unlearnkit.verifier.certificate import Certificate, Claim

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
@NARROWED
@click.option(
    "--kind", type=click.Choice(["effect", "exclusion", "absence"]), help="Default: what fits where they are."
)
@click.option("--each-policy", is_flag=True, help="With --kind exclusion or absence: one for each policy of theirs.")
@click.option("--release", metavar="RELEASE", help="Such as digits@1. Default: the one in force that holds their data.")
@click.option("--bundle", type=click.Path(path_type=Path), help="Its bundle. Default: where it was registered.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit of the bundle. May be repeated.")
@click.option("--replay", type=_FILE, help="A signed replay of the bundle: what rounding does to certified claims.")
@click.option("--delta", type=_Probability(), help="Chance that a bound is wrong. Default: the policy's largest.")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="Default: in certificates/, named after the first request and the release.",
)
@click.option("--force", is_flag=True, help="Replace a certificate that is there.")
@click.option("--countersign", type=_FILE, help="Verify this certificate, and sign it too; the last one records it.")
@click.option("--key", type=_FILE, help="With --countersign: the key of who signs. Default: the workspace's.")
@click.option("--resume", type=_FILE, help="Finish this certificate, which was interrupted; or prove it anew.")
@click.option("--key-passphrase-file", type=_FILE, help="With --key: the passphrase of that key, in a private file.")
@click.option("--list", "listing", is_flag=True, help="List the certificates that the log records, and their files.")
@passphrase_options
@pass_output
def certify(
    output: Output,
    *,
    requests: tuple[str, ...],
    everybody: bool,
    where: tuple[str, ...],
    kind: str | None,
    each_policy: bool,
    release: str | None,
    bundle: Path | None,
    evidence: tuple[Path, ...],
    replay: Path | None,
    delta: Decimal | None,
    path: Path | None,
    force: bool,
    countersign: Path | None,
    key: Path | None,
    resume: Path | None,
    key_passphrase_file: Path | None,
    listing: bool,
    passphrase: PassphraseSource,
) -> None:
    """Certify what the model would be without the data of whoever made REQUESTS, and what the policy makes of that.

    One certificate is about all of them together, and about everybody who was answered without retraining before.
    The certificate is signed, recorded in the log, and covered by a new checkpoint; its file holds the proof of that.
    A certificate spends delta from the bundle's budget; asking the same again spends nothing. Where the policy asks
    for several signatures, nothing is recorded or spent before the last one; --countersign takes certificates of
    every kind, those of 'unlearnkit correct', too.

    It is under one policy, the one that they were received under; with --each-policy several are made. Of people whose
    data no release in force holds, exclusion is certified, if they were in one that was replaced, else absence.

    \b
    Example:
      unlearnkit certify R2 R5 --evidence run/audit.json -o certificate.json
      unlearnkit certify R2 --replay run/replay.json
      unlearnkit certify --open --release digits@1
      unlearnkit certify --open --where jurisdiction=eu
      unlearnkit certify --open --kind exclusion --each-policy
      unlearnkit certify --countersign certificate.json --key mine.pem --evidence run/audit.json
      unlearnkit certify --list
    """
    import unlearnkit as uk

    if where and not everybody:
        raise click.UsageError("--where narrows --open")
    if [bool(requests), everybody, countersign is not None, resume is not None, listing].count(True) != 1:
        raise click.UsageError("give requests, or --open, or --countersign FILE, or --resume FILE, or --list")
    if each_policy and (kind not in ("exclusion", "absence") or (path is not None and not path.is_dir())):
        raise click.UsageError(
            "--each-policy is for --kind exclusion or absence, and -o is then a folder that is there"
        )
    phrase = passphrase.read()
    office = uk.Workspace.find().unlocked(phrase)
    beside: dict[str, Any] = {"bundle": bundle, "evidence": evidence, "replay": replay}
    if kind is None:
        kind = office.kind_of(requests) if requests and not release and not bundle else "effect"
    if listing:
        output.emit(Certificates.of(office.certificates()), render_certificates)
    elif resume is not None:
        with values_from_options():
            _tell(output, office.resume(resume, **beside))
    elif countersign is not None:
        signer = _signer(key, key_passphrase_file, phrase)
        with values_from_options():
            _tell(output, office.countersign(countersign, **beside, key=signer))
    elif kind == "effect":
        with values_from_options():
            asking = narrowed(office, office.open_requests(release), where) if everybody else requests
            _tell(output, office.certify(asking, release=release, **beside, delta=delta, out=path, force=force))
    else:
        asking = narrowed(office, office.open_of_kind(kind), where) if everybody else requests
        groups = office.by_policy(asking) if each_policy else (asking,)
        with values_from_options():
            made = [office.certify_absence(ids, kind=kind, before=release, out=path, force=force) for ids in groups]
        tell_several(output, made) if each_policy else _tell(output, made[0])


def _tell(output: Output, issued: Certified[Any]) -> None:
    """A certificate of whatever kind."""
    output.say(recorded(issued.path, issued.entry, issued.missing))
    match issued.kind:
        case "effect":
            output.emit(_Issued.of(issued), _render)
        case "correction":
            output.emit(Correcting.of(issued), render_correcting)
        case _:
            output.emit(Cleared.of(issued), render_cleared)


def _signer(key: Path | None, passphrase_file: Path | None, otherwise: bytes | None) -> PrivateKey | None:
    """Who countersigns; None: the workspace's key. otherwise: the passphrase, where no file holds another."""
    from unlearnkit.signing.passphrase import passphrase_from_file

    from .trust import key_from_file

    if key is None:
        return None
    return key_from_file(key, otherwise if passphrase_file is None else passphrase_from_file(passphrase_file))


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
    sha256: str
    release: str
    sketches: tuple[int, ...]
    requests: tuple[str, ...]
    together: int
    decision: Decided
    claims: tuple[_Claim, ...]
    delta: _Account
    missing_signatures: int
    entry: int | None

    @classmethod
    def of(cls, issued: Certified[Certificate]) -> _Issued:
        certificate, decision = issued.certificate, issued.certificate.decision
        return cls(
            path=issued.path,
            sha256=issued.digest,
            release=certificate.release,
            sketches=certificate.sketches,
            requests=certificate.requests,
            together=len(certificate.deleted),
            decision=Decided.of(decision),
            claims=tuple(_Claim.of(claim) for claim in certificate.claims),
            delta=_Account(certificate.spent, certificate.budget),
            missing_signatures=issued.missing,
            entry=None if issued.entry is None else issued.entry.index,
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
            ("sketched also", f"in entries {', '.join(map(str, issued.sketches))}" if issued.sketches else None),
            ("requests", " ".join(issued.requests)),
            ("people", f"{issued.together}, with those answered without retraining before"),
            ("certificate", issued.path),
            ("sha256", issued.sha256),
            ("log entry", "none yet" if issued.entry is None else issued.entry),
            ("delta", f"{issued.delta.spent} of {issued.delta.budget} spent for this recipe and salt"),
        ]
    )
