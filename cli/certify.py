"""``unlearnkit certify``: what the policy makes of a deletion request, from a bundle, signed and recorded."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Document, Output, fields, pass_output

if TYPE_CHECKING:
    from unlearnkit.verifier.issue import Issuance

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class _Probability(click.ParamType[Decimal]):
    name = "DELTA"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        from unlearnkit.names import probability

        try:
            return probability(Decimal(str(value)))
        except InvalidOperation:
            self.fail(f"got {value!r}, expected a decimal such as 0.01", param, ctx)
        except ValueError as err:
            self.fail(str(err), param, ctx)


@click.command()
@click.argument("request")
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="The sketch bundle of the model.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit of the bundle. May be repeated.")
@click.option("--delta", type=_Probability(), help="Chance that a bound is wrong. Default: the policy's largest.")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Default: REQUEST.certificate.json.")
@passphrase_options
@pass_output
def certify(
    output: Output,
    *,
    request: str,
    bundle: Path,
    evidence: tuple[Path, ...],
    delta: Decimal | None,
    path: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Certify what the model would be without the data of whoever made REQUEST, and what the policy makes of that.

    The certificate is signed, recorded in the log, and covered by a new checkpoint. Beside it lies the proof that the
    log has it. A certificate spends delta from the bundle's budget; asking the same again spends nothing.

    \b
    Example:
      unlearnkit certify R2 --bundle run/bundle --evidence run/audit.json -o r2.certificate.json
    """
    from unlearnkit.compliance.workspace import Workspace
    from unlearnkit.files import write_atomic

    workspace, secret = Workspace.find(), passphrase.read()
    target = path or Path(f"{request}.certificate.json")
    with values_from_options():
        issued = _issue(workspace, request, bundle, evidence, delta, secret)
    write_atomic(target, issued.raw)
    proof = target.with_suffix(".tlog-proof")
    write_atomic(proof, _proof(workspace, issued, secret))
    output.say(f"Recorded as entry {issued.entry.index}; the proof is in {proof}.")
    output.emit(document_of(issued, target, proof), render)


def _issue(
    workspace: Any, request: str, bundle: Path, evidence: tuple[Path, ...], delta: Decimal | None, secret: bytes | None
) -> Issuance:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.policy import Role
    from unlearnkit.verifier.evidence import verify_evidence
    from unlearnkit.verifier.issue import certify

    trust = workspace.trust()
    opened = Bundle.open(bundle, trust=trust.keys(Role.SKETCH_SIGNER))
    keys = trust.keys(Role.CERTIFICATE_SIGNER)
    audits = [verify_evidence(file.read_bytes(), where=str(file), keys=keys, bundle=opened) for file in evidence]
    return certify(
        opened,
        request,
        log=workspace.open_log(),
        origin=workspace.origin,
        policy=workspace.policy(),
        signers=[workspace.signer_key(secret)],
        evidence=audits,
        delta=delta,
    )


def _proof(workspace: Any, issued: Issuance, secret: bytes | None) -> bytes:
    """Under a new checkpoint, which signs the entry."""
    from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint

    log = workspace.open_log()
    publish_checkpoint(log, workspace.log_key(secret))
    return prove_entry(workspace.log_path, issued.entry.index, log=workspace.log_public_key())


def document_of(issued: Issuance, path: Path, proof: Path) -> dict[str, Any]:
    """What ``certify`` prints."""
    from unlearnkit.canonical import sha256_hex

    certificate = issued.certificate
    return {
        "schema": "unlearnkit/certify/v1",
        "path": str(path),
        "proof": str(proof),
        "sha256": sha256_hex(issued.raw),
        "request": certificate.request,
        "decision": {
            "outcome": certificate.decision.outcome,
            "rule": certificate.decision.rule,
            "reasons": list(certificate.decision.reasons),
        },
        "claims": [
            {
                "probe": claim.probe,
                "base": list(claim.base),
                "predicted": list(claim.predicted),
                "epsilon": list(claim.epsilon),
                "delta": claim.delta,
                "kind": claim.kind,
                "method": claim.method,
                "covers": list(claim.covers),
            }
            for claim in certificate.claims
        ],
        "delta": {"spent": certificate.spent, "budget": certificate.budget},
        "entry": issued.entry.index,
    }


def render(document: Document) -> Iterable[str]:
    """The same as text: the decision first."""
    record: dict[str, Any] = dict(document)
    yield f"{record['decision']['outcome']} (by {record['decision']['rule']})"
    yield from record["decision"]["reasons"]
    for claim in record["claims"]:
        yield f"{claim['probe']}: {_summary(claim)}"
        yield f"  {claim['kind']}, delta {claim['delta']}, covers {', '.join(claim['covers']) or 'nothing'}"
    spent = f"{record['delta']['spent']} of {record['delta']['budget']} spent for this bundle"
    yield from fields(
        [
            ("certificate", record["path"]),
            ("sha256", record["sha256"]),
            ("log entry", record["entry"]),
            ("delta", spent),
        ]
    )


def _summary(claim: dict[str, Any]) -> str:
    if len(claim["base"]) == 1:
        return f"{claim['base'][0]} now, {claim['predicted'][0]} without, give or take {claim['epsilon'][0]}"
    moved = [abs(Decimal(p) - Decimal(b)) for p, b in zip(claim["predicted"], claim["base"], strict=True)]
    return (
        f"{len(moved)} numbers change by {max(moved):.6g} at most, give or take {max(map(Decimal, claim['epsilon']))}"
    )
